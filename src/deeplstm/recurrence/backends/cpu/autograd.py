"""A call of `scan` on compiled loops, with its gradient."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ...call import Call
from ...state import map_state, tensors_of
from .. import reference
from . import batch as batches
from .batch import Batch, Table
from .compiled import Entry
from .directions import Wanted
from .programs import Programs
from .space import Space, reused_rows

Tensors = Sequence[Tensor]


@dataclass(frozen=True)
class Job:
    """What a call is, beside its tensors.

    Attributes:
        programs: the cell's programs.
        wanted: what is wanted of them.
        call: as `scan` gave it; what the reference needs for second derivatives.
        batch: which rows have which steps.
        names: of the weights.
    """

    programs: Programs
    wanted: Wanted
    call: Call
    batch: Batch
    names: tuple[str, ...]

    @property
    def states(self) -> int:
        return len(self.programs.step.states)

    def parts(self, others: Tensors) -> tuple[Tensors, Tensors, Tensors]:
        """States, initial states, weights."""
        initials = self.states * (1 + self.wanted.resets)
        return others[: self.states], others[self.states : initials], others[initials:]


def job(call: Call, programs: Programs, names: tuple[str, ...], wanted: Wanted) -> Job:
    """A call, with its rows in the order in which they are run."""
    if call.batch_sizes is not None:
        batch = batches.packed(call.batch_sizes)
    elif call.lengths is not None:
        batch = batches.unequal(call.x.shape[0], call.x.shape[1], call.lengths)
    else:
        batch = batches.full(call.x.shape[0], call.x.shape[1])
    return Job(programs, wanted, call, batch, names)


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
    program, batch, descending = job.programs.forward(job.wanted), job.batch, job.call.reverse
    step = job.programs.step
    x = batch.enter(x)
    of_weights = dict(zip(step.weights.values(), weights, strict=True))
    space, elsewhere = Space(x, batch.rows), _Elsewhere(batch)
    space.put("x", x)
    _noise(job, program.needs, space, elsewhere)
    block = [space.make_block(program.block)] if program.block else []
    passing = [space.make_block(program.passing)] if program.passing else []
    for buffer in program.loose:
        space.make(buffer.name, buffer.width, buffer.is_bool)
    if program.before is not None:
        program.before.run(space, of_weights)
    all_slots, tables = [], []
    for n, state in enumerate(states):
        is_read_later = job.wanted.gradient or job.wanted.resets or program.after is not None or n in program.direct
        table = batch.slots if is_read_later else batch.turns
        rows = batch.B + (batch.rows if is_read_later else batch.B)
        leaves = n in program.direct
        slots = x.new_empty(rows, state.shape[1]) if leaves else reused_rows(x, rows, state.shape[1])
        batch.begin(slots, batch.sorted(state), table, descending)
        elsewhere.slots(f"state{n}", f"next state{n}", slots, table, descending)
        all_slots.append(slots)
        tables.append(table)
    past: list[Tensor] = []
    if initials:
        past = [x.new_empty(batch.rows, s.shape[1]) for s in states]
        started = [batch.sorted(initial) for initial in initials]
        _resets(job, "state", past, started, space, elsewhere)
    program.loop.run(batch, descending, space.at, elsewhere.at, of_weights, x)

    places = program.kept
    if program.after is not None:
        for n, node in enumerate(step.states):
            if node.name in program.needs:
                space.put(node.name, past[n] if past else _read(batch, all_slots[n], descending))
        for node in program.new:
            if node.name in program.needs:
                space.put(node.name, _written(batch, all_slots[step.new.index(node)], descending))
        program.after.run(space, of_weights)
        places = {**places, **program.after.places}
    results, shown = [], 1 + len(job.wanted.trace)
    for n, found in enumerate(program.direct):
        if isinstance(found, int):
            result = _written(batch, all_slots[found], descending)
        else:
            result = space.tensor(places[found].buffer.name, places[found].column, found.width)
            result = _own(result, [*block, *passing]) if n < shown else result
        results.append(result)
    y, *traces = (batch.leave(r) for r in results[:shown])
    finals = [batch.unsorted(batch.end(s, t, descending)) for s, t in zip(all_slots, tables, strict=True)]
    return [y, *finals, *traces], [x, *all_slots, *past, *block, *results[shown:]]


def backward(job: Job, inputs: Tensors, keep: Tensors, upstream: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Run the backward loop. Returns the gradients of x, states and weights."""
    program, batch, descending = job.programs.backward(job.wanted), job.batch, not job.call.reverse
    step = job.programs.step
    states, initials, weights = job.parts(inputs[1:])
    of_weights = dict(zip(step.weights.values(), weights, strict=True))
    given = iter(keep)
    x = next(given)
    all_slots = [next(given) for _ in states]
    past = [next(given) for _ in initials]
    space, elsewhere = Space(x, batch.rows), _Elsewhere(batch)
    space.put(step.x.name, x)
    if program.block:
        space.put_block(next(given), program.block)
    for node in program.apart:
        space.put(node.name, next(given))
    upstreams = zip((step.dy, *step.dmarks.values()), (upstream[0], *upstream[1 + job.states :]), strict=True)
    for node, gradient in upstreams:
        space.put(node.name, x.new_zeros(batch.rows, node.width) if gradient is None else batch.enter(gradient))
    passing = [space.make_block(program.passing)] if program.passing else []
    for buffer in program.loose:
        space.make(buffer.name, buffer.width, buffer.is_bool)
    _noise(job, program.needs, space, elsewhere)
    for n, node in enumerate(step.states):
        new = step.new[n]
        elsewhere.slots(node.name, new.name, all_slots[n], batch.slots, job.call.reverse)
        if past:
            elsewhere.steps(node.name, past[n])
        if node.name in program.needs:
            space.put(node.name, past[n] if past else _read(batch, all_slots[n], job.call.reverse))
        if new.name in program.needs and not new.is_leaf:
            space.put(new.name, _written(batch, all_slots[n], job.call.reverse))
    if program.before is not None:
        program.before.run(space, of_weights)
    carries = []
    for n, state in enumerate(states):
        carry = x.new_empty(2 * batch.B, state.shape[1])
        final = upstream[1 + n]
        batch.begin(carry, None if final is None else batch.sorted(final), batch.turns, descending)
        carries.append(carry)
        elsewhere.slots(f"dnew{n}", f"next dnew{n}", carry, batch.turns, descending)
    dinitials = [x.new_zeros(batch.B, i.shape[1]) for i in initials]
    if initials:
        _resets(job, "dnew", None, dinitials, space, elsewhere)
    totals = []
    for width, nodes in program.totals.items():
        # a row more than there are, lest all of them lie in the same places of the cache
        block = x.new_zeros(len(nodes), batch.B + 1, width)
        totals.append((nodes, block))
        for node, total in zip(nodes, block.unbind(), strict=True):
            elsewhere.every_step(program.loop.loop.totals[node].name, total)
    program.loop.run(batch, descending, space.at, elsewhere.at, of_weights, x)

    if program.after is not None:
        program.after.run(space, of_weights)
    known = dict(of_weights)
    for node, place in program.places.items():
        known[node] = space.tensor(place.buffer.name, place.column, node.width)
    for nodes, block in totals:
        known |= dict(zip(nodes, (block[:, 0] if batch.B == 1 else block.sum(1)).unbind(), strict=True))
    results = dict(zip(program.results, program.sums(*[known[n] for n in program.known]), strict=True))
    dx = None
    if job.wanted.x and program.dx is None:
        dx = x.new_zeros(inputs[0].shape)
    elif program.dx is not None:
        dx = results[program.dx]
        dx = batch.leave(dx if program.dx_has_its_own else _own(dx, [*keep, *passing]))
    dstates = [batch.unsorted(batch.end(carry, batch.turns, descending)) for carry in carries]
    dweights: list[Tensor | None] = []
    for name, weight in zip(job.names, weights, strict=True):
        if name not in job.wanted.weights:
            dweights.append(None)
            continue
        found = program.dweights[name]
        gradient = torch.zeros_like(weight) if found is None else results[found]
        dweights.append(gradient if gradient.shape == weight.shape else gradient.view(weight.shape))
    return [dx, *dstates, *(batch.unsorted(d) for d in dinitials), *dweights]


class _Elsewhere:
    """Buffers that have no rows for every step of their own, and what keeps them in memory."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.at: dict[str, Entry] = {}
        self._held: list[Tensor] = []

    def _put(self, name: str, tensor: Tensor, table: int) -> None:
        tensor = tensor.contiguous()  # a state that is the same for all rows may be one row in memory
        self.at[name] = tensor.data_ptr(), table
        self._held.append(tensor)

    def slots(self, read: str, written: str, slots: Tensor, table: Table, descending: bool) -> None:
        """Of a carried value: what a step reads, and what it writes."""
        first, second = (written, read) if descending else (read, written)
        self._put(first, slots, table.address)
        self._put(second, slots, table.address + ctypes.sizeof(ctypes.c_int64))

    def steps(self, name: str, rows: Tensor) -> None:
        """Rows of every step, (rows, n)."""
        self._put(name, rows, self.batch.steps.address)

    def every_step(self, name: str, rows: Tensor) -> None:
        """Rows of the batch that are the same at every step, (B, n)."""
        self._put(name, rows, self.batch.zeros.address)


def _noise(job: Job, needed: Collection[str], space: Space, elsewhere: _Elsewhere) -> None:
    """Masks: those that are the same at every step are spread over all rows only for what comes before and after the loop."""
    batch = job.batch
    for name, node in job.programs.step.noise.items():
        mask = (job.call.noise or {})[name]
        if mask.shape[0] == 1:
            one = batch.sorted(mask[0]).contiguous()
            elsewhere.every_step(node.name, one)
            if node.name in needed:
                space.put(node.name, batch.every_step(one))
        else:
            space.put(node.name, batch.enter(mask))


def _resets(
    job: Job, name: str, past: Sequence[Tensor] | None, initial: Tensors, space: Space, elsewhere: _Elsewhere
) -> None:
    """What a loop with resets reads and writes beside its carried values."""
    assert job.call.resets is not None
    space.put("resets", job.batch.enter(job.call.resets[..., None]))
    for n, tensor in enumerate(initial):
        elsewhere.at[f"past {name}{n}"] = elsewhere.at[f"{name}{n}"]
        elsewhere.every_step(f"initial {name}{n}", tensor)
        if past is not None:
            elsewhere.steps(f"{name}{n}", past[n])


def _own(rows: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Rows that leave the call: in one piece, and not part of what is kept."""
    shared = {t.untyped_storage().data_ptr() for t in others}
    return rows.clone() if rows.untyped_storage().data_ptr() in shared else rows.contiguous()


def _read(batch: Batch, slots: Tensor, descending: bool) -> Tensor:
    """What every step has read of a carried value: (rows, n)."""
    return slots.narrow(0, batch.B, batch.rows) if descending else _first(batch, slots)


def _written(batch: Batch, slots: Tensor, descending: bool) -> Tensor:
    """What every step has written."""
    return _first(batch, slots) if descending else slots.narrow(0, batch.B, batch.rows)


def _first(batch: Batch, slots: Tensor) -> Tensor:
    return slots[: batch.rows] if batch.lengths is None else slots.index_select(0, batch.past)


def _through_the_reference(
    job: Job, inputs: Tensors, upstream: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients that can be differentiated again: of the reference, with the graph of what they are made of."""
    call = job.call
    states, initials, weights = job.parts(inputs[1:])
    x, lengths = inputs[0], call.lengths
    if call.batch_sizes is not None:
        x, lengths = pad_packed_sequence(PackedSequence(x, call.batch_sizes))
    again = replace(
        call,
        x=x,
        state=_nested(call.state, states),
        initial=_nested(call.initial, initials) if initials else call.initial,
        params=dict(zip(job.names, weights, strict=True)),
        lengths=lengths,
        batch_sizes=None,
    )
    y, final, traces = reference.run(again)
    if call.batch_sizes is not None:
        assert lengths is not None
        y = pack_padded_sequence(y, lengths).data
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
