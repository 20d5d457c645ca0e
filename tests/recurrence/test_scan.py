"""`scan` over functions and cells: what it computes, what goes through it, and what it says when it cannot."""

import re

import pytest
import torch

from checks import assert_same, flat, state_of
from deeplstm import GRUCell, LSTMCell, scan
from table import CELLS, SHAPES, cells, shapes


def leaky(params, x, state):
    """An exponential average: easy to know the answer of."""
    new = params["keep"] * state + (1 - params["keep"]) * x
    return new, new


def by_hand(cell, x, state, lengths, resets, initial, noise, reverse):
    """The recurrence once more: every row by itself, in plain Python."""
    T, B = x.shape[:2]
    is_tuple = isinstance(state, tuple)
    outputs, finals = [], []
    for b in range(B):
        row = tuple(s[b : b + 1] for s in state) if is_tuple else state[b : b + 1]
        n = T if lengths is None else lengths[b]
        ys = {}
        for t in reversed(range(n)) if reverse else range(n):
            if resets is not None and resets[t, b]:
                row = tuple(s[b : b + 1] for s in initial) if is_tuple else initial[b : b + 1]
            masks = {name: m[t if len(m) > 1 else 0, b : b + 1] for name, m in noise.items()}
            ys[t], row = cell(x[t, b : b + 1], row, masks)
        zero = x.new_zeros(1, cell.output_size)
        outputs.append(torch.stack([ys.get(t, zero) for t in range(T)]) if T else x.new_zeros(0, 1, cell.output_size))
        finals.append(row)
    y = torch.cat(outputs, dim=1) if B else x.new_zeros(T, 0, cell.output_size)
    if not B:
        return y, state
    return y, tuple(torch.cat(parts) for parts in zip(*finals, strict=True)) if is_tuple else torch.cat(finals)


@shapes()
@cells()
def test_every_cell_on_every_shape(case, shape):
    if case.options.get("proj_size", 0) >= shape.H:
        pytest.skip("no projection is smaller than one unit")
    cell = case.make(shape.I, shape.H).train()
    x = torch.randn(shape.T, shape.B, shape.I, dtype=torch.float64, requires_grad=True)
    state, initial = state_of(cell, shape.B), state_of(cell, shape.B)
    resets = torch.rand(shape.T, shape.B) < 0.3
    noise = cell.draw_noise(shape.T, shape.B, like=x)
    given = [x, *flat(state), *flat(initial), *cell.parameters()]
    for sequence in (
        {"lengths": shape.lengths, "resets": None, "reverse": False},
        {"lengths": shape.lengths, "resets": resets, "reverse": True},
    ):
        assert_same(
            lambda s=sequence: scan(cell, None, x, state, initial=initial, noise=noise, backend="reference", **s),
            lambda s=sequence: by_hand(cell, x, state, initial=initial, noise=noise, **s),
            given,
        )


# ---------------------------------------------------------------- functions


def test_a_function_with_parameters():
    keep = torch.tensor(0.5, requires_grad=True)
    x = torch.tensor([[[4.0]], [[8.0]]])
    y, state = scan(leaky, {"keep": keep}, x, torch.zeros(1, 1))
    assert y.flatten().tolist() == [2.0, 5.0]
    assert state.item() == 5.0
    state.sum().backward()
    # s_2 = k (1 - k) 4 + (1 - k) 8, so ds_2/dk = 4 (1 - 2 k) - 8
    assert keep.grad.item() == -8.0


def test_in_reverse_the_output_keeps_its_place():
    y, state = scan(leaky, {"keep": 0.5}, torch.tensor([[[4.0]], [[8.0]]]), torch.zeros(1, 1), reverse=True)
    assert y.flatten().tolist() == [4.0, 4.0]
    assert state.item() == 4.0


def test_lengths_and_resets_of_a_function():
    x = torch.ones(4, 3, 1)
    resets = torch.zeros(4, 3, dtype=torch.bool)
    resets[2, 0] = resets[3, 1] = True
    y, state = scan(
        lambda _, x, s: (s + x, s + x), None, x, torch.full((3, 1), 10.0), lengths=[4, 3, 0], resets=resets,
        initial=torch.full((3, 1), 5.0),
    )  # fmt: skip
    assert y[..., 0].T.tolist() == [[11.0, 12.0, 6.0, 7.0], [11.0, 12.0, 13.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    assert state.flatten().tolist() == [7.0, 13.0, 10.0]


def test_a_reset_without_initial_is_to_zeros():
    resets = torch.tensor([[False], [True]])
    y, _ = scan(lambda _, x, s: (s + x, s + x), None, torch.ones(2, 1, 1), torch.full((1, 1), 10.0), resets=resets)
    assert y.flatten().tolist() == [11.0, 1.0]


def test_states_of_any_nesting_and_shape():
    def step(params, x, state):
        (matrix, count), _ = state
        return matrix.sum((1, 2)), ((matrix + x[:, :, None], count + 1), x)

    state = ((torch.zeros(2, 3, 4), torch.zeros(2, dtype=torch.int64)), torch.zeros(2, 3))
    y, ((matrix, count), last) = scan(step, None, torch.ones(5, 2, 3), state, lengths=[5, 2])
    assert y.T.tolist() == [[0.0, 12.0, 24.0, 36.0, 48.0], [0.0, 12.0, 0.0, 0.0, 0.0]]
    assert matrix[:, 0, 0].tolist() == [5.0, 2.0]
    assert count.tolist() == [5, 2]
    assert count.dtype == torch.int64
    assert last.shape == (2, 3)


def test_outputs_and_inputs_may_have_more_dimensions():
    y, _ = scan(
        lambda _, x, s: (x.transpose(1, 2) * s, s),
        None,
        torch.ones(3, 2, 4, 5),
        torch.full((2, 1, 1), 2.0),
        lengths=[3, 1],
    )
    assert y.shape == (3, 2, 5, 4)
    assert y[:, 1, 0, 0].tolist() == [2.0, 0.0, 0.0]


def test_noise_is_handed_to_the_step():
    noise = {"every": torch.arange(3.0).reshape(3, 1, 1), "all": torch.full((1, 1, 1), 10.0)}
    y, _ = scan(
        lambda _, x, s, n: (n["every"] + n["all"], s), None, torch.zeros(3, 1, 1), torch.zeros(1, 1), noise=noise
    )
    assert y.flatten().tolist() == [10.0, 11.0, 12.0]


def test_tensors_in_place_of_a_cells_parameters():
    cell, x = GRUCell(2, 3), torch.randn(4, 2, 2)
    others = {name: torch.randn_like(p, requires_grad=True) for name, p in cell.named_parameters()}
    twin = GRUCell(2, 3)
    twin.load_state_dict(others)
    for name in ("reference", "torch"):
        y, _ = scan(cell, others, x, torch.zeros(2, 3), backend=name)
        torch.testing.assert_close(y, scan(twin, None, x, torch.zeros(2, 3))[0])
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(y.sum(), others.values()))


def test_a_batch_may_be_a_view():
    """Inputs and states that are not contiguous, expanded ones too, give what their copies give."""
    cell = LSTMCell(3, 4).double()
    wide = torch.randn(3, 2, 5, 7, dtype=torch.float64)
    views = [wide[..., 0].permute(2, 1, 0), wide[:, 0, ::2, :3].transpose(0, 1), wide[0, 0, 0, :3].expand(5, 2, 3)]
    for x in views:
        assert not x.is_contiguous()
        state = tuple(torch.randn(4, x.shape[1], dtype=torch.float64).T for _ in range(2))
        for name in ("reference", "torch"):
            got = scan(cell, None, x, state, backend=name, lengths=range(1, x.shape[1] + 1))
            want = scan(
                cell,
                None,
                x.contiguous(),
                tuple(s.contiguous() for s in state),
                backend=name,
                lengths=range(1, x.shape[1] + 1),
            )
            torch.testing.assert_close(got, want)


# ---------------------------------------------------------------- errors

z = torch.zeros
FITTING = {"x": z(5, 2, 3), "state": (z(2, 4), z(2, 4))}
WRONG = [
    ({"lengths": [1]}, "lengths have shape (1,), (2,) is expected: one for each row of the batch"),
    ({"lengths": [1, 6]}, "lengths contain [6], numbers from 0 to T=5 are expected"),
    ({"lengths": [-1, 6]}, "lengths contain [-1, 6], numbers from 0 to T=5 are expected"),
    ({"lengths": [1.0, 2.0]}, "lengths are torch.float32, whole numbers are expected"),
    ({"lengths": torch.tensor([True, False])}, "lengths are torch.bool, whole numbers are expected"),
    ({"lengths": 3}, "lengths are 3, a tensor or a list of B=2 whole numbers is expected"),
    ({"lengths": ["a", "b"]}, "lengths are ['a', 'b'], a tensor or a list of B=2 whole numbers is expected"),
    (
        {"lengths": z(2, 1, dtype=torch.int32)},
        "lengths have shape (2, 1), (2,) is expected: one for each row of the batch",
    ),
    ({"resets": z(5, 2)}, "resets are torch.float32, a tensor of torch.bool is expected"),
    ({"resets": [True]}, "resets are list, a tensor of torch.bool is expected"),
    ({"resets": z(2, 5, dtype=torch.bool)}, "resets have shape (2, 5), (T, B) = (5, 2) is expected"),
    ({"state": z(2, 4)}, "state has shapes (2, 4), ((2, 4), (2, 4)) is expected"),
    ({"state": None}, "state has shapes NoneType, ((2, 4), (2, 4)) is expected"),
    ({"state": (z(2, 4), 1.0)}, "state has shapes ((2, 4), 'float'), ((2, 4), (2, 4)) is expected"),
    ({"state": (z(2, 4), z(2, 4, device="meta"))}, "state is on meta, but the input is on cpu"),
    ({"initial": (z(2, 4), z(1, 4))}, "initial has shapes ((2, 4), (1, 4)), ((2, 4), (2, 4)) is expected"),
    (
        {"state": (z(2, 4, dtype=torch.float64), z(2, 4))},
        "state is torch.float64, the input is torch.float32: convert one of them",
    ),
    (
        {"params": {"weight_hi": z(16, 4), "bias_hh": z(16)}},
        "params names 'weight_hi', but the cell has 'weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'",
    ),
    ({"noise": {"m": z(3, 2, 4)}}, "noise['m'] has shape (3, 2, 4), (T or 1, B, ...) is expected"),
    (
        {"lengths": [9, 9], "resets": z(5, 2), "state": z(2, 4)},
        "lengths contain [9, 9], numbers from 0 to T=5 are expected; resets are torch.float32, a tensor of torch.bool is "
        "expected; state has shapes (2, 4), ((2, 4), (2, 4)) is expected",
    ),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=lambda v: str(v)[:40])
def test_a_wrong_argument(given, message):
    arguments = {"params": None, **FITTING, **given}
    with pytest.raises(ValueError, match=re.escape(f"scan over LSTMCell, x of shape (5, 2, 3): {message}.")):
        scan(LSTMCell(3, 4), **arguments)


@pytest.mark.parametrize("x", [None, z(5), [[1.0]]])
def test_an_input_without_time_and_batch(x):
    given = "(5,)" if isinstance(x, torch.Tensor) else type(x).__name__
    message = f"scan got x of shape {given}, but (T, B, ...) is expected: time, batch, and what a step reads."
    with pytest.raises(ValueError, match=re.escape(message)):
        scan(leaky, {}, x, z(2, 4))


def test_the_state_of_a_function_has_a_row_for_each_of_the_batch():
    with pytest.raises(
        ValueError, match=re.escape("state has shapes ((3, 4), 'str'), tensors with B=2 rows are expected")
    ):
        scan(leaky, {}, z(5, 2, 3), (z(3, 4), "c"))


@pytest.mark.parametrize(
    ("step", "kind", "message"),
    [
        (lambda p, x, s: x, TypeError, "the step returned Tensor, but (output, new_state) is expected"),
        (
            lambda p, x, s: (x, s, s),
            TypeError,
            "the step returned ['Tensor', 'Tensor', 'Tensor'], but (output, new_state) is",
        ),
        (
            lambda p, x, s: (None, s),
            TypeError,
            "the step returned ['NoneType', 'Tensor'], but (output, new_state) is expected",
        ),
        (lambda p, x, s: (x, x), ValueError, "a state of shapes (2, 3), where (2, 4) came in. It must return"),
        (
            lambda p, x, s: (x, (s, s)),
            ValueError,
            "a state of shapes ((2, 4), (2, 4)), where (2, 4) came in. It must return",
        ),
        (lambda p, x, s: (x[0], s), ValueError, "an output of shape (3,), where 2 rows are expected. It must return"),
    ],
)
def test_a_step_that_returns_something_else(step, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        scan(step, None, z(5, 2, 3), z(2, 4))


def test_the_table_has_the_shapes_that_the_design_asks_for():
    sizes = {size for shape in SHAPES for size in (shape.I, shape.H)}
    assert {1, 7, 31, 33, 65} <= sizes
    assert {0, 1} <= {shape.T for shape in SHAPES} & {shape.B for shape in SHAPES}
    assert any(shape.lengths and 0 in shape.lengths and len(set(shape.lengths)) > 2 for shape in SHAPES)
    assert len(CELLS) > 50
