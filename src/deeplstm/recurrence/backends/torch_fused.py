"""torch's own fused LSTM, GRU and RNN (oneDNN, cuDNN), for the cells that are exactly those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import _VF, Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ...cells._cell import Cell, is_autocast
from ...cells.gru import GRUCell
from ...cells.lstm import LSTMCell
from ...cells.rnn import RNNCell
from ..call import Call, name_of
from ..lengths import flip

# What torch's kernels know, or what has done its work before they start.
_KNOWN = {
    "bias",
    "proj_size",
    "nonlinearity",
    "forget_bias",
    "weight_drop",
    "gate_activation",
    "gate_sharing",
}
_FUSED: dict[type, Callable[[Any], Any]] = {
    LSTMCell: lambda cell: _VF.lstm,
    GRUCell: lambda cell: _VF.gru,
    RNNCell: lambda cell: _VF.rnn_tanh if cell.nonlinearity == "tanh" else _VF.rnn_relu,
}


def why_not(call: Call) -> list[str]:
    """The reasons for which torch's kernels cannot run this call."""
    cell = call.step
    if type(cell) not in _FUSED:
        return [f"torch has fused kernels for LSTMCell, GRUCell and RNNCell, not for {name_of(cell)}"]
    assert isinstance(cell, Cell)
    reasons = [
        f"torch's kernel has no {name}={value!r}"
        for name, value in cell.changed_options.items()
        if not (name in _KNOWN or (name == "recurrent_dropout" and not cell.training))
        or (name == "gate_sharing" and not isinstance(value, str))
    ]
    if call.resets is not None:
        reasons.append("torch's kernels have no resets")
    if call.trace:
        reasons.append("torch's kernels do not show their gates")
    if 0 in call.x.shape[:2] or (call.lengths is not None and not bool(call.lengths.any())):
        reasons.append("torch's kernels want at least one row with at least one step")
    if type(cell) is LSTMCell and cannot_autocast_lstm(call.x):
        reasons.append(f"torch's LSTM cannot be autocast to {torch.get_autocast_dtype('cpu')} on this processor")
    if torch._C._functorch.peek_interpreter_stack() is not None:
        reasons.append("torch's kernels lack rules for torch.func's transforms")
    elif torch.autograd.forward_ad._current_level >= 0:
        reasons.append("torch's kernels lack forward-mode derivatives")
    return reasons


def is_slow(call: Call) -> bool:
    """Whether torch itself has a loop over the steps for a cell that it knows: oneDNN has no projections."""
    return call.x.device.type == "cpu" and bool(getattr(call.step, "proj_size", 0))


def cannot_autocast_lstm(x: Tensor) -> bool:
    """Whether torch's LSTM raises on x: under autocast, on a processor without the instructions that oneDNN has it run with."""
    if x.device.type != "cpu" or not is_autocast("cpu"):
        return False
    onednn = torch.ops.mkldnn
    is_bfloat16 = torch.get_autocast_dtype("cpu") == torch.bfloat16
    return not (onednn._is_mkldnn_bf16_supported() if is_bfloat16 else onednn._is_mkldnn_fp16_supported())


class _Weights(NamedTuple):
    flat: list[Tensor]
    has_bias: bool


def _weights(call: Call) -> _Weights:
    params = call.params if call.params is not None else dict(call.step.named_parameters())  # type: ignore[union-attr]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    return _Weights([params[name] for name in names if name in params], "bias_ih" in params)


def run(call: Call) -> tuple[Tensor, Any, dict[str, Tensor]]:
    """Run a call; see `scan`."""
    if call.lengths is None:
        x = call.x.flip(0) if call.reverse else call.x
        y, state = _fused(call, x, None, call.state)
        return (y.flip(0) if call.reverse else y), state, {}
    return *_run_lengths(call, call.lengths), {}


def _run_lengths(call: Call, lengths: Tensor) -> tuple[Tensor, Any]:
    """Unequal lengths: torch's packed form wants them sorted and none empty, so empty rows stand aside."""
    assert isinstance(call.step, Cell)
    T, B = call.x.shape[:2]
    kept = lengths.argsort(descending=True, stable=True)[: int((lengths > 0).sum())]
    x = flip(call.x, lengths) if call.reverse else call.x
    is_tuple = isinstance(call.state, tuple)
    states = call.state if is_tuple else (call.state,)
    packed = pack_padded_sequence(x[:, kept], lengths[kept].cpu())
    rows = tuple(s[kept] for s in states)
    y, new = _fused(call, packed.data, packed.batch_sizes, rows if is_tuple else rows[0])
    y = pad_packed_sequence(packed._replace(data=y), total_length=T)[0]
    whole = y.new_zeros(T, B, y.shape[-1]).index_copy(1, kept, y)
    finals = tuple(
        old.to(part.dtype).index_copy(0, kept, part)
        for old, part in zip(states, new if is_tuple else (new,), strict=True)
    )
    return (flip(whole, lengths) if call.reverse else whole), (finals if is_tuple else finals[0])


def _fused(call: Call, x: Tensor, batch_sizes: Tensor | None, state: Any) -> tuple[Tensor, Any]:
    cell, weights = call.step, _weights(call)
    assert isinstance(cell, Cell)
    kernel = _FUSED[type(cell)](cell)
    hx = tuple(s[None] for s in state) if isinstance(state, tuple) else state[None]  # (1, B, H): one layer
    layers, dropout, training, bidirectional = 1, 0.0, cell.training, False
    if batch_sizes is None:
        y, *new = kernel(x, hx, *weights, layers, dropout, training, bidirectional, False)
    else:
        y, *new = kernel(x, batch_sizes, hx, *weights, layers, dropout, training, bidirectional)
    return y, (tuple(s[0] for s in new) if isinstance(state, tuple) else new[0][0])
