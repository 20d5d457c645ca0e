"""Derivatives of the reference against finite differences."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ..nn.recurrent import Recurrent
from ..recurrence import dispatch
from ..recurrence.state import map_state
from ._report import Check, lacks_derivative
from ._subject import SEED, Subject, named

# in float64; larger steps are too large for a layer norm of nearly equal numbers, which is very steep
_FINITE_DIFFERENCES = {"eps": 1e-7, "rtol": 1e-4, "atol": 1e-5, "nondet_tol": 1e-10}
_FIRST, _SECOND = "finite differences, first", "finite differences, second"


def derivatives(subject: Subject) -> list[Check]:
    """First and second derivatives against finite differences, in float64, along one random direction for each input.

    A direction for each input makes a function of few numbers, however large the cell is.
    """
    cell = copy.deepcopy(subject.cell).double()
    x = subject.x[:3, :2].double()
    state = map_state(lambda s: s[:2].double() if s.is_floating_point() else s[:2], subject.state)
    parameters = {f"parameter {name}": p for name, p in cell.named_parameters() if p.requires_grad}
    inputs = {"x": x, **named("initial state", state), **{name: p.detach() for name, p in parameters.items()}}
    inputs = {name: tensor for name, tensor in inputs.items() if tensor.is_floating_point()}
    draw = torch.Generator().manual_seed(SEED)
    directions = {n: torch.randn(t.shape, generator=draw, dtype=t.dtype).to(t) for n, t in inputs.items()}

    def moved(shares: Tensor, names: Sequence[str]) -> Tensor:
        """One number made of all results, where each named input has gone its share of the way along its direction."""
        torch.manual_seed(SEED)
        at = inputs | {n: inputs[n] + share * directions[n] for n, share in zip(names, shares, strict=True)}
        parts = iter(at.get(n, s) for n, s in named("initial state", state).items())
        start = map_state(lambda s: next(parts), state)
        in_place = {f"cell.{n.removeprefix('parameter ')}": at[n] for n in parameters}
        with dispatch.backend("reference"):
            y, final = torch.func.functional_call(Recurrent(cell), in_place, (at["x"], start))
        weights = torch.Generator().manual_seed(SEED)
        results = [r for r in (y, *named("final state", final).values()) if r.is_floating_point()]
        return torch.stack([(r * torch.randn(r.shape, generator=weights).to(r)).sum() for r in results]).sum()

    def checked(which: Callable[..., bool], names: Sequence[str]) -> str:
        start = torch.zeros(len(names), dtype=torch.float64, device=x.device, requires_grad=True)
        try:
            which(lambda shares: moved(shares, names), (start,), **_FINITE_DIFFERENCES)
        except Exception as error:  # torch's check raises one kind for a mismatch, a backward any
            return _shortened(str(error))
        return ""

    try:
        moved(torch.zeros(0), [])
    except Exception as error:
        text = f"in float64 it raised {type(error).__name__}: {' '.join(str(error).split())}"
        if subject.x.dtype == torch.float64:
            return [Check(_FIRST, "reference", problem=text)]
        return [Check(_FIRST, "reference", note=f"not run: {text}")]
    wrong = {name: text for name in inputs if (text := checked(gradcheck, [name]))}
    first = second = ""
    note = "agrees"
    if wrong:
        first = (
            f"the gradient of {'; of '.join(f'{n} ({text})' for n, text in wrong.items())} is not the one that finite "
            "differences give. Look for detach(), .data, numbers taken out of tensors, and a backward of your own."
        )
    elif lacks_derivative(text := checked(gradgradcheck, list(inputs))):
        note = f"not run: torch says: {text}"
    elif text:
        second = (
            f"second derivatives are not those that finite differences give ({text}). Look for a backward of your own: it must "
            "be made of differentiable operations itself."
        )
    return [
        Check(_FIRST, "reference", note="agrees", problem=first),
        Check(_SECOND, "reference", note="not run" if first else note, problem=second),
    ]


def _shortened(text: str) -> str:
    """The first lines of what torch's check says, which go on with whole matrices; one number without its brackets."""
    text = " ".join(text.split("\n\n")[0].split()).removeprefix(
        "Jacobian mismatch for output 0 with respect to input 0, "
    )
    text = text.replace("Numerical gradient for function expected to be zero", "none arrives, but results depend on it")
    return re.sub(r"tensor\(\[\[(\S+)\]\][^)]*\)", r" \1", text)
