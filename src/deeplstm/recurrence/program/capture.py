"""A cell's own code, traced forward and backward into one graph.

Torch differentiates: what is traced is the step together with its vector-Jacobian product, so no derivative is written here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from ...cells.mark import UnknownMark, collecting, found_mark
from .count import BATCH
from .decompositions import decompositions
from .graph import Graph, Node, order
from .lines import here, of_error
from .lower import lower
from .record import Mutates, Recorder, check_constant
from .rows import Rows, Unsupported


@dataclass(frozen=True)
class Signature:
    """What a step is called with, as far as a program depends on it. Names and widths, in order.

    Attributes:
        weights: shape of each parameter and buffer.
        x, states, noise: widths; of noise also whether it is a mask.
        is_tuple: whether the state is a tuple.
        dtype: of every real number.
        trace: marked names that are results too.
    """

    weights: tuple[tuple[str, tuple[int, ...]], ...]
    x: int
    states: tuple[int, ...]
    is_tuple: bool
    noise: tuple[tuple[str, int, bool], ...]
    has_noise: bool
    dtype: torch.dtype
    trace: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step of a cell and its derivative as graphs.

    Attributes:
        x, states, noise, weights: leaves.
        y, new: the output and the new state.
        marks: values named with `deeplstm.mark`, those that are traced.
        dy, dnew, dmarks: leaves of the backward step: the gradients of y, of the new state and of the marks.
        dx, dstates, dweights: what the backward step gives; None where the gradient is zero or there is no derivative.
        signature: what it was traced for.
    """

    x: Node
    states: tuple[Node, ...]
    noise: dict[str, Node]
    weights: dict[str, Node]
    y: Node
    new: tuple[Node, ...]
    marks: dict[str, Node]
    dy: Node
    dnew: tuple[Node, ...]
    dmarks: dict[str, Node]
    dx: Node | None
    dstates: tuple[Node | None, ...]
    dweights: dict[str, Node | None]
    signature: Signature
    graph: Graph

    @cached_property
    def read(self) -> frozenset[str]:
        """Names of the weights that the outputs depend on; what is not among them has no gradient, rather than one of zeros."""
        nodes = set(order([self.y, *self.new, *self.marks.values()]))
        return frozenset(name for name, node in self.weights.items() if node in nodes)

    @cached_property
    def identity(self) -> str:
        """Says everything that what is computed depends on. Raises: `Unsupported` where a node holds what text cannot."""
        from .text import write

        return write("", self)


def capture(call: Callable[..., tuple[Tensor, Any]], signature: Signature) -> Step:
    """Trace ``call(weights, x, state, noise)``, a step as a function of everything it reads.

    Raises: `Unsupported` for an operator, or a use of one, that programs do not have.
    """
    s = signature
    names = [name for name, _ in s.weights]

    def forward(
        weights: Sequence[Tensor], x: Tensor, states: Sequence[Tensor], noise: Sequence[Tensor]
    ) -> list[Tensor]:
        given = dict(zip((n for n, *_ in s.noise), noise, strict=True)) if s.has_noise else None
        with collecting() as marks:
            y, new = call(dict(zip(names, weights, strict=True)), x, tuple(states) if s.is_tuple else states[0], given)
        return [y, *(new if s.is_tuple else (new,)), *(found_mark(marks, name) for name in s.trace)]

    traced, outputs = first_of(partial(_recorded, forward, s), partial(_traced, forward, s))

    graph = Graph()
    leaf = lambda name, width, is_bool=False: graph.node("input", attrs=[name], shape=[width], is_bool=is_bool)  # noqa: E731
    w_leaves = [graph.node("weight", attrs=[name], kind="free", shape=shape) for name, shape in s.weights]
    x_leaf = leaf("x", s.x)
    state_leaves = [leaf(f"state{n}", width) for n, width in enumerate(s.states)]
    noise_leaves = [leaf(f"noise {name}", width, is_mask) for name, width, is_mask in s.noise]
    dy = leaf("dy", outputs[0].shape[1])
    dnew = [leaf(f"dnew{n}", width) for n, width in enumerate(s.states)]
    dmarks = [leaf(f"dmark {name}", o.shape[1]) for name, o in zip(s.trace, outputs[1 + len(s.states) :], strict=True)]
    results = lower(graph, *traced, [*w_leaves, x_leaf, *state_leaves, *noise_leaves, dy, *dnew, *dmarks], BATCH)
    outs, results = results[: len(outputs)], results[len(outputs) :]
    dweights, dx, dstates = results[: len(names)], results[len(names)], results[len(names) + 1 :]
    joiner = Joiner(graph)
    y, *new = (joiner(v) for v in outs[: 1 + len(s.states)])
    marks = {name: joiner(v) for name, v in zip(s.trace, outs[1 + len(s.states) :], strict=True)}
    return Step(
        x_leaf,
        tuple(state_leaves),
        dict(zip((n for n, *_ in s.noise), noise_leaves, strict=True)),
        dict(zip(names, w_leaves, strict=True)),
        y,
        tuple(new),
        marks,
        dy,
        tuple(dnew),
        dict(zip(s.trace, dmarks, strict=True)),
        joiner.or_none(dx),
        tuple(joiner.or_none(d) for d in dstates),
        {name: d if isinstance(d, Node) else None for name, d in zip(names, dweights, strict=True)},
        s,
        graph,
    )


_DEPENDS_ON_NUMBERS = (
    torch._subclasses.fake_tensor.DynamicOutputShapeException,
    torch._subclasses.fake_tensor.DataDependentOutputException,
)
T = TypeVar("T")
Traced = tuple[tuple[fx.Graph, dict[str, Tensor]], list[Tensor]]
"""A graph with its constants, and the outputs of the forward step."""


def first_of(recorded: Callable[[], T], traced: Callable[[], T]) -> T:
    """A step captured the quick way, or the long way if it works in place.

    Raises: `Unsupported`, whatever else it is that fails: the step itself, in the reference, is to say what is wrong.
    """
    try:
        try:
            return recorded()
        except Mutates:
            return traced()
    except (Unsupported, UnknownMark):
        raise
    except _DEPENDS_ON_NUMBERS as error:
        raise Unsupported("a branch on the values of tensors", of_error(error)) from error
    except Exception as error:
        raise Unsupported(f"what raises {_said(error)}", of_error(error)) from error


def _said(error: Exception) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__} ({lines[0]})" if lines else type(error).__name__


def inputs_like(
    s: Signature, made: Callable[[Sequence[int], torch.dtype], Tensor]
) -> tuple[list[Tensor], Tensor, list[Tensor], list[Tensor]]:
    """Tensors to call a step with: weights, x, states, noise."""
    weights = [made(shape, s.dtype) for _, shape in s.weights]
    x, *states = [made((BATCH, width), s.dtype) for width in (s.x, *s.states)]
    noise = [made((BATCH, width), torch.bool if is_mask else s.dtype) for _, width, is_mask in s.noise]
    return weights, x, states, noise


def _recorded(forward: Callable[..., list[Tensor]], s: Signature) -> Traced:
    """The quick way: run the step and torch's own backward of it on tensors without numbers."""
    recorder = Recorder(decompositions())
    weights, x, states, noise = inputs_like(s, recorder.input)
    inputs = [*weights, x, *states]
    for tensor in inputs:
        tensor.requires_grad_()
    outputs = recorder.step(forward, weights, x, states, noise)
    check_outputs(outputs, s)
    upstream = [recorder.input(o.shape, o.dtype) for o in outputs]
    pairs = [(o, u) for o, u in zip(outputs, upstream, strict=True) if o.requires_grad]
    gradients: Sequence[Tensor | None] = [None] * len(inputs)
    if pairs:
        with recorder:
            # a sum, for upstream gradients given to torch import half a second of symbolic shapes;
            # and with a graph of the gradients, else torch adds them up in place
            total = sum(((o * u).sum() for o, u in pairs), start=outputs[0].new_zeros(()))
            gradients = torch.autograd.grad(total, inputs, create_graph=True, allow_unused=True)
    recorder.output([*outputs, *gradients])
    return (recorder.graph, recorder.constants), outputs


def _traced(forward: Callable[..., list[Tensor]], s: Signature) -> Traced:
    """The long way, which makes functional what works in place; it imports much of torch's compiler."""
    with FakeTensorMode(allow_non_fake_inputs=True):  # constants that torch's own derivatives make
        weights, x, states, noise = inputs_like(s, fake)
        outputs = forward(weights, x, states, noise)
        check_outputs(outputs, s)
        upstream = [torch.empty_like(o) for o in outputs]

    def joint(weights: Any, x: Any, states: Any, noise: Any, upstream: Any) -> Any:
        outputs, pull = torch.func.vjp(lambda w, x, s: forward(w, x, s, noise), weights, x, states)[:2]
        return [*outputs, *_leaves_of(pull(upstream))]

    return made_functional(joint, weights, x, states, noise, upstream), outputs


def fake(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype)


def made_functional(function: Callable[..., Any], *inputs: Any) -> tuple[fx.Graph, dict[str, Tensor]]:
    """A function's graph with nothing in it that works in place, and its constants."""
    traced = make_fx(
        torch.func.functionalize(function), decomposition_table=decompositions(), record_stack_traces=True
    )(*inputs)
    traced.graph.eliminate_dead_code()
    constants = {n.target: getattr(traced, n.target) for n in traced.graph.nodes if n.op == "get_attr"}
    for value in constants.values():
        check_constant(value, None)
    return traced.graph, constants


def _leaves_of(gradients: tuple[Sequence[Tensor], Tensor, Sequence[Tensor]]) -> list[Tensor]:
    dweights, dx, dstates = gradients
    return [*dweights, dx, *dstates]


class Joiner:
    """Turns lowered results into one node each."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __call__(self, value: Any) -> Node:
        if not isinstance(value, Rows) or value.batch != 0 or len(value.shape) != 2:
            raise Unsupported("an output or a state that is not (B, n) or does not depend on any row")
        pieces = value.parts[()] if value.lane == 1 else value.parts[(0,)]
        if len(pieces) == 1 and isinstance(pieces[0][0], Node) and pieces[0][0].width == pieces[0][1]:
            return pieces[0][0]
        nodes = [self._filled(piece, width) for piece, width in pieces]
        return nodes[0] if len(nodes) == 1 else self.graph.node("cat", nodes, shape=[sum(n.width for n in nodes)])

    def _filled(self, piece: Any, width: int) -> Node:
        if isinstance(piece, Node) and piece.width == width:
            return piece
        return self.graph.node("fill", [piece], shape=[width])

    def or_none(self, value: Any) -> Node | None:
        return self(value) if isinstance(value, Rows) else None


def check_outputs(outputs: list[Tensor], s: Signature) -> None:
    named = {"the output": outputs[0], **dict(zip(s.trace, outputs[1 + len(s.states) :], strict=True))}
    for name, value in named.items():
        if value.dim() != 2 or value.shape[0] != BATCH:
            raise Unsupported(f"{name} of shape {('B', *value.shape[1:])}, where (B, n) is expected")
        if value.dtype != s.dtype:
            raise Unsupported(f"{name} of {value.dtype}, where {s.dtype} is expected")
    for value, width in zip(outputs[1:], s.states, strict=False):
        if tuple(value.shape) != (BATCH, width) or value.dtype != s.dtype:
            raise Unsupported(
                f"a new state of shape {('B', *value.shape[1:])} and {value.dtype}, where (B, {width}) is expected"
            )


def call_of(cell: nn.Module, loose: Collection[str] = (), dtype: torch.dtype | None = None) -> CellCall:
    """A cell as a function of its weights, x, state and noise.

    Args:
        loose: names of buffers that are no weights of a program: constants, of which the function has its own.
        dtype: of the input; no constant may have real numbers of another one.

    Raises: `Unsupported` for a cell that cannot be copied.
    """
    return CellCall(cell, loose, dtype)


class CellCall:
    """What `call_of` gives.

    It calls a copy that shares the cell's tensors: while it runs, other tensors stand in their places, which another thread
    that uses the cell must not see.

    Attributes:
        read: those of the loose buffers that have been read.
    """

    def __init__(self, cell: nn.Module, loose: Collection[str], dtype: torch.dtype | None) -> None:
        self.read: set[str] = set()
        named = _named_tensors(cell)
        own = {id(t) for name, t in named if name in loose}
        shared = [t for _, t in named if id(t) not in own]
        self._cell = _copied(cell, shared)
        if loose:
            for prefix, module in self._cell.named_modules():
                # nn.Module looks buffers up there
                module._buffers = _Watched(module._buffers, prefix, loose, self.read, dtype)

    def __call__(
        self, weights: dict[str, Tensor], x: Tensor, state: Any, noise: dict[str, Tensor] | None
    ) -> tuple[Tensor, Any]:
        arguments = (x, state) if noise is None else (x, state, noise)
        # every name is given, those of tied weights too: each has its part of the gradient, and autograd adds them up
        result: tuple[Tensor, Any] = torch.func.functional_call(self._cell, weights, arguments, tie_weights=False)
        return result


class _Watched(dict[str, Any]):
    """A module's buffers, which note that one is read."""

    def __init__(
        self, buffers: dict[str, Any], prefix: str, loose: Collection[str], read: set[str], dtype: torch.dtype | None
    ) -> None:
        super().__init__(buffers)
        self._prefix, self._loose, self._read, self._dtype = prefix, loose, read, dtype

    def __getitem__(self, name: str) -> Any:
        value, full = super().__getitem__(name), f"{self._prefix}.{name}" if self._prefix else name
        if full in self._loose:
            if value.is_floating_point() or value.is_complex():
                raise Unsupported(
                    f"a buffer of another dtype than the input: {full!r} is {value.dtype}, the input {self._dtype}",
                    here(),
                )
            self._read.add(full)
        return value


def _named_tensors(cell: nn.Module) -> list[tuple[str, Tensor]]:
    """Every parameter and buffer; what has several names under each of them."""
    return [*cell.named_parameters(remove_duplicate=False), *cell.named_buffers(remove_duplicate=False)]


def _copied(cell: nn.Module, shared: Sequence[Tensor]) -> nn.Module:
    """A copy that shares these tensors. Raises: `Unsupported`, with the name of what cannot be copied."""
    memo: dict[int, Any] = {id(tensor): tensor for tensor in shared}
    try:
        return copy.deepcopy(cell, dict(memo))
    except Exception as error:
        for prefix, module in cell.named_modules():
            memo |= {id(child): child for child in module._modules.values()}
            for name, value in vars(module).items():
                try:
                    copy.deepcopy(value, dict(memo))
                except Exception as reason:
                    full = f"{prefix}.{name}" if prefix else name
                    what = f"the attribute {full!r}, which cannot be copied: {_said(reason)}"
                    if isinstance(value, Tensor) and value.requires_grad:
                        what = f"the attribute {full!r}, a tensor with a gradient that was computed outside of the step"
                    raise Unsupported(what) from error
        raise Unsupported(f"a copy of the cell, which raises {_said(error)}") from error
