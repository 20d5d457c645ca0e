"""Noticing that a model has changed, in less time than a step takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

_fused_steps = [0]
"""How many steps fused optimizers have taken: torch's kernels for these do not count the versions of what they write to."""


def _count_fused(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    _fused_steps[0] += any(group.get("fused") for group in optimizer.param_groups)


register_optimizer_step_post_hook(_count_fused)


def watch(model: nn.Module, count: list[int]) -> Callable[[], tuple[Any, ...]]:
    """A function whose result is another one when a tensor of the model was written to or replaced, or a module was.

    What it cannot see is a tensor written to through ``.data``, or through NumPy; for that there is ``count``, a list of one
    number, which is part of the result. It holds the model's parts, not the model.
    """
    scope: dict[str, Any] = {"count": count, "fused": _fused_steps}
    reads = ["count[0]", "fused[0]"]
    for n, module in enumerate(model.modules()):
        if module._modules:
            scope[f"m{n}"] = module._modules
            reads += [f"m{n}[{name!r}]" for name in module._modules]
        for kind, tensors in (("p", module._parameters), ("b", module._buffers)):
            for name, tensor in tensors.items():
                scope[f"{kind}{n}"] = tensors
                at = f"{kind}{n}[{name!r}]"
                if tensor is None:
                    reads.append(at)
                else:
                    reads.append(f"(t := {at}).data_ptr()")
                    if not tensor.is_inference():  # these have no version
                        reads.append("t._version")
    exec(compile(f"def read():\n    return ({''.join(f'{r}, ' for r in reads)})", "<watch>", "exec"), scope)
    read: Callable[[], tuple[Any, ...]] = scope["read"]
    return read


def tensors_in(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, by its full name; under the first of its names where it has several."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
