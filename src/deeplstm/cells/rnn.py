"""The simple recurrent network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._cell import Noise, options_in, probability_complaints, zone_out
from ._gates import ACTIVATIONS, GatedCell, GateSharing
from .mark import mark


class RNNCell(GatedCell):
    """One time step of a simple recurrent network: one weighted sum, one nonlinearity, no gate.

    (1) h = act(W x + R h_prev + b)      act: tanh or relu

    Options change it so:

    * ``gate_layers``, ``gate_sharing``, ``gate_activation``, ``gate_shortcut``: hidden layers between ``[x, h_prev]`` and h
      (deep transition, Pascanu et al. 2014), as in `LSTMCell`; the one "gate" is "hidden".
    * ``norm``: layer norm (Ba et al. 2016) on W x and on R h_prev before the biases, and on each product of hidden layers.
    * ``zoneout``, ``recurrent_dropout``, ``weight_drop``: as in `LSTMCell`, on h.

    Args:
        input_size: I, numbers in x.
        hidden_size: H, numbers in h.
        bias: whether the sum has biases; two of them, as in torch.
        nonlinearity: "tanh" or "relu".
        gate_layers, gate_sharing, gate_activation, gate_shortcut, norm, zoneout, recurrent_dropout, weight_drop: see above.

    Marked, to be traced: "h".

    Shapes: x (B, I); state h (B, H), zeros where None. Returns (h, h).
    Raises: ValueError that lists every option out of range; for a wrong shape, dtype, device or state.

    Paper: Elman 1990. We differ: two biases, as in torch.

    >>> import torch, deeplstm
    >>> h, state = deeplstm.RNNCell(10, 20, nonlinearity="relu")(torch.zeros(3, 10))
    >>> h.shape
    torch.Size([3, 20])
    """

    gate_names = ("hidden",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
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
        complaints = probability_complaints(zoneout=zoneout)
        if nonlinearity not in ("tanh", "relu"):
            complaints.append(f"nonlinearity={nonlinearity!r} is given, 'tanh' or 'relu' is expected")
        factory = {"device": device, "dtype": dtype}
        super().__init__(input_size, hidden_size, self.gate_names, hidden_size, options, factory, complaints)
        self.nonlinearity, self.zoneout_h = nonlinearity, zoneout
        self.reset_parameters()

    def noise_shapes(self) -> dict[str, tuple[str, int, float]]:
        shapes = super().noise_shapes()
        if self.zoneout_h:
            shapes["zoneout_h"] = ("step", self.hidden_size, self.zoneout_h)
        return shapes

    def step(self, x: Tensor, state: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        h_prev = state
        read = h_prev * noise["recurrent_dropout"] if "recurrent_dropout" in noise else h_prev
        h = ACTIVATIONS[self.nonlinearity](self.weighted_sums(x, read)["hidden"])  # (1)
        h = mark(zone_out(h_prev, h, self.zoneout_h, noise.get("zoneout_h")), "h")
        return h, h
