"""The network of a language model, put together from what the user chose."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import deeplstm
from deeplstm.errors import InputError
from deeplstm.tasks.text.config import TextModel


def build(model: TextModel, vocabulary_size: int) -> "TextNetwork":
    """The network that `model` describes, for a vocabulary of this size.

    Raises: InputError with every choice that is out of range or does not fit the others.
    """
    complaints = model.check()
    if vocabulary_size < 1:
        complaints.append(f"vocabulary_size={vocabulary_size}, but a model needs symbols: give 1 or more.")
    if complaints:
        raise InputError(" ".join(complaints))
    return TextNetwork(model, vocabulary_size)


class TextNetwork(nn.Module):
    """Scores of every symbol to be the next one, at every step of a text.

    (1) e = dropout(embedding[ids])      (2) y, state = core(before(e), state)
    (3) y = after(dropout(y))            (4) logits = W y + b, where tied with the embedding's W

    Shapes: ids (T, B) int64 -> logits (T, B, V); state is what the call before returned, None for zeros.
    Paper: Zaremba et al. 2014, if nothing but widths, dropout and init is chosen. We differ: each LSTM layer has torch's
        two biases where one would do, so that the small model has 4,653,200 numbers and not 4,651,600.
    """

    def __init__(self, model: TextModel, vocabulary_size: int) -> None:
        super().__init__()
        width = model.embedding_width or vocabulary_size
        self.vocabulary_size = vocabulary_size
        self.embedding = nn.Embedding(vocabulary_size, width) if model.embedding_width else None
        self.dropout = deeplstm.VariationalDropout(model.dropout) if model.variational else nn.Dropout(model.dropout)
        self.before = _hidden_layers(width, model.before, model)
        self.core = _core(model.before[-1] if model.before else width, model)
        self.after = _hidden_layers(model.proj_size or model.cell_widths[-1], model.after, model)
        self.output = Output(model.read_width, vocabulary_size, tied=model.tied)
        if model.tied:  # N(0, 1), an embedding's own start, would make the first scores enormous
            assert self.embedding is not None
            nn.init.uniform_(self.embedding.weight, -(width**-0.5), width**-0.5)
        if model.init is not None:
            _draw_uniformly(self, model.init)

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        if ids.dim() != 2 or ids.dtype != torch.int64:
            raise ValueError(
                f"TextNetwork got ids of shape {tuple(ids.shape)} and {ids.dtype}, but asks for (T, B) and torch.int64. "
                "Put time first, and convert with ids.long()."
            )
        if self.embedding is None:
            e = F.one_hot(ids, self.vocabulary_size).to(self.output.bias.dtype)  # (T, B, V)
        else:
            e = self.embedding(ids)  # (T, B, E)
        y, state = self.core(self.before(self.dropout(e)), state)
        y = self.after(self.dropout(y))
        return self.output(y, self.embedding), state

    def parameter_counts(self) -> dict[str, int]:
        """Trainable numbers: embedding, core (hidden layers before and after it included), output, total.

        Tied weights count once, as the embedding's.
        """
        parts: dict[str, list[nn.Module | None]] = {
            "embedding": [self.embedding],
            "core": [self.before, self.core, self.after],
            "output": [self.output],
        }
        counts = {
            name: sum(p.numel() for module in modules if module is not None for p in module.parameters())
            for name, modules in parts.items()
        }
        return counts | {"total": sum(counts.values())}


class Output(nn.Module):
    """One score for each symbol; where tied, the embedding's weights are its own (Press & Wolf 2017).

    Shapes: y (T, B, E) -> (T, B, V).
    """

    def __init__(self, width: int, symbols: int, tied: bool) -> None:
        super().__init__()
        bound = width**-0.5
        # no second name for the embedding's weights: weights files refuse one tensor under two names
        self.weight = None if tied else nn.Parameter(torch.empty(symbols, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(symbols).uniform_(-bound, bound))

    def forward(self, y: Tensor, embedding: nn.Embedding | None) -> Tensor:
        weight = embedding.weight if self.weight is None and embedding is not None else self.weight
        assert weight is not None
        return F.linear(y, weight, self.bias)

    def extra_repr(self) -> str:
        symbols = len(self.bias)
        return f"{symbols}, tied" if self.weight is None else f"{self.weight.shape[1]}, {symbols}"


def _hidden_layers(width: int, sizes: tuple[int, ...], model: TextModel) -> nn.Module:
    if not sizes:
        return nn.Identity()
    activation = model.mlp_activation
    return deeplstm.MLP(width, *sizes, activation=activation, output_activation=activation)


def _core(width: int, model: TextModel) -> deeplstm.Stack:
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


def _cell(input_size: int, hidden_size: int, model: TextModel) -> Cell:
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


@torch.no_grad()
def _draw_uniformly(network: nn.Module, bound: float) -> None:
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


def _gate_biases(module: nn.Module) -> list[Tensor]:
    """The biases of highway gates, which begin far on one side so that the gate lets through at first."""
    if isinstance(module, deeplstm.Stack):
        return [p for name, p in module.gates.named_parameters() if name.endswith("bias")]
    if isinstance(module, deeplstm.HighwayCell):
        transform = slice(module.hidden_size, 2 * module.hidden_size)
        return [p[transform] for name, p in module.named_parameters() if name.startswith("bias")]
    return []
