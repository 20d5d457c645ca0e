"""A forward of one shape: where everything lies and which kernels run, worked out once; and the call itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ...program.capture import Step
from .address import Address
from .batch import Batch
from .carried import Carried, Masks
from .compiled import Entry
from .directions import Forward, Wanted
from .llvm.elements import BYTES, Element
from .plan import Plan
from .space import Space, new_rows, own, reused_rows

KEPT, PASSING = "kept", "passing"
"""Memory of values that lie side by side: what the backward reads, and what is needed until the call is over."""

Tensors = Sequence[Tensor]


class ForwardRun:
    """Calls of one shape.

    Args:
        program: what is run.
        step, wanted: what it was made of.
        batch, reverse: what it is run over.
        are_once: of each mask, whether it is the same at every step.
        element: of numbers.
    """

    def __init__(
        self,
        program: Forward,
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
        space.put(step.x.name)
        self.masks = Masks(step.noise, are_once, space, program.needs)
        others: dict[str, Entry] = self.masks.entries(batch)
        self.block = space.put_block(KEPT, program.block)
        self.passing = space.put_block(PASSING, program.passing)
        for buffer in program.loose:
            space.make(buffer.name, buffer.width, buffer.is_bool)
        if program.before is not None:
            program.before.add_to(plan, space)
        self.carried: list[Carried] = []
        for n, node in enumerate(step.states):
            is_read_later = wanted.gradient or wanted.resets or program.after is not None or n in program.direct
            table = batch.slots if is_read_later else batch.turns
            carried = Carried(f"slots{n}", node.width, batch, table, reverse)
            others |= carried.entries(f"state{n}", f"next state{n}")
            self.carried.append(carried)
        if wanted.resets:
            space.put("resets")
            for n in range(len(step.states)):
                others[f"past state{n}"] = others[f"state{n}"]
                others[f"state{n}"] = Address(f"past{n}"), batch.steps.address
                others[f"initial state{n}"] = Address(f"initial{n}"), batch.zeros.address
        for carried in self.carried:
            carried.add_begin(plan, space.element_bytes)
        program.loop.add_to(plan, space, batch, reverse, others)
        for carried in self.carried:
            carried.add_end(plan, space.element_bytes)

        self.places = program.kept
        # rows that are gathered once the loop has run: of which state, and whether what was written or read
        self.gathered: dict[str, tuple[int, bool]] = {}
        self.after: Plan | None = None
        if program.after is None:
            return
        for n, (node, carried) in enumerate(zip(step.states, self.carried, strict=True)):
            if node.name in program.needs and wanted.resets:
                space.put_part(node.name, f"past{n}", 0, node.width)
            elif node.name in program.needs and carried.put(space, node, written=False):
                self.gathered[node.name] = n, False
        for node in program.new:
            n = step.new.index(node)
            if node.name in program.needs and self.carried[n].put(space, node, written=True):
                self.gathered[node.name] = n, True
        self.after = Plan() if self.gathered else plan
        program.after.add_to(self.after, space)
        self.places = {**self.places, **program.after.places}

    def __call__(
        self,
        x: Tensor,
        states: Tensors,
        initials: Tensors,
        weights: Tensors,
        noise: Mapping[str, Tensor],
        resets: Tensor | None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Shapes as in `scan`. Returns ([y, final states..., traces...], what the backward needs)."""
        program, batch, space = self.program, self.batch, self.space
        x = batch.enter(x)
        memory = {
            self.step.x.name: x,
            **self.masks.given(noise, batch),
            **program.sources(weights),
            **space.new(x),
        }
        blocks = {block.memory: block.new(x) for block in (self.block, self.passing) if block.size}
        memory |= blocks
        slots = []
        for n, (carried, state) in enumerate(zip(self.carried, states, strict=True)):
            make = new_rows if n in program.direct else reused_rows
            memory[carried.memory] = rows = make(x, carried.rows, carried.width)
            carried.begin(memory, state)
            carried.make_end(memory, x)
            slots.append(rows)
        past: list[Tensor] = []
        if resets is not None:
            memory["resets"] = batch.enter(resets[..., None])
            past = [new_rows(x, batch.rows, carried.width) for carried in self.carried]
            for n, initial in enumerate(initials):
                memory[f"past{n}"], memory[f"initial{n}"] = past[n], batch.sorted(initial).contiguous()
        self.plan.run(memory)
        if self.gathered:
            assert self.after is not None
            for name, (n, written) in self.gathered.items():
                memory[name] = self.carried[n].rows_of(slots[n], written=written)
            self.after.run(memory)

        results, shown = [], 1 + len(self.wanted.trace)
        for n, found in enumerate(program.direct):
            if isinstance(found, int):
                result = self.carried[found].rows_of(slots[found], written=True)
            else:
                place = self.places[found]
                result = space.tensor(memory, place.buffer.name, place.column, found.width)
                result = own(result, blocks.values()) if n < shown else result
            results.append(result)
        y, *traces = (batch.leave(r) for r in results[:shown])
        finals = [carried.end(memory) for carried in self.carried]
        kept = [blocks[KEPT]] if KEPT in blocks else []
        return [y, *finals, *traces], [x, *slots, *past, *kept, *results[shown:]]
