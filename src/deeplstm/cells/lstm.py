"""Long short-term memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ._cell import Noise, is_number, is_whole, number_complaints, options_in, probability_complaints, zone_out
from ._gates import GatedCell, GateSharing, normed
from .mark import mark


class LSTMCell(GatedCell):
    """One time step of an LSTM, with every common variation as an option; they combine freely.

    (1) i = sigmoid(W_i x + R_i h_prev + b_i)   input gate       (3) g = tanh(W_g x + R_g h_prev + b_g)     cell gate
    (2) f = sigmoid(W_f x + R_f h_prev + b_f)   forget gate      (4) o = sigmoid(W_o x + R_o h_prev + b_o)  output gate
    (5) c = f * c_prev + i * g                                   (6) h = o * tanh(c)

    The four products are one: the rows of ``weight_ih`` and ``weight_hh`` are those of i, f, g, o, in this order.

    Options change the equations so:

    * ``gate_layers``: hidden layers inside the gates; the weighted sum becomes (1)-(3) of `GateMLP`. ``gate_sharing``:
      "shared", one stack of hidden layers feeds all gates (Pascanu et al. 2014); "separate", each gate has its own; a dict
      such as ``{"forget": (64,)}``, only the gates named are deeper. ``gate_shortcut`` adds W x + R h_prev beside them.
    * ``peephole``: (1), (2) add ``weight_ci * c_prev``, ``weight_cf * c_prev``; (4) adds ``weight_co * c`` (Gers and
      Schmidhuber 2000).
    * ``coupled``: (1) becomes i = 1 - f. Greff et al. 2017 write f = 1 - i: the same up to the sign of that gate's weights.
    * ``norm``: layer norm (Ba et al. 2016) on W x and on R h_prev, each over all its rows and before the biases, and on c
      where (6) reads it; the c that is carried is not normalised. Hidden layers: on each of their products. Not on
      peepholes, not on the projection. The norms of products have a gain only: the cell's biases follow them.
    * ``cell_clip``: c is limited to [-cell_clip, cell_clip] after (5) (Sak et al. 2014).
    * ``proj_size``: h = W_hr (o * tanh(c)) (Sak et al. 2014).
    * ``zoneout``: a probability for both, or (for h, for c): units keep their old value (Krueger et al. 2016).
    * ``recurrent_dropout``: h_prev times one mask per sequence wherever the gates read it (Gal and Ghahramani 2016).
    * ``weight_drop``: the recurrent weights times one mask per sequence (Merity et al. 2017).

    Args:
        input_size: I, numbers in x.
        hidden_size: H, numbers in c, and in h without a projection.
        bias: whether the sums have biases; two of them, as in torch.
        gate_layers: widths of the hidden layers inside the gates.
        gate_sharing: "shared", "separate", or a dict from "input", "forget", "cell", "output" to widths.
        gate_activation: "tanh", "relu", "gelu", "silu", "sigmoid", "softplus" or "identity".
        gate_shortcut: a direct path beside the hidden layers.
        peephole, coupled, norm, proj_size, cell_clip, zoneout, recurrent_dropout, weight_drop: see above.
        forget_bias: where given, the biases of the forget gate add up to it at the start; else they are torch's.

    Marked, to be traced: "input", "forget", "cell", "output", "h", "c".

    Shapes: x (B, I); state (h, c) of (B, P or H), (B, H), zeros where None. Returns (h, (h, c)).
    Raises: ValueError that lists every option out of range; for a wrong shape, dtype, device or state.

    Paper: Hochreiter and Schmidhuber 1997; forget gate, Gers et al. 2000. We differ: two biases, as in torch.

    >>> import torch, deeplstm
    >>> cell = deeplstm.LSTMCell(10, 20, gate_layers=(30,), norm=True)
    >>> h, state = cell(torch.zeros(3, 10))
    >>> h.shape
    torch.Size([3, 20])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        gate_layers: Sequence[int] = (),
        gate_sharing: GateSharing = "shared",
        gate_activation: str = "tanh",
        gate_shortcut: bool = False,
        peephole: bool = False,
        coupled: bool = False,
        norm: bool = False,
        proj_size: int = 0,
        cell_clip: float | None = None,
        forget_bias: float | None = None,
        zoneout: float | tuple[float, float] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options = options_in(locals())
        factory = {"device": device, "dtype": dtype}
        self.gate_names = ("forget", "cell", "output") if coupled else ("input", "forget", "cell", "output")
        complaints = []
        self_zoneout = zoneout if isinstance(zoneout, tuple | list) else (zoneout, zoneout)
        if len(self_zoneout) != 2:
            complaints.append(f"zoneout={zoneout!r} is given, one probability or a pair (for h, for c) is expected")
        else:
            complaints += probability_complaints(zoneout_h=self_zoneout[0], zoneout_c=self_zoneout[1])
        if not is_whole(proj_size) or proj_size < 0 or (is_whole(hidden_size) and 0 < hidden_size <= proj_size):
            complaints.append(
                f"proj_size={proj_size!r} is given, a whole number from 0 to below hidden_size={hidden_size!r} is expected"
            )
        if cell_clip is not None and not (is_number(cell_clip) and cell_clip > 0):
            complaints.append(f"cell_clip={cell_clip!r} is given, a number above 0 is expected")
        complaints += number_complaints(forget_bias=forget_bias)
        if forget_bias is not None and not bias:
            complaints.append(f"forget_bias={forget_bias!r} is given with bias=False: leave one of them out")
        read_size = proj_size or hidden_size
        super().__init__(input_size, hidden_size, self.gate_names, read_size, options, factory, complaints)
        self.output_size = read_size
        self.state_size = (read_size, hidden_size)
        self.coupled, self.cell_clip, self.forget_bias = coupled, cell_clip, forget_bias
        self.zoneout_h, self.zoneout_c = self_zoneout

        def vector(wanted: bool) -> nn.Parameter | None:
            return nn.Parameter(torch.empty(hidden_size, **factory)) if wanted else None

        self.weight_hr = nn.Parameter(torch.empty(proj_size, hidden_size, **factory)) if proj_size else None
        self.weight_ci = vector(peephole and not coupled)
        self.weight_cf = vector(peephole)
        self.weight_co = vector(peephole)
        self.norm_c = nn.LayerNorm(hidden_size, **factory) if norm else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.uniform_([self.weight_hr, self.weight_ci, self.weight_cf, self.weight_co])
        if self.forget_bias is not None:
            self.set_gate_bias_("forget", self.forget_bias)

    def noise_shapes(self) -> dict[str, tuple[str, int, float]]:
        shapes = super().noise_shapes()
        if self.zoneout_h:
            shapes["zoneout_h"] = ("step", self.output_size, self.zoneout_h)
        if self.zoneout_c:
            shapes["zoneout_c"] = ("step", self.hidden_size, self.zoneout_c)
        return shapes

    def step(self, x: Tensor, state: tuple[Tensor, Tensor], noise: Noise) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h_prev, c_prev = state
        read = h_prev * noise["recurrent_dropout"] if "recurrent_dropout" in noise else h_prev
        pre = self.weighted_sums(x, read)
        if self.weight_cf is not None:
            pre["forget"] = pre["forget"] + self.weight_cf * c_prev
        if self.weight_ci is not None:
            pre["input"] = pre["input"] + self.weight_ci * c_prev
        f = torch.sigmoid(pre["forget"])  # (2)
        i = 1 - f if self.coupled else torch.sigmoid(pre["input"])  # (1)
        g = torch.tanh(pre["cell"])  # (3)
        c = f * c_prev + i * g  # (5)
        if self.cell_clip is not None:
            c = c.clamp(-self.cell_clip, self.cell_clip)
        if self.weight_co is not None:
            pre["output"] = pre["output"] + self.weight_co * c
        o = torch.sigmoid(pre["output"])  # (4)
        h = o * torch.tanh(normed(self.norm_c, c))  # (6)
        for name, gate in (("input", i), ("forget", f), ("cell", g), ("output", o)):
            mark(gate, name)
        if self.weight_hr is not None:
            h = h @ self.weight_hr.T  # (B, P)
        h = zone_out(h_prev, h, self.zoneout_h, noise.get("zoneout_h"))
        c = mark(zone_out(c_prev, c, self.zoneout_c, noise.get("zoneout_c")), "c")
        return mark(h, "h"), (h, c)
