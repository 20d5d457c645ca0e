"""A call of `scan` on compiled loops, with its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...call import Call
from ...lengths import mask
from ...state import map_state, tensors_of
from .. import reference
from .compiled import Entry, Walk, one_of, pair_of, steps_of
from .programs import Programs, Wanted

Tensors = Sequence[Tensor]


@dataclass(frozen=True)
class Job:
    """What a call is, beside its tensors.

    Attributes:
        programs: the cell's programs.
        wanted: what is wanted of them.
        call: as `scan` gave it; what the reference needs for second derivatives.
        lengths: (B,), sorted from the longest row down; None where all are T.
        order: the caller's number of each sorted row; None where they stand in order.
        names: of the weights.
    """

    programs: Programs
    wanted: Wanted
    call: Call
    lengths: Tensor | None
    order: Tensor | None
    names: tuple[str, ...]

    @property
    def states(self) -> int:
        return len(self.programs.step.states)

    def sorted(self, rows: Tensor, dim: int = 1) -> Tensor:
        """Rows of the batch in the order in which they are run."""
        return rows.contiguous() if self.order is None else rows.index_select(dim, self.order)

    def unsorted(self, rows: Tensor, dim: int = 1) -> Tensor:
        if self.order is None:
            return rows
        return torch.empty_like(rows).index_copy_(dim, self.order, rows)

    def inside(self, T: int) -> Tensor | None:
        """(T, B): which steps of the sorted rows lie inside their lengths."""
        return None if self.lengths is None else mask(self.lengths, T)

    def parts(self, others: Tensors) -> tuple[Tensors, Tensors, Tensors]:
        """States, initial states, weights."""
        initials = self.states * (1 + self.wanted.resets)
        return others[: self.states], others[self.states : initials], others[initials:]

    def resets(self) -> Tensor:
        assert self.call.resets is not None
        return self.sorted(self.call.resets)

    def noise(self) -> list[Tensor]:
        given = self.call.noise or {}
        return [self.sorted(given[name]) for name in self.programs.step.noise]

    def walk(self, descending: bool) -> Walk:
        T, B = self.call.x.shape[:2]
        if self.lengths is None:
            return Walk(T, B, descending, torch.full((T,), B, dtype=torch.int64), None)
        active = (self.lengths[None] > torch.arange(T)[:, None]).sum(1)
        return Walk(T, B, descending, active, self.lengths.tolist())


def job(call: Call, programs: Programs, names: tuple[str, ...], wanted: Wanted) -> Job:
    """Sort the rows of a call, longest first: then the rows that have a step are always the first ones."""
    order = lengths = None
    if call.lengths is not None:
        lengths = call.lengths
        if bool((lengths[1:] > lengths[:-1]).any()):
            order = lengths.argsort(descending=True, stable=True)
            lengths = lengths[order]
    return Job(programs, wanted, call, lengths, order, names)


class Recurrence(torch.autograd.Function):
    """(job, x, states..., initial states where there are resets..., weights...) -> (y, final states..., traces...)."""

    @staticmethod
    def forward(ctx: Any, job: Job, x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        outputs, keep = forward(job, x, others)
        ctx.job = job
        ctx.inputs = 1 + len(others)
        ctx.save_for_backward(x, *others, *keep)
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        job: Job = ctx.job
        tensors = ctx.saved_tensors
        inputs, keep = tensors[: ctx.inputs], tensors[ctx.inputs :]
        if torch.is_grad_enabled():
            return None, *_through_the_reference(job, inputs, upstream, ctx.needs_input_grad[1:])
        return None, *backward(job, inputs, keep, upstream)


def forward(job: Job, x: Tensor, others: Tensors) -> tuple[list[Tensor], list[Tensor]]:
    """Run the forward loop. Returns ([y, final states..., traces...], what the backward needs)."""
    states, initials, weights = job.parts(others)
    program = job.programs.forward(job.wanted)
    loop, step = program.loop, job.programs.step
    T, B = x.shape[:2]
    walk, inside = job.walk(job.call.reverse), job.inside(T)
    x, noise = _masked(job.sorted(x), inside), job.noise()
    rows = [_flat(x), *(_flat(n.expand(T, *n.shape[1:])) for n in noise)]
    prepared = loop.prepare(*weights, *rows)
    buffers: dict[str, Entry] = {"x": steps_of(x)}
    buffers |= {node.name: steps_of(n) for node, n in zip(step.noise.values(), noise, strict=True)}
    before = [t.contiguous().view(T, B, -1) for t in prepared[: len(loop.before)]]
    buffers |= {name: steps_of(t) for name, t in zip(loop.before, before, strict=True)}
    sequences = []
    for n, state in enumerate(states):
        is_read_later = job.wanted.gradient or job.wanted.resets or program.after is not None or n in program.direct
        sequence = x.new_empty(T + 1 if is_read_later else 2, B, state.shape[1])
        is_pair = sequence.shape[0] == 2
        _enter(sequence, job.sorted(state, 0), walk)
        sequences.append(sequence)
        buffers[f"state{n}"] = (pair_of if is_pair else steps_of)(sequence, walk.read)
        buffers[f"next state{n}"] = (pair_of if is_pair else steps_of)(sequence, walk.write)
    past, new = _before_and_after(sequences, job.call.reverse)
    if initials:
        past = [x.new_zeros(T, B, s.shape[1]) for s in states]
        started = [job.sorted(initial, 0) for initial in initials]
        buffers |= _reset_buffers(job, "state", past, [buffers[f"state{n}"] for n in range(len(states))], started)
    kept = {}
    for node in program.kept:
        make = x.new_empty if inside is None else x.new_zeros
        kept[node] = make((T, B, node.width), dtype=torch.bool if node.is_bool else x.dtype)
        buffers[loop.loop.kept[node].buffer.name] = steps_of(kept[node])
    loop.run(walk, buffers, prepared[len(loop.before) :], x)

    rest: Iterator[Tensor] = iter(())
    if program.after is not None:
        moving = [_flat(s) for s in (*past, *(new[step.new.index(n)] for n in program.new))]
        rest = iter(program.after(*weights, *rows, *moving, *(_flat(k) for k in kept.values())))
    results: list[Tensor] = []
    for found in program.direct:
        if found is None:
            results.append(_masked(next(rest).view(T, B, -1), inside))
        else:
            results.append(new[found] if isinstance(found, int) else kept[found])
    shown = 1 + len(job.wanted.trace)
    y, *traces = (job.unsorted(_masked(r, inside)) for r in results[:shown])
    finals = [job.unsorted(_leave(s, walk), 0) for s in sequences]
    return [y, *finals, *traces], [x, *past, *new, *results[shown:]]


def backward(job: Job, inputs: Tensors, keep: Tensors, upstream: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Run the backward loop. Returns the gradients of x, states and weights."""
    program = job.programs.backward(job.wanted)
    loop, step = program.loop, job.programs.step
    states, initials, weights = job.parts(inputs[1:])
    x, past, new, saved = (
        keep[0],
        keep[1 : 1 + job.states],
        keep[1 + job.states :][: job.states],
        keep[1 + 2 * job.states :],
    )
    T, B = x.shape[:2]
    walk, inside, noise = job.walk(not job.call.reverse), job.inside(T), job.noise()
    # what comes after the loop sums over all rows: nothing may come from beyond their lengths
    dy = x.new_zeros(T, B, step.dy.width) if upstream[0] is None else _masked(job.sorted(upstream[0]), inside)
    of_new = [new[step.new.index(n)] for n in program.new]
    named = [(step.x, x), *zip(step.noise.values(), noise, strict=True), (step.dy, dy)]
    for node, given in zip(step.dmarks.values(), upstream[1 + job.states :], strict=True):
        named.append((node, x.new_zeros(T, B, node.width) if given is None else _masked(job.sorted(given), inside)))
    named += [*zip(step.states, past, strict=True), *zip(program.new, of_new, strict=True)]
    named += zip(program.saved, saved, strict=True)
    buffers: dict[str, Entry] = {node.name: steps_of(tensor) for node, tensor in named}
    rows = {node: _flat(t if t.shape[0] == T else t.expand(T, *t.shape[1:])) for node, t in named}
    leaves = [*weights, *(rows[n] for n in program.leaves if n.kind == "rows")]
    prepared = loop.prepare(*leaves)
    before = [t.contiguous().view(T, B, -1) for t in prepared[: len(loop.before)]]
    buffers |= {name: steps_of(t) for name, t in zip(loop.before, before, strict=True)}
    carries = []
    for n, state in enumerate(states):
        carry = x.new_empty(2, B, state.shape[1])
        final = upstream[1 + n]
        _enter(carry, x.new_zeros(B, state.shape[1]) if final is None else job.sorted(final, 0), walk)
        carries.append(carry)
        buffers[f"dnew{n}"] = pair_of(carry, walk.read)
        buffers[f"next dnew{n}"] = pair_of(carry, walk.write)
    dinitials = [x.new_zeros(B, i.shape[1]) for i in initials]
    if initials:
        unused = [buffers[f"dnew{n}"] for n in range(len(states))]
        buffers |= _reset_buffers(job, "dnew", None, unused, dinitials)
    kept = []
    for node in program.kept:
        make = x.new_empty if inside is None else x.new_zeros
        kept.append(make((T, B, node.width), dtype=torch.bool if node.is_bool else x.dtype))
        buffers[loop.loop.kept[node].buffer.name] = steps_of(kept[-1])
    totals = [x.new_zeros(B, node.shape[0]) for node in program.totals]
    buffers |= {loop.loop.totals[n].name: one_of(t) for n, t in zip(program.totals, totals, strict=True)}
    loop.run(walk, buffers, prepared[len(loop.before) :], x)

    sums = [t.sum(0) for t in totals]
    results = dict(zip(program.results, program.after(*leaves, *(_flat(k) for k in kept), *sums), strict=True))
    dx = None
    if job.wanted.x:
        dx = x.new_zeros(x.shape) if program.dx is None else results[program.dx].view(T, B, -1)
        dx = job.unsorted(_masked(dx, inside))
    dstates = [job.unsorted(_leave(carry, walk), 0) for carry in carries]
    dweights: list[Tensor | None] = []
    for name, weight in zip(job.names, weights, strict=True):
        if name not in job.wanted.weights:
            dweights.append(None)
            continue
        gradient = program.dweights[name]
        dweights.append(torch.zeros_like(weight) if gradient is None else results[gradient].view(weight.shape))
    return [dx, *dstates, *(job.unsorted(d, 0) for d in dinitials), *dweights]


def _reset_buffers(
    job: Job, name: str, written: Tensors | None, past: Sequence[Entry], initial: Tensors
) -> dict[str, Entry]:
    """What a loop with resets reads and writes beside its carried values."""
    found = {"resets": steps_of(job.resets()[..., None])}
    for n, tensor in enumerate(initial):
        found[f"past {name}{n}"] = past[n]
        found[f"initial {name}{n}"] = one_of(tensor)
        if written is not None:
            found[f"{name}{n}"] = steps_of(written[n])
    return found


def _before_and_after(sequences: Tensors, reverse: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Of states (T + 1, B, n): what each step reads, and what it writes."""
    first, last = [s[:-1] for s in sequences], [s[1:] for s in sequences]
    return (last, first) if reverse else (first, last)


def _flat(rows: Tensor) -> Tensor:
    return rows.reshape(-1, rows.shape[-1])


def _masked(rows: Tensor, inside: Tensor | None) -> Tensor:
    """Zeros beyond the lengths, where even NaN must not stay."""
    return rows if inside is None else torch.where(inside[..., None], rows, rows.new_zeros(()))


def _enter(slots: Tensor, start: Tensor, walk: Walk) -> None:
    """Put what a recurrence starts from where each row's first step reads it: (slots, B, width) <- (B, width)."""
    if walk.counts is not None and slots.shape[0] > 2:
        slots.zero_()  # what no step writes is read with a mask, and must not be NaN
    if not walk.descending:
        slots[0] = start
    elif walk.counts is None:
        slots[walk.T % 2 if slots.shape[0] == 2 else walk.T] = start
    else:
        slots[_last_slots(walk, slots), torch.arange(walk.B)] = start


def _leave(slots: Tensor, walk: Walk) -> Tensor:
    """What each row's last step has written: (B, width)."""
    if walk.descending:
        return slots[0].clone()
    if walk.counts is None:
        return slots[walk.T % 2 if slots.shape[0] == 2 else walk.T].clone()
    return slots[_last_slots(walk, slots), torch.arange(walk.B)]


def _last_slots(walk: Walk, slots: Tensor) -> Tensor:
    counts = torch.tensor(walk.counts)
    return counts % 2 if slots.shape[0] == 2 else counts


def _through_the_reference(
    job: Job, inputs: Tensors, upstream: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients that can be differentiated again: of the reference, with the graph of what they are made of."""
    call = job.call
    states, initials, weights = job.parts(inputs[1:])
    again = replace(
        call,
        x=inputs[0],
        state=_nested(call.state, states),
        initial=_nested(call.initial, initials) if initials else call.initial,
        params=dict(zip(job.names, weights, strict=True)),
    )
    y, final, traces = reference.run(again)
    outputs = zip([y, *tensors_of(final), *traces.values()], upstream, strict=True)
    pairs = [(o, u) for o, u in outputs if u is not None and o.requires_grad]
    wanted = [t for t, is_needed in zip(inputs, needed, strict=True) if is_needed]
    found = iter(
        torch.autograd.grad([o for o, _ in pairs], wanted, [u for _, u in pairs], create_graph=True, allow_unused=True)
    )
    return [next(found) if is_needed else None for is_needed in needed]


def _nested(like: Any, tensors: Tensors) -> Any:
    """Tensors nested as a state is."""
    given = iter(tensors)
    return map_state(lambda _: next(given), like)
