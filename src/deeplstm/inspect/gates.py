"""The weights of every gate, under the gate's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor, nn

from ..cells._gates import GatedCell, GateMLP
from ..cells.gru import GRUCell
from ..cells.highway import HighwayCell
from ..cells.lstm import LSTMCell
from ..nn._drop_in import DropIn, _order
from ..nn.recurrent import Recurrent
from ..recurrence.call import name_of
from .gate_words import nonlinearity, what_it_does
from .layers import Layer, layers_of
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
        own = (self.weight_x, self.weight_h, self.bias_x, self.bias_h, self.peephole)
        inside = [part for layer in self.hidden for part in layer.parts]
        return sum(part.numel() for part in (*own, *inside) if part is not None)

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


def gates(module: nn.Module) -> Gates:
    """The gates of every recurrent layer, with their weights under their names.

    Everything is a view of the module's parameters: what is written changes the module, what changes there is seen. That
    holds for ``weight``, the two matrices side by side, and for ``bias``, the sum of two, as well.

    Args:
        module: a cell, an `LSTM`, `GRU`, `RNN`, `Recurrent`, `Stack`, or any module with such in it.

    Shapes, with R numbers in h: ``weight_x`` (H, I), ``weight_h`` (H, R), ``weight`` (H, I + R) over [x, h_prev], ``bias``
        (H,); in the row-vector form x W_x + h W_h + b, ``W_x`` (I, H), ``W_h`` (R, H).
    Returns: `Gates`: ``gates(net)["layer 1"]["forget"].weight``. Layers are called as in `trace`. A cell that is not one of
        this library's has its parameters in ``others``.
    Raises: TypeError for what is no module; ValueError where no recurrent layer is in it.

    >>> import torch, deeplstm
    >>> net = deeplstm.LSTM(3, 4)
    >>> found = deeplstm.gates(net)
    >>> print(found)
    layer 1: LSTMCell(3, 4), 144 parameters
      gate    computes                    W              parameters  what for
      input   sigmoid(W [x, h_prev] + b)  (4, 3 + 4)             36  how much of the candidate is written to the memory c
      forget  sigmoid(W [x, h_prev] + b)  (4, 3 + 4)             36  how much of the memory c is kept
      cell    tanh(W [x, h_prev] + b)     (4, 3 + 4)             36  the candidate: what could be written
      output  sigmoid(W [x, h_prev] + b)  (4, 3 + 4)             36  how much of the memory c is shown as h
    >>> found["layer 1"]["forget"].bias.fill_(1.0)
    Live([1., 1., 1., 1.])
    >>> (net.bias_ih_l0 + net.bias_hh_l0)[4:8].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"gates got {type(module).__name__}, but an nn.Module is expected.")
    layers = layers_of(module)
    if not layers:
        raise ValueError(
            f"gates got {type(module).__name__}, but there is no recurrent layer of deeplstm in it: give a cell, LSTM, GRU, "
            "RNN, Recurrent, Stack, or a module with such in it."
        )
    return Gates([_gates_of(layer) for layer in layers])


def _gates_of(layer: Layer) -> LayerGates:
    cell, parameters = _cell_of(layer)
    if isinstance(cell, GatedCell):
        found = _of_gated_cell(cell, parameters)
    elif isinstance(cell, HighwayCell):
        found = _of_highway_cell(cell, parameters)
    else:
        found = {}
    used = {part.data_ptr() for gate in found.values() for part in _parts(gate)}
    others = {name: p for name, p in parameters.items() if p.numel() and not _is_used(p, used)}
    count = sum(p.numel() for p in parameters.values())
    text = repr(cell) if "\n" not in repr(cell) else name_of(cell)
    return LayerGates(layer.name, layer.path, text, count, found, others, _notes(cell))


def _cell_of(layer: Layer) -> tuple[nn.Module, Parameters]:
    """The cell of a layer, and its parameters by the cell's names for them."""
    module = layer.module
    if isinstance(module, DropIn):
        directions = 2 if module.bidirectional else 1
        number, direction = divmod(layer.index, directions)
        width = module.input_size if number == 0 else directions * (module.proj_size or module.hidden_size)
        plain = module._cell(width)
        weights = zip(_order(plain), module._all_weights_of(number, direction), strict=True)
        return plain, {name: weight.detach() for name, weight in weights}
    cell = module
    if isinstance(module, Recurrent):
        cell = module.cell_reverse if layer.index else module.cell
    return cell, {name: p.detach() for name, p in cell.named_parameters()}


def _of_gated_cell(cell: GatedCell, p: Parameters) -> dict[str, Gate]:
    H = cell.hidden_size

    def rows(name: str, gate: str, order: tuple[str, ...]) -> Tensor | None:
        return p[name][order.index(gate) * H :][:H] if name in p and gate in order else None

    found = {}
    for gate in cell.gate_names:
        reset_after = cell.reset_after if isinstance(cell, GRUCell) and gate == "candidate" else None
        found[gate] = Gate(
            gate,
            nonlinearity(cell, gate),
            "[x, reset * h_prev]" if reset_after is False else "[x, h_prev]",
            rows("weight_ih", gate, cell.direct_x),
            rows("weight_hh", gate, cell.direct_h),
            rows("bias_ih", gate, cell.direct_x),
            rows("bias_hh", gate, cell.direct_h),
            _hidden(cell, gate, p),
            p.get({"input": "weight_ci", "forget": "weight_cf", "output": "weight_co"}.get(gate, "")),
            what_it_does(cell, gate),
            is_bias_split=reset_after is True,
        )
    return found


def _hidden(cell: GatedCell, gate: str, p: Parameters) -> tuple[Hidden, ...]:
    """The layers inside one gate."""
    of_gate = [(name, mlp) for name, mlp in cell.deep.items() if isinstance(mlp, GateMLP) and gate in mlp.gates]
    layers = []
    for name, mlp in of_gate:
        at = f"deep.{name}"
        x, h = p[f"{at}.weight_ih"], p[f"{at}.weight_hh"]
        layers.append(Hidden(beside(x, h), p.get(f"{at}.bias"), mlp.activation, mlp.gates, x, h))
        for n in range(len(mlp.layers)):
            weight, bias = p[f"{at}.layers.{n}.weight"], p.get(f"{at}.layers.{n}.bias")
            if n < len(mlp.layers) - 1:
                layers.append(Hidden(weight, bias, mlp.activation, mlp.gates))
                continue
            start, H = mlp.gates.index(gate) * cell.hidden_size, cell.hidden_size
            mine = None if bias is None else bias[start:][:H]
            layers.append(Hidden(weight[start:][:H], mine, "identity", (gate,)))
    return tuple(layers)


def _of_highway_cell(cell: HighwayCell, p: Parameters) -> dict[str, Gate]:
    H, found = cell.hidden_size, {}
    for m in range(cell.micro_steps):
        for n, name in enumerate(cell.gate_names):

            def rows(parameter: str, start: int = n * H) -> Tensor | None:
                return p[parameter][start:][:H] if parameter in p else None

            found[f"{name} {m}"] = Gate(
                f"{name} {m}",
                nonlinearity(cell, name),
                "[x, h_prev]" if m == 0 else f"s_{m}",
                rows("weight_ih") if m == 0 else None,
                rows(f"weight_hh.{m}"),
                rows("bias_ih") if m == 0 else None,
                rows(f"bias_hh.{m}"),
                does=what_it_does(cell, name),
            )
    return found


def _parts(gate: Gate) -> list[Tensor]:
    own = (gate.weight_x, gate.weight_h, gate.bias_x, gate.bias_h, gate.peephole)
    return [part for part in (*own, *(part for layer in gate.hidden for part in layer.parts)) if part is not None]


def _is_used(parameter: Tensor, used: set[int]) -> bool:
    """Whether gates have views of a parameter: their rows cover it from its first number on."""
    return parameter.data_ptr() in used


def _notes(cell: nn.Module) -> list[str]:
    notes = []
    if isinstance(cell, LSTMCell) and cell.coupled:
        notes.append("the input gate is 1 - forget")
    if isinstance(cell, HighwayCell) and cell.coupled:
        notes.append("the carry gate is 1 - transform; s_0 is h_prev, and s_1, s_2, ... what each micro-step gives")
    if getattr(cell, "options", {}).get("norm"):
        notes.append("every product is layer-normalised before its bias is added")
    if isinstance(cell, GRUCell) and cell.reset_after and cell.gate_names[2] in cell.direct_h:
        notes.append("the candidate's W is [W_x | W_h]")
    if not isinstance(cell, GatedCell | HighwayCell):
        notes.append("a cell of your own: its parameters by name; which of them are gates only its code can say")
    return notes


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
