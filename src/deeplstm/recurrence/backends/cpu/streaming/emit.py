"""A step as LLVM IR.

What is emitted reads as it runs::

    run(context):     for each step: for each stage: (then wait until both threads are done with it)
        while there is a panel of columns to do: for each block of rows:      (stages with products)
            the products, in registers -> tile
            for each row, for each vector of columns: load, compute, store
        for each row: for each vector of columns: load, compute, store, reduce      (stages without; the first thread)

The number of rows is known. Two threads split the columns of every stage with products, so the same bits come out as of one.
The second is a `helper`, which may come late or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from llvmlite import ir

from ....program import free
from ....program.graph import Node
from ....program.stages import Buffer, Place, Stage
from ..llvm import math
from ..llvm.columns import Accumulator, Columns
from ..llvm.control import accumulate, loop, until_negative
from ..llvm.host import Host
from ..llvm.memory import BYTES, I1, I8, I32, I64, PTR, STORED, Element, Vectors, compute_element, splat
from .helper import ARGUMENT, CLOSED, FUNCTION, LEFT, OPEN, TAKEN
from .helper import emit_wait as _wait
from .layout import COUNTER, COUNTERS, DONE, LINE, MAILBOX, PACKED, STEPS, TABLE, Layout, Packed, Pass, X, Y

KERNEL = "run"
FIRST, SECOND, ALONE = range(3)
"""Who runs a step: the thread that called or the one that helps it, or the former without help."""


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
        self.take, self.wait = self._take(), _wait(self.module)
        stages = [StageEmitter(self, n, stage).emit() for n, stage in enumerate(self.layout.loop.stages)]
        body = self._body(stages)
        shared = self._shared(body, self._helped(body))
        function = ir.Function(self.module, ir.FunctionType(I64, [PTR]), KERNEL)
        b = ir.IRBuilder(function.append_basic_block("entry"))
        context = function.args[0]
        if self.embedding is not None:
            self._check_numbers(b, context)
        with b.if_then(b.not_(b.call(shared, [context]))):
            b.call(body, [context, I64(ALONE)])
        T, done = self.entry(b, context, STEPS), self.entry(b, context, COUNTER)
        last = b.sub(T, I64(1))
        self._copy_y(b, context, b.and_(b.add(done, last), I64(1)), last)
        b.store(b.add(done, T), b.gep(context, [I64(COUNTER)], source_etype=I64))
        b.ret(I64(0))

    def _shared(self, body: ir.Function, helped: ir.Function) -> ir.Function:
        """``shared(context) -> bool``: run all steps with a second thread, if there is one and nobody else has it."""
        function = ir.Function(self.module, ir.FunctionType(I1, [PTR]), "shared")
        function.linkage = "internal"
        b = ir.IRBuilder(function.append_basic_block("entry"))
        (context,) = function.args
        mailbox = self.entry(b, context, MAILBOX)
        state = b.inttoptr(mailbox, I64.as_pointer())
        with b.if_then(b.icmp_signed("==", mailbox, I64(0))):
            b.ret(I1(0))

        def changed(old: int, new: int) -> ir.Value:
            return b.extract_value(b.cmpxchg(state, I64(old), I64(new), "acq_rel", "acquire"), 1)

        with b.if_then(b.not_(changed(CLOSED, TAKEN))):
            b.ret(I1(0))
        with loop(b, 0, self.layout.counters, "counter") as n:
            b.store(I64(0), self._counter(b, context, n))
        for n, what in ((FUNCTION, helped), (ARGUMENT, context)):
            b.store(b.ptrtoint(what, I64), b.gep(state, [I64(n)]))
        b.store_atomic(I64(OPEN), state, "release", 8)
        b.call(body, [context, I64(FIRST)])
        # nobody may come any more; who is there leaves, since everything is done
        with b.if_then(b.not_(changed(OPEN, CLOSED))):
            b.call(self.wait, [state, I64(LEFT)])
            b.store_atomic(I64(CLOSED), state, "release", 8)
        b.ret(I1(1))
        return function

    def _helped(self, body: ir.Function) -> ir.Function:
        """``helped(context)``: what the second thread does."""
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [PTR]), "helped")
        function.linkage = "internal"
        b = ir.IRBuilder(function.append_basic_block("entry"))
        b.call(body, [function.args[0], I64(SECOND)])
        b.ret_void()
        return function

    def _body(self, stages: list[ir.Function]) -> ir.Function:
        """``body(context, who)``: all steps, alone or as one of two threads.

        A stage starts when all before it is done: everything that is done is counted, panel by panel, in one number that both
        threads look at.
        """
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [PTR, I64]), "body")
        function.linkage = "internal"
        b = ir.IRBuilder(function.append_basic_block("entry"))
        context, who = function.args
        is_shared, is_second = (b.icmp_signed(*c) for c in (("!=", who, I64(ALONE)), ("==", who, I64(SECOND))))
        T, before = self.entry(b, context, STEPS), self.entry(b, context, COUNTER)
        done = self._counter(b, context, I64(DONE))
        units = [p.panels if (p := self.layout.of(s)) else 1 for s in self.layout.loop.stages]
        with loop(b, 0, T, "step") as t:
            parity = b.and_(b.add(before, t), I64(1))
            is_last = b.icmp_signed("==", t, b.sub(T, I64(1)))
            target = b.mul(t, I64(sum(units) + 1))
            for n, (stage, count) in enumerate(zip(stages, units, strict=True)):
                target = b.add(target, I64(count))
                mine = b.call(stage, [context, parity, t, who])
                with b.if_then(is_shared):
                    b.atomic_rmw("add", done, mine, "acq_rel")
                    if n == len(stages) - 1:
                        with b.if_then(b.and_(is_second, is_last)):
                            b.ret_void()  # the caller waits until it has left
                    b.call(self.wait, [done, target])
            with b.if_then(b.not_(is_last)), b.if_else(is_second) as (second, first):
                with second:
                    b.call(self.wait, [done, b.add(target, I64(1))])
                with first:
                    self._copy_y(b, context, parity, t)
                    with b.if_then(is_shared):
                        b.atomic_rmw("add", done, I64(1), "acq_rel")
        b.ret_void()
        return function

    def _take(self) -> ir.Function:
        """``take(counters, who, t, parity, panels, turn) -> panel``: the next one to do, or -1.

        Each thread has half of the panels, the same at each step, so that they stay in its core's cache. One that is done with
        its half takes what the other has not begun: no thread waits for one that gets no turn.
        """
        function = ir.Function(self.module, ir.FunctionType(I64, [I64.as_pointer(), I64, I64, I64, I64, PTR]), "take")
        function.linkage = "internal"
        b = ir.IRBuilder(function.append_basic_block("entry"))
        counters, who, t, parity, panels, turn = function.args

        def placed(n: ir.Value, count: ir.Value) -> ir.Value:
            """To and fro: what was read last may still be in the cache."""
            backwards = b.sub(b.sub(count, I64(1)), n)
            return b.select(b.icmp_signed("==", parity, I64(0)), n, backwards)

        with b.if_then(b.icmp_signed("==", who, I64(ALONE))):
            n = b.load(turn, typ=I64)
            b.store(b.add(n, I64(1)), turn)
            b.ret(b.select(b.icmp_signed("<", n, panels), placed(n, panels), I64(-1)))
        longer = b.lshr(b.add(panels, I64(1)), I64(1))
        for side in range(2):
            is_upper = b.icmp_signed("!=", who, I64(side))
            start = b.select(is_upper, longer, I64(0))
            count = b.select(is_upper, b.sub(panels, longer), longer)
            at = b.mul(b.zext(is_upper, I64), I64(LINE))
            counter = b.gep(counters, [at])
            begin = b.mul(t, count)
            limit = b.add(begin, count)
            look, claim, taken, none = (b.append_basic_block(n) for n in ("look", "claim", "taken", "none"))
            first = b.load_atomic(counter, "acquire", 8)
            entry = b.block
            b.branch(look)
            b.position_at_end(look)
            now = b.phi(I64)
            now.add_incoming(first, entry)
            b.cbranch(b.icmp_signed("<", now, limit), claim, none)
            b.position_at_end(claim)
            result = b.cmpxchg(counter, now, b.add(now, I64(1)), "acq_rel", "acquire")
            now.add_incoming(b.extract_value(result, 0), claim)
            b.cbranch(b.extract_value(result, 1), taken, look)
            b.position_at_end(taken)
            b.ret(b.add(start, placed(b.sub(now, begin), count)))
            b.position_at_end(none)
        b.ret(I64(-1))
        return function

    def _counter(self, b: ir.IRBuilder, context: ir.Value, n: ir.Value | int) -> ir.Value:
        """Where one is; each has a cache line of its own. llvmlite's atomic operators want to know what a pointer points to."""
        counters = b.inttoptr(self.entry(b, context, COUNTERS), I64.as_pointer())
        return b.gep(counters, [b.mul(n, I64(LINE))])

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


class Rows:
    """Addresses of rows at one step, and of what has no rows."""

    def __init__(self, b: ir.IRBuilder, of: _Emitter, context: ir.Value, parity: ir.Value, t: ir.Value) -> None:
        self.b, self.of, self.context, self.parity, self.t = b, of, context, parity, t
        self._bases: dict[Buffer, ir.Value] = {}
        self._free: dict[Node, ir.Value] = {}

    def find(self, places: Iterable[Place], nodes: Iterable[Node] = ()) -> None:
        """Compute where rows of places start, and where free nodes do: before any of them is used."""
        b, of = self.b, self.of
        for buffer in dict.fromkeys(place.buffer for place in places):
            if buffer not in self._bases and not self._is_table(buffer):
                self._bases[buffer] = of.base(b, self.context, self.parity, self.t, buffer)
        for node in nodes:
            if node not in self._free:
                source, offset, _ = free.view_of(node)
                base = b.inttoptr(of.entry(b, self.context, of.layout.source_at(source)), PTR)
                self._free[node] = b.gep(base, [I64(offset)], source_etype=STORED[self.element(node)])

    def _is_table(self, buffer: Buffer) -> bool:
        return buffer.name == "x" and self.of.embedding is not None

    def element(self, of: Node | Place) -> Element:
        is_bool = of.is_bool if isinstance(of, Node) else of.buffer.is_bool
        return "bool" if is_bool else self.of.layout.element

    def free(self, node: Node) -> ir.Value:
        return self._free[node]

    def at(self, place: Place, row: ir.Value, column: ir.Value) -> ir.Value:
        b, buffer, stored = self.b, place.buffer, STORED[self.element(place)]
        if self._is_table(buffer):
            base = self.of.row_of_table(b, self.context, self.t, row)
            return b.gep(base, [b.add(column, I64(place.column))], source_etype=stored)
        index = b.add(b.mul(row, I64(buffer.width)), b.add(column, I64(place.column)))
        return b.gep(self._bases[buffer], [index], source_etype=stored)


class StageEmitter:
    """Emits ``stage(context, parity, t, who) -> count``: how many panels this thread has done, or 1 where there are none."""

    def __init__(self, of: _Emitter, number: int, stage: Stage) -> None:
        self.of, self.stage, self.number = of, stage, number
        self.layout = of.layout
        self.loop = of.layout.loop
        self.types = Vectors(of.layout.element, of.layout.lanes)
        self.packed = of.layout.of(stage)

    def emit(self) -> ir.Function:
        signature = ir.FunctionType(I64, [PTR, I64, I64, I64])
        function = ir.Function(self.of.module, signature, f"stage{self.number}")
        function.linkage = "internal"
        function.attributes.add("noinline")
        self.b = b = ir.IRBuilder(function.append_basic_block("entry"))
        self.context, self.parity, self.t, self.who = function.args
        self.rows = Rows(b, self.of, self.context, self.parity, self.t)
        self.rows.find(self.loop.places[source] for source in self.stage.groups)
        if self.packed is not None:
            b.ret(self._columns(self.packed))
        else:
            with b.if_then(b.icmp_signed("==", self.who, I64(SECOND))):
                b.ret(I64(0))
            self._by_row()
            b.ret(I64(1))
        return function

    def _elementwise(self) -> Columns:
        return Columns(self.b, self.loop, self.stage, self.types, self.rows, is_split=False)

    # ---------------------------------------------------------------- products

    def _columns(self, packed: Packed) -> ir.Value:
        """Panels, each for all rows, while there are any to do; their number."""
        b, of, lanes = self.b, self.of, self.types.lanes
        widest = max(len(p.linears) for p in packed.passes) * packed.vectors
        most = max(1, (of.host.registers - 4) // widest - 1)
        parts = -(-of.rows // most)
        size, longer = divmod(of.rows, parts)
        scratch = b.alloca(self.types.type, packed.linears * (size + (longer > 0)) * packed.vectors, name="tile")
        scratch.align = of.host.vector_bytes
        stored = STORED[self.layout.weights]
        columns = self._elementwise()
        weights = b.inttoptr(of.entry(b, self.context, PACKED), PTR)
        self.upper_halves = self._upper_halves()
        turn = b.alloca(I64, name="turn")
        b.store(I64(0), turn)
        counters = of._counter(b, self.context, I64(self.layout.counter_at(packed)))
        arguments = [counters, self.who, self.t, self.parity, I64(packed.panels), turn]
        with until_negative(b, lambda: b.call(of.take, arguments)) as (panel, count):
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
                    with loop(b, 0, rows, "row") as r:
                        numbers = columns.numbers(b.add(row, r))
                        with loop(b, 0, vectors, "vector") as v:
                            where = b.add(column, b.mul(v, I64(lanes)))
                            columns.vector(b.add(row, r), where, self._from_tile(packed, rows, scratch, r, v), numbers)
        return count

    def _product(
        self, packed: Packed, done: Pass, rows: int, row: ir.Value, panel: ir.Value, scratch: ir.Value
    ) -> None:
        """One pass over K for a block of rows: into the tile, [linear][row][vector].

        Where registers allow it in two parts side by side, each with sums of its own: these wait less for each other, and two
        streams come a tenth faster out of the third cache than one. Asking for lines ahead brought nothing more.
        """
        b, types, layout = self.b, self.types, self.layout
        K, count = done.input.width, len(done.linears) * packed.vectors
        pair = 2 if layout.weights == "bfloat16" else 1
        weights = b.gep(panel, [I64(done.start)], source_etype=STORED[layout.weights])
        place = self.loop.places[done.input]
        inputs = [self.rows.at(place, b.add(row, I64(r)), I64(0)) for r in range(rows)]
        stored = STORED[self.rows.element(place)]
        ways = 2 if 2 * rows * count <= self.of.host.registers // 2 else 1

        def step(k: ir.Value, sums: list[ir.Value], take: int, way: int) -> list[ir.Value]:
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
                for half in range(min(pair, take - j)):
                    for r in range(rows):
                        number = types.load_scalar(
                            b,
                            b.gep(inputs[r], [b.add(k, I64(j + half))], source_etype=stored),
                            self.rows.element(place),
                        )
                        for n in range(count):
                            at_sum = (way * rows + r) * count + n
                            sums[at_sum] = math.fma(b, number, loaded[n][half], sums[at_sum])
            return sums

        each = 2
        part = K // (ways * each) * each

        def several(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            first = b.mul(k, I64(each))
            for way in range(ways):
                sums = step(b.add(first, I64(way * part)), sums, each, way)
            return sums

        zero = ir.Constant(types.type, None)
        sums = accumulate(b, I64(part // each), [zero] * (ways * rows * count), several)
        if left := K - ways * part:
            sums = step(I64(K - left), sums, left, 0)
        for r in range(rows):
            for n in range(count):
                value = sums[r * count + n]
                for which in range(1, ways):
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
        high = b.and_(both, self.upper_halves)
        return [b.bitcast(part, types.type) for part in (low, high)]

    def _upper_halves(self) -> ir.Value:
        """A mask of the upper 16 bits of every number.

        LLVM shall not know what it is: it would choose 16-bit halves from the weights and from zeros instead, which fewer of
        a processor's units can do.
        """
        opaque = self.b.asm(ir.FunctionType(I32, [I32]), "", "=r,0", [I32(0xFFFF0000)], False)
        return splat(self.b, opaque, self.types.lanes)

    def _from_tile(self, packed: Packed, rows: int, scratch: ir.Value, r: ir.Value, v: ir.Value) -> Accumulator:
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
        columns = self._elementwise()
        with loop(self.b, 0, self.of.rows, "row") as row:
            columns.row(row)


def _memcpy(module: ir.Module) -> ir.Function:
    name = "llvm.memcpy.p0.p0.i64"
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR, PTR, I64, I1]), name)
