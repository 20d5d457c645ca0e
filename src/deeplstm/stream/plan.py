"""What all streams over one model share: how it runs one step, and its weights as the kernel reads them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import BackendUnavailable
from ..nn.stack import Stack
from ..recurrence import dispatch
from ..recurrence.program.rows import Unsupported
from .one_step import Form, OneStep, check, leading_embedding
from .watch import hooks_of, tensors_in, watch


@dataclass(frozen=True)
class Weights:
    """The model's tensors at one time, as steps read them.

    Attributes:
        stamp: what the plan's ``watch`` gave.
        packing: for the kernel; None for the reference.
        step: for the reference; None for the kernel.
        held: aliases, so that no other tensor gets the address of one of these while they are compared by address.
        lock: for who runs ``step``.
    """

    stamp: tuple[Any, ...]
    packing: Any
    step: OneStep | None
    held: list[Tensor]
    lock: Any = field(default_factory=Lock)


class Plan:
    """One model, made ready to run step by step.

    Attributes:
        form: its states.
        dtype, device: of states and outputs.
        input_size: I; None where the model reads whole numbers.
        embedding: entries of the table that whole numbers are looked up in.
        output: shape of y without the batch.
        backend: "cpu" or "reference".
        why_not: why it is not "cpu".
        program: for the kernel.
    """

    def __init__(self, model: nn.Module, weights: torch.dtype | None, input_size: int | None, wanted: str) -> None:
        self.form = Form(model)
        self.signature = signature(model)
        tensors = tensors_in(model)
        real = next((t for t in tensors.values() if t.is_floating_point()), None)
        self.dtype = torch.get_default_dtype() if real is None else real.dtype
        self.device = torch.device("cpu") if real is None else real.device
        table = leading_embedding(model)
        self.embedding = None if table is None else table.num_embeddings
        self.input_size = None if table is not None else input_size
        self.weights_dtype = weights or self.dtype
        self._forgotten = [0]
        self.watch = watch(model, self._forgotten)
        self._lock = RLock()
        self._current: Weights | None = None
        self.program: Any = None
        self.why_not: list[str] = []
        self.backend = self._choose(model, table, wanted)

    # ---------------------------------------------------------------- how it runs

    def _choose(self, model: nn.Module, table: nn.Embedding | None, wanted: str) -> str:
        names = [n for n in dispatch.candidates() if n != "torch"] if wanted == "auto" else [wanted]
        if "cpu" in names:
            self.why_not = self._why_not(model, table)
            if not self.why_not:
                return "cpu"
            if wanted == "cpu":
                raise dispatch.unavailable(f"a Stream over {type(model).__name__}", {"cpu": self.why_not})
        elif wanted == "torch":
            raise BackendUnavailable(
                f"backend 'torch' cannot run a Stream over {type(model).__name__}: torch has no kernel for one step. "
                "Leave the choice to backend='auto', or use 'reference', which runs everything."
            )
        else:
            self.why_not = [f"the backend {wanted if wanted != 'auto' else names[-1]!r} is asked for"]
        if self.weights_dtype != self.dtype:
            raise BackendUnavailable(
                f"Stream got weights={self.weights_dtype}, which needs a kernel, but {'; '.join(self.why_not)}. "
                "Leave weights out."
            )
        return "reference"

    def _why_not(self, model: nn.Module, table: nn.Embedding | None) -> list[str]:
        """The reasons for which no kernel can be made; else makes the program."""
        try:
            from ..recurrence.backends.cpu.programs import ELEMENTS
            from ..recurrence.backends.cpu.streaming.kernel import Program
            from ..recurrence.program.inference import Signature, capture_inference
        except ImportError as error:
            return [f"llvmlite, which makes machine code, cannot be imported: {error}"]
        reasons = []
        if self.device.type != "cpu":
            reasons.append(f"the model is on {self.device}")
        if self.dtype not in (torch.float32, torch.float64):
            reasons.append(f"the model is {self.dtype}, float32 and float64 have kernels")
        elif self.weights_dtype != self.dtype != torch.float32:
            reasons.append(f"the model is {self.dtype}, weights of another dtype than the model's go with float32")
        tensors = tensors_in(model)
        if others := {str(t.dtype) for t in tensors.values() if t.is_floating_point()} - {str(self.dtype)}:
            reasons.append(f"weights are {self.dtype} and {', '.join(sorted(others))}")
        if table is not None and (type(table).forward is not nn.Embedding.forward or any(hooks_of(table))):
            reasons.append("its embedding does more than to look numbers up: it has hooks or a forward of its own")
        if table is not None and table.max_norm is not None:
            reasons.append("its embedding has max_norm, which changes the weights whenever they are read")
        width = self.input_size if table is None else table.embedding_dim
        if width is None:
            reasons.append("it does not say how wide its input is")
        if reasons:
            return reasons
        one = OneStep(model, after_embedding=table is not None)
        used = {name: t for name, t in tensors_in(one).items() if t.is_floating_point()}
        call = _call_of(one)
        shapes = tuple((name, tuple(t.shape)) for name, t in used.items())
        assert width is not None
        kind = Signature(shapes, width, tuple(self.form.widths), True, (), False, self.dtype)
        try:
            with ThreadPoolExecutor(1) as other:  # where nothing of the caller's is in force: modes, autocast, hooks
                step = other.submit(capture_inference, call, kind).result()
            self.names = [name.removeprefix("model.") for name in used]
            as_weights = ELEMENTS[self.weights_dtype]
            self.program = Program(step, ELEMENTS[self.dtype], as_weights, self.embedding)
        except Unsupported as reason:
            return [f"programs lack {reason}"]
        return []

    # ---------------------------------------------------------------- its weights

    def weights(self, model: nn.Module) -> Weights:
        """The model's weights now. Raises ValueError where it has become another model."""
        with self._lock:
            try:
                stamp = self.watch()
            except (KeyError, AttributeError):
                stamp = ()
            if self._current is None or self._current.stamp != stamp:
                self._check(model)
                self.watch = watch(model, self._forgotten)
                tensors = tensors_in(model)
                held = [t.detach() for t in tensors.values()]
                if self.program is None:
                    self._current = Weights(self.watch(), None, OneStep(model), held)
                else:
                    packing = self.program.pack([tensors[name].detach() for name in self.names])
                    self._current = Weights(self.watch(), packing, None, [*held, *self._table_of(model)])
            return self._current

    def forget(self) -> None:
        """Take the weights anew when they are asked for next."""
        with self._lock:
            self._forgotten[0] += 1

    @staticmethod
    def _table_of(model: nn.Module) -> list[Tensor]:
        table = leading_embedding(model)
        return [] if table is None else [table.weight.detach().contiguous()]

    def _check(self, model: nn.Module) -> None:
        now = signature(model)
        if now == self.signature:
            return
        changed = [
            f"{name} is {now.get(name, 'gone')}, was {old}"
            for name, old in self.signature.items()
            if now.get(name) != old
        ]
        changed += [f"{name} is new" for name in now if name not in self.signature]
        raise ValueError(
            f"Stream over {type(model).__name__}: the model has changed since the stream was made: {'; '.join(changed)}. "
            "Make a new Stream for it; the state of this one is as it was."
        )


def signature(model: nn.Module) -> dict[str, str]:
    """What must stay as it is while a stream runs: kinds of modules, with hooks; shape, dtype and device of tensors."""
    kinds = {name or "the model": _kind(module) for name, module in model.named_modules()}
    tensors = {name: f"{tuple(t.shape)} {t.dtype} on {t.device}" for name, t in tensors_in(model).items()}
    return {**kinds, **tensors}


def _kind(module: nn.Module) -> str:
    options = [f"skip={module.skip!r}"] if isinstance(module, Stack) and module.skip else []
    options += [f"forward hook {number}" for hooks in hooks_of(module) for number in hooks]
    return f"{type(module).__name__}{' with ' * bool(options)}{', '.join(options)}"


def _call_of(one: OneStep) -> Callable[..., Any]:
    def call(weights: dict[str, Tensor], x: Tensor, states: tuple[Tensor, ...]) -> Any:
        return torch.func.functional_call(one, weights, (x, states))

    return call


_plans: WeakKeyDictionary[nn.Module, dict[Any, Plan]] = WeakKeyDictionary()
_lock = RLock()


def plan_of(model: nn.Module, weights: torch.dtype | None, input_size: int | None) -> Plan:
    """The plan of a model, made when it is first asked for, and again after the model has changed its shape.

    Raises: TypeError and ValueError for what cannot be streamed, with every reason.
    """
    check(model)
    key = (weights, input_size, dispatch.forced(), tuple(dispatch.candidates()), _options(model))
    with _lock:
        plans = _plans.setdefault(model, {})
        if key not in plans or plans[key].signature != signature(model):
            plans[key] = Plan(model, weights, input_size, dispatch.forced())
        return plans[key]


def _options(model: nn.Module) -> str:
    """Every number, flag or name that equations may depend on."""
    simple = (bool, int, float, str, type(None), tuple, list)
    return repr(
        [
            [(k, v) for k, v in module.__dict__.items() if k != "training" and k[0] != "_" and isinstance(v, simple)]
            for module in model.modules()
        ]
    )


__all__ = ["Plan", "Weights", "plan_of", "tensors_in"]
