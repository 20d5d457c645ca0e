"""FastGRNN."""

import torch
from torch import nn


class FastGRNN(nn.Module):
    """A gate and a candidate that share both matrices and differ in their biases; two numbers balance old and new.

    (1) a = W x + U h_prev
    (2) z = sigmoid(a + b_z)                                          gate
    (3) n = tanh(a + b_n)                                             candidate
    (4) h = (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * n + z * h_prev

    Shapes: x (B, I); state h (B, H); zeta and nu one number each. Returns (h, h).

    Paper: Kusupati et al. 2018, "FastGRNN: a fast, accurate, stable and tiny kilobyte sized gated recurrent neural
    network". We differ: W and U have full rank, and are neither sparse nor quantised.
    """

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.output_size = hidden_size
        self.state_size = hidden_size
        self.W = nn.Linear(input_size, hidden_size, bias=False)
        self.U = nn.Linear(hidden_size, hidden_size, bias=False)
        self.bias_gate = nn.Parameter(torch.ones(hidden_size))
        self.bias_update = nn.Parameter(torch.ones(hidden_size))
        self.zeta = nn.Parameter(torch.tensor(1.0))
        self.nu = nn.Parameter(torch.tensor(-4.0))

    def forward(self, x, h_prev):
        a = self.W(x) + self.U(h_prev)  # (1)
        z = torch.sigmoid(a + self.bias_gate)  # (2)
        n = torch.tanh(a + self.bias_update)  # (3)
        h = (torch.sigmoid(self.zeta) * (1 - z) + torch.sigmoid(self.nu)) * n + z * h_prev  # (4)
        return h, h
