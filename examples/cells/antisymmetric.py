"""Antisymmetric RNN."""

import torch
from torch import nn


class AntisymmetricRNN(nn.Module):
    """One step of Euler's method through a differential equation that neither grows nor decays.

    (1) A = W - W^T - gamma I
    (2) z = sigmoid(A h_prev + V_z x + b_z)                    gate, with ``gated``; else z = 1
    (3) h = h_prev + epsilon * z * tanh(A h_prev + V x + b)

    The eigenvalues of W - W^T are imaginary; ``gamma`` pulls them a little to the stable side, ``epsilon`` is the step size.

    Shapes: x (B, I); state h (B, H); W (H, H). Returns (h, h).

    Paper: Chang et al. 2019, "AntisymmetricRNN: a dynamical system view on recurrent neural networks". We differ: W is a
    whole matrix rather than a triangle, so every number of W - W^T is the difference of two parameters.
    """

    def __init__(self, input_size, hidden_size, epsilon=0.1, gamma=0.01, gated=True):
        super().__init__()
        self.input_size = input_size
        self.output_size = hidden_size
        self.state_size = hidden_size
        self.epsilon, self.gamma = epsilon, gamma
        self.W = nn.Parameter(torch.randn(hidden_size, hidden_size) / hidden_size**0.5)
        self.V = nn.Linear(input_size, hidden_size)
        self.V_z = nn.Linear(input_size, hidden_size) if gated else None
        self.register_buffer("identity", torch.eye(hidden_size), persistent=False)

    def forward(self, x, h_prev):
        A = self.W - self.W.T - self.gamma * self.identity  # (1)
        turned = torch.matmul(h_prev, A.T)
        change = torch.tanh(turned + self.V(x))
        if self.V_z is not None:
            change = torch.sigmoid(turned + self.V_z(x)) * change  # (2)
        h = h_prev + self.epsilon * change  # (3)
        return h, h
