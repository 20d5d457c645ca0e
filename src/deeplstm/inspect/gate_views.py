"""What `gates` gives: the weights of gates under their names, and how they print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from .live import beside, total
from .table import lines

Parameters = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Hidden:
    """One layer inside a gate: act(weight @ what it reads + bias).

    Attributes:
        weight: (n, what it reads), of the first layer [weight_x | weight_h] over [x, h_prev]. bias: (n,) or None.
        weight_x, weight_h: the two parts of the first layer's weight, (n, I) and (n, R); None in the others.
        activation: by name; "identity" of the last one, whose rows are this gate's.
        shared_by: the gates that this layer feeds.
    """

    weight: Tensor
    bias: Tensor | None
    activation: str
    shared_by: tuple[str, ...]
    weight_x: Tensor | None = None
    weight_h: Tensor | None = None

    @property
    def parts(self) -> list[Tensor]:
        matrices = [self.weight] if self.weight_x is None else [self.weight_x, self.weight_h]
        return [part for part in (*matrices, self.bias) if part is not None]


@dataclass(frozen=True, eq=False)
class Gate:
    """One gate: nonlinearity(W [x, h_prev] + b), or with hidden layers between.

    Every tensor is a view of the module's parameters: writing to it changes the module.

    Attributes:
        name: as `trace` has it.
        nonlinearity: "sigmoid", "tanh" or "relu".
        reads: what the matrix is multiplied with, in words.
        weight_x, weight_h: (H, I) and (H, R), None where the gate does not read x or h directly.
        bias_x, bias_h: (H,) each, torch's two; None without biases.
        hidden: the layers inside the gate, first to last; empty for a gate without.
        peephole: (H,), what the gate sees of the memory c; or None.
        does: what it is for, in words.
        is_bias_split: whether the reset gate scales what h gives before it is added, as in torch's GRU.
    """

    name: str
    nonlinearity: str
    reads: str
    weight_x: Tensor | None
    weight_h: Tensor | None
    bias_x: Tensor | None
    bias_h: Tensor | None
    hidden: tuple[Hidden, ...] = ()
    peephole: Tensor | None = None
    does: str = ""
    is_bias_split: bool = False

    @cached_property
    def weight(self) -> Tensor | None:
        """[weight_x | weight_h], (H, I + R); the one of the two that there is, or None in a gate of hidden layers alone."""
        if self.weight_x is None or self.weight_h is None:
            return self.weight_x if self.weight_h is None else self.weight_h
        return beside(self.weight_x, self.weight_h)

    @cached_property
    def bias(self) -> Tensor | None:
        """bias_x + bias_h, (H,); a number written to it then stands in bias_x, with zero in bias_h.

        The candidate of torch's GRU adds them at different places, tanh(W_x x + b_x + reset * (W_h h_prev + b_h)): there it is
        bias_x alone.
        """
        if self.bias_x is None or self.bias_h is None:
            return self.bias_x if self.bias_h is None else self.bias_h
        return self.bias_x if self.is_bias_split else total(self.bias_x, self.bias_h)

    @property
    def computes(self) -> str:
        """Its equation, in words: "sigmoid(W [x, h_prev] + b)"."""
        inner = f"MLP({self.reads})" if self.hidden else ""
        if self.is_bias_split:
            sums = ["W_h h_prev" if self.weight_h is not None else "", inner, "b_h" if self.bias_h is not None else ""]
            sums = [f"W_x x + reset * ({_sum(sums)})", "b_x" if self.bias_x is not None else ""]
        else:
            direct = f"W {self.reads}" if self.weight is not None else ""
            peephole = "p * c" if self.peephole is not None else ""
            sums = [direct, inner, peephole, "b" if self.bias is not None else ""]
        return f"{self.nonlinearity}({_sum(sums)})"

    @property
    def W_x(self) -> Tensor | None:
        """The row-vector form, x W_x + h W_h + b: weight_x turned, (I, H)."""
        return None if self.weight_x is None else self.weight_x.T

    @property
    def W_h(self) -> Tensor | None:
        """The row-vector form, x W_x + h W_h + b: weight_h turned, (R, H)."""
        return None if self.weight_h is None else self.weight_h.T

    @property
    def parameters(self) -> int:
        """Numbers in it, hidden layers that it shares with other gates included."""
        return sum(part.numel() for part in self.parts)

    @property
    def parts(self) -> list[Tensor]:
        """Every tensor in it, those of its hidden layers included."""
        own = (self.weight_x, self.weight_h, self.bias_x, self.bias_h, self.peephole)
        return [part for part in own if part is not None] + [part for layer in self.hidden for part in layer.parts]

    def __repr__(self) -> str:
        return "\n".join(lines([HEAD, _row(self)]))


@dataclass(frozen=True, eq=False)
class LayerGates(Mapping[str, Gate]):
    """The gates of one layer in one direction, by name; prints as a table.

    Attributes:
        name: "layer 1", as `trace` has it. path: of its module in the model.
        cell: what it is, in words.
        parameters: numbers in all of it.
        others: parameters that belong to no single gate, by name: the projection, gains of norms; of a cell that is not
            one of this library's, all that it has.
        notes: what else is to know.
    """

    name: str
    path: str
    cell: str
    parameters: int
    gates: dict[str, Gate]
    others: Parameters
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Gate:
        if name not in self.gates:
            raise KeyError(f"{self.name} has no gate {name!r}, it has {', '.join(self.gates) or 'none'}")
        return self.gates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.gates)

    def __len__(self) -> int:
        return len(self.gates)

    def __repr__(self) -> str:
        text = [f"{self.name}: {self.cell}, {self.parameters:,} parameters"]
        if self.gates:
            text += lines([HEAD, *map(_row, self.gates.values())])
        text += [f"  {name} {_shape(value)}" for name, value in self.others.items()]
        return "\n".join([*text, *(f"  {note}" for note in self.notes)])


class Gates(Mapping[str, LayerGates]):
    """What `gates` found: layer name -> gate name -> `Gate`; prints as tables."""

    def __init__(self, layers: list[LayerGates]) -> None:
        self._layers = {layer.name: layer for layer in layers}

    def __getitem__(self, name: str) -> LayerGates:
        if name not in self._layers:
            raise KeyError(f"there is no {name!r}, there is {', '.join(self._layers)}")
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self.values()))


def _sum(terms: list[str]) -> str:
    return " + ".join(filter(None, terms))


HEAD = ("gate", "computes", "W", "hidden layers", "parameters", "what for")


def _row(gate: Gate) -> tuple[str, ...]:
    hidden = ", ".join(str(layer.weight.shape[0]) for layer in gate.hidden[:-1])
    if gate.hidden and len(gate.hidden[0].shared_by) > 1:
        hidden += f" shared by {len(gate.hidden[0].shared_by)}"
    size = ""
    if gate.weight is not None:
        parts = [str(part.shape[1]) for part in (gate.weight_x, gate.weight_h) if part is not None]
        size = f"({gate.weight.shape[0]}, {' + '.join(parts)})"
    return (gate.name, gate.computes, size, hidden, f"{gate.parameters:,}", gate.does)


def _shape(value: Tensor) -> str:
    return f"({', '.join(map(str, value.shape))})"
