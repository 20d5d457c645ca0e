"""`scan` while torch.compile or torch.export looks on.

What they trace must be free of anything they cannot follow, so the choice of a backend and the capture of a cell's program are
one function that they call and whose result they take as a constant; what it depends on is read beside it, where they watch.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import dispatch
from .backends import cpu, reference, torch_fused
from .backends.cpu import opaque
from .call import Call, name_of


class Kind(NamedTuple):
    """A tensor, as far as a program depends on it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: str

    def like(self) -> Tensor:
        return torch.empty(self.shape, dtype=self.dtype, device=self.device)


def run(call: Call, backend: str | None) -> tuple[Tensor, Any, dict[str, Tensor]]:
    """Run a call; see `scan`."""
    if not isinstance(call.step, nn.Module):
        return reference.run(call)
    _watch(call.step)
    chosen, program, names = _choice(
        call.step,
        backend,
        _kind(call.x, 2),
        _kinds(call.state),
        None if call.params is None else tuple((name, _kind(p, 0)) for name, p in call.params.items()),
        None if call.noise is None else tuple((name, _kind(m, 2)) for name, m in call.noise.items()),
        call.trace,
        call.memory,
        call.resets is not None,
        call.lengths is not None,
    )
    if chosen == "cpu":
        return opaque.run(call, program, names)
    if chosen == "torch":
        return torch_fused.run(call)
    cell, params = call.step, call.params
    if params is None:
        return reference.run(call)
    return reference.loop(lambda *arguments: torch.func.functional_call(cell, params, arguments), call)


def _kind(tensor: Tensor, batch: int) -> tuple[Any, ...]:
    """The tensor's `Kind` as plain values; its first dimensions, time and batch, may be any and count as 1."""
    return ((1,) * batch + tuple(_number(n) for n in tensor.shape[batch:]), tensor.dtype, tensor.device.type)


def _number(size: int) -> int:
    """A size as a number of its own, where torch.compile has it as one that may change: int() would leave it so."""
    return len(range(size))


def _kinds(state: Any) -> Any:
    """Those of a state's tensors, nested as it is; a list stands for a tuple, which a `Kind` is too."""
    return _kind(state, 1) if isinstance(state, Tensor) else [_kinds(part) for part in state]


def _watch(cell: nn.Module) -> None:
    """Read what a cell's equations may depend on beside its tensors, so that a compiled graph is dropped when it changes."""
    for module in cell.modules():
        for name, value in vars(module).items():
            if not (isinstance(value, dict) and name.startswith("_")):  # nn.Module's own
                _read(value)


def _read(value: Any) -> None:
    if isinstance(value, bool | int | float | str):
        hash(value)  # to look at it is not enough: torch.compile lets a float that changes be any float
    elif isinstance(value, tuple | list):
        for part in value:
            _read(part)
    elif isinstance(value, dict):
        for part in value.values():
            _read(part)


def _choice(
    cell: nn.Module,
    backend: str | None,
    x: Any,
    state: Any,
    params: Any,
    noise: Any,
    trace: tuple[str, ...],
    memory: str,
    has_resets: bool,
    has_lengths: bool,
) -> tuple[str, str, tuple[str, ...]]:
    """The backend, and for kernels the program as text and the names of the weights."""
    from .program.rows import Unsupported

    wanted = dispatch.forced() if backend is None else dispatch.checked_name(backend)

    def find(candidate: str) -> tuple[list[str], Any]:
        """Ask a backend about a call like this one, in a thread where nothing that the caller has in force is seen."""
        tensors = lambda kinds: None if kinds is None else {name: Kind(*k).like() for name, k in kinds}  # noqa: E731
        states = _nested(state)
        like = Call(
            cell,
            tensors(params),
            Kind(*x).like(),
            states,
            states if has_resets else None,
            tensors(noise),
            torch.ones(1, dtype=torch.int64) if has_lengths else None,
            torch.zeros(1, 1, dtype=torch.bool) if has_resets else None,
            False,
            trace,
            memory,
        )
        reasons = dispatch.BACKENDS[candidate].why_not(like)
        if wanted == "auto" and "no program" in like.notes:
            dispatch.warn(like)
        return reasons, like.notes.get("cpu")

    passed_over = {}
    for candidate in dispatch.candidates() if wanted == "auto" else [wanted]:
        if candidate == "torch" and wanted == "auto":
            continue  # a graph would hold each of its steps
        reasons = cpu.why_not_here(x[2]) if candidate == "cpu" else []
        if not reasons:
            with ThreadPoolExecutor(1) as other:
                reasons, found = other.submit(find, candidate).result()
        if not reasons and candidate == "cpu":
            programs, _ = found
            try:
                if programs.constants:  # a graph would not see them change
                    raise Unsupported(f"the values of buffers ({', '.join(sorted(programs.constants))})")
                text = opaque.text_of(name_of(cell), programs)
            except Unsupported as reason:
                reasons = [f"programs in graphs lack {reason}"]
            else:
                opaque.remember(text, x[1], programs)
                return "cpu", text, tuple(programs.step.weights)
        if not reasons:
            return candidate, "", ()
        passed_over[candidate] = reasons
    raise dispatch.unavailable(name_of(cell), passed_over)


# what torch.compiler.assume_constant_result does, which would import all of the compiler for it
_choice._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _nested(kinds: Any) -> Any:
    return tuple(_nested(k) for k in kinds) if isinstance(kinds, list) else Kind(*kinds).like()
