"""MUT1, the first of three cells that a search found."""

import torch
from torch import nn


class MUT1(nn.Module):
    """A GRU whose update gate reads x alone, and whose candidate reads tanh of x.

    (1) z = sigmoid(W_z x + b_z)                            update gate
    (2) r = sigmoid(W_r x + R_r h_prev + b_r)               reset gate
    (3) n = tanh(R_n (r * h_prev) + tanh(W_n x) + b_n)      candidate
    (4) h = z * n + (1 - z) * h_prev

    Shapes: x (B, I); state h (B, H). Returns (h, h).

    Paper: Jozefowicz et al. 2015, "An empirical exploration of recurrent network architectures". We differ: (3) of the
    paper has tanh(x), which asks for I = H; W_n lets them differ.
    """

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.output_size = hidden_size
        self.state_size = hidden_size
        bound = hidden_size**-0.5
        self.W_z, self.W_r, self.W_n = (
            nn.Parameter(torch.empty(hidden_size, input_size).uniform_(-bound, bound)) for _ in range(3)
        )
        self.R_r, self.R_n = (
            nn.Parameter(torch.empty(hidden_size, hidden_size).uniform_(-bound, bound)) for _ in range(2)
        )
        self.b_z, self.b_r, self.b_n = (nn.Parameter(torch.zeros(hidden_size)) for _ in range(3))

    def forward(self, x, h_prev):
        z = torch.sigmoid(x @ self.W_z.T + self.b_z)  # (1)
        r = torch.sigmoid(x @ self.W_r.T + h_prev @ self.R_r.T + self.b_r)  # (2)
        n = torch.tanh((r * h_prev) @ self.R_n.T + torch.tanh(x @ self.W_n.T) + self.b_n)  # (3)
        h = z * n + (1 - z) * h_prev  # (4)
        return h, h
