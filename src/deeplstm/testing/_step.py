"""One step by itself: what it returns, what it depends on, and that rows do not meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..recurrence.state import map_state, shapes_of, tensors_of
from ._compare import Results, compare
from ._report import Check, attempt
from ._subject import SEED, Subject, named

_RETURNS, _LEAVES, _TWICE = "what forward returns", "what forward leaves alone", "the same step twice"
NEEDED = (_RETURNS, _TWICE)  # without these nothing else can be compared


def alone(subject: Subject) -> list[Check]:
    checks = [attempt(_RETURNS, "-", lambda: Check(_RETURNS, problem=_form_problem(subject)))]
    if not checks[0].problem:
        checks.append(attempt(_LEAVES, "-", lambda: Check(_LEAVES, problem=_change_problem(subject))))
        checks.append(attempt(_TWICE, "-", lambda: _twice(subject)))
    return checks


def _form_problem(subject: Subject) -> str:
    """What is wrong with what a step returns."""
    cell, x, state = subject.cell, subject.x[0].clone(), map_state(Tensor.clone, subject.state)
    with torch.no_grad():
        result = cell(x, state)
    if not (isinstance(result, tuple | list) and len(result) == 2 and isinstance(result[0], Tensor)):
        given = [type(r).__name__ for r in result] if isinstance(result, tuple | list) else type(result).__name__
        return f"forward returned {given}, but (output, new_state) is expected, the output a tensor. Return these two."
    output, new = result
    B, width, complaints = len(x), getattr(cell, "output_size", None), []
    if output.shape[:1] != (B,) or (width is not None and output.shape[1:] != (width,)):
        wanted = f"({B}, ...) is expected for {B} rows"
        if width is not None:
            wanted = f"({B}, {width}) is expected for {B} rows and output_size={width}"
        complaints.append(f"an output of shape {tuple(output.shape)}, where {wanted}")
    if shapes_of(new) != shapes_of(state):
        wanted = f"state_size={cell.state_size} asks for {shapes_of(state)}"
        complaints.append(f"a state of shapes {shapes_of(new)}, where {wanted}")
    elif (dtypes := [t.dtype for t in tensors_of(new)]) != (wanted_dtypes := [t.dtype for t in tensors_of(state)]):
        complaints.append(f"a state of {_listed(dtypes)}, where {_listed(wanted_dtypes)} came in")
    if complaints:
        return f"forward returned {' and '.join(complaints)}. Return (output, new_state), the new state as the old one."
    return ""


def _change_problem(subject: Subject) -> str:
    """What a step changed that it should only read."""
    x, state = subject.x[0].clone(), map_state(Tensor.clone, subject.state)
    read = {
        "x": x,
        **named("state", state),
        **dict(subject.cell.named_parameters()),
        **dict(subject.cell.named_buffers()),
    }
    before = {name: tensor.detach().clone() for name, tensor in read.items()}
    torch.manual_seed(SEED)
    with torch.no_grad():
        subject.cell(x, state)
    changed = [n for n, t in read.items() if not torch.equal(t.nan_to_num(), before[n].nan_to_num())]
    if not changed:
        return ""
    return (
        f"forward changed {_listed(changed)} in place; a step must leave what it reads as it was, since other steps and the "
        "backward pass read it too. Compute new tensors, and carry in the state what changes from step to step."
    )


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))


def _twice(subject: Subject) -> Check:
    first, second = subject.step(), subject.step()
    error, allowed, problem = compare(second, first)
    if problem:
        problem = (
            f"a second call with the same arguments, from the same seed, differs in {problem}; a step must depend on its "
            "arguments and parameters alone. Carry in the state what the cell remembers, and draw with torch's generators."
        )
    note = "draws noise itself: every run starts from the same seed" if not problem and subject.draws_noise() else ""
    return Check(_TWICE, "-", error, allowed, note, problem)


def rows(subject: Subject | None) -> list[Check]:
    """That the rows of the batch are independent."""
    if subject is None:
        return [Check("rows of the batch", note="not run: the cell draws noise in evaluation too")]
    B = subject.x.shape[1]
    order = torch.tensor([*range(1, B), 0], device=subject.x.device)

    def permuted() -> tuple[Results, Results]:
        return subject.step(order), {name: value[order] for name, value in subject.step().items()}

    def alone() -> tuple[Results, Results]:
        rows = [subject.step(slice(b, b + 1)) for b in range(B)]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}, subject.step()

    def compared(name: str, pair: Callable[[], tuple[Results, Results]]) -> Check:
        error, allowed, problem = compare(*pair())
        if problem:
            problem = (
                f"results differ in {problem}; a row must be computed from its own x and state alone. Look for a sum, mean, "
                "norm or shape taken over the batch (dimension 0)."
            )
        return Check(name, "-", error, allowed, "", problem)

    return [
        attempt(name, "-", partial(compared, name, pair))
        for name, pair in {"rows permuted": permuted, "each row alone": alone}.items()
    ]
