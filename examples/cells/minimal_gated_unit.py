"""Minimal gated unit."""

import torch
from torch import nn


class MinimalGatedUnit(nn.Module):
    """A GRU with one gate, which does the work of both.

    (1) f = sigmoid(W_f [h_prev, x] + b_f)             forget gate
    (2) n = tanh(W_n [f * h_prev, x] + b_n)            candidate
    (3) h = (1 - f) * h_prev + f * n

    Shapes: x (B, I); state h (B, H). Returns (h, h). W_f and W_n are H x (H + I).

    Paper: Zhou et al. 2016, "Minimal gated unit for recurrent neural networks". No difference.
    """

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.output_size = hidden_size
        self.state_size = hidden_size
        self.forget = nn.Linear(hidden_size + input_size, hidden_size)
        self.candidate = nn.Linear(hidden_size + input_size, hidden_size)

    def forward(self, x, h_prev):
        f = torch.sigmoid(self.forget(torch.cat([h_prev, x], -1)))  # (1)
        n = torch.tanh(self.candidate(torch.cat([f * h_prev, x], -1)))  # (2)
        h = (1 - f) * h_prev + f * n  # (3)
        return h, h
