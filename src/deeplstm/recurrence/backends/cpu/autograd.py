"""A call of `scan` on compiled loops, with its gradient."""

from __future__ import annotations

from collections.abc import Sequence
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
from .directions import Wanted
from .programs import Prepared, Programs

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
        prepared: the programs for this batch.
    """

    programs: Programs
    wanted: Wanted
    call: Call
    batch: Batch
    names: tuple[str, ...]
    prepared: Prepared

    @property
    def states(self) -> int:
        return len(self.programs.step.states)

    @property
    def masks(self) -> list[Tensor]:
        """What the backward reads of the call that has no gradient."""
        noise, resets = self.call.noise or {}, self.call.resets
        return [*noise.values(), *([] if resets is None else [resets])]

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
    prepared = programs.prepared(wanted, batch, call.reverse, call.noise or {})
    return Job(programs, wanted, call, batch, names, prepared)


class Recurrence(torch.autograd.Function):
    """(job, x, states..., initial states where there are resets..., weights...) -> (y, final states..., traces...)."""

    @staticmethod
    def forward(ctx: Any, job: Job, x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        outputs, keep = forward(job, x, others)
        ctx.job = job
        ctx.inputs = 1 + len(others)
        # masks are in the job; saved, they raise if they have been changed in place before the backward
        ctx.save_for_backward(x, *others, *job.masks, *keep)
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        job: Job = ctx.job
        tensors = ctx.saved_tensors
        inputs, keep = tensors[: ctx.inputs], tensors[ctx.inputs + len(job.masks) :]
        # to be differentiated again; or many gradients at once (is_grads_batched), which are no tensors with memory
        if torch.is_grad_enabled() or any(map(_is_batched, upstream)):
            return None, *_through_the_reference(job, inputs, upstream, ctx.needs_input_grad[1:])
        return None, *backward(job, inputs, keep, upstream)


def forward(job: Job, x: Tensor, others: Tensors) -> tuple[list[Tensor], list[Tensor]]:
    """Run the forward loop. Returns ([y, final states..., traces...], what the backward needs)."""
    states, initials, weights = job.parts(others)
    return job.prepared.forward(x, states, initials, weights, job.call.noise or {}, job.call.resets)


def backward(job: Job, inputs: Tensors, keep: Tensors, upstream: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Run the backward loop. Returns the gradients of x, states, initial states and weights."""
    _, _, weights = job.parts(inputs[1:])
    run = job.prepared.backward
    dx, dstates, dinitials, dweights = run(keep, upstream, weights, job.call.noise or {}, job.call.resets)
    if dx is None and job.wanted.x:
        dx = torch.zeros_like(inputs[0])
    return [dx, *dstates, *dinitials, *map(dweights.get, job.names)]


def _through_the_reference(
    job: Job, inputs: Tensors, upstream: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients by the reference, with the graph of what they are made of where it is wanted."""
    with torch.enable_grad():
        inputs = [t.view_as(t) for t in inputs]  # one tensor in two places, tied weights say, has its gradient in parts
        outputs = _by_the_reference(job, inputs)
    pairs = [(o, u) for o, u in zip(outputs, upstream, strict=True) if u is not None and o.requires_grad]
    wanted = [t for t, is_needed in zip(inputs, needed, strict=True) if is_needed]
    of, by = [o for o, _ in pairs], [u for _, u in pairs]
    found = iter(torch.autograd.grad(of, wanted, by, create_graph=torch.is_grad_enabled(), allow_unused=True))
    return [next(found) if is_needed else None for is_needed in needed]


def _by_the_reference(job: Job, inputs: Tensors) -> list[Tensor]:
    """y, final states and traces of the same call."""
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
    return [y, *tensors_of(final), *traces.values()]


def _is_batched(upstream: Tensor | None) -> bool:
    of = torch._C._functorch
    return upstream is not None and (of.is_legacy_batchedtensor(upstream) or of.is_batchedtensor(upstream))


def _nested(like: Any, tensors: Tensors) -> Any:
    """Tensors nested as a state is."""
    given = iter(tensors)
    return map_state(lambda _: next(given), like)
