"""A small fast state beside a wide slow one."""

import torch
from torch import nn


class FastSlow(nn.Module):
    """A narrow state that is computed anew at every step, and a wide one of leaky integrators that follow it.

    (1) u = tanh(W_u [u_prev, x] + V s_prev + b_u)             fast state
    (2) a = sigmoid(rate)                                      share of the new, one number a unit
    (3) s = (1 - a) * s_prev + a * tanh(W_s [u, s_prev] + b_s) slow state
    (4) y = [u, s]

    ``hidden_size`` is S, the width of the slow state; ``fast_size`` is F, a quarter of it where None. The shares start
    between 0.5 and 0.02, so that the units remember from 2 to 50 steps.

    Shapes: x (B, I); state (u (B, F), s (B, S)). Returns (y (B, F + S), (u, s)).

    Paper: leaky integrators, Jaeger et al. 2007; fast and slow layers, Mujika et al. 2017. We differ: no gates at all.
    """

    def __init__(self, input_size, hidden_size, fast_size=None):
        super().__init__()
        fast = fast_size or max(1, hidden_size // 4)
        self.input_size = input_size
        self.output_size = fast + hidden_size
        self.state_size = (fast, hidden_size)
        self.fast = nn.Linear(fast + input_size, fast)
        self.slow_to_fast = nn.Linear(hidden_size, fast, bias=False)
        self.slow = nn.Linear(fast + hidden_size, hidden_size)
        self.rate = nn.Parameter(torch.logit(torch.logspace(-0.3, -1.7, hidden_size)))

    def forward(self, x, state):
        fast, slow = state
        fast = torch.tanh(self.fast(torch.cat([fast, x], 1)) + self.slow_to_fast(slow))  # (1)
        new = torch.tanh(self.slow(torch.cat([fast, slow], 1)))
        slow = torch.lerp(slow, new, torch.sigmoid(self.rate))  # (2), (3)
        return torch.cat([fast, slow], 1), (fast, slow)  # (4)
