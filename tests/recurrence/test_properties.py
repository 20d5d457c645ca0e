"""What holds for every recurrence, over drawn cells, shapes and lengths."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from checks import assert_same, flat, gradients, state_of
from deeplstm import GRU, LSTM, MLP, RNN, GRUCell, LSTMCell, Recurrent, Stack, backend
from table import CELLS, FUSED


@st.composite
def runs(draw, cases=CELLS, backends=("auto", "reference")):
    """A layer, an input, a state and what else a call may have; everything random but repeatable."""
    T, B = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    I, H = draw(st.integers(1, 4)), draw(st.integers(3, 5))
    torch.manual_seed(draw(st.integers(0, 9999)))
    case = draw(st.sampled_from(cases))
    lengths = draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B))
    return Run(case.make(I, H).eval(), T, B, I, lengths, draw(st.sampled_from(backends)))


class Run:
    def __init__(self, cell, T, B, I, lengths, name):
        self.cell, self.T, self.B, self.lengths, self.backend = cell, T, B, lengths, name
        self.x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
        self.state = state_of(cell, B)
        self.ends = lengths if lengths is not None else [T] * B
        self.given = [self.x, *flat(self.state), *cell.parameters()]

    def __call__(self, x=None, state=None, module=None, **sequence):
        layer = Recurrent(self.cell) if module is None else module
        with backend(self.backend):
            return layer(
                self.x if x is None else x,
                self.state if state is None else state,
                **{"lengths": self.lengths, **sequence},
            )

    def __repr__(self):
        return f"{self.cell} T={self.T} B={self.B} lengths={self.lengths} on {self.backend}"


def mapped(function, state):
    return tuple(mapped(function, part) for part in state) if isinstance(state, tuple) else function(state)


@given(runs(), st.randoms(use_true_random=False))
def test_permuting_the_batch_permutes_the_output(run, random):
    order = random.sample(range(run.B), run.B)

    def permuted():
        lengths = None if run.lengths is None else [run.lengths[b] for b in order]
        return run(run.x[:, order], mapped(lambda s: s[order], run.state), lengths=lengths)

    assert_same(permuted, lambda: mapped(lambda s: s[..., order, :], run()), run.given)


@given(runs())
def test_every_row_is_alone(run):
    """A row in a batch gives what it gives by itself, cut at its length."""

    def rows():
        found = [
            run(run.x[: run.ends[b], b : b + 1], mapped(lambda s, b=b: s[b : b + 1], run.state), lengths=None)
            for b in range(run.B)
        ]
        padded = [torch.cat([y, y.new_zeros(run.T - len(y), *y.shape[1:])]) for y, _ in found]
        state = [torch.cat(parts) for parts in zip(*(flat(s) for _, s in found), strict=True)]
        return torch.cat(padded, dim=1), state

    assert_same(rows, run, run.given)


@given(runs(), st.integers(0, 6))
def test_t_steps_are_two_parts(run, cut):
    cut = min(cut, run.T)

    def parts():
        before = None if run.lengths is None else [min(n, cut) for n in run.lengths]
        after = None if run.lengths is None else [max(n - cut, 0) for n in run.lengths]
        first, state = run(run.x[:cut], lengths=before)
        second, state = run(run.x[cut:], state, lengths=after)
        return torch.cat([first, second]), state

    assert_same(parts, run, run.given)


@given(runs(), st.sampled_from([float("nan"), float("inf"), 1e30]))
def test_values_beyond_a_length_change_nothing(run, value):
    beyond = torch.arange(run.T)[:, None] >= torch.tensor(run.ends)
    other = run.x.detach().masked_fill(beyond[..., None], value).requires_grad_()
    ours, theirs = run(), run(other)
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=0, atol=0)
    assert bool((ours[0][beyond] == 0).all())
    found = gradients(theirs, [other, *run.given[1:]])
    torch.testing.assert_close(found, gradients(ours, run.given), rtol=0, atol=0)
    assert bool((found[0][beyond] == 0).all())


@given(runs())
def test_the_state_is_the_one_at_the_length(run):
    y, state = run()
    for b, n in enumerate(run.ends):
        if n == 0:
            for after, before in zip(flat(state), flat(run.state), strict=True):
                assert torch.equal(after[b], before[b])
        elif not isinstance(run.cell.state_size, tuple):
            assert torch.equal(state[b], y[n - 1, b])
        else:
            assert torch.equal(state[0][b], y[n - 1, b])


@given(runs())
def test_reversal_is_a_flip(run):
    """Within each row's length; the state is the one after the first step."""

    def turned(x):
        return torch.stack([torch.cat([x[:n, b].flip(0), x[n:, b]]) for b, n in enumerate(run.ends)], dim=1)

    def flipped():
        y, state = run(turned(run.x))
        return turned(y), state

    assert_same(lambda: run(module=Recurrent(run.cell, reverse=True)), flipped, run.given)


@given(runs())
def test_batch_first_is_a_transpose(run):
    resets = torch.rand(run.T, run.B) < 0.3

    def batch_first():
        y, state = run(run.x.transpose(0, 1), module=Recurrent(run.cell, batch_first=True), resets=resets.T)
        return y.transpose(0, 1), state

    assert_same(batch_first, lambda: run(resets=resets), run.given)


@given(runs())
def test_both_directions_are_one_of_each(run):
    layer = Recurrent(run.cell, bidirectional=True).double()
    states = (run.state, state_of(run.cell, run.B))
    resets = torch.rand(run.T, run.B) < 0.3

    def separately():
        forward, first = run(state=states[0], resets=resets)
        backward, second = run(state=states[1], module=Recurrent(layer.cell_reverse, reverse=True), resets=resets)
        return torch.cat([forward, backward], dim=-1), (first, second)

    given = [run.x, *flat(states), *layer.parameters()]
    assert_same(lambda: run(state=states, module=layer.eval(), resets=resets), separately, given)


@given(runs(), st.data())
def test_resets_are_pieces_run_separately(run, data):
    """A reset of all rows at one step: the piece before it from the state given, the piece from it on from zeros."""
    at = data.draw(st.integers(0, run.T - 1))
    resets = torch.zeros(run.T, run.B, dtype=torch.bool)
    resets[at] = True

    def pieces():
        before = [min(n, at) for n in run.ends]
        after = [max(n - at, 0) for n in run.ends]
        first, ended = run(run.x[:at], lengths=before)
        second, begun = run(run.x[at:], mapped(torch.zeros_like, run.state), lengths=after)
        reached = torch.tensor(after)[:, None] > 0
        state = [torch.where(reached, new, old) for new, old in zip(flat(begun), flat(ended), strict=True)]
        return torch.cat([first, second]), state

    assert_same(lambda: run(resets=resets), pieces, run.given)


@given(runs(FUSED, backends=["torch"]), st.booleans())
def test_torchs_kernels_compute_the_plain_cells(run, reverse):
    assume(any(run.ends))
    layer = Recurrent(run.cell, reverse=reverse)

    def reference():
        with backend("reference"):
            return layer(run.x, run.state, lengths=run.lengths)

    assert_same(lambda: run(module=layer), reference, run.given)


@given(runs(), st.sampled_from([GRUCell, LSTMCell]))
def test_layers_compose(run, second):
    top = second(run.cell.output_size, 3).double()
    middle = MLP(run.cell.output_size, run.cell.output_size).double()
    stack = Stack(run.cell, middle, top).eval()
    states = (run.state, state_of(top, run.B))
    inside = torch.arange(run.T)[:, None] < torch.tensor(run.ends)

    def composed():
        h, first = run()
        h = middle(h) * inside[..., None]
        y, last = run(h, states[1], module=Recurrent(top))
        return y, (first, last)

    given = [run.x, *flat(states), *stack.parameters()]
    assert_same(lambda: run(state=states, module=stack), composed, given)


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
@given(data=st.data())
def test_layers_of_a_drop_in_compose(kind, data):
    T, B, I, H, L = (data.draw(st.integers(1, n)) for n in (5, 3, 4, 5, 3))
    two_ways = data.draw(st.booleans())
    lengths = data.draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B))
    net = kind(I, H, L, bidirectional=two_ways).double()
    D = 2 if two_ways else 1
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)

    def layer_by_layer():
        y, finals = x, []
        for layer in range(L):
            one = kind(y.shape[-1], H, bidirectional=two_ways).double()
            own = {name: net.get_parameter(name.replace("_l0", f"_l{layer}")) for name, _ in one.named_parameters()}
            y, final = torch.func.functional_call(one, own, (y,), {"lengths": lengths or [T] * B})
            finals.append(final if isinstance(final, tuple) else (final,))
        return y, [torch.cat(parts) for parts in zip(*finals, strict=True)]

    def at_once():
        y, final = net(x, lengths=lengths)
        assert flat(final)[0].shape == (L * D, B, H)
        return y, final

    assert_same(at_once, layer_by_layer, [x, *net.parameters()])
