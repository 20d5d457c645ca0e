"""The whole loop as one operator of torch, for torch.compile and torch.export: they see one node, however many steps there are.

`deeplstm::forward` and `deeplstm::backward` carry the cell's program as text, so that a saved graph runs in any process that
has this package; the program is read, and its kernels taken from the cache, once in a process. Without a compiler around it
a call takes `autograd.Recurrence` instead, which knows more: second derivatives.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, library, nn

from ...call import Call
from ...state import tensors_of
from .space import block_size

if TYPE_CHECKING:  # what captures and generates is imported where a program is needed
    from ...program.capture import Step
    from .autograd import Job
    from .directions import Wanted
    from .programs import Programs

KNOWN = 128
"""How many programs are kept between calls."""

Tensors = Sequence[Tensor]


class Given(NamedTuple):
    """What both operators are given, in the order of `ARGUMENTS`.

    Attributes:
        program: the cell's, as text.
        initials: what resets put in the place of states; empty without resets.
        weights, noise: in the program's order.
        lengths, resets, reverse, memory: of `scan`.
        wants: whether there will be a backward, and whether it gives the gradients of x and of each weight.
    """

    program: str
    x: Tensor
    states: Tensors
    initials: Tensors
    weights: Tensors
    noise: Tensors
    lengths: Tensor | None
    resets: Tensor | None
    reverse: bool
    memory: str
    wants: Sequence[bool]

    @property
    def inputs(self) -> list[Tensor]:
        """What has gradients."""
        return [self.x, *self.states, *self.initials, *self.weights]


ARGUMENTS = (
    "str program, Tensor x, Tensor[] states, Tensor[] initials, Tensor[] weights, Tensor[] noise, Tensor? lengths, "
    "Tensor? resets, bool reverse, str memory, bool[] wants"
)
FORWARD = f"({ARGUMENTS}) -> Tensor[]"
BACKWARD = f"({ARGUMENTS}, Tensor[] kept, Tensor?[] upstream) -> Tensor[]"


def run(call: Call, program: str, names: Sequence[str]) -> tuple[Tensor, Any, dict[str, Tensor]]:
    """Run a call as one operator; what is traced. ``names``: of the weights, in the program's order."""
    params = call.params or {}
    weights = [params[name] if name in params else _at(call.step, name) for name in names]
    states = tensors_of(call.state)
    initials = [] if call.resets is None else tensors_of(call.initial)
    noise = [] if call.noise is None else list(call.noise.values())
    # what is exported mostly runs without a backward: it keeps nothing, and a backward runs the forward loop once more
    grad = torch.is_grad_enabled() and not torch.compiler.is_exporting()
    wants = [grad and t.requires_grad for t in (call.x, *weights)]
    gradient = any(wants) or (grad and any(s.requires_grad for s in (*states, *initials)))
    y, *rest = torch.ops.deeplstm.forward(
        program,
        call.x,
        states,
        initials,
        weights,
        noise,
        call.lengths,
        call.resets,
        call.reverse,
        call.memory,
        [gradient, *wants],
    )
    finals, traces = rest[: len(states)], rest[len(states) :]
    state = tuple(finals) if isinstance(call.state, tuple) else finals[0]
    return y, state, dict(zip(call.trace, traces, strict=False))


def _at(module: Any, name: str) -> Tensor:
    for part in name.split("."):
        module = getattr(module, part)
    assert isinstance(module, Tensor)
    return module


# ---------------------------------------------------------------- programs

_programs: OrderedDict[tuple[str, torch.dtype], Programs] = OrderedDict()
_lock = RLock()


def remember(program: str, dtype: torch.dtype, programs: Programs) -> None:
    """Let a text stand for programs that are there already."""
    with _lock:
        _programs[program, dtype] = programs
        _programs.move_to_end((program, dtype))
        while len(_programs) > KNOWN:
            _programs.popitem(last=False)


def text_of(name: str, programs: Programs) -> str:
    """Programs as what the operators take. Raises: `Unsupported`."""
    from ...program.text import write

    return write(name, programs.step)


def _programs_of(program: str, dtype: torch.dtype) -> Programs:
    from .programs import ELEMENTS, Programs

    with _lock:
        found = _programs.get((program, dtype))
        if found is None:
            found = Programs(_step(program), ELEMENTS[dtype])
        remember(program, dtype, found)
        return found


@lru_cache(KNOWN)
def _step(program: str) -> Step:
    from ...program.text import read

    return read(program)


def _wanted(program: str, resets: Tensor | None, memory: str, wants: Sequence[bool]) -> Wanted:
    from .directions import Wanted

    signature = _step(program).signature
    gradient, x, *of_weights = wants
    weights = frozenset(name for (name, _), is_wanted in zip(signature.weights, of_weights, strict=True) if is_wanted)
    return Wanted(gradient, x, weights, memory=memory, trace=signature.trace, resets=resets is not None)


# ---------------------------------------------------------------- checks


def _check(given: Given) -> None:
    """Raise for what the program was not made for: a graph may be called with any tensors, and may be a stranger's."""
    g, s = given, _step(given.program).signature
    T, B = g.x.shape[:2] if g.x.dim() == 3 else (0, 0)
    rows = [(B, width) for width in s.states]
    has_resets = g.resets is not None
    groups = [
        ("x", [g.x], [(T, B, s.x)]),
        ("states", g.states, rows),
        ("initial states", g.initials, rows if has_resets else []),
        ("weights", g.weights, [shape for _, shape in s.weights]),
        ("noise", [n[:1] for n in g.noise], [(1, B, width) for _, width, _ in s.noise]),
        ("resets", [] if g.resets is None else [g.resets], [(T, B)] if has_resets else []),
        ("lengths", [] if g.lengths is None else [g.lengths], [] if g.lengths is None else [(B,)]),
    ]
    complaints = [
        f"{name} of shapes {[tuple(t.shape) for t in tensors]}, {wanted} expected"
        for name, tensors, wanted in groups
        if [tuple(t.shape) for t in tensors] != wanted
    ]
    if not complaints:
        masks = [is_mask for *_, is_mask in s.noise]
        real = [*g.states, *g.initials, *g.weights, *(n for n, mask in zip(g.noise, masks, strict=True) if not mask)]
        complaints = sorted({f"tensors of {t.dtype} with x of {g.x.dtype}" for t in real if t.dtype != g.x.dtype})
        if any(n.shape[0] not in (1, T) or m != (n.dtype == torch.bool) for n, m in zip(g.noise, masks, strict=True)):
            complaints.append("other masks than it was compiled with")
        if g.resets is not None and g.resets.dtype != torch.bool:
            complaints.append(f"resets of {g.resets.dtype}")
        if g.lengths is not None and (g.lengths.dtype != torch.int64 or _are_beyond(g.lengths, T)):
            complaints.append(
                f"lengths of {g.lengths.dtype}, {g.lengths.tolist()}, whole numbers from 0 to T={T} expected"
            )
    if len(g.wants) != 2 + len(s.weights) or g.memory not in ("save", "recompute"):
        complaints.append(f"wants={list(g.wants)} and memory={g.memory!r}")
    _refuse("forward", complaints)


def _are_beyond(lengths: Tensor, T: int) -> bool:
    return lengths.numel() > 0 and (int(lengths.min()) < 0 or int(lengths.max()) > T)


def _check_kept(given: Given, kept: Tensors, upstream: Sequence[Tensor | None]) -> None:
    """Raise for other tensors than a forward gives."""
    results = _shapes(*given)
    shown = 1 + len(given.states) + len(_step(given.program).marks)
    kinds = lambda tensors: [(tuple(t.shape), t.dtype) for t in tensors]  # noqa: E731
    complaints = []
    if kept and kinds(kept) != kinds(results[shown:]):
        complaints.append("what no forward has kept")
    if len(upstream) != shown or any(
        u is not None and kinds([u]) != kinds([r]) for u, r in zip(upstream, results, strict=False)
    ):
        complaints.append("gradients that are not of its results")
    _refuse("backward", complaints)


def _refuse(operator: str, complaints: Sequence[str]) -> None:
    if complaints:
        raise ValueError(
            f"deeplstm::{operator} got {'; '.join(complaints)}. Compile or export the model again for these."
        )


# ---------------------------------------------------------------- forward


def _job(given: Given) -> Job:
    from .autograd import job

    g, step = given, _step(given.program)
    named = dict(zip(step.noise, g.noise, strict=True)) if step.signature.has_noise else None
    lengths = g.lengths
    if lengths is not None and bool((lengths == g.x.shape[0]).all()):
        lengths = None
    states = (tuple(g.states), tuple(g.initials))
    call = Call(nn.Module(), None, g.x, *states, named, lengths, g.resets, g.reverse, (), g.memory)
    wanted = _wanted(g.program, g.resets, g.memory, g.wants)
    return job(call, _programs_of(g.program, g.x.dtype), tuple(step.weights), wanted)


def _is_nothing_to_do(given: Given) -> bool:
    return 0 in given.x.shape or (given.lengths is not None and not bool(given.lengths.any()))


def _forward(*arguments: Any) -> list[Tensor]:
    from .autograd import forward

    given = Given(*arguments)
    _check(given)
    if _is_nothing_to_do(given):
        shown = [t.zero_() for t in _shapes(*given)]
        for final, state in zip(shown[1:], given.states, strict=False):
            final.copy_(state)
        return shown
    job = _job(given)
    outputs, keep = forward(job, given.x, given.inputs[1:])
    kept = _pack(keep, job) if given.wants[0] else []
    others = [*given.noise, *(t for t in (given.lengths, given.resets) if t is not None)]
    return _apart([*outputs, *kept], [*given.inputs, *others])


def _shapes(*arguments: Any) -> list[Tensor]:
    """Empty tensors like the results: y, final states, traces; with a gradient also the states and what the backward reads."""
    given = Given(*arguments)
    x, step = given.x, _step(given.program)
    T, B = x.shape[:2]
    shown = [x.new_empty(T, B, step.y.width), *(x.new_empty(B, width) for width in step.signature.states)]
    shown += [x.new_empty(T, B, mark.width) for mark in step.marks.values()]
    if not given.wants[0]:
        return shown
    shown += [x.new_empty((T + 1) * B, width) for width in step.signature.states]
    if given.resets is not None:
        shown += [x.new_empty(T * B, width) for width in step.signature.states]
    block, apart = _saved(given.program, x.dtype, tuple(given.wants), given.memory, given.resets is not None)
    shown += [x.new_empty(block_size(T * B, block, x.element_size()))] if block else []
    return shown + [x.new_empty(T * B, width, dtype=torch.bool if is_bool else x.dtype) for width, is_bool in apart]


@lru_cache(4 * KNOWN)
def _saved(
    program: str, dtype: torch.dtype, wants: tuple[bool, ...], memory: str, resets: bool
) -> tuple[list[tuple[str, int]], list[tuple[int, bool]]]:
    """What the backward reads beside inputs and states: the block's columns; of what is apart the width, and whether it is a
    mask.
    """
    wanted = replace(_wanted(program, None, memory, wants), resets=resets)
    forward = _programs_of(program, dtype).forward(wanted)
    return forward.block, [(n.width, n.is_bool) for n in forward.apart]


def _pack(keep: Tensors, job: Job) -> list[Tensor]:
    """What the backward needs, as results of an operator: x is its argument anyway; where lengths are unequal, rows that no
    step has follow, so that the sizes do not depend on the lengths.
    """
    return [
        _with_rows(t, count) for t, count in zip(keep[1:], _counts(keep, job, job.batch.T * job.batch.B), strict=True)
    ]


def _counts(keep: Tensors, job: Job, rows: int) -> list[int]:
    """How long everything that is kept, but x, is with so many rows of all steps."""
    columns = job.programs.forward(job.wanted).block
    block = block_size(rows, columns, keep[0].element_size())
    return [block if t.dim() == 1 else rows + (n < job.states) * job.batch.B for n, t in enumerate(keep[1:])]


def _with_rows(rows: Tensor, count: int) -> Tensor:
    if rows.shape[0] == count:
        return rows
    whole = rows.new_zeros(count, *rows.shape[1:])
    whole[: rows.shape[0]] = rows
    return whole


def _unpack(kept: Tensors, x: Tensor, job: Job) -> list[Tensor]:
    keep = [job.batch.enter(x), *kept]
    return [
        keep[0],
        *(t[:count].contiguous() for t, count in zip(kept, _counts(keep, job, job.batch.rows), strict=True)),
    ]


def _apart(results: Iterable[Tensor], given: Iterable[Tensor]) -> list[Tensor]:
    """Results that share no memory with each other nor with what was given, each at the start of its own.

    Compilers count on it.
    """
    seen = {t.untyped_storage().data_ptr() for t in given}
    apart = []
    for result in results:
        result = result.contiguous()
        if result.storage_offset() or result.untyped_storage().data_ptr() in seen:
            result = result.clone()
        seen.add(result.untyped_storage().data_ptr())
        apart.append(result)
    return apart


# ---------------------------------------------------------------- backward


def _backward(*arguments: Any) -> list[Tensor]:
    from .autograd import backward, forward

    *shared, kept, upstream = arguments
    given = Given(*shared)
    _check(given)
    _check_kept(given, kept, upstream)
    wants, states = given.wants, len(given.states)
    if _is_nothing_to_do(given):
        gradients = [t.zero_() for t in _gradient_shapes(*arguments)]
        for gradient, of_final in zip(gradients[wants[1] :], upstream[1 : 1 + states], strict=False):
            if of_final is not None:
                gradient.copy_(of_final)
        return gradients
    job = _job(given)
    inputs = given.inputs
    if kept:
        keep = _unpack(kept, given.x, job)
    else:
        _, keep = forward(job, given.x, inputs[1:])
    dx, *rest = backward(job, inputs, keep, upstream)
    results = [dx] if wants[1] else []
    fixed = states + len(given.initials)
    of_weights = zip(rest[fixed:], given.weights, wants[2:], strict=True)
    results += rest[:fixed]
    # an operator gives tensors, of what is not read as well
    results += [torch.zeros_like(w) if d is None else d for d, w, is_wanted in of_weights if is_wanted]
    return _apart(results, [*inputs, *given.noise, *kept, *(u for u in upstream if u is not None)])  # type: ignore[arg-type]


def _gradient_shapes(*arguments: Any) -> list[Tensor]:
    """Empty tensors like the results: gradients of x if wanted, of states and initial states, of the weights wanted."""
    *shared, _, _ = arguments
    given = Given(*shared)
    like = [given.x] if given.wants[1] else []
    weights = (w for w, is_wanted in zip(given.weights, given.wants[2:], strict=True) if is_wanted)
    return [t.new_empty(t.shape) for t in (*like, *given.states, *given.initials, *weights)]


# ---------------------------------------------------------------- autograd


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    program, *tensors, reverse, memory, wants = inputs
    shown = 1 + len(Given(*inputs).states) + len(_step(program).marks)
    groups = [t if isinstance(t, list | tuple) else [t] for t in (*tensors, output[shown:])]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*(tensor for group in groups for tensor in group))
    ctx.sizes = [len(group) for group in groups]
    ctx.program, ctx.options, ctx.shown = program, (reverse, memory, wants), shown


def _backward_rule(ctx: Any, upstream: list[Tensor | None]) -> tuple[Any, ...]:
    saved = iter(ctx.saved_tensors)
    x, states, initials, weights, noise, lengths, resets, kept = (
        [next(saved) for _ in range(size)] for size in ctx.sizes
    )
    given = Given(ctx.program, x[0], states, initials, weights, noise, lengths[0], resets[0], *ctx.options)
    if not kept:
        _, needs_x, _, _, needs_weights, *_ = ctx.needs_input_grad
        given = given._replace(wants=[True, needs_x, *needs_weights])
    shown = [None if u is None else u.contiguous() for u in upstream[: ctx.shown]]
    gradients = iter(torch.ops.deeplstm.backward(*given, kept, shown))
    dx = next(gradients) if given.wants[1] else None
    dstates, dinitials = [next(gradients) for _ in given.states], [next(gradients) for _ in given.initials]
    dweights = [next(gradients) if is_wanted else None for is_wanted in given.wants[2:]]
    return None, dx, dstates, dinitials, dweights, [None for _ in given.noise], None, None, None, None, None


def _no_second_derivative(ctx: Any, *upstream: Any) -> Any:
    raise RuntimeError(
        "deeplstm::backward has no derivative: inside torch.compile and exported graphs there are no second derivatives of a "
        "recurrence. Take them of the module itself, outside of torch.compile."
    )


def _register() -> None:
    """Make the operators known to torch."""
    forward = library.custom_op("deeplstm::forward", _forward, mutates_args=(), schema=FORWARD, device_types="cpu")
    forward.register_fake(_shapes)
    forward.register_autograd(_backward_rule, setup_context=_setup_context)
    backward = library.custom_op("deeplstm::backward", _backward, mutates_args=(), schema=BACKWARD, device_types="cpu")
    backward.register_fake(_gradient_shapes)
    backward.register_autograd(_no_second_derivative)


_register()
