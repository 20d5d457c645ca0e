"""A cell's program as text: what runs before the loop, in which stages the loop runs, what runs after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from ...errors import BackendUnavailable
from ..call import name_of
from . import free
from .capture import Signature, call_of, capture
from .graph import Node, order
from .interpret import products
from .operators import TABLE, aten
from .program import backward, forward
from .rows import Unsupported
from .split import Split
from .stages import Loop, Stage, stages

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "linear": "@", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@dataclass(frozen=True)
class Program:
    """What a cell's code became; prints as text.

    Attributes:
        title: the cell.
        forward, backward: the two loops, their parts and stages.
    """

    title: str
    forward: tuple[Split, Loop]
    backward: tuple[Split, Loop]

    def __str__(self) -> str:
        parts = [("forward", *self.forward), ("backward, from the last step to the first", *self.backward)]
        return "\n\n".join([self.title, *("\n".join(_part(*part)) for part in parts)])

    __repr__ = __str__


def program(cell: nn.Module, *, input_size: int | None = None) -> Program:
    """The program that is compiled from a cell's code.

    Args:
        cell: as `Recurrent` takes it; its mode (training or evaluation) counts.
        input_size: I, where the cell does not say its own.

    Returns: a `Program`; print it. Numbers are for one row and one step in float32.
    Raises: ValueError where the input size is not known; `BackendUnavailable` for a cell that has no program, with what
        programs lack and the line of the cell.

    >>> import deeplstm
    >>> print(deeplstm.program(deeplstm.RNNCell(3, 4)))  # doctest: +ELLIPSIS
    RNNCell: x (3), state (4)
    ...
    """
    size = getattr(cell, "input_size", None) if input_size is None else input_size
    if size is None:
        raise ValueError(f"program got {name_of(cell)}, which does not say its input_size: give input_size=.")
    sizes = cell.state_size
    noise = None
    if hasattr(cell, "draw_noise"):  # a built-in cell
        noise = cell.draw_noise(1, 1, like=torch.zeros(1))  # type: ignore[operator]
    loose = [name for name, buffer in cell.named_buffers() if not buffer.is_floating_point()]
    tensors = {name: t for name, t in (*cell.named_parameters(), *cell.named_buffers()) if name not in loose}
    signature = Signature(
        tuple((name, tuple(tensor.shape)) for name, tensor in tensors.items()),
        size,
        sizes if isinstance(sizes, tuple) else (sizes,),  # type: ignore[arg-type]
        isinstance(sizes, tuple),
        tuple((name, mask.shape[-1], mask.dtype == torch.bool) for name, mask in (noise or {}).items()),
        noise is not None,
        torch.float32,
    )
    try:
        step = capture(call_of(cell, loose, torch.float32), signature)
    except Unsupported as reason:
        raise BackendUnavailable(
            f"program got {name_of(cell)}, of which no program can be made: programs lack {reason}. Write it without that; as "
            "it is, it runs on the reference backend, a loop in Python."
        ) from reason
    back = backward(step)
    loops = []
    for part, is_backward in ((forward(step, saved=back.saved).split, False), (back.split, True)):
        loops.append((part, stages(part, products(step.graph, part.before), is_backward=is_backward)))
    title = f"{name_of(cell)}: x ({size}), state ({', '.join(map(str, signature.states))})"
    return Program(title, loops[0], loops[1])


def _part(title: str, split: Split, loop: Loop) -> Iterator[str]:
    yield title
    is_stop = lambda n: n in split.outside or n.kind == "free"  # noqa: E731
    if given := sorted((n for n in split.outside if not n.is_leaf), key=lambda n: n.id):
        yield f"  from the forward, of every step: {', '.join(n.name for n in given)}"
    before = [n for n in order(split.before, is_stop) if n.kind == "rows" and not is_stop(n)]
    yield f"  before the loop, all steps at once: {_size_at_once(before, split.before)}"
    yield from _lines(before)
    totals = {total.args[0]: total for total in loop.totals}
    for number, stage in enumerate(loop.stages, 1):
        yield f"  stage {number}: {_size(stage, loop)}"
        yield from _lines(loop.work_of(stage)[0])
        for node, place in (*stage.stores, *stage.reductions):
            yield f"    {place.buffer.name}{f'[{place.column}:]' if place.column else ''} <- {node.name}"
        yield from _lines(totals[node] for node, _ in stage.totals)
    after = [n for n in split.after if n.kind in ("rows", "sum")]
    read = {i for n in after for i in n.inputs}
    results = [n for n in after if n.kind == "rows" and n not in read]
    yield f"  after the loop, all steps at once: {_size_at_once(after, results)}"
    yield from _lines(after)


def _size(stage: Stage, loop: Loop) -> str:
    """Columns, floating-point operations of a row, and bytes that it moves."""
    computed, read = loop.work_of(stage)
    rows = {n for n in read if n.kind == "rows"} | set(stage.groups)
    moved = sum(n.width for n in rows) + sum(n.width for n, _ in (*stage.stores, *stage.reductions))
    moved += 2 * sum(n.width for n, _ in stage.totals)
    return f"{stage.width} columns, {_cost(computed, moved)}"


def _size_at_once(nodes: list[Node], results: Iterable[Node]) -> str:
    """The same of what is computed for all steps at once; what lies between reading and results moves no bytes."""
    read = {i for n in nodes for i in n.inputs if i.kind == "rows"}.difference(nodes)
    moved = sum(n.width for n in (*read, *results))
    return _cost(nodes, moved) if nodes else "nothing"


def _cost(nodes: list[Node], moved: int) -> str:
    weights = sum(n.args[1].shape[0] * n.args[1].shape[1] for n in nodes if n.op == "linear")
    text = f"{sum(map(_flops, nodes)):,} FLOP and {4 * moved:,} bytes a row"
    return f"{text}, weights {4 * weights:,} bytes" if weights else text


def _flops(node: Node) -> int:
    """Floating-point operations of a row."""
    if node.op == "linear":
        return 2 * int(node.args[0].width) * node.width
    if node.op == "outer":
        return 2 * node.shape[0] * node.shape[1]
    if node.kind != "rows" and node.op != "total":  # once, not for every row
        return 0
    return (TABLE[node.op].flops if node.op in TABLE else 1) * node.width


def _lines(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        if not node.is_leaf:
            yield f"    {node.name} ({', '.join(map(str, node.shape))}) = {_expression(node)}"


def _expression(node: Node) -> str:
    args = [_argument(a) for a in node.args]
    if node.op in _INFIX:
        return f"{args[0]} {_INFIX[node.op]} {args[1]}"
    if node.op == "outer":
        return f"{args[0]}.T @ {args[1]}, summed over rows and steps"
    if node.op == "total":
        return f"{args[0]}, summed over rows and steps"
    if node.op == "constant":
        return f"{len(node.attrs)} numbers"
    if node.op == "aten":
        return f"{str(node.attrs[0]).split('.')[1]}({', '.join(args)})"
    return f"{node.op}({', '.join(args)})"


def _argument(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_argument, value))}]"
    if not isinstance(value, Node):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if value.op == "slice":
        return f"{value.args[0].name}[{value.attrs[0]}:{value.attrs[0] + value.width}]"
    if value.kind == "free" and value.op == "aten":
        return _free(value)
    return value.name


def _free(node: Node) -> str:
    target = node.attrs[0]
    if target is aten.permute.default:
        return f"{_argument(node.args[0])}.T"
    if target is aten.slice.Tensor and len(node.args) == 4:
        of, dim, start, end = node.args
        return f"{_argument(of)}[{':, ' * dim}{start}:{end}]"
    return _expression(node) if free.view_of(node)[0] is node else f"a view of {free.view_of(node)[0].name}"
