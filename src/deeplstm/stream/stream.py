"""A trained network, one time step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..cells._cell import is_whole
from ..nn._drop_in import DropIn
from ..nn._widths import sizes
from ..nn.recurrent import Recurrent
from ..nn.stack import Stack
from ..recurrence.call import is_cell
from ..recurrence.state import shapes_of, tensors_of
from . import state_file
from .engine import Engine, engine_of
from .one_step import Form, check, initial, leading_embedding
from .plan import plan_of

Array = TypeVar("Array", Tensor, np.ndarray)
Method = TypeVar("Method", bound=Callable[..., Any])


def _in_plain_memory(method: Method) -> Method:
    """What a method makes can be written to anywhere, also where it is called in ``torch.inference_mode``."""

    @wraps(method)
    def call(self: Stream, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_inference_mode_enabled():
            return method(self, *args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return method(self, *args, **kwargs)

    return cast(Method, call)


class Stream:
    """Take a model one time step at a time, with its state kept inside: microseconds a step instead of a call of the model.

    The model's step is compiled as one kernel, from the first layer to the last; its weights are packed once, and again when
    they have changed. What comes out equals the model's forward over the whole sequence, in evaluation mode, to rounding,
    whatever the chunks. A model with something in it that cannot be compiled runs as plain PyTorch, slower; `backend` says
    which, and `why_not` the reasons.

    Args:
        model: an `LSTM`, `GRU`, `RNN`, `Recurrent`, cell, or a `Stack` of such with any time-distributed layers, all forward in
            time. Dropout, zoneout and the like are as in evaluation mode, whatever mode the model is in.
        batch: B, rows that are taken together.
        weights: ``torch.bfloat16`` keeps the weights of a float32 model's products in half the memory, which makes large ones
            up to twice as fast; states, sums and everything else stay float32. None: as the model's.
        threads: 1, or 2 to share the columns of large layers between two threads of torch's; None: two where the weights are
            large enough for it to be faster. The same bits come out.

    Shapes: see `step` and `feed`. Numbers are NumPy arrays or torch tensors, and what comes back is of the same kind, in memory
        of its own: it is not overwritten by later steps.
    Raises: TypeError for what is no such model, ValueError with the reasons for one that reads its input backwards or has a
        forward of its own, and `BackendUnavailable` where `deeplstm.backend` or ``weights`` asks for a kernel and there can be
        none.

    A stream belongs to one thread at a time; several over one model share its packed weights and may run in several threads.
    Changed weights are noticed before the next step (an optimizer's step, ``load_state_dict``, a replaced parameter), but not
    those written to through ``.data`` or NumPy: call `refresh` then. Options of cells are read when the stream is made; other
    layers, hooks or links are noticed, and refused.

    >>> import torch, deeplstm
    >>> net = deeplstm.LSTM(3, 4, num_layers=2)
    >>> stream = deeplstm.Stream(net)
    >>> x = torch.randn(5, 1, 3)
    >>> ys = [stream.step(x[t]) for t in range(5)]
    >>> y, state = net(x)
    >>> torch.allclose(torch.stack(ys), y, atol=1e-6), torch.allclose(stream.state[1], state[1], atol=1e-6)
    (True, True)
    """

    @_in_plain_memory
    def __init__(
        self, model: nn.Module, batch: int = 1, *, weights: torch.dtype | None = None, threads: int | None = None
    ) -> None:
        _check_model(model, batch, weights, threads)
        self.model, self.batch = model, batch
        self._weights_dtype, self._threads = weights, threads
        self._form = Form(model)
        width = sizes(model)[0] if not is_cell(model) else getattr(model, "input_size", None)
        self._has_table = leading_embedding(model) is not None
        self._batch_first = bool(getattr(model, "batch_first", False))
        self._engine: Engine | None = None
        if width is not None or self._has_table:
            self._start(width)
        else:  # a cell that does not say how wide its input is: the first one does
            like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
            self._waiting = initial(model, self._form, batch, like)

    def _start(self, width: int | None) -> Engine:
        """Make ready for inputs of this width."""
        plan = plan_of(self.model, self._weights_dtype, width)
        engine = engine_of(plan, self.model, self.batch, self._threads)
        waiting = getattr(self, "_waiting", None)
        engine.put(initial(self.model, self._form, self.batch, engine.like) if waiting is None else waiting)
        self._engine = engine
        return engine

    # ---------------------------------------------------------------- running

    def step(self, x: Array, *, out: Array | None = None) -> Array:
        """One time step.

        Args:
            x: (B, I), or (I,) where batch is 1; (B,) whole numbers, or (), for a model that begins with an ``nn.Embedding``.
            out: where to put y, instead of memory of its own; may be where x is.

        Returns: y (B, O), or (O,) for an x without the batch.
        Raises: TypeError and ValueError for what is not that; then nothing has changed.
        """
        engine = self._engine
        if engine is not None:
            y = engine.fast(x, out)
            if y is not None:
                return y
        return self._run(x, out, is_chunk=False)

    def feed(self, chunk: Array, *, out: Array | None = None) -> Array:
        """Several time steps.

        Args:
            chunk: (T, B, I), (B, T, I) where the model has ``batch_first``, or (T, I) where batch is 1; without the I for
                whole numbers.
            out: where to put y, instead of memory of its own.

        Returns: y (T, B, O), in the order of the chunk's dimensions. T may be 0.
        Raises: as `step`.
        """
        return self._run(chunk, out, is_chunk=True)

    @_in_plain_memory
    def _run(self, x: Any, out: Any, is_chunk: bool) -> Any:
        is_numpy = isinstance(x, np.ndarray)
        if not is_numpy and not isinstance(x, Tensor):
            raise TypeError(
                f"Stream got x of type {type(x).__name__}, but a torch tensor or a NumPy array is expected: "
                f"{self._wanted(is_chunk)}."
            )
        tensor = _as_tensor(x) if is_numpy else x.detach()
        steps, unbatched = self._normal(tensor, is_chunk)  # (T, B, ...)
        engine = self._engine or self._start(steps.shape[2] if steps.dim() == 3 else None)
        if out is None:
            y = self._as_given(engine.run(steps), is_chunk, unbatched)
            return y.numpy() if is_numpy else y
        like = engine.like.expand(len(steps), *engine.y_shape(steps))
        target = self._checked_out(out, self._as_given(like, is_chunk, unbatched), is_numpy)
        engine.run(steps, self._as_steps(target, is_chunk, unbatched))
        return out

    def _normal(self, x: Tensor, is_chunk: bool) -> tuple[Tensor, bool]:
        """Turn x into (T, B, ...), and say whether it came without the batch."""
        engine = self._engine
        wanted_dtype = None if engine is None else engine.x_dtype
        is_number = self._has_table
        dims = (1 if is_number else 2) + is_chunk
        unbatched = self.batch == 1 and x.dim() == dims - 1
        if x.layout is not torch.strided:
            raise ValueError(
                f"Stream over {type(self.model).__name__} got a sparse x ({_name(x.layout)}), but a dense one is expected: "
                "call to_dense() on it."
            )
        complaints = []
        if is_number:
            if x.dtype not in (torch.int64, torch.int32):
                complaints.append(f"{_dtype(x)}, whole numbers (int64) are expected")
        elif wanted_dtype is not None and x.dtype != wanted_dtype:
            complaints.append(f"{_dtype(x)}, the model's {_name(wanted_dtype)} is expected: convert one of them")
        if engine is not None and x.device != engine.device:
            complaints.append(f"on {x.device}, the model is on {engine.device}: move one of them")
        whole = self._as_steps(x, is_chunk, unbatched)
        width = None if engine is None else engine.input_size
        fits = whole.dim() >= 2 and whole.shape[1] == self.batch
        if fits and (width is not None or is_number):
            fits = tuple(whole.shape[2:]) == (() if is_number else (width,))
        if not fits:
            complaints.append(f"of shape {tuple(x.shape)}, {self._wanted(is_chunk)} is expected")
        if complaints:
            raise ValueError(f"Stream over {type(self.model).__name__} got x {'; '.join(complaints)}.")
        return whole, unbatched

    def _wanted(self, is_chunk: bool) -> str:
        width = None if self._engine is None else self._engine.input_size
        last = () if self._has_table else ("I" if width is None else width,)
        time = ("T",) if is_chunk else ()
        full = (self.batch, *time, *last) if self._batch_first else (*time, self.batch, *last)
        text = "({}{})".format(", ".join(map(str, full)), "," if len(full) == 1 else "")
        if self.batch == 1:
            short = (*time, *last)
            text += " or ({}{})".format(", ".join(map(str, short)), "," if len(short) == 1 else "")
        return text

    def _as_steps(self, x: Tensor, is_chunk: bool, unbatched: bool) -> Tensor:
        """An x or y as it is given, as (T, B, ...)."""
        if unbatched:
            return x[:, None] if is_chunk else x[None, None]
        if not is_chunk:
            return x[None]
        return x.transpose(0, 1) if self._batch_first and x.dim() >= 2 else x

    def _as_given(self, y: Tensor, is_chunk: bool, unbatched: bool) -> Tensor:
        if unbatched:
            return y[:, 0] if is_chunk else y[0, 0]
        if not is_chunk:
            return y[0]
        return y.transpose(0, 1) if self._batch_first else y

    def _checked_out(self, out: Any, y: Tensor, is_numpy: bool) -> Tensor:
        if is_numpy and isinstance(out, np.ndarray):
            if not out.flags.writeable:
                raise ValueError("Stream got an out that cannot be written to.")
            target = torch.from_numpy(out)
        elif not is_numpy and isinstance(out, Tensor):
            target = out
        else:
            kind = "a NumPy array" if is_numpy else "a tensor"
            raise TypeError(f"Stream got out of type {type(out).__name__}, but {kind} is expected, as x is.")
        if target.layout is not torch.strided or any(
            n > 1 and not s for n, s in zip(target.shape, target.stride(), strict=True)
        ):
            raise ValueError("Stream got an out that is sparse or expanded, but memory for every number is expected.")
        if (target.shape, target.dtype, target.device) != (y.shape, y.dtype, y.device):
            raise ValueError(
                f"Stream got out of {_dtype(target)} and shape {tuple(target.shape)} on {target.device}, but y is {_dtype(y)} "
                f"and has shape {tuple(y.shape)}, on {y.device}."
            )
        if target.requires_grad:
            raise ValueError("Stream got an out that requires a gradient, but y has none. Give a plain tensor.")
        return target

    # ---------------------------------------------------------------- the state

    @property
    def state(self) -> Any:
        """The state after the last step, nested as the model's forward returns it: a copy, which later steps leave alone.

        Set it to what a stream or the model's forward gave, for B rows; NumPy arrays will do. A wrong one raises ValueError,
        and nothing has changed. None is the initial state.
        """
        return self._form.nested([tensor.clone() for tensor in self._tensors()])

    @state.setter
    def state(self, state: Any) -> None:
        if state is None:
            self.reset()
            return
        state = _as_tensors(state)
        wanted = self._form.nested(self._tensors())
        like = tensors_of(wanted)[:1]
        if shapes_of(state) != shapes_of(wanted):
            raise ValueError(
                f"Stream over {type(self.model).__name__}: a state of shapes {shapes_of(state)} is given, but "
                f"{shapes_of(wanted)} is expected for this model and batch={self.batch}. The state is as it was."
            )
        for given in tensors_of(state):
            if given.dtype != like[0].dtype or given.device != like[0].device:
                raise ValueError(
                    f"Stream over {type(self.model).__name__}: a state of {_dtype(given)} on {given.device} is given, but "
                    f"{_dtype(like[0])} on {like[0].device} is expected: convert it. The state is as it was."
                )
        self._put(self._form.flat(state))

    @_in_plain_memory
    def reset(self, rows: int | Sequence[int] | Sequence[bool] | Tensor | np.ndarray | None = None) -> None:
        """Go back to the initial state: zeros, or what the cell's own ``initial_state`` gives.

        Args:
            rows: which rows of the batch, by number or as a mask; None: all of them.

        Raises: ValueError for rows that there are not.
        """
        now = self._tensors()
        chosen = _rows(rows, self.batch)
        fresh = initial(self.model, self._form, self.batch, now[0] if now else torch.zeros(()))
        with torch.no_grad():
            for tensor, start in zip(now, fresh, strict=True):
                tensor[chosen] = start[chosen]

    def save(self, path: str | Path) -> None:
        """Write the state to a safetensors file, from which `load` continues in another process."""
        state_file.save(Path(path), self._form, self._tensors(), self.batch)

    def load(self, path: str | Path) -> None:
        """Take the state from a file that `save` wrote.

        Raises: `InputError` for a file that is damaged or belongs to another model or batch; then nothing has changed.
        """
        self._put(state_file.load(Path(path), self._form, self._tensors(), self.batch))

    @_in_plain_memory
    def fork(self) -> Stream:
        """A stream of its own that goes on from the same state: for trying several continuations. Weights are shared."""
        other = Stream.__new__(Stream)
        other.__dict__.update({k: v for k, v in self.__dict__.items() if k not in ("_engine", "_waiting")})
        other._engine = None
        if self._engine is None:
            other._waiting = [tensor.clone() for tensor in self._waiting]
        else:
            other._engine = engine_of(self._engine.plan, self.model, self.batch, self._threads)
            other._engine.put(self._tensors())
        return other

    def _tensors(self) -> list[Tensor]:
        """The state as it is kept: (B, n) each, to be read or written to."""
        return self._waiting if self._engine is None else self._engine.states()

    @_in_plain_memory
    def _put(self, tensors: list[Tensor]) -> None:
        with torch.no_grad():
            for tensor, given in zip(self._tensors(), tensors, strict=True):
                tensor.copy_(given)

    # ---------------------------------------------------------------- what it is

    @_in_plain_memory
    def refresh(self) -> None:
        """Read the model's weights anew, for changes that cannot be noticed: those made through ``.data`` or NumPy."""
        if self._engine is not None:
            self._engine.refresh(force=True)

    @property
    def backend(self) -> str:
        """What runs the steps: "cpu", a kernel; "reference", plain PyTorch; "unknown" while the input's width is."""
        return "unknown" if self._engine is None else self._engine.plan.backend

    @property
    def why_not(self) -> list[str]:
        """Why there is no kernel; empty where there is one."""
        return [] if self._engine is None else list(self._engine.plan.why_not)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that one step reads, as they are kept."""
        return 0 if self._engine is None else self._engine.weight_bytes

    def __repr__(self) -> str:
        reasons = f", since {'; '.join(self.why_not)}" if self.why_not else ""
        kept = f", weights={self._weights_dtype}" if self._weights_dtype else ""
        return f"Stream({type(self.model).__name__}, batch={self.batch}{kept}) on backend {self.backend!r}{reasons}"

    def __copy__(self) -> Stream:
        return self.fork()

    def __deepcopy__(self, memo: Any) -> Stream:
        return self.fork()

    def __reduce__(self) -> Any:
        raise TypeError(
            "A Stream cannot be pickled. Save its state with save(path), and load(path) it where the model is."
        )


def _check_model(model: Any, batch: Any, weights: Any, threads: Any) -> None:
    if not isinstance(model, DropIn | Recurrent | Stack) and not is_cell(model):
        kind = type(model).__name__
        advice = "Wrap it in a Stack, or build its layers with this library's."
        if isinstance(model, nn.RNNBase):
            advice = f"Use deeplstm.{kind}, which takes the same arguments and state dict."
        raise TypeError(
            f"Stream got {kind}, but a deeplstm.LSTM, GRU, RNN, Recurrent, Stack or a cell is expected. {advice}"
        )
    check(model)
    if not is_whole(batch) or batch < 1:
        raise ValueError(f"Stream: batch={batch!r} is given, a whole number of at least 1 is expected.")
    if weights not in (None, torch.bfloat16):
        raise ValueError(f"Stream: weights={weights!r} is given, torch.bfloat16 or None is expected.")
    if threads not in (None, 1, 2):
        raise ValueError(f"Stream: threads={threads!r} is given, 1, 2 or None is expected.")


def _as_tensor(x: np.ndarray) -> Tensor:
    try:
        return torch.from_numpy(x if x.flags.writeable and not any(s < 0 for s in x.strides) else x.copy())
    except (TypeError, ValueError) as error:
        raise ValueError(f"Stream got x of {x.dtype}, which torch does not have: {error}") from error


def _rows(rows: Any, batch: int) -> Any:
    """An index of rows."""
    if rows is None:
        return slice(None)
    try:
        index = torch.as_tensor(rows)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"Stream got rows {rows!r}, but whole numbers or a mask are expected.") from None
    if index.dtype == torch.bool:
        if index.shape != (batch,):
            raise ValueError(
                f"Stream got a mask of shape {tuple(index.shape)}, but ({batch},) is expected: one for each row."
            )
        return index
    if index.numel() == 0:
        return index.long().flatten()
    if index.is_floating_point() or index.is_complex():
        raise ValueError(f"Stream got rows {rows!r}, but whole numbers or a mask are expected.")
    bad = [int(n) for n in index.flatten() if not -batch <= n < batch]
    if bad:
        raise ValueError(f"Stream got rows {bad}, but there are {batch}: numbers from 0 to {batch - 1} are expected.")
    return index.flatten()


def _as_tensors(state: Any) -> Any:
    """A state with tensors where it has arrays."""
    if isinstance(state, tuple | list):
        return tuple(_as_tensors(part) for part in state)
    return torch.tensor(state) if isinstance(state, np.ndarray) else state


def _name(kind: torch.dtype | torch.layout) -> str:
    return str(kind).removeprefix("torch.")


def _dtype(x: Tensor) -> str:
    return _name(x.dtype)
