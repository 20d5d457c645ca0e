"""A call of `scan` on compiled loops, with its gradient."""

from __future__ import annotations

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
from .batch import Batch
from .compiled import Entry, at_all_steps, at_slots, at_steps
from .flat import columns, new_rows
from .programs import Programs, Wanted

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
    loop, step = program.loop, job.programs.step
    x = batch.enter(x)
    of_weights = dict(zip(step.weights.values(), weights, strict=True))
    buffers: dict[str, Entry] = {"x": at_steps(x, batch)}
    rows: dict[str, Tensor] = {"x": x}
    _noise(job, program.needs, buffers, rows)
    if program.before is not None:
        before = program.before.run(rows, of_weights, batch.rows, x)
        rows |= before
        buffers |= {name: at_steps(t, batch) for name, t in before.items()}
    all_slots, tables = [], []
    for n, state in enumerate(states):
        is_read_later = job.wanted.gradient or job.wanted.resets or program.after is not None or n in program.direct
        table = batch.slots if is_read_later else batch.turns
        slots = x.new_empty(batch.B + (batch.rows if is_read_later else batch.B), state.shape[1])
        batch.begin(slots, batch.sorted(state), table, descending)
        buffers[f"state{n}"], buffers[f"next state{n}"] = at_slots(slots, table, descending)
        all_slots.append(slots)
        tables.append(table)
    past: list[Tensor] = []
    if initials:
        past = [x.new_empty(batch.rows, s.shape[1]) for s in states]
        started = [batch.sorted(initial) for initial in initials]
        _resets(job, "state", [at_steps(p, batch) for p in past], started, buffers)
    for node, place in program.kept.items():
        name = place.buffer.name
        if name not in rows:
            rows[name] = new_rows(x, batch.rows, place.buffer.width, node.is_bool)
            buffers[name] = at_steps(rows[name], batch)
    loop.run(batch, descending, buffers, of_weights, x)

    places = program.kept
    if program.after is not None:
        for n, node in enumerate(step.states):
            if node.name in program.needs:
                rows[node.name] = past[n] if past else _read(batch, all_slots[n], descending)
        for node in program.new:
            if node.name in program.needs:
                rows[node.name] = _written(batch, all_slots[step.new.index(node)], descending)
        rows |= program.after.run(rows, of_weights, batch.rows, x)
        places = {**places, **program.after.places}
    results = [
        _written(batch, all_slots[found], descending)
        if isinstance(found, int)
        else columns(rows, places[found], found.width)
        for found in program.direct
    ]
    shown = 1 + len(job.wanted.trace)
    y, *traces = (batch.leave(r if r.is_contiguous() else r.contiguous()) for r in results[:shown])
    finals = [batch.unsorted(batch.end(s, t, descending)) for s, t in zip(all_slots, tables, strict=True)]
    saved = [rows[program.kept[whole.nodes[0][0]].buffer.name] for whole in program.wholes]
    return [y, *finals, *traces], [x, *all_slots, *past, *saved, *results[shown:]]


def backward(job: Job, inputs: Tensors, keep: Tensors, upstream: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Run the backward loop. Returns the gradients of x, states and weights."""
    program, batch, descending = job.programs.backward(job.wanted), job.batch, not job.call.reverse
    loop, step = program.loop, job.programs.step
    states, initials, weights = job.parts(inputs[1:])
    of_weights = dict(zip(step.weights.values(), weights, strict=True))
    given = iter(keep)
    x = next(given)
    all_slots = [next(given) for _ in states]
    past = [next(given) for _ in initials]
    rows = {step.x.name: x}
    rows |= {whole.name: next(given) for whole in program.wholes}
    rows |= {node.name: next(given) for node in program.apart}
    upstreams = zip((step.dy, *step.dmarks.values()), (upstream[0], *upstream[1 + job.states :]), strict=True)
    for node, gradient in upstreams:
        rows[node.name] = x.new_zeros(batch.rows, node.width) if gradient is None else batch.enter(gradient)
    buffers: dict[str, Entry] = {name: at_steps(tensor, batch) for name, tensor in rows.items()}
    _noise(job, program.needs, buffers, rows)
    for n, node in enumerate(step.states):
        read, write = at_slots(all_slots[n], batch.slots, job.call.reverse)
        buffers[node.name] = at_steps(past[n], batch) if past else read
        if node.name in program.needs:
            rows[node.name] = past[n] if past else _read(batch, all_slots[n], job.call.reverse)
        new = step.new[n]
        if not new.is_leaf:
            buffers[new.name] = write
            if new.name in program.needs:
                rows[new.name] = _written(batch, all_slots[n], job.call.reverse)
    if program.before is not None:
        before = program.before.run(rows, of_weights, batch.rows, x)
        rows |= before
        buffers |= {name: at_steps(t, batch) for name, t in before.items()}
    carries = []
    for n, state in enumerate(states):
        carry = x.new_empty(2 * batch.B, state.shape[1])
        final = upstream[1 + n]
        batch.begin(carry, None if final is None else batch.sorted(final), batch.turns, descending)
        carries.append(carry)
        buffers[f"dnew{n}"], buffers[f"next dnew{n}"] = at_slots(carry, batch.turns, descending)
    dinitials = [x.new_zeros(batch.B, i.shape[1]) for i in initials]
    if initials:
        _resets(job, "dnew", None, dinitials, buffers)
    for node, place in program.kept.items():
        tensor = new_rows(x, batch.rows, node.width, node.is_bool)
        rows[place.buffer.name], buffers[place.buffer.name] = tensor, at_steps(tensor, batch)
    totals = []
    for width, nodes in program.totals.items():
        block = x.new_zeros(len(nodes), batch.B, width)
        totals.append((nodes, block))
        buffers |= {
            loop.loop.totals[n].name: at_all_steps(t, batch) for n, t in zip(nodes, block.unbind(), strict=True)
        }
    loop.run(batch, descending, buffers, of_weights, x)

    if program.after is not None:
        rows |= program.after.run(rows, of_weights, batch.rows, x)
    known = of_weights | {node: columns(rows, place, node.width) for node, place in program.places.items()}
    for nodes, block in totals:
        known |= dict(zip(nodes, (block.squeeze(1) if batch.B == 1 else block.sum(1)).unbind(), strict=True))
    results = dict(zip(program.results, program.sums(*[known[n] for n in program.known]), strict=True))
    dx = None
    if job.wanted.x:
        dx = x.new_zeros(inputs[0].shape) if program.dx is None else batch.leave(results[program.dx].contiguous())
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


def _noise(job: Job, needed: Collection[str], buffers: dict[str, Entry], rows: dict[str, Tensor]) -> None:
    """Masks: those that are the same at every step are spread over all rows only for what comes before and after the loop."""
    batch = job.batch
    for name, node in job.programs.step.noise.items():
        mask = (job.call.noise or {})[name]
        if mask.shape[0] == 1:
            one = batch.sorted(mask[0]).contiguous()
            buffers[node.name] = at_all_steps(one, batch)
            if node.name in needed:
                rows[node.name] = batch.every_step(one)
        else:
            rows[node.name] = batch.enter(mask)
            buffers[node.name] = at_steps(rows[node.name], batch)


def _resets(job: Job, name: str, written: Sequence[Entry] | None, initial: Tensors, buffers: dict[str, Entry]) -> None:
    """What a loop with resets reads and writes beside its carried values."""
    assert job.call.resets is not None
    buffers["resets"] = at_steps(job.batch.enter(job.call.resets[..., None]), job.batch)
    for n, tensor in enumerate(initial):
        buffers[f"past {name}{n}"] = buffers[f"{name}{n}"]
        buffers[f"initial {name}{n}"] = at_all_steps(tensor, job.batch)
        if written is not None:
            buffers[f"{name}{n}"] = written[n]


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
