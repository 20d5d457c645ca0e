"""Sequences of unequal length: ours against torch.nn.LSTM on a PackedSequence."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import deeplstm
from deeplstm.bench.cases import Case
from deeplstm.bench.check import ERROR
from deeplstm.bench.contestants import DROP_IN, OURS, PEER
from deeplstm.bench.timing import Rounds, take_turns
from deeplstm.bench.work import Found, Unit

CASE = Case(1000, 32, 128, 1)
QUICK = Case(9, 4, 8, 1)


def units(quick: bool, rounds: Rounds) -> list[Unit]:
    case = QUICK if quick else CASE
    return [Unit("packed", f"packed {case}", 1.0 if quick else 35.0, lambda time_left: measure(case, rounds))]


def measure(case: Case, rounds: Rounds) -> Found:
    """Forward and backward at random lengths."""
    torch.manual_seed(0)
    x, dy = torch.randn(2, case.T, case.B, case.H).unbind()
    lengths = torch.randint(1, case.T + 1, (case.B,))
    peer = nn.LSTM(case.H, case.H, case.L)
    ours = deeplstm.LSTM(case.H, case.H, case.L)
    ours.load_state_dict(peer.state_dict())
    calls = {
        PEER: _call(peer, "auto", x, lengths, dy),
        DROP_IN: _call(ours, "auto", x, lengths, dy),
        OURS: _call(ours, "cpu", x, lengths, dy),
    }
    expected, found = calls[PEER](), Found()
    for name in (DROP_IN, OURS):
        pairs = zip(calls[name](), expected, strict=True)
        error = max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)
        if not error <= ERROR:
            found.failed.append(
                f"packed {case}, {name}: off by {error:.1e} of the largest value, at most {ERROR:.0e} is expected"
            )
            del calls[name]
    times = take_turns(calls, rounds)
    peer_ms = times[PEER].median
    found.rows = [
        {
            **case._asdict(),
            "steps": int(lengths.sum()),
            "contestant": name,
            "ms": time.median,
            "ms_quartiles": [time.lower, time.upper],
            "rounds": time.rounds,
            "times_as_fast": peer_ms / time.median,
        }
        for name, time in times.items()
    ]
    return found


def _call(module: nn.Module, backend: str, x: Tensor, lengths: Tensor, dy: Tensor) -> Callable[[], list[Tensor]]:
    """Pack, run, and the gradients of the padded input and the weights."""
    x = x.clone().requires_grad_()
    upstream = pack_padded_sequence(dy, lengths, enforce_sorted=False).data

    def call() -> list[Tensor]:
        with deeplstm.backend(backend):
            y, _ = module(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return [y.data.detach(), *torch.autograd.grad(y.data, [x, *module.parameters()], upstream)]

    return call
