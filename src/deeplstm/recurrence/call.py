"""One checked call of `scan`, as backends see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, library, nn

from .state import shapes_of, tensors_of

Step = Callable[..., tuple[Tensor, Any]] | nn.Module


@dataclass(frozen=True)
class Call:
    """What `scan` was asked to do, after its checks. Shapes as in `scan`; ``lengths`` is None where all are T.

    ``batch_sizes`` (T,): x and y are packed as torch packs sequences, (rows, I) and (rows, O); then the state is in that
    order too, and there are no lengths. Only kernels take it.

    ``notes``: what a backend found out while it was asked whether it can run the call, and needs again when it does.
    """

    step: Step
    params: dict[str, Tensor] | None
    x: Tensor
    state: Any
    initial: Any
    noise: dict[str, Tensor] | None
    lengths: Tensor | None
    resets: Tensor | None
    reverse: bool
    trace: tuple[str, ...] = ()
    memory: str = "save"
    batch_sizes: Tensor | None = None
    notes: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


def name_of(step: Step) -> str:
    return type(step).__name__ if isinstance(step, nn.Module) else getattr(step, "__name__", repr(step))


def is_cell(module: Any) -> bool:
    """Whether a module says the size of a state, which is what makes it a cell."""
    size = getattr(module, "state_size", None)
    if not isinstance(size, tuple):
        return isinstance(size, int) and isinstance(module, nn.Module)
    return isinstance(module, nn.Module) and len(size) > 0 and all(isinstance(s, int) for s in size)


def state_shapes(cell: nn.Module, B: int) -> Any:
    """The shapes of a cell's state, nested as the state is."""
    size = cell.state_size
    return tuple((B, s) for s in size) if isinstance(size, tuple) else (B, size)


def functional(cell: nn.Module, params: dict[str, Tensor], *arguments: Any) -> Any:
    """Call a cell with tensors in the place of its own; what stands for one of several tied ones stands for all of them.

    torch does the same, but refuses to be given each of them.
    """
    places: dict[tuple[int, str], tuple[Tensor, list[str]]] = {}  # one of a module with two names has two as well
    for prefix, module in cell.named_modules(remove_duplicate=False):
        for own in (module._parameters, module._buffers):
            for name, tensor in own.items():
                if tensor is not None:
                    full = f"{prefix}.{name}" if prefix else name
                    places.setdefault((id(own), name), (tensor, []))[1].append(full)
    given = {id(tensor): params[name] for tensor, names in places.values() for name in names if name in params}
    chosen = {}
    for tensor, names in places.values():
        if id(tensor) in given:
            name = next((name for name in names if name in params), names[0])
            chosen[name] = params.get(name, given[id(tensor)])
    return torch.func.functional_call(cell, chosen, arguments, tie_weights=False)


def checked_lengths(
    lengths: Tensor | Sequence[int] | None, T: int, B: int, device: torch.device
) -> tuple[Tensor | None, list[str]]:
    """Lengths as (B,) int64 on the device, or None where every one is T; and what is wrong with them."""
    if lengths is None:
        return None, []
    if isinstance(lengths, Tensor):
        given = lengths.detach()
    else:
        try:
            given = torch.tensor(list(lengths), dtype=None if len(lengths) else torch.int64)
        except (TypeError, ValueError):
            return None, [f"lengths are {lengths!r}, a tensor or a list of B={B} whole numbers is expected"]
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        return None, [f"lengths are {given.dtype}, whole numbers are expected"]
    if given.shape != (B,):
        return None, [f"lengths have shape {tuple(given.shape)}, ({B},) is expected: one for each row of the batch"]
    if torch.compiler.is_compiling():  # values are not known yet: an operator checks them when they are
        return torch.ops.deeplstm.checked_lengths(given.to(device, torch.int64), T), []
    given = given.to("cpu", torch.int64, copy=True)  # a backward reads it again, whatever the caller has written there
    if complaint := _out_of_range(given, T):
        return None, [complaint]
    if bool((given == T).all()):
        return None, []
    return given.to(device), []


def _out_of_range(lengths: Tensor, T: int) -> str | None:
    bad = [int(n) for n in lengths if not 0 <= n <= T]
    return f"lengths contain {bad[:5]}, numbers from 0 to T={T} are expected" if bad else None


@library.custom_op("deeplstm::checked_lengths", mutates_args=(), schema="(Tensor lengths, SymInt T) -> Tensor")
def _checked_at_last(lengths: Tensor, T: int) -> Tensor:
    """The same lengths, checked when a compiled graph runs."""
    if complaint := _out_of_range(lengths, T):
        raise ValueError(f"A compiled recurrence over T={T} steps: {complaint}.")
    return lengths.clone()


@_checked_at_last.register_fake
def _(lengths: Tensor, T: int) -> Tensor:
    return torch.empty_like(lengths)


def params_complaints(cell: nn.Module, params: dict[str, Tensor]) -> list[str]:
    """What is wrong with tensors in the place of a cell's own: names that it has not, which would change nothing."""
    names = [
        name
        for name, _ in (*cell.named_parameters(remove_duplicate=False), *cell.named_buffers(remove_duplicate=False))
    ]
    if unknown := [name for name in params if name not in names]:
        return [
            f"params names {', '.join(map(repr, unknown))}, but the cell has {', '.join(map(repr, names)) or 'none'}"
        ]
    return []


def noise_complaints(noise: dict[str, Tensor] | None, T: int, B: int) -> list[str]:
    """What is wrong with masks: kernels read as many rows as there should be."""
    return [
        f"noise[{name!r}] has shape {tuple(mask.shape)}, (T or 1, B, ...) is expected"
        for name, mask in (noise or {}).items()
        if mask.dim() < 2 or mask.shape[0] not in (1, T) or mask.shape[1] != B
    ]


def resets_complaints(resets: Any, T: int, B: int) -> list[str]:
    """What is wrong with a mask of resets."""
    if resets is None:
        return []
    if not isinstance(resets, Tensor) or resets.dtype != torch.bool:
        kind = resets.dtype if isinstance(resets, Tensor) else type(resets).__name__
        return [f"resets are {kind}, a tensor of torch.bool is expected"]
    if resets.shape != (T, B):
        return [f"resets have shape {tuple(resets.shape)}, (T, B) = ({T}, {B}) is expected"]
    return []


def state_complaints(state: Any, wanted: Any, like: Tensor, what: str = "state") -> list[str]:
    """What is wrong with a state whose shapes should be ``wanted``."""
    if shapes_of(state) != wanted:
        return [f"{what} has shapes {shapes_of(state)}, {wanted} is expected"]
    device = like.device
    moved = {str(t.device) for t in tensors_of(state) if t.device != device}
    return [f"{what} is on {', '.join(sorted(moved))}, but the input is on {device}"] if moved else []


def state_dtype_complaints(state: Any, dtype: torch.dtype) -> list[str]:
    """What is wrong with a state whose real numbers should be of this dtype."""
    others = {str(t.dtype) for t in tensors_of(state) if t.is_floating_point()} - {str(dtype)}
    return [f"state is {', '.join(sorted(others))}, the input is {dtype}: convert one of them"] if others else []


def check_result(call: Call, result: Any) -> None:
    """Raise where a step gave something else than an output with B rows and a state shaped as the one it got."""
    name, B = name_of(call.step), call.x.shape[1]
    if not isinstance(result, tuple | list) or len(result) != 2 or not isinstance(result[0], Tensor):
        given = [type(part).__name__ for part in result] if isinstance(result, tuple | list) else type(result).__name__
        raise TypeError(
            f"scan over {name}: the step returned {given}, but (output, new_state) is expected, the output a tensor. "
            "Check what it returns."
        )
    output, new = result
    complaints = []
    if output.shape[:1] != (B,):
        complaints.append(f"an output of shape {tuple(output.shape)}, where {B} rows are expected")
    if shapes_of(new) != shapes_of(call.state):
        complaints.append(f"a state of shapes {shapes_of(new)}, where {shapes_of(call.state)} came in")
    if complaints:
        raise ValueError(
            f"scan over {name}: the step returned {' and '.join(complaints)}. It must return (output, new_state), the "
            "new state shaped as the old one."
        )
