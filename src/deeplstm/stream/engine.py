"""What runs a stream's steps: a kernel with memory of its own, or the model's own code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from .fast import Fast, Kernel, fast, never
from .plan import Plan
from .sharing import Always, Shared

TWO_THREADS_BYTES = 400_000
"""Weights from which on two threads are faster than one, where there is a core to spare."""


def engine_of(plan: Plan, model: nn.Module, batch: int, threads: int | None) -> Engine:
    kind = Compiled if plan.backend == "cpu" else Reference
    return kind(plan, model, batch, threads)


class Engine:
    """Runs steps and keeps the states.

    Attributes:
        fast: one step for an x that is just as the kernel wants it; gives None for any other, and after a change of the model.
        x_dtype: what the model reads.
        like: one number, as the states are.
    """

    def __init__(self, plan: Plan, model: nn.Module, batch: int, threads: int | None) -> None:
        self.plan, self.model, self.batch = plan, model, batch
        self.dtype, self.device = plan.dtype, plan.device
        self.x_dtype = torch.int64 if plan.embedding is not None else plan.dtype
        self.input_size = plan.input_size
        self.like = torch.zeros((), dtype=self.dtype, device=self.device)
        self.fast: Fast = never

    @property
    def weight_bytes(self) -> int:
        raise NotImplementedError

    def run(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Steps x (T, B, ...), checked, to y (T, B, O), in ``out`` where that is given."""
        raise NotImplementedError

    def y_shape(self, x: Tensor) -> torch.Size:
        """The shape of one step's output for such x (T, B, ...)."""
        raise NotImplementedError

    def states(self) -> list[Tensor]:
        raise NotImplementedError

    def put(self, tensors: list[Tensor]) -> None:
        raise NotImplementedError

    def refresh(self, force: bool = False) -> None:
        raise NotImplementedError


def _not_in_table(entries: int | None, place: int) -> ValueError:
    return ValueError(
        f"Stream got a number that is not in the embedding's table: numbers from 0 to {(entries or 0) - 1} are expected, "
        f"number {place} of the given ones is another. Nothing has changed."
    )


def _fill(out: Tensor, y: Tensor) -> Tensor:
    with torch.inference_mode():  # a tensor that was made in it is written to nowhere else
        return out.copy_(y)


class Compiled(Engine):
    """A kernel."""

    def __init__(self, plan: Plan, model: nn.Module, batch: int, threads: int | None) -> None:
        from ..recurrence.backends.cpu.streaming import kernel, layout

        super().__init__(plan, model, batch, threads)
        self._code = plan.program.code(batch)
        self._memory = kernel.Memory(plan.program, batch)
        self._context = self._memory.context
        self._x_at, self._y_at, self._steps_at, self._counter_at = layout.X, layout.Y, layout.STEPS, layout.COUNTER
        self._context[self._steps_at] = 1
        self._table_at = layout.TABLE
        width = plan.program.step.y.width
        self._y_shape = torch.Size((batch, width))
        self._x_shape = torch.Size((batch,) if plan.embedding is not None else (batch, plan.input_size or 0))
        self._go: Callable[..., int] = partial(self._code.call, self._memory.pointer)
        self.refresh()
        if threads == 2 or (threads is None and self.weight_bytes >= TWO_THREADS_BYTES and torch.get_num_threads() > 1):
            shared: type[Always] = Always if threads == 2 else Shared
            self._go = shared(self._code.call, self._memory.pointer, self._context, layout.MAILBOX)
            self.fast = self._fast()

    @property
    def weight_bytes(self) -> int:
        packed = self._memory.packing
        return sum(t.numel() * t.element_size() for t in (packed.packed, *packed.sources))

    def refresh(self, force: bool = False) -> None:
        if force:
            self.plan.forget()
        self._weights = self.plan.weights(self.model)
        self._stamp, self._watch = self._weights.stamp, self.plan.watch
        self._memory.use(self._weights.packing)
        if self.plan.embedding is not None:
            self._context[self._table_at] = self._weights.held[-1].data_ptr()
        self.fast = self._fast()

    def _changed(self) -> bool:
        try:
            return bool(self._watch() != self._stamp)
        except (KeyError, AttributeError):
            return True

    def _fast(self) -> Fast:
        call = self._go, self._not_in_table, self._context, self._x_at, self._y_at
        return fast(self._watch, self._stamp, Kernel(*call, self._x_shape, self.x_dtype, self._y_shape, self.dtype))

    def _not_in_table(self, status: int) -> ValueError:
        return _not_in_table(self.plan.embedding, status - 1)

    def run(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        if self._changed():
            self.refresh()
        T = x.shape[0]
        if out is not None and out.is_contiguous() and not np.may_share_memory(x.numpy(), out.numpy()):
            y = out
        else:
            y = torch.empty((T, *self._y_shape), dtype=self.dtype)
        if T:
            x = x.to(self.x_dtype).contiguous()
            context = self._context
            context[self._x_at], context[self._y_at], context[self._steps_at] = x.data_ptr(), y.data_ptr(), T
            try:
                bad = self._go(T) if isinstance(self._go, Always) else self._go()
            finally:
                context[self._steps_at] = 1
            if bad:
                raise self._not_in_table(bad)
        if out is None:
            return y
        if y is not out:
            return _fill(out, y)
        torch.autograd.graph.increment_version(out)  # for autograd, which may have kept it
        return out

    def y_shape(self, x: Tensor) -> torch.Size:
        return self._y_shape

    def states(self) -> list[Tensor]:
        parity = self._context[self._counter_at] & 1
        return [pair[parity] for pair in self._memory.states]

    def put(self, tensors: list[Tensor]) -> None:
        for tensor, given in zip(self.states(), tensors, strict=True):
            tensor.copy_(given)


class Reference(Engine):
    """The model's own code."""

    def __init__(self, plan: Plan, model: nn.Module, batch: int, threads: int | None) -> None:
        super().__init__(plan, model, batch, threads)
        self._shape: torch.Size | None = None
        self._states: list[Tensor] = []
        self.refresh()

    @property
    def weight_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self._weights.held)

    def refresh(self, force: bool = False) -> None:
        if force:
            self.plan.forget()
        self._weights = self.plan.weights(self.model)

    @torch.no_grad()
    def run(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        self.refresh()
        if self.plan.embedding is not None and len(bad := ((x < 0) | (x >= self.plan.embedding)).flatten().nonzero()):
            raise _not_in_table(self.plan.embedding, int(bad[0]))
        one = self._weights.step
        assert one is not None
        states = tuple(self._states)
        if not len(x):
            return self.like.new_zeros(0, *self.y_shape(x)) if out is None else out
        outputs = []
        with self._weights.lock:  # it exchanges tensors of its cells while it runs
            for t in range(len(x)):
                y, states = one(x[t], states)
                outputs.append(y)
        y = torch.stack(outputs)  # copies, so that what is done to them does nothing to the state
        self._states = list(states)
        return y if out is None else _fill(out, y)

    @torch.no_grad()
    def y_shape(self, x: Tensor) -> torch.Size:
        if self._shape is None:
            one = self._weights.step
            assert one is not None
            with self._weights.lock:
                self._shape = one(x.new_zeros(x.shape[1:]), tuple(self._states))[0].shape
        return self._shape

    def states(self) -> list[Tensor]:
        return self._states

    def put(self, tensors: list[Tensor]) -> None:
        self._states = [tensor.clone() for tensor in tensors]
