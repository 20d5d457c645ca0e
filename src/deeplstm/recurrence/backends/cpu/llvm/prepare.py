"""What a kernel does before its loop: it has the weights packed in the order in which products read them."""

from __future__ import annotations

from llvmlite import ir

from ....program import free
from .control import call_at
from .layout import PACKED, PARTS, PREPARE, Layout
from .libraries import Packing
from .memory import I64, PTR, STORED
from .packing import SIGNATURE, kind_of


def emit_prepare(module: ir.Module, layout: Layout) -> None:
    """`PREPARE` (begin, end, context): pack the parts begin to end of all panels."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64, I64, PTR]), PREPARE)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    begin, end, context = function.args
    entry = lambda n: b.load(b.gep(context, [I64(n)], source_etype=I64), typ=I64)  # noqa: E731
    address = lambda base, offset: b.gep(base, [I64(offset)], source_etype=STORED[layout.element])  # noqa: E731
    parts, target = entry(PARTS), b.inttoptr(entry(PACKED), PTR)
    table = b.inttoptr(entry(layout.library_at(Packing(layout.element))), PTR) if layout.packed else None
    for packed in layout.packed:
        tile = packed.tile
        first, last = (b.sdiv(b.mul(n, I64(tile.panels)), parts) for n in (begin, end))
        for done, start in zip(tile.passes, packed.passes, strict=True):
            columns = tile.vectors * layout.lanes
            for i, linear in enumerate(done.linears):
                source, offset, strides = free.view_of(linear.args[1])
                weights = address(b.inttoptr(entry(layout.source_at(source)), PTR), offset)
                to = address(target, packed.start + start + i * columns)
                pack = b.load(b.gep(table, [I64(kind_of(strides))], source_etype=PTR), typ=PTR)
                sizes = (*strides, done.input.width, packed.stage.width)
                steps = (tile.vectors, packed.panel, len(done.linears) * columns)
                call_at(b, pack, SIGNATURE, [weights, *map(I64, sizes), first, last, to, *map(I64, steps)])
    b.ret_void()
