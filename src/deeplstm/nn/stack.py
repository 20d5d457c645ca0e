"""Layers on top of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..cells._cell import probability_complaints, raise_all
from ..recurrence.call import checked_lengths, is_cell, resets_complaints
from ..recurrence.lengths import mask
from ._drop_in import DropIn
from ._table import Row, table
from ._widths import keeps_width, sizes
from .readout import Readout
from .recurrent import Recurrent
from .regularize import VariationalDropout

Skip = Literal["residual", "dense", "highway"]


class StackOutput(NamedTuple):
    """What a `Stack` returns with ``return_layers``: the last layer's output, the state, every layer's output."""

    y: Tensor
    state: Any
    layers: list[Tensor]


class Stack(nn.Module):
    """Layers on top of each other: what one gives at step t is what the next reads at step t.

    Depth goes where you put it: *before* the first cell, *between* and *after* cells (an `MLP` as a layer: the next layer
    reads its prediction; inside a `Readout`: the next layer reads h), *across* with ``skip``, and *inside* a cell with its own
    options. Every layer has its own width, and every recurrent layer its own state.

    Args:
        layers: cells (run by a `Recurrent` of their own), `Recurrent`, `LSTM`, `GRU`, `RNN`, other stacks, `MLP`, `Readout`,
            `VariationalDropout`, or any time-distributed module: it is called on all rows of all steps, (T * B, F), or (T * B)
            for whole numbers, as an ``nn.Embedding`` reads them.
        skip: links between layers.
            "residual": y_l = x_l + layer(x_l), around every layer that keeps its width.
            "highway": y_l = t * layer(x_l) + (1 - t) * x_l, t = sigmoid(W x_l + b), around the same, b = -1 at the start
            (Srivastava et al. 2015).
            "dense": every layer reads the stack's input and all earlier outputs side by side, so its input size is their
            sum (Huang et al. 2017; Graves 2013). Whole numbers are not read again: what their embedding gives is.
        dropout: probability, on what each layer but the last gives (before a link adds x_l to it).
        variational: one dropout mask per sequence instead of one per step (Gal and Ghahramani 2016).
        batch_first: whether x and y are (B, T, ...) instead of (T, B, ...). States never are.

    Shapes of a call: x (T, B, F), or (T, B) for a first layer that reads whole numbers; lengths (B,), in any order, zero
        allowed; resets (T, B) bool ((B, T) with batch_first). Returns (y, state): y (T, B, O), zero beyond a row's length;
        state a tuple with one entry for each layer that has one, in order. With ``return_layers=True`` a `StackOutput`, which
        holds every layer's output too.
    Raises: TypeError for what is no module; ValueError that lists every pair of layers whose widths do not fit, and for a
        wrong input, state, lengths or resets.

    >>> import torch, deeplstm
    >>> net = deeplstm.Stack(
    ...     deeplstm.MLP(10, 16),
    ...     deeplstm.LSTMCell(16, 32, gate_layers=(24,)),
    ...     deeplstm.LSTMCell(32, 32, norm=True),
    ...     skip="residual",
    ... )
    >>> y, state = net(torch.zeros(5, 2, 10))
    >>> y.shape, len(state)
    (torch.Size([5, 2, 32]), 2)
    """

    def __init__(
        self,
        *layers: nn.Module,
        skip: Skip | None = None,
        dropout: float = 0.0,
        variational: bool = False,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        complaints = probability_complaints(dropout=dropout)
        if skip not in (None, "residual", "dense", "highway"):
            complaints.append(f"skip={skip!r} is given, None, 'residual', 'dense' or 'highway' is expected")
        if not layers:
            complaints.append("no layer is given, at least one is expected")
        raise_all("Stack", complaints)
        self.layers = nn.ModuleList(_as_layer(layer, n) for n, layer in enumerate(layers))
        self.skip, self.batch_first = skip, batch_first
        self.dropout: nn.Module = VariationalDropout(dropout) if variational else nn.Dropout(dropout)
        self.reads, self.gives = self._widths()
        self.input_size, self.output_size = self.reads[0], self.gives[-1]
        self.linked = [skip in ("residual", "highway") and self._is_linkable(n) for n in range(len(self.layers))]
        if skip in ("residual", "highway") and not any(self.linked):
            raise ValueError(
                f"Stack: skip={skip!r} is given, but no layer keeps its width, so there is nothing to link. "
                "Give layers the same input and hidden size, or leave skip out."
            )
        self.gates = nn.ModuleDict()
        if skip == "highway":
            self.gates.update({str(n): self._gate(n) for n, linked in enumerate(self.linked) if linked})

    # ---------------------------------------------------------------- construction

    def _widths(self) -> tuple[list[int | None], list[int | None]]:
        """What each layer reads and gives, None where it does not say; raises with every pair that does not fit."""
        reads: list[int | None] = []
        gives: list[int | None] = []
        complaints = []
        total: int | None = None  # of the stack's input and all outputs so far
        flowing: int | None = None  # the width that reaches this layer; None: unknown
        for n, layer in enumerate(self.layers):
            i, o = sizes(layer)
            if n == 0:
                flowing = total = i
            expected = total if self.skip == "dense" else flowing
            if n and i is not None and expected is not None and i != expected:
                why = (
                    "the input and all earlier outputs together"
                    if self.skip == "dense"
                    else f"what layer {n - 1} gives"
                )
                complaints.append(f"layer {n} ({_name(layer)}) has input size {i}, but reads {expected}: {why}")
            reads.append(i if i is not None else expected)
            o = o if o is not None else (reads[-1] if keeps_width(layer) else None)
            gives.append(o)
            if n == 0 and isinstance(layer, nn.Embedding):
                total = 0
            if not isinstance(layer, Readout):
                flowing = o
                total = None if total is None or o is None else total + o
        raise_all("Stack", complaints)
        return reads, gives

    def _is_linkable(self, n: int) -> bool:
        recurrent_or_mlp = not keeps_width(self.layers[n]) and not isinstance(self.layers[n], Readout)
        return recurrent_or_mlp and self.reads[n] is not None and self.reads[n] == self.gives[n]

    def _gate(self, n: int) -> nn.Linear:
        width = self.reads[n]
        assert width is not None
        like = next(self.layers[n].parameters(), None)
        gate = (
            nn.Linear(width, width, device=like.device, dtype=like.dtype)
            if like is not None
            else nn.Linear(width, width)
        )
        nn.init.constant_(gate.bias, -1.0)
        return gate

    # ---------------------------------------------------------------- running

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        resets: Tensor | None = None,
        return_layers: bool = False,
    ) -> Any:
        self._check(x, state)
        if self.batch_first:
            x = x.transpose(0, 1)
            resets = resets.transpose(0, 1) if isinstance(resets, Tensor) and resets.dim() == 2 else resets
        inside = self._inside(x, lengths, resets)
        x = _zero_outside(inside, x)  # whatever lies beyond a length, NaN included, reaches no layer and no gradient
        states = iter([None] * self.recurrent_layers if state is None else state)
        new_states, outputs, seen = [], [], [x] if x.is_floating_point() else []
        last = len(self.layers) - 1
        for n, layer in enumerate(self.layers):
            read = torch.cat(seen, dim=-1) if self.skip == "dense" and len(seen) > 1 else x
            if _has_state(layer):
                y, new = self._run(layer, read, next(states), lengths, resets)
                new_states.append(new)
            else:
                y = _distribute(layer, read)
            if n < last and not isinstance(layer, Readout):
                y = self.dropout(y)
            y = _zero_outside(inside, self._link(n, read, y))
            outputs.append(y)
            if not isinstance(layer, Readout):
                x = y
                seen.append(y)
        y = outputs[-1]
        if self.batch_first:
            y, outputs = y.transpose(0, 1), [h.transpose(0, 1) for h in outputs]
        final = tuple(new_states)
        return StackOutput(y, final, outputs) if return_layers else (y, final)

    @property
    def recurrent_layers(self) -> int:
        """How many layers have a state."""
        return sum(_has_state(layer) for layer in self.layers)

    def _run(self, layer: nn.Module, x: Tensor, state: Any, lengths: Any, resets: Any) -> tuple[Tensor, Any]:
        result: tuple[Tensor, Any] = layer(x, state, lengths=lengths, resets=resets)
        return result

    def _link(self, n: int, x: Tensor, y: Tensor) -> Tensor:
        if not self.linked[n]:
            return y
        if self.skip == "residual":
            return x + y
        t = torch.sigmoid(self.gates[str(n)](x))
        return t * y + (1 - t) * x

    def _inside(self, x: Tensor, lengths: Any, resets: Any) -> Tensor | None:
        """Which steps lie inside their row's length, (T, B); None where all do."""
        T, B = x.shape[:2]
        checked, complaints = checked_lengths(lengths, T, B, x.device)
        raise_all("Stack", complaints + resets_complaints(resets, T, B))
        return None if checked is None else mask(checked, T)

    def _check(self, x: Any, state: Any) -> None:
        order = "B, T" if self.batch_first else "T, B"
        if not isinstance(x, Tensor):
            raise TypeError(f"Stack got an input of type {type(x).__name__}, but a tensor ({order}, ...) is expected.")
        if x.dim() < 2 or (self.input_size is not None and (x.dim() != 3 or x.shape[-1] != self.input_size)):
            wanted = f"({order}, {self.input_size})" if self.input_size is not None else f"({order}, ...)"
            raise ValueError(
                f"Stack got input of shape {tuple(x.shape)}, but its first layer, {_name(self.layers[0])}, asks for {wanted}. "
                "Check the dimensions of the input, or build the first layer for this width."
            )
        if state is not None and (not isinstance(state, tuple | list) or len(state) != self.recurrent_layers):
            given = f"{len(state)} entries" if isinstance(state, tuple | list) else type(state).__name__
            raise ValueError(
                f"Stack got a state of {given}, but a tuple of {self.recurrent_layers} is expected, one for each layer with a "
                "state. Pass what an earlier call returned, or None."
            )

    # ---------------------------------------------------------------- what it prints

    def __repr__(self) -> str:
        options = [f"skip={self.skip!r}"] if self.skip else []
        if self.dropout.p:
            kind = "variational dropout" if isinstance(self.dropout, VariationalDropout) else "dropout"
            options.append(f"{kind} {self.dropout.p} between layers")
        options += ["batch_first=True"] if self.batch_first else []
        order = "B, T" if self.batch_first else "T, B"
        return table(self, options, order, [self._row(n) for n in range(len(self.layers))])

    def _row(self, n: int) -> Row:
        if self.skip == "dense":
            link = f"dense 0-{n - 1}" if n > 1 else "dense 0" * n
        else:
            link = self.skip or "" if self.linked[n] else ""
        gate = [self.gates[str(n)]] if str(n) in self.gates else []
        return Row(self.layers[n], self.reads[n], self.gives[n], link, [self.layers[n], *gate])


def _as_layer(layer: Any, n: int) -> nn.Module:
    if not isinstance(layer, nn.Module):
        raise TypeError(f"Stack got {type(layer).__name__} as layer {n}, but an nn.Module is expected.")
    layer = Recurrent(layer) if is_cell(layer) else layer
    if _has_state(layer) and getattr(layer, "batch_first", False):
        raise ValueError(
            f"Stack got layer {n} ({_name(layer)}) with batch_first=True, but layers inside run time-major. "
            "Give batch_first to the Stack instead."
        )
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase) and not isinstance(layer, DropIn):
        kind = type(layer).__name__
        raise TypeError(f"Stack got torch.nn.{kind} as layer {n}: use deeplstm.{kind}, which takes the same arguments.")
    return layer


def _has_state(layer: nn.Module) -> bool:
    return isinstance(layer, Recurrent | DropIn | Stack)


def _zero_outside(inside: Tensor | None, y: Tensor) -> Tensor:
    if inside is None:
        return y
    return torch.where(inside.reshape(inside.shape + (1,) * (y.dim() - 2)), y, y.new_zeros(()))


def _distribute(layer: nn.Module, x: Tensor) -> Tensor:
    """A time-distributed layer sees rows, so that modules which take dimension 1 for channels do not take the batch for it."""
    if isinstance(layer, VariationalDropout):
        return layer(x)
    rows = layer(x.flatten(0, 1))
    if not isinstance(rows, Tensor) or rows.shape[:1] != (x.shape[0] * x.shape[1],):
        given = f"shape {tuple(rows.shape)}" if isinstance(rows, Tensor) else f"type {type(rows).__name__}"
        raise ValueError(
            f"Stack called {_name(layer)} on (T * B, ...) = {(x.shape[0] * x.shape[1], *x.shape[2:])} and got {given}, but a "
            "tensor with as many rows is expected. Give layers that treat every step alike, or cells."
        )
    return rows.unflatten(0, x.shape[:2])


def _name(layer: nn.Module) -> str:
    return type(layer.cell if isinstance(layer, Recurrent) else layer).__name__
