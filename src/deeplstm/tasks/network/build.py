"""The parts that every task's network has, put together from what the user chose."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import deeplstm
from deeplstm.tasks.network.config import Network


class Parts(NamedTuple):
    """What stands between what a network reads and its output layer."""

    dropout: nn.Module
    """For what the network reads, and again for what the core gives."""
    before: nn.Module
    core: deeplstm.Stack
    after: nn.Module


def parts(width: int, model: Network) -> Parts:
    """The parts of a network that reads `width` numbers at each time step; its output layer reads `model.read_width`."""
    dropout = deeplstm.VariationalDropout(model.dropout) if model.variational else nn.Dropout(model.dropout)
    before = _hidden_layers(width, model.before, model)
    core = _core(model.before[-1] if model.before else width, model)
    after = _hidden_layers(model.proj_size or model.cell_widths[-1], model.after, model)
    return Parts(dropout, before, core, after)


@torch.no_grad()
def draw_uniformly(network: nn.Module, bound: float) -> None:
    """Every weight and bias from [-bound, bound], as Zaremba et al. 2014, save those with a start of their own."""
    kept = [bias for module in network.modules() for bias in _gate_biases(module)]
    starts = [bias.clone() for bias in kept]
    for module in network.modules():
        if not isinstance(module, nn.LayerNorm):
            for parameter in module.parameters(recurse=False):
                parameter.uniform_(-bound, bound)
    for bias, start in zip(kept, starts, strict=True):
        bias.copy_(start)
    for module in network.modules():
        if isinstance(module, deeplstm.LSTMCell) and module.forget_bias is not None:
            module.set_gate_bias_("forget", module.forget_bias)


def _hidden_layers(width: int, sizes: tuple[int, ...], model: Network) -> nn.Module:
    if not sizes:
        return nn.Identity()
    activation = model.mlp_activation
    return deeplstm.MLP(width, *sizes, activation=activation, output_activation=activation)


def _core(width: int, model: Network) -> deeplstm.Stack:
    """The recurrent layers. A layer is a cell, or a cell and the hidden layers after it: links go around both."""
    skip = None if model.skip == "none" else model.skip
    layers: list[nn.Module] = []
    read = width
    for n, hidden_size in enumerate(model.cell_widths):
        cell = _cell(read, hidden_size, model)
        layer: nn.Module = cell
        given = cell.output_size
        if model.between and n < len(model.cell_widths) - 1:
            layer = deeplstm.Stack(cell, _hidden_layers(given, model.between, model))
            given = model.between[-1]
        layers.append(layer)
        read = read + given if skip == "dense" else given
    return deeplstm.Stack(*layers, skip=skip, dropout=model.dropout, variational=model.variational)


Cell = deeplstm.LSTMCell | deeplstm.GRUCell | deeplstm.RNNCell | deeplstm.HighwayCell


def _cell(input_size: int, hidden_size: int, model: Network) -> Cell:
    common: dict[str, Any] = {
        "norm": model.norm,
        "recurrent_dropout": model.recurrent_dropout,
        "weight_drop": model.weight_drop,
    }
    gates: dict[str, Any] = {
        "gate_layers": () if model.deep_gates else model.gate_layers,
        "gate_sharing": dict.fromkeys(model.deep_gates, model.gate_layers) or model.gate_sharing,
        "gate_activation": model.gate_activation,
        "gate_shortcut": model.gate_shortcut,
    }
    if model.cell == "lstm":
        return deeplstm.LSTMCell(
            input_size,
            hidden_size,
            peephole=model.peephole,
            coupled=bool(model.coupled),
            proj_size=model.proj_size,
            cell_clip=model.cell_clip,
            forget_bias=model.forget_bias,
            zoneout=model.zoneout if model.zoneout_c is None else (model.zoneout, model.zoneout_c),
            **common,
            **gates,
        )
    common["zoneout"] = model.zoneout
    if model.cell == "gru":
        return deeplstm.GRUCell(input_size, hidden_size, reset_after=model.reset_after, **common, **gates)
    if model.cell == "rnn":
        return deeplstm.RNNCell(input_size, hidden_size, nonlinearity=model.nonlinearity, **common, **gates)
    coupled = model.coupled is not False
    return deeplstm.HighwayCell(input_size, hidden_size, micro_steps=model.micro_steps, coupled=coupled, **common)


def _gate_biases(module: nn.Module) -> list[Tensor]:
    """The biases of highway gates, which begin far on one side so that the gate lets through at first."""
    if isinstance(module, deeplstm.Stack):
        return [p for name, p in module.gates.named_parameters() if name.endswith("bias")]
    if isinstance(module, deeplstm.HighwayCell):
        transform = slice(module.hidden_size, 2 * module.hidden_size)
        return [p[transform] for name, p in module.named_parameters() if name.startswith("bias")]
    return []
