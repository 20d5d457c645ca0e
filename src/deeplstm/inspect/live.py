"""Tensors that are computed from parameters and write back to them: a matrix of two parameters, the sum of two biases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class Live(Tensor):
    """A tensor made of others, as a view is of one: reading sees them as they are now, writing changes them.

    No memory of its own could be a view of two parameters. So the values stand in a copy that is renewed before every use,
    and after a use that changed it (``live[3] = 0``, ``live.mul_(2)``, ``live[:, 2].fill_(1)``) its values are written back.
    What is computed from it is a plain tensor.
    """

    _read: Callable[[], Tensor]
    _write: Callable[[Tensor], None]
    _copy: Tensor

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function == Tensor.data.__set__:  # type: ignore[attr-defined]
            raise TypeError("a view of parameters cannot be given other memory: write into it, with copy_(values).")
        lives = list(_lives_in((args, kwargs)))
        with torch._C.DisableTorchFunctionSubclass():
            for live in lives:
                live._copy.copy_(live._read())
            before = [live._version for live in lives]
            result = function(*args, **kwargs)
            for live, version in zip(lives, before, strict=True):
                if live._version != version:
                    live._write(live._copy)
            for live in lives:
                result = _with_views(result, live)
        return result

    def numpy(self, *, force: bool = False) -> Any:
        """The values now; read-only, since NumPy could not write them back."""
        values = self.clone().numpy(force=force)
        values.flags.writeable = False
        return values

    def __format__(self, spec: str) -> str:
        return format(self.clone(), spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.clone()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.clone().__reduce_ex__(protocol)


def live(read: Callable[[], Tensor], write: Callable[[Tensor], None]) -> Live:
    """A tensor that ``read`` computes and ``write`` takes apart again."""
    with torch.inference_mode(False), torch.no_grad():
        copy = read().clone()
    return _as_live(copy, copy, read, write)


def beside(left: Tensor, right: Tensor) -> Live:
    """[left | right] as one matrix. Shapes: (n, I), (n, R) -> (n, I + R)."""
    columns = left.shape[1]

    def write(whole: Tensor) -> None:
        left.copy_(whole[:, :columns])
        right.copy_(whole[:, columns:])

    return live(lambda: torch.cat([left, right], dim=1), write)


def total(first: Tensor, second: Tensor) -> Live:
    """The sum of two vectors; a number written to it stands in the first then, and zero in the second."""

    def write(whole: Tensor) -> None:
        changed = whole != first + second
        first.copy_(torch.where(changed, whole, first))
        second.masked_fill_(changed, 0)

    return live(lambda: first + second, write)


def _as_live(tensor: Tensor, copy: Tensor, read: Callable[[], Tensor], write: Callable[[Tensor], None]) -> Live:
    result = tensor.as_subclass(Live)
    result._copy, result._read, result._write = copy, read, write
    return result


def _lives_in(values: Any) -> Iterator[Live]:
    if isinstance(values, Live):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _lives_in(value)
    elif isinstance(values, dict):
        yield from _lives_in(list(values.values()))


def _with_views(result: Any, live: Live) -> Any:
    """A result, where a tensor in it that shares the copy's memory writes back as well."""
    if isinstance(result, tuple | list) and not hasattr(result, "_fields"):
        return type(result)(_with_views(part, live) for part in result)
    is_view = type(result) is Tensor and result.untyped_storage().data_ptr() == live._copy.untyped_storage().data_ptr()
    return _as_live(result, live._copy, live._read, live._write) if is_view and result.numel() else result
