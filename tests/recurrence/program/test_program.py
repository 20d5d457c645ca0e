"""Programs run by torch alone equal autograd, whole and split; a loop's stages keep what each of them needs."""

import pytest
import torch

from checks import flat, state_of
from deeplstm import LSTMCell, mark
from deeplstm.recurrence.program.capture import Signature, call_of, capture
from deeplstm.recurrence.program.graph import Graph, order
from deeplstm.recurrence.program.interpret import products, straight_line
from deeplstm.recurrence.program.program import backward, forward
from deeplstm.recurrence.program.rows import Unsupported
from deeplstm.recurrence.program.stages import stages
from table import CELLS, FORMS, cells


def signature(cell, dtype=torch.float64, trace=()):
    sizes = cell.state_size
    noise = tuple((n, w, kind == "step") for n, (kind, w, _) in cell.noise_shapes().items()) if cell.training else ()
    return Signature(
        tuple((name, tuple(p.shape)) for name, p in cell.named_parameters()),
        cell.input_size,
        sizes if isinstance(sizes, tuple) else (sizes,),
        isinstance(sizes, tuple),
        noise,
        True,
        dtype,
        trace,
    )


def one_step(case, B=3):
    """A cell's captured step, its leaves with values, and what autograd gives for it."""
    cell = case.make().train()
    step = capture(call_of(cell), signature(cell))
    x = torch.randn(B, cell.input_size, dtype=torch.float64, requires_grad=True)
    state = state_of(cell, B)
    noise = {name: mask[0] for name, mask in cell.draw_noise(1, B, like=x).items()}
    y, new = cell.step(x, state, noise)
    outputs = [y, *flat(new)]
    upstream = [torch.randn_like(o) for o in outputs]
    inputs = [x, *flat(state), *cell.parameters()]
    pairs = [(o, u) for o, u in zip(outputs, upstream, strict=True) if o.requires_grad]
    gradients = torch.autograd.grad([o for o, _ in pairs], inputs, [u for _, u in pairs], allow_unused=True)
    gradients = [torch.zeros_like(i) if g is None else g for g, i in zip(gradients, inputs, strict=True)]
    values = dict(zip(step.weights.values(), cell.parameters(), strict=True))
    values |= {step.x: x} | dict(zip(step.states, flat(state), strict=True))
    values |= {node: noise[name] for name, node in step.noise.items()}
    values |= dict(zip([step.dy, *step.dnew], upstream, strict=True))
    return step, {node: tensor.detach() for node, tensor in values.items()}, outputs, gradients


def gradient_nodes(step):
    return [step.dx, *step.dstates, *step.dweights.values()]


def evaluated(roots, values, merged=()):
    """What the roots come to; None where a gradient is zero."""
    wanted = [r for r in roots if r is not None]
    results = iter(straight_line(wanted, list(values), merged)(*values.values()))
    return [None if r is None else next(results) for r in roots]


def assert_equal(got, want):
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(torch.zeros_like(w) if g is None else g.reshape(w.shape), w)


@cells([*CELLS, *FORMS])
def test_the_differentiated_program_equals_autograd(case):
    step, values, outputs, gradients = one_step(case)
    assert_equal(evaluated([step.y, *step.new], values), outputs)
    assert_equal(evaluated(gradient_nodes(step), values), gradients)


@cells([*CELLS, *FORMS])
@pytest.mark.parametrize("memory", ["save", "recompute"])
def test_the_split_program_equals_the_whole_one(case, memory):
    """Before, loop and after, each run alone from what the others hand to it."""
    step, values, outputs, gradients = one_step(case)
    program = backward(step, memory=memory)
    split = forward(step, saved=program.saved).split
    known = run_split(step, split, values)
    assert_equal(evaluated([step.y, *step.new], known), outputs)
    saved = {n: evaluated([n], known)[0] for n in (*program.saved, *step.new)}
    known = run_split(step, program.split, values | saved)
    assert_equal(evaluated(gradient_nodes(step), known), gradients)
    if memory == "recompute":
        assert program.saved == ()


def run_split(step, split, values):
    merged = products(step.graph, split.before)
    before = dict(zip(split.before, evaluated(split.before, values, merged), strict=True))
    inside = values | before
    loop = [*split.kept, *split.following]
    # the loop must not need what only comes after it
    assert not {n for n in split.loop if n.kind == "sum"}
    results = dict(zip(loop, evaluated(loop, inside), strict=True))
    totals = dict(zip(split.totals, evaluated(split.totals, inside), strict=True))
    return values | before | results | totals


@cells([*CELLS, *FORMS])
def test_no_product_is_left_in_a_loop_that_could_stand_outside(case):
    step, *_ = one_step(case)
    program = backward(step)
    for split in (forward(step, saved=program.saved).split, program.split):
        carried = {*split.carried}
        moving = set(carried)
        for node in order([*split.loop]):
            if any(n in moving for n in node.inputs):
                moving.add(node)
        for node in split.loop:
            if node.op == "linear":
                assert node in moving
        assert all(n.kind == "rows" for n in split.loop)


@cells([*CELLS, *FORMS])
def test_stages_compute_everything_once_and_in_order(case):
    step, *_ = one_step(case)
    program = backward(step)
    for split, is_backward in ((forward(step, saved=program.saved).split, False), (program.split, True)):
        loop = stages(split, products(step.graph, split.before), is_backward=is_backward)
        linears = [n for stage in loop.stages for group in stage.groups.values() for n in group]
        assert sorted(n.id for n in linears) == sorted(n.id for n in split.loop if n.op == "linear")
        written = {loop.places[n].buffer for n in (*split.outside, *split.before) if n in loop.places}
        for stage in loop.stages:
            for rows in stage.groups:
                assert loop.places[rows].buffer in written, "a product reads rows that no earlier stage has written"
            written |= {place.buffer for _, place in (*stage.stores, *stage.reductions)}
        assert set(loop.following) <= written
        if is_backward:
            kept = {place.buffer for place in loop.kept.values()}
            assert not kept.intersection(loop.following), "what is carried back has room for two steps"
        for product in products(step.graph, split.before):
            assert not split.outside.intersection(n for n, _ in product.columns), "what is there is not computed again"


@cells([*CELLS, *FORMS])
def test_stages_store_what_another_stage_reads(case):
    step, *_ = one_step(case)
    program = backward(step)
    for split, is_backward in ((forward(step, saved=program.saved).split, False), (program.split, True)):
        loop = stages(split, products(step.graph, split.before), is_backward=is_backward)
        written = {place: stage for stage in loop.stages for _, place in (*stage.stores, *stage.reductions)}
        for place, stage in written.items():
            if not place.buffer.steps:
                others = (s for s in loop.stages if s is not stage)
                assert any(place.buffer is p.buffer for s in others for p in loop.touched(s)), f"{place} is not read"


@cells([*CELLS, *FORMS])
def test_what_is_overwritten_is_not_read_afterwards(case):
    step, *_ = one_step(case)
    split = forward(step, saved=backward(step).saved).split
    loop = stages(split, products(step.graph, split.before), overwrites=True)
    before = {loop.places[n]: n for n in split.before}
    for number, stage in enumerate(loop.stages):
        for written in before.keys() & {place for _, place in stage.stores}:
            assert [place for _, place in stage.stores].count(written) == 1
            for later in loop.stages[number + 1 :]:
                assert before[written] not in loop.work_of(later)[1]


def test_layer_norm_keeps_four_values_where_its_projections_were():
    step, *_ = one_step(next(case for case in CELLS if case.name == "LSTMCell-norm"))
    split = forward(step, saved=backward(step).saved).split
    loop = stages(split, products(step.graph, split.before), overwrites=True)
    assert {loop.places[n] for n in split.before} <= set(loop.kept.values())


def test_layer_norm_goes_across_its_rows_once_for_each_mean_and_variance():
    step, *_ = one_step(next(case for case in CELLS if case.name == "LSTMCell-norm"))
    program = backward(step)
    split = forward(step, saved=program.saved).split
    assert [n.op for n in split.loop].count("sum") == 6, "of the four gates' input and state together, and of c"
    assert [n.op for n in program.split.loop].count("sum") == 6


def test_the_plain_lstm_is_one_stage_forward_and_two_backward():
    step, *_ = one_step(next(case for case in CELLS if case.name == "LSTMCell-plain"))
    program = backward(step)
    split = forward(step, saved=program.saved).split
    assert [n.op for n in program.saved].count("sigmoid") == 3
    assert len(program.saved) == 4, "input, forget, cell and output gate; c and h are there anyway"
    for part, count in ((split, 1), (program.split, 2)):
        assert len(stages(part, products(step.graph, part.before)).stages) == count
    assert len(split.before) == 4
    assert len([n for n in program.split.loop if n.op == "linear"]) == 1
    assert len(products(step.graph, order(split.before, lambda n: n.kind == "free"))) == 1, "four gates, one product"


def test_equal_nodes_are_one_node():
    graph = Graph()
    a, b = (graph.node("input", attrs=[name], shape=[3]) for name in "ab")
    assert graph.node("add", [a, b], shape=[3]) is graph.node("add", [a, b], shape=[3])
    assert graph.node("mul", [a, 1], shape=[3]) is not graph.node("mul", [a, 1.0], shape=[3])


class Odd(torch.nn.Module):
    state_size = 4

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = torch.nn.Parameter(torch.randn(4, 4))

    def forward(self, x, state):
        new = self.function(x, state, self.weight)
        return new, new


def captured(function):
    cell = Odd(function)
    given = Signature((("weight", (4, 4)),), 4, (4,), False, (), False, torch.float32)
    return capture(call_of(cell), given)


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda x, h, w: torch.cumsum(x + h, 1), "the operator aten.cumsum.default"),
        (lambda x, h, w: h - h.mean(0), "a mean over the batch"),
        (lambda x, h, w: h.flip(0), "the operator aten.flip.default"),
        (lambda x, h, w: h if h.sum() > 0 else x, "a branch on the values of tensors"),
        (lambda x, h, w: h[:, ::2].repeat_interleave(2, 1), "a slice with steps"),
    ],
)
def test_what_programs_lack_is_named_with_the_line_of_the_cell(function, what):
    with pytest.raises(Unsupported) as reason:
        captured(function)
    assert what in str(reason.value)
    if "branch" not in what:
        assert "test_program.py" in str(reason.value)


VIEWS = {
    "softmax over three parts": lambda x, h, w: (torch.stack([x, h, x * h], 1).softmax(1) * 2)[:, 1] + h,
    "stacked last": lambda x, h, w: torch.stack([x, h], -1).sum(-1),
    "a view and its transpose": lambda x, h, w: (h @ w).view(-1, 2, 2).transpose(1, 2).sum(1).repeat(1, 2) + h,
    "columns of the state": lambda x, h, w: torch.cat([h[:, 1:], x[:, :1]], 1) @ w,
    "weights first": lambda x, h, w: (w @ h.T).T + x,
    "weights of weights": lambda x, h, w: h @ (w - w.T) + x * torch.sigmoid(w[0]) * w[1, 2],
    "one number a row": lambda x, h, w: h * torch.sigmoid((x * h).sum(1, keepdim=True)) + x @ w[:, :1],
    "in place": lambda x, h, w: (h @ w).mul_(2).add_(x),
    "a norm": lambda x, h, w: h / (h.norm(dim=1, keepdim=True) + 1) + torch.lerp(x, h, 0.3),
    "the largest of unequal parts": lambda x, h, w: (
        torch.cat([x, h @ w, x[:, :3] * h[:, 1:], h[:, :1]], 1).amax(1, keepdim=True) + h
    ),
    "the mean of unequal parts": lambda x, h, w: (
        torch.cat([x, h @ w, x[:, :3] * h[:, 1:], h[:, :1]], 1).mean(1, keepdim=True) * h
    ),
    "repeated": lambda x, h, w: (h @ w)[:, :2].repeat(1, 2) + (x * h).sum(1, keepdim=True).repeat(1, 4) @ w,
    "log-sum": lambda x, h, w: torch.logsumexp(h @ w, 1, keepdim=True) + x.clamp(-0.5, 0.5) ** 3,
    "elu and friends": lambda x, h, w: (
        torch.nn.functional.elu(h @ w) + torch.nn.functional.leaky_relu(x) + h.abs().sqrt()
    ),
}


@pytest.mark.parametrize("function", VIEWS.values(), ids=VIEWS)
def test_what_users_write_is_captured_right(function):
    try:
        step = captured(function)
    except Unsupported as reason:
        if "a view" in str(reason) or "different orders" in str(reason):
            pytest.skip(f"runs on the reference: {reason}")
        raise
    x, h, w = (torch.randn(n, 4, requires_grad=True) for n in (3, 3, 4))
    out = function(x, h, w)
    dy, dnew = torch.randn(3, 4), torch.randn(3, 4)
    want = torch.autograd.grad(out, [x, h, w], dy + dnew, allow_unused=True)
    values = {step.x: x, step.states[0]: h, step.weights["weight"]: w, step.dy: dy, step.dnew[0]: dnew}
    values = {node: value.detach() for node, value in values.items()}
    torch.testing.assert_close(evaluated([step.y], values)[0], out)
    for got, expected in zip(evaluated(gradient_nodes(step), values), want, strict=True):
        if expected is not None:
            torch.testing.assert_close(got.reshape(expected.shape), expected)


def test_marks_are_results():
    class Marked(LSTMCell):
        def step(self, x, state, noise):
            h, (h, c) = super().step(x, state, noise)
            mark(torch.tanh(c), "squashed")
            return h, (h, c)

    cell = Marked(3, 4).double()
    step = capture(call_of(cell), signature(cell, trace=("squashed",)))
    assert step.marks["squashed"].op == "tanh"
    assert step.marks["squashed"].args == (step.new[1],)
