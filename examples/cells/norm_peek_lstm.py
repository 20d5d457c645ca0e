"""LSTM whose forget gate looks at the cell state through a layer norm."""

import torch
from torch import nn


class NormPeekLSTM(nn.Module):
    """A peephole that sees how the units of c stand to each other, not how large they have grown.

    (1) v = LayerNorm(c_prev) = (c_prev - mean) / sqrt(variance + 1e-5) * gain + shift     over the H units
    (2) f = sigmoid(W_f x + R_f h_prev + b_f + v)
    (3) i, g, o = sigmoid, tanh, sigmoid of W x + R h_prev + b
    (4) c = f * c_prev + i * g
    (5) h = o * tanh(c)

    The gains are the peephole's weights. The rows of both matrices are those of i, f, g, o.

    Shapes: x (B, I); state (h, c), each (B, H). Returns (h, (h, c)).

    Paper: peepholes, Gers and Schmidhuber 2000; layer norm, Ba et al. 2016. We differ: one gate alone looks, and only at
    the c of the step before.
    """

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = hidden_size
        self.state_size = (hidden_size, hidden_size)
        self.from_x = nn.Linear(input_size, 4 * hidden_size)
        self.from_h = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.peek = nn.LayerNorm(hidden_size)

    def forward(self, x, state):
        h, c = state
        H = self.hidden_size
        pre = self.from_x(x) + self.from_h(h)  # (B, 4H)
        f = torch.sigmoid(pre[:, H : 2 * H] + self.peek(c))  # (1), (2)
        i = torch.sigmoid(pre[:, :H])
        g = torch.tanh(pre[:, 2 * H : 3 * H])
        o = torch.sigmoid(pre[:, 3 * H :])  # (3)
        c = f * c + i * g  # (4)
        h = o * torch.tanh(c)  # (5)
        return h, (h, c)
