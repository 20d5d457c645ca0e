"""The weighted sums of a cell's gates: one bundled product, or hidden layers in all or some of the gates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._cell import Cell, size_complaints

GateSharing = Literal["shared", "separate"] | Mapping[str, Sequence[int]]

ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "identity": lambda x: x,  # the control that tells depth from mere parameters
}


def activation_complaints(**activations: object) -> list[str]:
    """A complaint for every name that is not in the table of activations."""
    return [
        f"{name}={value!r} is given, one of {', '.join(ACTIVATIONS)} is expected"
        for name, value in activations.items()
        if not isinstance(value, str) or value not in ACTIVATIONS
    ]


def normed(norm: nn.LayerNorm | None, value: Tensor) -> Tensor:
    return value if norm is None else norm(value)


class GateMLP(nn.Module):
    """Hidden layers between ``[x, h_prev]`` and some gates.

    (1) z_1 = act(W_1 x + R_1 h_prev + b_1)        (2) z_n = act(W_n z_(n-1) + b_n)        (3) pre = V z_N + b

    With ``norm`` each product is layer-normalised before its bias is added.

    Shapes: x (B, I), h_prev (B, R) -> pre (B, gates * H), the gates side by side in the order of ``gates``.
    """

    def __init__(
        self,
        gates: Sequence[str],
        input_size: int,
        read_size: int,
        hidden_size: int,
        layers: Sequence[int],
        activation: str,
        bias: bool,
        norm: bool,
        **factory: Any,
    ) -> None:
        super().__init__()
        self.gates = tuple(gates)
        self.activation = activation
        first, widths = layers[0], [*layers, len(gates) * hidden_size]
        self.fan_in = input_size + read_size
        self.weight_ih = nn.Parameter(torch.empty(first, input_size, **factory))
        self.weight_hh = nn.Parameter(torch.empty(first, read_size, **factory))
        self.bias = nn.Parameter(torch.empty(first, **factory)) if bias else None
        self.layers = nn.ModuleList(nn.Linear(i, o, bias=bias, **factory) for i, o in pairwise(widths))
        self.norm_ih = nn.LayerNorm(first, bias=False, **factory) if norm else None
        self.norm_hh = nn.LayerNorm(first, bias=False, **factory) if norm else None
        self.norms = nn.ModuleList(nn.LayerNorm(o, bias=False, **factory) for o in widths[1:] if norm)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = self.fan_in**-0.5
        for tensor in (self.weight_ih, self.weight_hh, self.bias):
            if tensor is not None:
                nn.init.uniform_(tensor, -bound, bound)
        for module in (*self.layers, self.norm_ih, self.norm_hh, *self.norms):
            if module is not None:
                module.reset_parameters()

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        act = ACTIVATIONS[self.activation]
        z = normed(self.norm_ih, x @ self.weight_ih.T) + normed(self.norm_hh, h @ self.weight_hh.T)
        if self.bias is not None:
            z = z + self.bias
        for n, layer in enumerate(self.layers):
            z = act(z)
            if self.norms:  # the product alone is normalised, then its bias added
                z = self.norms[n](z @ layer.weight.T)
                z = z if layer.bias is None else z + layer.bias
            else:
                z = layer(z)
        return z


class GatedCell(Cell):
    """A cell whose gates are weighted sums over ``[x, h_prev]``, bundled into one product; some may be deeper.

    A gate without hidden layers, and every gate with ``gate_shortcut``, is *direct*: its rows stand in ``weight_ih`` and
    ``weight_hh``, H rows a gate, in the order of ``gate_names``. Gates with hidden layers belong to a `GateMLP`, one for
    all of them or one each.

    ``norm`` (Ba et al. 2016) puts a layer norm on every matrix product of the step, over all its rows and before the bias.
    """

    gate_names: tuple[str, ...]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        gate_names: Sequence[str],
        read_size: int,
        options: dict[str, Any],
        factory: dict[str, Any],
        complaints: Iterable[str] = (),
        groups: Sequence[Sequence[str]] | None = None,
        x_direct: Sequence[str] = (),
    ) -> None:
        """``groups``: which gates may share hidden layers; ``x_direct``: gates that always read x directly."""
        layers, found = layers_of_gates(gate_names, options)
        super().__init__(input_size, hidden_size, options, [*complaints, *found])
        self.gate_names = tuple(gate_names)
        bias, norm = options["bias"], options["norm"]
        direct = [g for g in gate_names if not layers[g] or options["gate_shortcut"]]
        self.direct_h = tuple(direct)
        self.direct_x = tuple(g for g in gate_names if g in direct or g in x_direct)

        def parameter(*shape: int) -> nn.Parameter | None:
            return nn.Parameter(torch.empty(*shape, **factory)) if shape[0] else None

        rows_x, rows_h = len(self.direct_x) * hidden_size, len(self.direct_h) * hidden_size
        self.weight_ih = parameter(rows_x, input_size)
        self.weight_hh = parameter(rows_h, read_size)
        self.bias_ih = parameter(rows_x) if bias else None
        self.bias_hh = parameter(rows_h) if bias else None
        self.norm_ih = nn.LayerNorm(rows_x, bias=False, **factory) if norm and rows_x else None
        self.norm_hh = nn.LayerNorm(rows_h, bias=False, **factory) if norm and rows_h else None

        self.deep = nn.ModuleDict()
        shared = options["gate_sharing"] == "shared"
        for group in groups or [gate_names]:
            deep = [g for g in group if layers[g]]
            parts = [deep] if shared else [[g] for g in deep]
            for part in filter(None, parts):
                self.deep["shared" if len(part) > 1 else f"{part[0]}_gate"] = GateMLP(
                    part,
                    input_size,
                    read_size,
                    hidden_size,
                    layers[part[0]],
                    options["gate_activation"],
                    bias,
                    norm,
                    **factory,
                )

    @property
    def mlps(self) -> list[GateMLP]:
        """The hidden layers inside the gates, one network for each group of gates that shares them."""
        return cast(list[GateMLP], list(self.deep.values()))

    def sum_x(self, x: Tensor) -> Tensor:
        """W x + b of the direct gates.

        Shapes: x (B, I) -> (B, len(direct_x) * H).
        """
        return _product(x, self.weight_ih, self.bias_ih, self.norm_ih)

    def sum_h(self, h: Tensor) -> Tensor:
        """R h_prev + b of the direct gates.

        Shapes: h (B, R) -> (B, len(direct_h) * H).
        """
        return _product(h, self.weight_hh, self.bias_hh, self.norm_hh)

    def weighted_sums(self, x: Tensor, h: Tensor) -> dict[str, Tensor]:
        """Every gate's value before its nonlinearity.

        Shapes: x (B, I), h (B, R) -> {gate: (B, H)}.
        """
        pre: dict[str, Tensor] = {}
        if self.direct_h:
            direct = self.sum_x(x) + self.sum_h(h)
            pre.update(zip(self.direct_h, direct.chunk(len(self.direct_h), -1), strict=True))
        return self.add_deep(pre, x, h)

    def add_deep(
        self, pre: dict[str, Tensor], x: Tensor, h: Tensor, only: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Add what the hidden layers give to the gates' direct sums."""
        for mlp in self.mlps:
            gates = mlp.gates
            if only is not None and gates[0] not in only:
                continue
            for gate, value in zip(gates, mlp(x, h).chunk(len(gates), -1), strict=True):
                pre[gate] = pre[gate] + value if gate in pre else value
        return pre

    def reset_parameters(self) -> None:
        """Torch's start for the direct weights and all vectors; the hidden layers by their own number of inputs."""
        self.uniform_([self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh])
        for module in self.modules():
            if isinstance(module, GateMLP | nn.LayerNorm):
                module.reset_parameters()

    @torch.no_grad()
    def set_gate_bias_(self, gate: str, value: float) -> None:
        """Make the biases of one gate add up to ``value``."""
        H = self.hidden_size
        if gate in self.direct_x and self.bias_ih is not None:
            self.bias_ih[self.direct_x.index(gate) * H :][:H] = value
            value = 0.0
        if gate in self.direct_h and self.bias_hh is not None:
            self.bias_hh[self.direct_h.index(gate) * H :][:H] = 0.0
        for mlp in self.mlps:
            if gate in mlp.gates and mlp.bias is not None:
                cast(Tensor, mlp.layers[-1].bias)[mlp.gates.index(gate) * H :][:H] = value


def layers_of_gates(gate_names: Sequence[str], options: dict[str, Any]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The widths of every gate's hidden layers, and what is wrong with the options that say them."""
    sharing, layers, shortcut = options["gate_sharing"], options["gate_layers"], options["gate_shortcut"]
    complaints = activation_complaints(gate_activation=options["gate_activation"])
    of_gate: dict[str, tuple[int, ...]] = {}
    if isinstance(sharing, Mapping):
        of_gate = {gate: _as_sizes(sharing.get(gate, ())) for gate in gate_names}
        if unknown := sorted(map(str, set(sharing) - set(gate_names))):
            complaints.append(f"gate_sharing names {', '.join(unknown)}, this cell's gates are {', '.join(gate_names)}")
        if layers:
            complaints.append(
                f"gate_layers={layers!r} and a gate_sharing per gate are given: put the layers into the dict alone"
            )
        sizes = {f"gate_sharing[{gate!r}]": sizes for gate, sizes in of_gate.items()}
    else:
        if sharing not in ("shared", "separate"):
            complaints.append(f"gate_sharing={sharing!r} is given, 'shared', 'separate' or a dict per gate is expected")
        of_gate = dict.fromkeys(gate_names, _as_sizes(layers))
        sizes = {"gate_layers": _as_sizes(layers)}
    complaints += size_complaints(**{f"{name}[{n}]": size for name, of in sizes.items() for n, size in enumerate(of)})
    if shortcut and not any(of_gate.values()):
        complaints.append(
            "gate_shortcut=True is given, but no gate has hidden layers: set gate_layers, or leave it out"
        )
    return of_gate, complaints


def _as_sizes(layers: Any) -> tuple[Any, ...]:
    return tuple(layers) if isinstance(layers, Sequence) and not isinstance(layers, str) else (layers,)


def _product(value: Tensor, weight: Tensor | None, bias: Tensor | None, norm: nn.LayerNorm | None) -> Tensor:
    assert weight is not None
    if norm is None:
        return F.linear(value, weight, bias)
    product = norm(F.linear(value, weight))
    return product if bias is None else product + bias
