"""JANET: just another network."""

import torch
import torch.nn.functional as F
from torch import nn


class JANET(nn.Module):
    """An LSTM with a forget gate and nothing else; it writes a little more than it forgets.

    (1) s = W_f x + R_f h_prev + b_f
    (2) n = tanh(W_n x + R_n h_prev + b_n)             candidate
    (3) h = sigmoid(s) * h_prev + (1 - sigmoid(s - beta)) * n

    The rows of ``weight_ih`` (2H, I), ``weight_hh`` (2H, H) and ``bias`` (2H) are those of s, n. ``longest`` is T_max, the
    steps that the memory should span at the start: b_f is drawn as log(u), u uniform in [1, T_max - 1].

    Shapes: x (B, I); state h (B, H). Returns (h, h).

    Paper: van der Westhuizen and Lasenby 2018, "The unreasonable effectiveness of the forget gate"; start of b_f, Tallec
    and Ollivier 2018. We differ: the paper writes c and h = c; here both are h.
    """

    def __init__(self, input_size, hidden_size, beta=1.0, longest=100):
        super().__init__()
        self.input_size = input_size
        self.output_size = hidden_size
        self.state_size = hidden_size
        self.beta, self.longest = beta, longest
        self.weight_ih = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(2 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(2 * hidden_size))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.xavier_uniform_(self.weight_ih)
        nn.init.orthogonal_(self.weight_hh)
        nn.init.zeros_(self.bias)
        with torch.no_grad():
            self.bias[: self.state_size].uniform_(1, self.longest - 1).log_()

    def forward(self, x, h_prev):
        s, pre_n = (F.linear(x, self.weight_ih) + F.linear(h_prev, self.weight_hh, self.bias)).chunk(2, dim=-1)  # (1)
        n = pre_n.tanh()  # (2)
        h = s.sigmoid() * h_prev + (1 - (s - self.beta).sigmoid()) * n  # (3)
        return h, h
