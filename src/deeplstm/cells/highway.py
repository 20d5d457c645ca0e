"""Recurrent highway network: several micro-steps per time step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._cell import Cell, Noise, number_complaints, options_in, probability_complaints, size_complaints, zone_out
from .mark import mark


class HighwayCell(Cell):
    """One time step of a recurrent highway network: M micro-steps of a highway layer on the state.

    With s_0 = h_prev, for m = 1 .. M (x is read by the first micro-step only):

    (1) n_m = tanh(W_n x + R_n,m s_(m-1) + b_n,m)        candidate
    (2) t_m = sigmoid(W_t x + R_t,m s_(m-1) + b_t,m)     transform gate
    (3) k_m = 1 - t_m, or with ``coupled=False`` sigmoid(W_k x + R_k,m s_(m-1) + b_k,m)     carry gate
    (4) s_m = t_m * n_m + k_m * s_(m-1)                  and h = s_M

    The rows of ``weight_ih`` and of each ``weight_hh_m`` (m from 0) are those of n, t and, if free, k, in this order.

    Options: ``norm`` puts a layer norm (Ba et al. 2016) on W x and on every R s, over all rows and before the bias;
    ``zoneout``, ``recurrent_dropout`` (one mask per sequence on s wherever a product reads it) and ``weight_drop`` as in
    `LSTMCell`.

    Args:
        input_size: I, numbers in x.
        hidden_size: H, numbers in h.
        bias: whether the sums have biases.
        micro_steps: M, at least 1.
        coupled: carry gate 1 - t, or a gate of its own.
        transform_bias: what the biases of the transform gate add up to at the start; negative lets the state pass at
            first. None: torch's start. Without biases it is left out.
        norm, zoneout, recurrent_dropout, weight_drop: see above.

    Marked, to be traced: "candidate m", "transform m", "carry m" with m from 0, and "h".

    Shapes: x (B, I); state h (B, H), zeros where None. Returns (h, h).
    Raises: ValueError that lists every option out of range; for a wrong shape, dtype, device or state.

    Paper: Zilly et al. 2017. We differ: the input projection has a bias of its own, as the cells of torch have.

    >>> import torch, deeplstm
    >>> h, state = deeplstm.HighwayCell(10, 20, micro_steps=4)(torch.zeros(3, 10))
    >>> h.shape
    torch.Size([3, 20])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        micro_steps: int = 3,
        coupled: bool = True,
        transform_bias: float | None = -2.0,
        norm: bool = False,
        zoneout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options = options_in(locals())
        complaints = size_complaints(micro_steps=micro_steps) + number_complaints(transform_bias=transform_bias)
        super().__init__(input_size, hidden_size, options, complaints + probability_complaints(zoneout=zoneout))
        self.gate_names = ("candidate", "transform") if coupled else ("candidate", "transform", "carry")
        self.micro_steps, self.coupled = micro_steps, coupled
        self.transform_bias, self.zoneout_h = transform_bias, zoneout
        rows, factory = len(self.gate_names) * hidden_size, {"device": device, "dtype": dtype}

        def parameters(*shape: int) -> nn.ParameterList:
            return nn.ParameterList(nn.Parameter(torch.empty(*shape, **factory)) for _ in range(micro_steps))

        self.weight_ih = nn.Parameter(torch.empty(rows, input_size, **factory))
        self.weight_hh = parameters(rows, hidden_size)
        self.bias_ih = nn.Parameter(torch.empty(rows, **factory)) if bias else None
        self.bias_hh = parameters(rows) if bias else None
        self.norm_ih = nn.LayerNorm(rows, bias=False, **factory) if norm else None
        self.norm_hh = (
            nn.ModuleList(nn.LayerNorm(rows, bias=False, **factory) for _ in range(micro_steps)) if norm else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.uniform_([self.weight_ih, *self.weight_hh, self.bias_ih, *(self.bias_hh or ())])
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        if self.transform_bias is not None and self.bias_hh is not None and self.bias_ih is not None:
            transform = slice(self.hidden_size, 2 * self.hidden_size)
            with torch.no_grad():
                self.bias_ih[transform] = 0.0
                for bias in self.bias_hh:
                    bias[transform] = self.transform_bias

    def noise_shapes(self) -> dict[str, tuple[str, int, float]]:
        shapes = super().noise_shapes()
        if self.zoneout_h:
            shapes["zoneout_h"] = ("step", self.hidden_size, self.zoneout_h)
        return shapes

    def step(self, x: Tensor, state: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        s = state
        for m in range(self.micro_steps):
            read = s * noise["recurrent_dropout"] if "recurrent_dropout" in noise else s
            pre = self._recurrent(read, m)
            if m == 0:
                pre = pre + self._input(x)
            parts = pre.chunk(len(self.gate_names), -1)
            n, t = torch.tanh(parts[0]), torch.sigmoid(parts[1])  # (1), (2)
            k = 1 - t if self.coupled else torch.sigmoid(parts[2])  # (3)
            for name, gate in (("candidate", n), ("transform", t), ("carry", k)):
                mark(gate, f"{name} {m}")
            s = t * n + k * s  # (4)
        h = mark(zone_out(state, s, self.zoneout_h, noise.get("zoneout_h")), "h")
        return h, h

    def _input(self, x: Tensor) -> Tensor:
        product = F.linear(x, self.weight_ih)
        product = product if self.norm_ih is None else self.norm_ih(product)
        return product if self.bias_ih is None else product + self.bias_ih

    def _recurrent(self, s: Tensor, m: int) -> Tensor:
        product = F.linear(s, self.weight_hh[m])
        product = product if self.norm_hh is None else self.norm_hh[m](product)
        return product if self.bias_hh is None else product + self.bias_hh[m]
