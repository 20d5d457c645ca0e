"""Which backend each layer takes, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ..recurrence import dispatch
from ..recurrence.tracing import only_watches
from ._undisturbed import undisturbed


@dataclass(frozen=True)
class Explanation:
    """What `explain` found, one `Record` for each recurrence in the order they ran; prints as a list."""

    choices: tuple[dispatch.Record, ...]

    def __str__(self) -> str:
        lines = []
        for choice in self.choices:
            lines.append(f"{choice.layer}: {choice.what} runs on backend {choice.backend!r}")
            lines += [f"    not on {name!r}: {'; '.join(why)}" for name, why in choice.passed_over.items()]
        return "\n".join(lines) if lines else "nothing here is a recurrence"

    __repr__ = __str__


def explain(module: nn.Module, x: Any, *args: Any, **kwargs: Any) -> Explanation:
    """Run a module once and say which backend each layer took and why the others were passed over.

    Args:
        module: any module with recurrent layers of this library in it.
        x, args, kwargs: what the module is called with. Random numbers drawn are given back, buffers are as before;
            nothing else changes. With and without `torch.no_grad()` the choice may differ.

    Returns: an `Explanation`; print it.
    Raises: what the module raises.

    >>> import torch, deeplstm
    >>> print(deeplstm.explain(deeplstm.Recurrent(deeplstm.LSTMCell(3, 4, norm=True)), torch.zeros(5, 2, 3)))
    Recurrent: LSTMCell runs on backend 'reference'
        not on 'torch': torch's kernel has no norm=True
    """
    path: list[str] = []
    handles = []
    for name, child in module.named_modules():
        here = name or type(module).__name__
        handles.append(child.register_forward_pre_hook(only_watches(lambda *_, here=here: path.append(here))))
        handles.append(child.register_forward_hook(only_watches(lambda *_: _pop(path))))
    try:
        with undisturbed(module), dispatch.recording(lambda: path[-1]) as records:
            module(x, *args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return Explanation(tuple(records))


def _pop(path: list[str]) -> None:
    path.pop()
