"""LSTM with a small network in its forget gate."""

import torch
from torch import nn


class MLPGateLSTM(nn.Module):
    """An LSTM that decides what to forget with two layers, and everything else with one.

    (1) i, g, o = sigmoid, tanh, sigmoid of W [h_prev, x] + b
    (2) f = sigmoid(W_2 tanh(W_1 [h_prev, x] + b_1) + b_2)
    (3) c = f * c_prev + i * g
    (4) h = o * tanh(c)

    Shapes: x (B, I); state (h, c), each (B, H); W (3H, H + I), W_1 (M, H + I), W_2 (H, M) with M = ``gate_width``, H where
    None. Returns (h, (h, c)).

    Paper: Hochreiter and Schmidhuber 1997; deeper transitions, Pascanu et al. 2014. We differ: one gate alone is deeper.
    """

    def __init__(self, input_size, hidden_size, gate_width=None):
        super().__init__()
        self.input_size = input_size
        self.output_size = hidden_size
        self.state_size = (hidden_size, hidden_size)
        both, width = hidden_size + input_size, gate_width or hidden_size
        self.gates = nn.Linear(both, 3 * hidden_size)
        self.forget = nn.Sequential(nn.Linear(both, width), nn.Tanh(), nn.Linear(width, hidden_size), nn.Sigmoid())

    def forward(self, x, state):
        h, c = state
        both = torch.cat([h, x], -1)
        i, g, o = self.gates(both).split(h.shape[-1], dim=-1)
        c = self.forget(both) * c + torch.sigmoid(i) * torch.tanh(g)  # (1), (2), (3)
        h = torch.sigmoid(o) * torch.tanh(c)  # (4)
        return h, (h, c)
