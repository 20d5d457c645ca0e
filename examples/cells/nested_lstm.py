"""Nested LSTM."""

import torch
from torch import nn


class NestedLSTM(nn.Module):
    """An LSTM whose cell state is kept by another LSTM instead of a sum.

    (1) i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of W [x, h_prev] + b              the outer gates
    (2) p = i * g,  q = f * c_prev                                                     what the inner one reads
    (3) i', f', g', o' = sigmoid, sigmoid, tanh, sigmoid of W' [p, q] + b'             the inner gates
    (4) d = f' * d_prev + i' * g'                                                      inner cell state
    (5) c = o' * tanh(d)                                                               outer cell state
    (6) h = o * tanh(c)

    Shapes: x (B, I); state (h, c, d), each (B, H). Returns (h, (h, c, d)).

    Paper: Moniz and Krueger 2017, "Nested LSTMs"; there p, q, d are x~, h~ and c~. No difference, with tanh for every
    nonlinearity that the paper leaves open.
    """

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.output_size = hidden_size
        self.state_size = (hidden_size, hidden_size, hidden_size)
        self.outer = nn.Linear(input_size + hidden_size, 4 * hidden_size)
        self.inner = nn.Linear(2 * hidden_size, 4 * hidden_size)

    @staticmethod
    def gates(sums):
        i, f, g, o = torch.chunk(sums, 4, dim=1)
        return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)

    def forward(self, x, state):
        h, c, d = state
        i, f, g, o = self.gates(self.outer(torch.cat((x, h), dim=1)))  # (1)
        inner_i, inner_f, inner_g, inner_o = self.gates(self.inner(torch.cat((i * g, f * c), dim=1)))  # (2), (3)
        d = inner_f * d + inner_i * inner_g  # (4)
        c = inner_o * torch.tanh(d)  # (5)
        h = o * torch.tanh(c)  # (6)
        return h, (h, c, d)
