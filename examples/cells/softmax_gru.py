"""GRU whose gates compete."""

import torch
from torch import nn


class SoftmaxGRU(nn.Module):
    """A GRU whose three gates add up to one for each unit: to keep, to write, or to look back.

    (1) k, w, r = softmax over the three of W x + R h_prev + b        keep, write and reset gate
    (2) n = tanh(W_n x + R_n (r * h_prev) + b_n)                      candidate
    (3) h = k * h_prev + w * n

    Shapes: x (B, I); state h (B, H); the sums of (1) are a (B, 3, H) view of one product, its rows those of k, w, r.
    Returns (h, h).

    Paper: none; Cho et al. 2014 has the GRU. We differ: softmax over the gates in the place of a sigmoid for each.
    """

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.output_size = hidden_size
        self.state_size = hidden_size
        self.gates = nn.Linear(input_size + hidden_size, 3 * hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, h_prev):
        sums = self.gates(torch.cat([x, h_prev], dim=-1)).view(-1, 3, self.state_size)  # (B, 3, H)
        keep, write, reset = torch.softmax(sums, dim=1).unbind(1)  # (1)
        n = torch.tanh(self.candidate(torch.cat([x, reset * h_prev], dim=-1)))  # (2)
        h = keep * h_prev + write * n  # (3)
        return h, h
