"""Noticing that a model has changed, in less time than a step takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from ..nn.stack import Stack

_fused_steps = [0]
"""How many steps fused optimizers have taken: torch's kernels for these do not count the versions of what they write to."""


def _count_fused(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    _fused_steps[0] += any(group.get("fused") for group in optimizer.param_groups)


register_optimizer_step_post_hook(_count_fused)


def watch(model: nn.Module, count: list[int]) -> Callable[[], tuple[Any, ...]]:
    """A function whose result is another one when a tensor of the model was written to or replaced, or a module or a hook was,
    when one came or went, or when a stack links its layers in another way.

    What it cannot see is a tensor written to through ``.data``, or through NumPy; for that there is ``count``, a list of one
    number, which is part of the result. It holds the model's parts, not the model.
    """
    modules = list(model.modules())
    tensors = [table for module in modules for table in (module._parameters, module._buffers)]
    others = [table for module in modules for table in (module._modules, *hooks_of(module))]
    parts = [table for table in others if table]
    scope: dict[str, Any] = {
        "count": count,
        "fused": _fused_steps,
        "parts": parts,
        "before": [table.copy() for table in parts],
        "empty": tuple(table for table in (*others, *tensors) if not table),
    }
    reads = ["count[0]", "fused[0]", "any(empty)", *(["parts == before"] if parts else [])]
    full = {f"t{n}": table for n, table in enumerate(tensors) if table}
    scope |= full
    for own, table in full.items():
        reads += [read for name, tensor in table.items() for read in _reads(f"{own}[{name!r}]", tensor)]
    # where one is gone a read fails, so that the sum can only grow
    reads.append(" + ".join(f"len({own})" for own in full) or "0")
    for n, module in enumerate(modules):
        if isinstance(module, Stack):
            scope[f"o{n}"] = module.__dict__
            reads.append(f"o{n}['skip']")
    exec(compile(f"def read():\n    return ({', '.join(reads)},)", "<watch>", "exec"), scope)
    read: Callable[[], tuple[Any, ...]] = scope["read"]
    return read


def _reads(at: str, tensor: Tensor | None) -> list[str]:
    if tensor is None:
        return [at]
    address = f"(t := {at}).data_ptr()"
    return [address] if tensor.is_inference() else [address, "t._version"]  # inference tensors have no version


def hooks_of(module: nn.Module) -> tuple[dict[int, Any], dict[int, Any]]:
    """What is called before and after a module's forward, and may change what goes in and comes out."""
    return module._forward_pre_hooks, module._forward_hooks


def tensors_in(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, by its full name; under the first of its names where it has several."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
