"""A backward of one shape: where everything lies and which kernels run, worked out once; and the call itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...program.capture import Step
from ...program.graph import Node
from .address import Address
from .batch import Batch
from .carried import Carried, Masks
from .compiled import Entry
from .directions import Backward, Wanted
from .forward import KEPT, PASSING, Tensors
from .llvm.elements import BYTES, Element
from .outer import SUMS, Sums
from .plan import Plan
from .space import Lies, Space, new_rows, own


class BackwardRun:
    """Calls of one shape.

    Args:
        program: what is run.
        step, wanted: what it was made of.
        batch, reverse: what the forward was run over.
        are_once: of each mask, whether it is the same at every step.
        element: of numbers.
    """

    def __init__(
        self,
        program: Backward,
        step: Step,
        wanted: Wanted,
        batch: Batch,
        reverse: bool,
        are_once: Mapping[str, bool],
        element: Element,
    ) -> None:
        self.program, self.step, self.wanted, self.batch = program, step, wanted, batch
        self.space = space = Space(batch.rows, BYTES[element])
        self.plan = plan = Plan()
        for node in (step.x, step.dy, *step.dmarks.values(), *program.apart):
            space.put(node.name)
        space.put_block(KEPT, program.block)
        self.passing = space.put_block(PASSING, program.passing)
        for buffer in program.loose:
            space.make(buffer.name, buffer.width, buffer.is_bool)
        self.masks = Masks(step.noise, are_once, space, program.needs)
        others: dict[str, Entry] = self.masks.entries(batch)
        # rows that are gathered: of which state, and whether what was written or read
        self.gathered: dict[str, tuple[int, bool]] = {}
        self.states = [
            Carried(f"slots{n}", node.width, batch, batch.slots, reverse) for n, node in enumerate(step.states)
        ]
        for n, (node, new, carried) in enumerate(zip(step.states, step.new, self.states, strict=True)):
            others |= carried.entries(node.name, new.name)
            if wanted.resets:
                others[node.name] = Address(f"past{n}"), batch.steps.address
                if node.name in program.needs:
                    space.put_part(node.name, f"past{n}", 0, node.width)
            elif node.name in program.needs and carried.put(space, node, written=False):
                self.gathered[node.name] = n, False
            if new.name in program.needs and not new.is_leaf and carried.put(space, new, written=True):
                self.gathered[new.name] = n, True
        if program.before is not None:
            program.before.add_to(plan, space)
        self.carried = [
            Carried(f"carry{n}", node.width, batch, batch.turns, not reverse) for n, node in enumerate(step.states)
        ]
        for n, carried in enumerate(self.carried):
            others |= carried.entries(f"dnew{n}", f"next dnew{n}")
            if wanted.resets:
                others[f"past dnew{n}"] = others[f"dnew{n}"]
                others[f"initial dnew{n}"] = Address(f"dinitial{n}"), batch.zeros.address
        if wanted.resets:
            space.put("resets")
        for width, nodes in program.totals.items():
            for n, node in enumerate(nodes):
                at = Address(f"totals{width}", n * self._total_rows * width * BYTES[element])
                others[program.loop.loop.totals[node].name] = at, batch.zeros.address
        for carried in self.carried:
            carried.add_begin(plan, space.element_bytes)
        program.loop.add_to(plan, space, batch, not reverse, others)
        for carried in self.carried:
            carried.add_end(plan, space.element_bytes)
        if program.after is not None:
            program.after.add_to(plan, space)
        for group in program.outers:
            self._add_outer(group, getattr(torch, element))

    def _add_outer(self, nodes: Sequence[Node], dtype: torch.dtype) -> None:
        """Have the plan compute sums over rows, which have a first factor in common."""

        def lies(node: Node) -> Lies:
            place = self.program.places[node]
            return self.space.lies(place.buffer.name, place.column, place.buffer.width)

        a, others = nodes[0].args[0], [node.args[1] for node in nodes]
        sums = Sums(dtype, self.batch.rows, a.width, [b.width for b in others])
        (packed,) = self.space.take_scratch([sums.size * SUMS[dtype].itemsize])
        told = sums.told(lies(a), [lies(b) for b in others], [Address(_result(node)) for node in nodes], packed)
        self.plan.call([(sums.kernel, sums.parts)], told)

    @property
    def _total_rows(self) -> int:
        """Of each sum over steps: one more than there are, lest all of them lie in the same places of the cache."""
        return self.batch.B + 1

    def __call__(
        self,
        keep: Tensors,
        upstream: Sequence[Tensor | None],
        weights: Tensors,
        noise: Mapping[str, Tensor],
        resets: Tensor | None,
    ) -> tuple[Tensor | None, list[Tensor], list[Tensor], dict[str, Tensor | None]]:
        """Gradients of x, of states, of initial states where there are resets, and of weights by name.

        Args:
            keep: what the forward gave for it.
            upstream: gradients of y, final states and traces; None stands for zeros.
        """
        program, step, batch, space = self.program, self.step, self.batch, self.space
        given, count = iter(keep), len(step.states)
        x = next(given)
        memory = {step.x.name: x, **self.masks.given(noise, batch), **program.sources(weights), **space.new(x)}
        slots = [next(given) for _ in step.states]
        memory |= {carried.memory: rows for carried, rows in zip(self.states, slots, strict=True)}
        past = [next(given) for _ in step.states] if resets is not None else []
        memory |= {f"past{n}": rows for n, rows in enumerate(past)}
        if program.block:
            memory[KEPT] = next(given)
        for node in program.apart:
            memory[node.name] = next(given)
        for node, one in zip((step.dy, *step.dmarks.values()), (upstream[0], *upstream[1 + count :]), strict=True):
            memory[node.name] = x.new_zeros(batch.rows, node.width) if one is None else batch.enter(one)
        if self.passing.size:
            memory[PASSING] = self.passing.new(x)
        for name, (n, written) in self.gathered.items():
            memory[name] = self.states[n].rows_of(slots[n], written=written)
        for carried, final in zip(self.carried, upstream[1:], strict=False):
            memory[carried.memory] = new_rows(x, carried.rows, carried.width)
            carried.begin(memory, final)
            carried.make_end(memory, x)
        dinitials: list[Tensor] = []
        if resets is not None:
            memory["resets"] = batch.enter(resets[..., None])
            dinitials = [x.new_zeros(batch.B, carried.width) for carried in self.carried]
            memory |= {f"dinitial{n}": d for n, d in enumerate(dinitials)}
        for width, nodes in program.totals.items():
            memory[f"totals{width}"] = x.new_zeros(len(nodes), self._total_rows, width)
        for node in (node for nodes in program.outers for node in nodes):
            memory[_result(node)] = x.new_empty(node.shape, dtype=SUMS[x.dtype])
        self.plan.run(memory)

        dx, dweights = self._sums(memory, weights, keep)
        dstates = [carried.end(memory) for carried in self.carried]
        return dx, dstates, [batch.unsorted(d) for d in dinitials], dweights

    def _sums(
        self, memory: Mapping[str, Tensor], weights: Tensors, keep: Tensors
    ) -> tuple[Tensor | None, dict[str, Tensor | None]]:
        """The gradients of x and of weights, once the loop has run."""
        program, batch, dtype = self.program, self.batch, keep[0].dtype
        known = dict(zip(self.step.weights.values(), weights, strict=True))
        for node in (node for nodes in program.outers for node in nodes):
            total = memory[_result(node)]
            known[node] = total if total.dtype == dtype else total.to(dtype)
        for node in program.rows:
            place = program.places[node]
            known[node] = self.space.tensor(memory, place.buffer.name, place.column, node.width)
        for width, nodes in program.totals.items():
            block = memory[f"totals{width}"]
            totals = block.select(1, 0) if batch.B == 1 else block.sum(1)
            known |= dict(zip(nodes, totals.unbind(), strict=True))
        results = dict(zip(program.results, program.sums(*[known[n] for n in program.known]), strict=True))
        dx = None
        if program.dx is not None:
            dx = results[program.dx]
            passing = [memory[PASSING]] if self.passing.size else []
            dx = batch.leave(dx if program.dx_has_its_own else own(dx, [*keep, *passing]))
        dweights: dict[str, Tensor | None] = {}
        for name, weight in zip(self.step.weights, weights, strict=True):
            if name in self.wanted.weights:
                found = program.dweights[name]
                if found is not None:
                    gradient = results[found]
                    dweights[name] = gradient if gradient.shape == weight.shape else gradient.view(weight.shape)
                else:  # no gradient of what is not read at all, as in torch: optimizers pass it over
                    dweights[name] = torch.zeros_like(weight) if name in self.step.read else None
        return dx, dweights


def _result(node: Node) -> str:
    """The name of a sum's memory."""
    return f"outer {node.id}"
