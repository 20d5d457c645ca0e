"""What runs a stream's steps: a kernel with memory of its own, or the model's own code."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .plan import Plan

TWO_THREADS_BYTES = 1_500_000
"""Weights from which on two threads are faster than one."""

_pool = Lock()  # one stream at a time shares its work: the others have the other core's turn coming


def engine_of(plan: Plan, model: nn.Module, batch: int, threads: int | None) -> Engine:
    kind = Compiled if plan.backend == "cpu" else Reference
    return kind(plan, model, batch, threads)


class Engine:
    """Runs steps and keeps the states.

    Attributes:
        x_dtype: what the model reads.
        like: an empty tensor as the states are.
    """

    def __init__(self, plan: Plan, model: nn.Module, batch: int, threads: int | None) -> None:
        self.plan, self.model, self.batch = plan, model, batch
        self.dtype, self.device = plan.dtype, plan.device
        self.x_dtype = torch.int64 if plan.embedding is not None else plan.dtype
        self.input_size = plan.input_size
        self.like = torch.empty(0, dtype=self.dtype, device=self.device)

    @property
    def weight_bytes(self) -> int:
        raise NotImplementedError

    def fast(self, x: Any) -> Any:
        """One step for an x just as the kernel wants it; None for any other."""
        return None

    def run(self, x: Tensor) -> Tensor:
        """Steps x (T, B, ...), checked, to y (T, B, O)."""
        raise NotImplementedError

    def y_shape(self, x: Tensor) -> torch.Size:
        """The shape of one step's output for such x (T, B, ...)."""
        raise NotImplementedError

    def not_in_table(self, place: int) -> ValueError:
        return ValueError(
            f"Stream got a number that is not in the embedding's table: numbers from 0 to {(self.plan.embedding or 0) - 1} are "
            f"expected, number {place} of the given ones is another. Nothing has changed."
        )

    def states(self) -> list[Tensor]:
        raise NotImplementedError

    def put(self, tensors: list[Tensor]) -> None:
        raise NotImplementedError

    def refresh(self, force: bool = False) -> None:
        raise NotImplementedError


class Compiled(Engine):
    """A kernel."""

    def __init__(self, plan: Plan, model: nn.Module, batch: int, threads: int | None) -> None:
        from ..recurrence.backends.cpu.streaming import kernel, layout

        super().__init__(plan, model, batch, threads)
        self._code = plan.program.code(batch)
        self._memory = kernel.Memory(plan.program, batch)
        self._context, self._address, self._call = self._memory.context, self._memory.address, self._code.call
        self._x_at, self._y_at, self._steps_at, self._counter_at = layout.X, layout.Y, layout.STEPS, layout.COUNTER
        self._context[self._steps_at] = 1
        self._table_at = layout.TABLE
        width = plan.program.step.y.width
        self._y_shape = torch.Size((batch, width))
        self._x_shape = torch.Size((batch,) if plan.embedding is not None else (batch, plan.input_size or 0))
        self._x_tuple = tuple(self._x_shape)
        self._x = torch.zeros(self._x_shape, dtype=self.x_dtype)
        self._y = torch.zeros(self._y_shape, dtype=self.dtype)
        self._x_array, self._y_array = self._x.numpy(), self._y.numpy()
        self._array_dtype = self._x_array.dtype
        self._x_address, self._y_address = self._x.data_ptr(), self._y.data_ptr()
        self.refresh()
        shared = threads == 2 or (
            threads is None and self.weight_bytes >= TWO_THREADS_BYTES and torch.get_num_threads() > 1
        )
        self._parallel_at = layout.PARALLEL
        self._parallel = int(shared)

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

    def _changed(self) -> bool:
        try:
            return bool(self._watch() != self._stamp)
        except (KeyError, AttributeError):
            return True

    def fast(self, x: Any) -> Any:
        if self._changed():
            self.refresh()
        context = self._context
        if type(x) is np.ndarray:
            if x.shape != self._x_tuple or x.dtype != self._array_dtype:
                return None
            self._x_array[...] = x
            context[self._x_at], context[self._y_at] = self._x_address, self._y_address
            self._go()
            return self._y_array.copy()
        if (
            type(x) is Tensor
            and x.dtype is self.x_dtype
            and x.shape == self._x_shape
            and x.is_cpu
            and x.is_contiguous()
        ):
            y = torch.empty(self._y_shape, dtype=self.dtype)
            context[self._x_at], context[self._y_at] = x.data_ptr(), y.data_ptr()
            self._go()
            return y
        return None

    def _go(self) -> None:
        """Run the context's steps."""
        if not self._parallel:
            bad = self._call(self._address)
        elif _pool.acquire(blocking=False):
            try:
                self._context[self._parallel_at] = self._parallel
                bad = self._call(self._address)
            finally:
                _pool.release()
        else:
            self._context[self._parallel_at] = 0
            bad = self._call(self._address)
        if bad:
            raise self.not_in_table(bad - 1)

    def run(self, x: Tensor) -> Tensor:
        if self._changed():
            self.refresh()
        T = x.shape[0]
        y = torch.empty((T, *self._y_shape), dtype=self.dtype)
        if T:
            x = x.to(self.x_dtype).contiguous()
            context = self._context
            context[self._x_at], context[self._y_at], context[self._steps_at] = x.data_ptr(), y.data_ptr(), T
            try:
                self._go()
            finally:
                context[self._steps_at] = 1
        return y

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
    def run(self, x: Tensor) -> Tensor:
        self.refresh()
        if self.plan.embedding is not None and len(bad := ((x < 0) | (x >= self.plan.embedding)).flatten().nonzero()):
            raise self.not_in_table(int(bad[0]))
        one = self._weights.step
        assert one is not None
        states = tuple(self._states)
        if not len(x):
            return self.like.new_zeros(0, *self.y_shape(x))
        outputs = []
        with self._weights.lock:  # it exchanges tensors of its cells while it runs
            for t in range(len(x)):
                y, states = one(x[t], states)
                outputs.append(y)
        y = torch.stack(outputs)  # copies, so that what is done to them does nothing to the state
        self._states = list(states)
        return y

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
