"""Gated recurrent unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._cell import Noise, options_in, probability_complaints, zone_out
from ._gates import GatedCell, GateSharing
from .mark import mark


class GRUCell(GatedCell):
    """One time step of a GRU; its one state is both the memory and the output.

    (1) r = sigmoid(W_r x + R_r h_prev + b_r)   reset gate       (2) z = sigmoid(W_z x + R_z h_prev + b_z)   update gate
    (3) n = tanh(W_n x + b_in + r * (R_n h_prev + b_hn))   candidate, torch's form (``reset_after=True``)
    (4) n = tanh(W_n x + R_n (r * h_prev) + b_n)           candidate, the original (``reset_after=False``)
    (5) h = (1 - z) * n + z * h_prev

    The rows of ``weight_ih`` and ``weight_hh`` are those of r, z, n, in this order.

    Options change the equations so:

    * ``gate_layers``, ``gate_sharing``, ``gate_activation``, ``gate_shortcut``: hidden layers inside the gates, as in
      `LSTMCell`. In torch's form the reset gate scales what the hidden layers of the candidate give, in the place of
      R_n h_prev, and W_n x stays beside it; all three gates may share hidden layers. In the original form the candidate
      reads ``[x, r * h_prev]``, so with "shared" the reset and update gates share theirs and the candidate has its own.
    * ``norm``: layer norm (Ba et al. 2016) on W x and on R h_prev, each over all its rows and before the biases; the
      original form's R_n (r * h_prev) is a product of its own. Hidden layers: on each of their products.
    * ``zoneout``, ``recurrent_dropout``, ``weight_drop``: as in `LSTMCell`, on the one state.

    Args:
        input_size: I, numbers in x.
        hidden_size: H, numbers in h.
        bias: whether the sums have biases; two of them, as in torch.
        reset_after: whether the reset gate is applied after the recurrent product (torch, cuDNN) or before it (the paper).
        gate_layers, gate_sharing, gate_activation, gate_shortcut, norm, zoneout, recurrent_dropout, weight_drop: see above;
            the gates are "reset", "update", "candidate".

    Marked, to be traced: "reset", "update", "candidate", "h".

    Shapes: x (B, I); state h (B, H), zeros where None. Returns (h, h).
    Raises: ValueError that lists every option out of range; for a wrong shape, dtype, device or state.

    Paper: Cho et al. 2014; (3) from Chung et al. 2014 as built by cuDNN. We differ: (5) is torch's, with z and 1 - z
    exchanged against Cho et al.

    >>> import torch, deeplstm
    >>> h, state = deeplstm.GRUCell(10, 20, reset_after=False)(torch.zeros(3, 10))
    >>> h.shape
    torch.Size([3, 20])
    """

    gate_names = ("reset", "update", "candidate")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        reset_after: bool = True,
        gate_layers: Sequence[int] = (),
        gate_sharing: GateSharing = "shared",
        gate_activation: str = "tanh",
        gate_shortcut: bool = False,
        norm: bool = False,
        zoneout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options = options_in(locals())
        factory = {"device": device, "dtype": dtype}
        super().__init__(
            input_size,
            hidden_size,
            self.gate_names,
            hidden_size,
            options,
            factory,
            probability_complaints(zoneout=zoneout),
            groups=None if reset_after else [self.gate_names[:2], self.gate_names[2:]],
            x_direct=("candidate",) if reset_after else (),
        )
        self.reset_after, self.zoneout_h = reset_after, zoneout
        # the original form's candidate reads r * h_prev: its product cannot be normalised along with the others
        self.split_norm = norm and not reset_after and "candidate" in self.direct_h
        if self.split_norm:
            rows = (len(self.direct_h) - 1) * hidden_size
            self.norm_hh = torch.nn.LayerNorm(rows, bias=False, **factory) if rows else None
            self.norm_hn = torch.nn.LayerNorm(hidden_size, bias=False, **factory)
        self.reset_parameters()

    def noise_shapes(self) -> dict[str, tuple[str, int, float]]:
        shapes = super().noise_shapes()
        if self.zoneout_h:
            shapes["zoneout_h"] = ("step", self.hidden_size, self.zoneout_h)
        return shapes

    def step(self, x: Tensor, state: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        h_prev = state
        read = h_prev * noise["recurrent_dropout"] if "recurrent_dropout" in noise else h_prev
        z, n = self._torch_form(x, read) if self.reset_after else self._original_form(x, read)
        h = (1 - mark(z, "update")) * mark(n, "candidate") + z * h_prev  # (5)
        h = mark(zone_out(h_prev, h, self.zoneout_h, noise.get("zoneout_h")), "h")
        return h, h

    def _torch_form(self, x: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        pre_x = dict(zip(self.direct_x, self.sum_x(x).chunk(len(self.direct_x), -1), strict=True))
        pre_h: dict[str, Tensor] = {}
        if self.direct_h:
            pre_h.update(zip(self.direct_h, self.sum_h(read).chunk(len(self.direct_h), -1), strict=True))
        pre_h = self.add_deep(pre_h, x, read)
        r = mark(torch.sigmoid(_plus(pre_x.get("reset"), pre_h["reset"])), "reset")  # (1)
        z = torch.sigmoid(_plus(pre_x.get("update"), pre_h["update"]))  # (2)
        n = torch.tanh(pre_x["candidate"] + r * pre_h["candidate"])  # (3)
        return z, n

    def _original_form(self, x: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        H, direct = self.hidden_size, self.direct_h
        pre: dict[str, Tensor] = {}
        if direct:
            pre.update(zip(direct, self.sum_x(x).chunk(len(direct), -1), strict=True))
        gates = [g for g in direct if g != "candidate"]
        if gates:
            sums = self._recurrent(read, slice(0, len(gates) * H), self.norm_hh)
            for gate, value in zip(gates, sums.chunk(len(gates), -1), strict=True):
                pre[gate] = pre[gate] + value
        pre = self.add_deep(pre, x, read, only=("reset", "update"))
        r, z = torch.sigmoid(pre["reset"]), torch.sigmoid(pre["update"])  # (1), (2)
        reset = mark(r, "reset") * read
        if "candidate" in direct:
            rows = slice(len(gates) * H, None)
            pre["candidate"] = pre["candidate"] + self._recurrent(
                reset, rows, self.norm_hn if self.split_norm else None
            )
        pre = self.add_deep(pre, x, reset, only=("candidate",))
        return z, torch.tanh(pre["candidate"])  # (4)

    def _recurrent(self, h: Tensor, rows: slice, norm: torch.nn.LayerNorm | None) -> Tensor:
        assert self.weight_hh is not None
        product = h @ self.weight_hh[rows].T
        product = product if norm is None else norm(product)
        return product if self.bias_hh is None else product + self.bias_hh[rows]


def _plus(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b
