"""A step that is only ever run forward, and all of it in the loop: what a stream is made of.

`capture.py` traces a step together with its derivative. A stream needs none, and has one step at a time: nothing can be
computed for all steps before the loop, so the input's products are stages as all others are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

from .capture import (
    Joiner,
    Signature,
    check_outputs,
    fake,
    first_of,
    inputs_like,
    made_functional,
)
from .count import BATCH
from .decompositions import decompositions
from .graph import Graph, Node, order
from .lower import lower
from .record import Recorder
from .split import Split


@dataclass(frozen=True)
class Inference:
    """One step as a graph.

    Attributes:
        x, states, weights: leaves.
        y, new: the output and the new state.
    """

    x: Node
    states: tuple[Node, ...]
    weights: dict[str, Node]
    y: Node
    new: tuple[Node, ...]


def capture_inference(
    call: Callable[[dict[str, Tensor], Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]],
    signature: Signature,
) -> Inference:
    """Trace ``call(weights, x, states)``, a step as a function of everything it reads.

    Raises: `Unsupported` for an operator, or a use of one, that programs do not have.
    """
    s = signature
    names = [name for name, _ in s.weights]

    def forward(weights: Any, x: Any, states: Any) -> list[Tensor]:
        y, new = call(dict(zip(names, weights, strict=True)), x, tuple(states))
        return [y, *new]

    traced = first_of(partial(_recorded, forward, s), partial(_traced, forward, s))

    graph = Graph()
    leaf = lambda name, width: graph.node("input", attrs=[name], shape=[width])  # noqa: E731
    w_leaves = [graph.node("weight", attrs=[name], kind="free", shape=shape) for name, shape in s.weights]
    x_leaf, state_leaves = leaf("x", s.x), [leaf(f"state{n}", width) for n, width in enumerate(s.states)]
    results = lower(graph, *traced, [*w_leaves, x_leaf, *state_leaves], BATCH)
    joined = Joiner(graph)
    y, *new = (joined(value) for value in results)
    return Inference(x_leaf, tuple(state_leaves), dict(zip(names, w_leaves, strict=True)), y, tuple(new))


Traced = tuple[fx.Graph, dict[str, Tensor]]
"""A graph with its constants."""


def _recorded(forward: Callable[..., list[Tensor]], s: Signature) -> Traced:
    recorder = Recorder(decompositions())
    weights, x, states, _ = inputs_like(s, recorder.input)
    with torch.no_grad():
        outputs = recorder.step(forward, weights, x, states)
    check_outputs(outputs, s)
    recorder.output(outputs)
    return recorder.graph, recorder.constants


def _traced(forward: Callable[..., list[Tensor]], s: Signature) -> Traced:
    with torch.no_grad():
        with FakeTensorMode(allow_non_fake_inputs=True):
            weights, x, states, _ = inputs_like(s, fake)
            check_outputs(forward(weights, x, states), s)
        return made_functional(forward, weights, x, states)


def whole(step: Inference) -> Split:
    """A split that has everything in the loop."""

    def is_given(node: Node) -> bool:
        return node.is_leaf or node.kind == "free"

    nodes = [n for n in order([*step.new, step.y], is_given) if n.kind == "rows"]
    loop = tuple(n for n in nodes if not n.is_leaf)
    outside = frozenset(n for n in nodes if n.is_leaf)
    return Split(step.states, step.new, (), loop, (step.y,), (), (), outside)
