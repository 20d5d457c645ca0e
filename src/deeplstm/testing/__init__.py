"""What a cell of your own is checked with: `check_cell` runs it in every way there is, and compares.

>>> import torch, deeplstm
>>> report = deeplstm.testing.check_cell(deeplstm.GRUCell(3, 4))
>>> print(report)  # doctest: +ELLIPSIS
GRUCell, torch.float64, T=5, B=3
check                      backend    largest error  allowed
what forward returns       -
what forward leaves alone  -
the same step twice        -                      0  ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..recurrence import dispatch
from ..recurrence.call import is_cell
from ._compare import TOLERANCE
from ._derivatives import derivatives
from ._report import Check as Check
from ._report import Report as Report
from ._sequences import on_backend, reference
from ._step import NEEDED, alone, rows
from ._subject import Subject


def check_cell(
    cell: nn.Module,
    *,
    input_size: int | None = None,
    T: int = 5,
    B: int = 3,
    dtype: torch.dtype = torch.float64,
    backends: Sequence[str] | None = None,
) -> Report:
    """Check a cell: what it returns, its derivatives, and that every backend computes what its own code does.

    * What ``forward(x, state)`` returns: an output with B rows, a new state shaped as the old one; and that it changes
      neither its arguments nor its own parameters and buffers.
    * The same step twice gives the same. A cell that draws random numbers is told from one that remembers; the report says
      so, and every run then starts from the same seed.
    * Rows of the batch are independent: permuted rows give permuted results, a row alone gives what it gives among others.
    * Each backend against "reference", from random states: outputs, final state, and the gradients of x, of every initial
      state and of every parameter, with random upstream gradients on output and final state; with unequal lengths (one of
      them zero), with resets, in reverse, with all three, in two chunks; and second derivatives.
    * The derivatives of the reference, first and second, against finite differences in float64 (`torch.autograd.gradcheck`).

    It works on a copy, in the mode (training or evaluation) that the cell is in, with the parameters as they are; a
    parameter of zeros hides mistakes behind it, so check a cell whose parameters are drawn. Random generators are given back.

    Args:
        cell: an ``nn.Module`` with ``state_size`` and ``forward(x, state) -> (output, new_state)``; see `Recurrent`.
        input_size: I; None for the cell's own ``input_size``. x is drawn as real numbers (T, B, I).
        T, B: steps and rows, at least 2 of each.
        dtype: float64 or float32; the copy is converted to it. Derivatives are checked in float64 in any case.
        backends: names of those that must run the cell; None for all there are, where one that cannot is reported with its
            reasons. A backend that runs the cell but not, say, resets is reported, never an error.

    Returns: a `Report`; print it.
    Raises: AssertionError with everything that failed: on which backend, in which tensor, by how much. TypeError for what is
        no cell, ValueError for an argument out of range.

    >>> import torch, deeplstm
    >>> report = deeplstm.testing.check_cell(deeplstm.LSTMCell(3, 4), dtype=torch.float32, backends=["torch"])
    >>> max(check.error for check in report.checks if check.error is not None) < 1e-4
    True
    """
    size, names = _checked(cell, input_size, T, B, dtype, backends)
    with torch.random.fork_rng(list(range(torch.cuda.device_count()))), torch.enable_grad():
        subject = Subject.drawn(cell, size, T, B, dtype)
        checks = alone(subject)
        if not any(c.problem and c.name in NEEDED for c in checks):
            quiet = subject.quiet()
            checks += rows(quiet)
            right = reference(subject, quiet)
            checks += right.checks
            for name in names:
                checks += on_backend(name, subject, quiet, right.results, is_asked_for=backends is not None)
            checks += derivatives(subject)
    report = Report(f"{type(cell).__name__}, {dtype}, T={T}, B={B}", tuple(checks))
    if report.problems:
        failed, found = sum(bool(c.problem) for c in checks), "\n\n".join(report.problems)
        raise AssertionError(
            f"check_cell({type(cell).__name__}): {failed} of {len(checks)} checks failed.\n\n{found}\n\n{report}"
        )
    return report


def _checked(
    cell: Any, input_size: int | None, T: int, B: int, dtype: torch.dtype, backends: Sequence[str] | None
) -> tuple[int, list[str]]:
    """The input size and the backends to run."""
    if not is_cell(cell):
        raise TypeError(
            f"check_cell got {type(cell).__name__}, but a cell is expected: an nn.Module with state_size (an int or a tuple of "
            "ints) whose forward(x, state) returns (output, new_state). Give the module a state_size."
        )
    size = getattr(cell, "input_size", None) if input_size is None else input_size
    if size is None:
        raise ValueError(
            f"check_cell got {type(cell).__name__} without an input_size, but it has to draw an input (T, B, input_size). "
            "Pass input_size=, or give the cell one."
        )
    if T < 2 or B < 2:
        raise ValueError(
            f"check_cell got T={T} and B={B}, but at least 2 of each are expected, for two chunks and for rows that differ. "
            "Leave them out for T=5 and B=3."
        )
    if dtype not in TOLERANCE:
        raise ValueError(
            f"check_cell got dtype={dtype}, but one of {', '.join(map(str, TOLERANCE))} is expected: the others have no "
            "tolerance here. Leave it out for float64."
        )
    return size, [
        dispatch.checked_name(b) for b in (dispatch.BACKENDS if backends is None else backends) if b != "reference"
    ]
