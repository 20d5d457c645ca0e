"""A step as LLVM IR.

What is emitted reads as it runs::

    run(context):     for each thread: for each step: for each stage: (then wait for the other thread)
        for the thread's panels of columns: for each block of rows:      (stages with products)
            the products, in registers -> tile
            for each row, for each vector of columns: load, compute, store
        for each row: for each vector of columns: load, compute, store, reduce      (stages without; the first thread)

The number of rows is known. Two threads split the columns of every stage with products, so the same bits come out as of one.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from ....program import free
from ....program.graph import Node
from ....program.stages import Buffer, Place, Stage
from .. import math
from ..control import accumulate, loop
from ..emit import _COMBINE as COMBINE
from ..emit import _NEUTRAL as NEUTRAL
from ..emit import emit_operator
from ..host import Host
from ..memory import BYTES, I1, I8, I32, I64, PTR, STORED, Element, Vectors, splat
from ..tiles import compute_element
from .layout import BARRIER, COUNTER, PACKED, PARALLEL, STEPS, TABLE, Layout, Packed, Pass, X, Y

KERNEL = "run"
PARALLEL_FOR, OFFER = "torch_parallel_for", "deeplstm_offer"
"""What a kernel calls: torch's pool, and what gives the processor to another thread."""
PATIENCE = 4096
"""Looks at the other thread's progress before a waiting thread offers the processor to others."""
PREFETCH_BYTES = 0
"""How far ahead weights are asked for."""


def emit(layout: Layout, rows: int, y: Place, embedding: int | None, host: Host) -> str:
    """The module, as text, whose function `KERNEL` (context) -> int64 runs the context's steps.

    Args:
        layout: what the context holds.
        rows: B.
        y: where a step's output is found.
        embedding: of how many entries a table is whose rows are the input; then X points to whole numbers. The kernel
            returns 0, or 1 + the place of a number that is not in the table, and then nothing has changed.
    """
    module = ir.Module(name="deeplstm_stream")
    _Emitter(module, layout, rows, y, embedding, host).emit()
    return str(module).replace("i64*", "ptr")  # LLVM's pointers have no types any more


class _Emitter:
    def __init__(
        self, module: ir.Module, layout: Layout, rows: int, y: Place, embedding: int | None, host: Host
    ) -> None:
        self.module, self.layout, self.rows, self.y, self.embedding = module, layout, rows, y, embedding
        self.host = host
        self.scalar = BYTES[layout.element]

    def entry(self, b: ir.IRBuilder, context: ir.Value, n: int | ir.Value) -> ir.Value:
        at = n if isinstance(n, ir.Value) else I64(n)
        return b.load(b.gep(context, [at], source_etype=I64), typ=I64)

    @property
    def x_width(self) -> int:
        return next((b.width for b in self.layout.loop.buffers if b.name == "x"), 0)

    # ---------------------------------------------------------------- the call, the thread

    def emit(self) -> None:
        stages = [StageEmitter(self, n, stage).emit() for n, stage in enumerate(self.layout.loop.stages)]
        body = self._body(stages)
        function = ir.Function(self.module, ir.FunctionType(I64, [PTR]), KERNEL)
        b = ir.IRBuilder(function.append_basic_block("entry"))
        context = function.args[0]
        if self.embedding is not None:
            self._check_numbers(b, context)
        void = ir.VoidType()
        pool = ir.Function(self.module, ir.FunctionType(void, [I64, I64, I64, PTR, PTR]), PARALLEL_FOR)
        is_parallel = b.icmp_signed("!=", self.entry(b, context, PARALLEL), I64(0))
        with b.if_else(is_parallel) as (two, one):
            with two:
                b.store_atomic(I64(0), self._barrier(b, context), "release", 8)
                b.call(pool, [I64(0), I64(2), I64(1), body, context])
            with one:
                b.call(body, [I64(0), I64(2), context])
        T, done = self.entry(b, context, STEPS), self.entry(b, context, COUNTER)
        last = b.sub(T, I64(1))
        self._copy_y(b, context, b.and_(b.add(done, last), I64(1)), last)
        b.store(b.add(done, T), b.gep(context, [I64(COUNTER)], source_etype=I64))
        b.ret(I64(0))

    def _body(self, stages: list[ir.Function]) -> ir.Function:
        """``body(begin, end, context)``: all steps, for one thread's share of 0 to 2."""
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [I64, I64, PTR]), "body")
        function.linkage = "internal"
        b = ir.IRBuilder(function.append_basic_block("entry"))
        begin, end, context = function.args
        is_shared = b.icmp_signed("<", b.sub(end, begin), I64(2))
        arrivals = b.alloca(I64, name="arrivals")
        b.store(I64(0), arrivals)
        wait = self._wait()
        T, done = self.entry(b, context, STEPS), self.entry(b, context, COUNTER)
        with loop(b, 0, T, "step") as t:
            parity = b.and_(b.add(done, t), I64(1))
            for n, stage in enumerate(stages):
                b.call(stage, [context, parity, t, begin, end])
                is_last = n == len(stages) - 1
                with b.if_then(b.and_(is_shared, b.icmp_signed("<", t, b.sub(T, I64(1))) if is_last else I1(1))):
                    target = b.add(b.load(arrivals, typ=I64), I64(2))
                    b.store(target, arrivals)
                    b.call(wait, [context, target])
            # the last step's is copied when both threads are done
            with b.if_then(b.and_(b.icmp_signed("==", begin, I64(0)), b.icmp_signed("<", t, b.sub(T, I64(1))))):
                self._copy_y(b, context, parity, t)
        b.ret_void()
        return function

    def _wait(self) -> ir.Function:
        """``wait(context, target)``: arrive, and go on when so many have."""
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [PTR, I64]), "wait")
        function.linkage = "internal"
        b = ir.IRBuilder(function.append_basic_block("entry"))
        context, target = function.args
        barrier = self._barrier(b, context)
        before = b.atomic_rmw("add", barrier, I64(1), "acq_rel")
        entry = b.block
        look, again, offer, done = (b.append_basic_block(n) for n in ("look", "again", "offer", "done"))
        b.cbranch(b.icmp_signed(">=", b.add(before, I64(1)), target), done, look)
        b.position_at_end(look)
        looks = b.phi(I64)
        looks.add_incoming(I64(0), entry)
        now = b.load_atomic(barrier, "acquire", 8)
        b.cbranch(b.icmp_signed(">=", now, target), done, again)
        b.position_at_end(again)
        looks.add_incoming(b.add(looks, I64(1)), again)
        b.cbranch(b.icmp_signed(">", looks, I64(PATIENCE)), offer, look)
        b.position_at_end(offer)
        b.call(ir.Function(self.module, ir.FunctionType(I32, []), OFFER), [])
        looks.add_incoming(I64(0), offer)
        b.branch(look)
        b.position_at_end(done)
        b.ret_void()
        return function

    def _barrier(self, b: ir.IRBuilder, context: ir.Value) -> ir.Value:
        """Where arrivals are counted; llvmlite's atomic operators want to know what a pointer points to."""
        return b.inttoptr(self.entry(b, context, BARRIER), I64.as_pointer())

    def _copy_y(self, b: ir.IRBuilder, context: ir.Value, parity: ir.Value, t: ir.Value) -> None:
        """To where the caller wants it, unless it was written there at once."""
        if self.is_direct:
            return
        base = self.base(b, context, parity, t, self.y.buffer)
        count, width = self.y_width, self.y.buffer.width
        size = count * self.scalar
        out = b.add(self.entry(b, context, Y), b.mul(t, I64(size * self.rows)))
        copy = _memcpy(self.module)
        for row in range(self.rows if width != count else 1):
            source = b.gep(base, [I64((row * width + self.y.column) * self.scalar)], source_etype=I8)
            target = b.inttoptr(b.add(out, I64(row * size)), PTR)
            b.call(copy, [target, source, I64(size if width != count else size * self.rows), I1(0)])

    @property
    def is_direct(self) -> bool:
        return self.y.buffer.name.startswith("kept ")

    @property
    def y_width(self) -> int:
        return self.layout.loop.split.kept[0].width

    def _check_numbers(self, b: ir.IRBuilder, context: ir.Value) -> None:
        numbers = b.inttoptr(self.entry(b, context, X), PTR)
        with loop(b, 0, b.mul(self.entry(b, context, STEPS), I64(self.rows)), "number") as n:
            number = b.load(b.gep(numbers, [n], source_etype=I64), typ=I64)
            with b.if_then(b.icmp_unsigned(">=", number, I64(self.embedding))):
                b.ret(b.add(n, I64(1)))

    # ---------------------------------------------------------------- addresses

    def base(self, b: ir.IRBuilder, context: ir.Value, parity: ir.Value, t: ir.Value, buffer: Buffer) -> ir.Value:
        """Where a buffer's rows of this step are."""
        step = self.rows * buffer.width * self.scalar
        if buffer.name == "x" and self.embedding is None:
            return b.inttoptr(b.add(self.entry(b, context, X), b.mul(t, I64(step))), PTR)
        if buffer is self.y.buffer and self.is_direct:
            return b.inttoptr(b.add(self.entry(b, context, Y), b.mul(t, I64(step))), PTR)
        at = b.add(I64(self.layout.buffer_at(buffer)), parity)
        return b.inttoptr(self.entry(b, context, at), PTR)

    def row_of_table(self, b: ir.IRBuilder, context: ir.Value, t: ir.Value, row: ir.Value) -> ir.Value:
        """Where the row of the table is that a row of the batch reads."""
        numbers = b.inttoptr(self.entry(b, context, X), PTR)
        at = b.add(b.mul(t, I64(self.rows)), row)
        number = b.load(b.gep(numbers, [at], source_etype=I64), typ=I64)
        table = self.entry(b, context, TABLE)
        return b.inttoptr(b.add(table, b.mul(number, I64(self.x_width * self.scalar))), PTR)


class StageEmitter:
    """Emits ``stage(context, parity, t, begin, end)``."""

    def __init__(self, of: _Emitter, number: int, stage: Stage) -> None:
        self.of, self.stage, self.number = of, stage, number
        self.layout = of.layout
        self.loop = of.layout.loop
        self.types = Vectors(of.layout.element, of.layout.lanes)
        self.packed = of.layout.of(stage)
        self.is_masked = stage.width % of.layout.lanes != 0

    def emit(self) -> ir.Function:
        signature = ir.FunctionType(ir.VoidType(), [PTR, I64, I64, I64, I64])
        function = ir.Function(self.of.module, signature, f"stage{self.number}")
        function.linkage = "internal"
        function.attributes.add("noinline")
        self.b = b = ir.IRBuilder(function.append_basic_block("entry"))
        self.context, self.parity, self.t, begin, end = function.args
        self._addresses()
        if self.packed is not None:
            self._columns(self.packed, begin, end)
        else:
            with b.if_then(b.icmp_signed("==", begin, I64(0))):
                self._by_row()
        b.ret_void()
        return function

    def _addresses(self) -> None:
        b, stage, of = self.b, self.stage, self.of
        self.free: dict[Node, ir.Value] = {}
        buffers = dict.fromkeys(p.buffer for _, p in (*stage.stores, *stage.reductions))
        for node in self.loop.work_of(stage)[1]:
            if node.kind == "free":
                source, offset, _ = free.view_of(node)
                base = b.inttoptr(of.entry(b, self.context, self.layout.source_at(source)), PTR)
                self.free[node] = b.gep(base, [I64(offset)], source_etype=STORED[self._free_element(node)])
            elif node in self.loop.places:
                buffers[self.loop.places[node].buffer] = None
        for node in stage.groups:
            buffers[self.loop.places[node].buffer] = None
        self.bases = {
            buffer: of.base(b, self.context, self.parity, self.t, buffer)
            for buffer in buffers
            if not self._is_table(buffer)
        }

    def _is_table(self, buffer: Buffer) -> bool:
        return buffer.name == "x" and self.of.embedding is not None

    def _free_element(self, node: Node) -> Element:
        return "bool" if node.is_bool else self.layout.element

    def _element(self, buffer: Buffer) -> Element:
        return "bool" if buffer.is_bool else self.layout.element

    def _at(self, place: Place, row: ir.Value, column: ir.Value) -> ir.Value:
        """The address of one number."""
        b, buffer, stored = self.b, place.buffer, STORED[self._element(place.buffer)]
        if self._is_table(buffer):
            base = self.of.row_of_table(b, self.context, self.t, row)
            return b.gep(base, [b.add(column, I64(place.column))], source_etype=stored)
        index = b.add(b.mul(row, I64(buffer.width)), b.add(column, I64(place.column)))
        return b.gep(self.bases[buffer], [index], source_etype=stored)

    # ---------------------------------------------------------------- products

    def _columns(self, packed: Packed, begin: ir.Value, end: ir.Value) -> None:
        """The panels that are this thread's, each for all rows."""
        b, of, lanes = self.b, self.of, self.types.lanes
        first, last = (b.lshr(b.add(b.mul(n, I64(packed.panels)), I64(1)), I64(1)) for n in (begin, end))
        widest = max(len(p.linears) for p in packed.passes) * packed.vectors
        most = max(1, (of.host.registers - 4) // widest - 1)
        parts = -(-of.rows // most)
        size, longer = divmod(of.rows, parts)
        scratch = b.alloca(self.types.type, packed.linears * (size + (longer > 0)) * packed.vectors, name="tile")
        scratch.align = of.host.vector_bytes
        stored = STORED[self.layout.weights]
        weights = b.inttoptr(of.entry(b, self.context, PACKED), PTR)
        with loop(b, first, last, "turn") as turn:
            # to and fro: what was read last is still in the cache
            backwards = b.sub(b.sub(b.add(first, last), I64(1)), turn)
            panel = b.select(b.icmp_signed("==", self.parity, I64(0)), turn, backwards)
            at = b.add(b.mul(panel, I64(packed.panel_size)), I64(packed.start))
            start = b.gep(weights, [at], source_etype=stored)
            column = b.mul(panel, I64(packed.vectors * lanes))
            left = b.sub(I64(-(-self.stage.width // lanes)), b.mul(panel, I64(packed.vectors)))
            vectors = b.select(b.icmp_signed("<", left, I64(packed.vectors)), left, I64(packed.vectors))
            for rows, low, high in ((size + 1, 0, longer), (size, longer, parts)):
                if low == high:
                    continue
                offset = 0 if low == 0 else longer  # rows before the short blocks, beyond low * rows
                with loop(b, low, high, "block") as block:
                    row = b.add(b.mul(block, I64(rows)), I64(offset))
                    for done in packed.passes:
                        self._product(packed, done, rows, row, start, scratch)
                    with loop(b, 0, rows, "row") as r, loop(b, 0, vectors, "vector") as v:
                        where = b.add(column, b.mul(v, I64(lanes)))
                        self._vector(b.add(row, r), where, self._from_tile(packed, rows, scratch, r, v), {})

    def _product(
        self, packed: Packed, done: Pass, rows: int, row: ir.Value, panel: ir.Value, scratch: ir.Value
    ) -> None:
        """One pass over K for a block of rows: into the tile, [linear][row][vector]."""
        b, types, layout = self.b, self.types, self.layout
        K, count = done.input.width, len(done.linears) * packed.vectors
        pair = 2 if layout.weights == "bfloat16" else 1
        weights = b.gep(panel, [I64(done.start)], source_etype=STORED[layout.weights])
        place = self.loop.places[done.input]
        inputs = [self._at(place, b.add(row, I64(r)), I64(0)) for r in range(rows)]
        stored = STORED[self._element(place.buffer)]
        sets = 2 if 2 * rows * count <= self.of.host.registers // 2 else 1

        def step(k: ir.Value, sums: list[ir.Value], take: int) -> list[ir.Value]:
            """So many numbers of each row, from k on, with their weights."""
            sums = list(sums)
            for j in range(0, take, pair):
                at = b.mul(b.add(k, I64(j)), I64(count * types.lanes))
                loaded = [
                    self._weights(
                        b.gep(weights, [b.add(at, I64(n * types.lanes * pair))], source_etype=STORED[layout.weights])
                    )
                    for n in range(count)
                ]
                if PREFETCH_BYTES:
                    for n in range(0, count * types.lanes * BYTES[layout.weights] * pair, 64):
                        base = b.gep(weights, [at], source_etype=STORED[layout.weights])
                        _prefetch(b, b.gep(base, [I64(n + PREFETCH_BYTES)], source_etype=I8))
                for half in range(min(pair, take - j)):
                    which = (j + half) % sets
                    for r in range(rows):
                        number = types.load_scalar(
                            b,
                            b.gep(inputs[r], [b.add(k, I64(j + half))], source_etype=stored),
                            self._element(place.buffer),
                        )
                        for n in range(count):
                            at_sum = (which * rows + r) * count + n
                            sums[at_sum] = math.fma(b, number, loaded[n][half], sums[at_sum])
            return sums

        unroll = 4 if rows * count <= 8 else 2
        zero = ir.Constant(types.type, None)
        sums = accumulate(
            b,
            I64(K // unroll),
            [zero] * (sets * rows * count),
            lambda k, sums: step(b.mul(k, I64(unroll)), sums, unroll),
        )
        if K % unroll:
            sums = step(I64(K - K % unroll), sums, K % unroll)
        for r in range(rows):
            for n in range(count):
                value = sums[r * count + n]
                for which in range(1, sets):
                    value = b.fadd(value, sums[(which * rows + r) * count + n])
                linear, vector = divmod(n, packed.vectors)
                index = ((done.first + linear) * rows + r) * packed.vectors + vector
                types.store(b, value, b.gep(scratch, [I64(index)], source_etype=types.type), compute_element(types))

    def _weights(self, pointer: ir.Value) -> list[ir.Value]:
        """Vectors of weights: one, or of bfloat16 those of two numbers of the input, which share a vector of 32 bits."""
        b, types = self.b, self.types
        if self.layout.weights != "bfloat16":
            return [types.load(b, pointer, self.layout.weights)]
        integers = ir.VectorType(I32, types.lanes)
        both = b.load(pointer, typ=integers)
        both.align = 4
        low = b.shl(both, ir.Constant(integers, [16] * types.lanes))
        high = b.and_(both, ir.Constant(integers, [0xFFFF0000] * types.lanes))
        return [b.bitcast(part, types.type) for part in (low, high)]

    def _from_tile(
        self, packed: Packed, rows: int, scratch: ir.Value, r: ir.Value, v: ir.Value
    ) -> Callable[[Node], ir.Value | None]:
        b, types = self.b, self.types
        index = {n: done.first + i for done in packed.passes for i, n in enumerate(done.linears)}

        def accumulator(node: Node) -> ir.Value | None:
            if node not in index:
                return None
            at = b.add(b.mul(b.add(I64(index[node] * rows), r), I64(packed.vectors)), v)
            return types.load(b, b.gep(scratch, [at], source_etype=types.type), compute_element(types))

        return accumulator

    # ---------------------------------------------------------------- everything else

    def _by_row(self) -> None:
        b, types, stage = self.b, self.types, self.stage
        sums = {}
        for node, _ in stage.reductions:
            if node not in sums:
                sums[node] = b.alloca(types.type, name=node.name)
        with loop(b, 0, self.of.rows, "row") as row:
            for node, at in sums.items():
                types.store(b, math.splat(types.type, NEUTRAL[node.op]), at, compute_element(types))
            if stage.width > 1 or stage.stores:
                with loop(b, 0, -(-stage.width // types.lanes), "vector") as v:
                    self._vector(row, b.mul(v, I64(types.lanes)), lambda node: None, sums)
            for node, place in stage.reductions:
                total = self._across(types.load(b, sums[node], compute_element(types)), node.op)
                types.store_first(b, total, self._at(place, row, I64(0)), self._element(place.buffer))

    def _across(self, vector: ir.Value, op: str) -> ir.Value:
        """One number out of all lanes."""
        b, lanes = self.b, self.types.lanes
        half = lanes // 2
        while half:
            order = ir.Constant(ir.VectorType(I32, lanes), [(n + half) % lanes for n in range(lanes)])
            vector = COMBINE[op](b, vector, b.shuffle_vector(vector, vector, order))
            half //= 2
        return vector

    def _vector(
        self,
        row: ir.Value,
        column: ir.Value,
        accumulator: Callable[[Node], ir.Value | None],
        sums: dict[Node, ir.Value],
    ) -> None:
        """Compute and store everything the stage has for some columns of a row."""
        b, types, stage = self.b, self.types, self.stage
        mask = None
        if self.is_masked:
            lanes = ir.Constant(ir.VectorType(I32, types.lanes), list(range(types.lanes)))
            left = b.trunc(b.sub(I64(stage.width), column), I32)
            mask = b.icmp_signed("<", lanes, splat(b, left, types.lanes))
        done: dict[Node, ir.Value] = {}

        def value(node: Node | float) -> ir.Value:
            if not isinstance(node, Node):
                return math.splat(types.type, float(node))
            if node not in done:
                done[node] = compute(node)
            return done[node]

        def compute(node: Node) -> ir.Value:
            if node.kind == "free":
                element = self._free_element(node)
                if node.shape in ((), (1,)):
                    return types.load_scalar(b, self.free[node], element)
                at = b.gep(self.free[node], [column], source_etype=STORED[element])
                return types.load(b, at, element, mask)
            found = accumulator(node)
            if found is not None:
                return found
            if not self.loop.is_computed_in(node, stage):
                place = self.loop.places[node]
                element = self._element(place.buffer)
                if node.width == 1:
                    return types.load_scalar(b, self._at(place, row, I64(0)), element)
                return types.load(b, self._at(place, row, column), element, mask)
            if node.op == "fill":
                return value(node.args[0])
            return emit_operator(b, types, node.op, [value(a) for a in node.args])

        for node, place in stage.stores:
            at, element = self._at(place, row, column), self._element(place.buffer)
            if stage.width == 1:
                types.store_first(b, value(node), at, element)
            else:
                types.store(b, value(node), at, element, mask)
        for node, at in sums.items():
            part = value(node.args[0])
            if mask is not None:
                part = b.select(mask, part, math.splat(types.type, NEUTRAL[node.op]))
            total = COMBINE[node.op](b, types.load(b, at, compute_element(types)), part)
            types.store(b, total, at, compute_element(types))


def _memcpy(module: ir.Module) -> ir.Function:
    name = "llvm.memcpy.p0.p0.i64"
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR, PTR, I64, I1]), name)


def _prefetch(b: ir.IRBuilder, pointer: ir.Value) -> None:
    name = "llvm.prefetch.p0"
    module = b.module
    if name in module.globals:
        function = module.globals[name]
    else:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR, I32, I32, I32]), name)
    b.call(function, [pointer, I32(0), I32(3), I32(1)])
