"""The weights of every gate, under the gate's name."""

from __future__ import annotations

from torch import Tensor, nn

from ..cells._gates import GatedCell, GateMLP
from ..cells.gru import GRUCell
from ..cells.highway import HighwayCell
from ..cells.lstm import LSTMCell
from ..nn._drop_in import DropIn, _order
from ..nn.recurrent import Recurrent
from ..recurrence.call import name_of
from .gate_views import Gate, Gates, Hidden, LayerGates, Parameters
from .gate_words import nonlinearity, what_it_does
from .layers import Layer, foreign_layers, layers_of
from .live import beside


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
        foreign = ", ".join(foreign_layers(module))
        raise ValueError(
            f"gates got {type(module).__name__}, but there is no recurrent layer of deeplstm in it: "
            + (
                f"it has {foreign}. Use deeplstm's class of that name, which loads the same state dict."
                if foreign
                else "give a cell, LSTM, GRU, RNN, Recurrent, Stack, or a module with such in it."
            )
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
    used = {part.data_ptr() for gate in found.values() for part in gate.parts}
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
