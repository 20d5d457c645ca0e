"""The small pieces: masks and flips by length, states as nests of tensors."""

import pytest
import torch

import deeplstm
from deeplstm.recurrence.lengths import flip, mask
from deeplstm.recurrence.state import map_state, shapes_of, tensors_of

a, b, c = torch.ones(2, 3), torch.zeros(2), torch.full((1,), 5.0)


def test_mask():
    assert mask(torch.tensor([2, 0, 3]), 3).int().tolist() == [[1, 0, 1], [1, 0, 1], [0, 0, 1]]
    assert mask(torch.tensor([0, 0]), 0).shape == (0, 2)


def test_flip_turns_each_row_within_its_length():
    x = torch.arange(8).reshape(4, 2, 1)
    assert flip(x, torch.tensor([3, 4]))[..., 0].T.tolist() == [[4, 2, 0, 6], [7, 5, 3, 1]]
    assert torch.equal(flip(flip(x, torch.tensor([1, 0])), torch.tensor([1, 0])), x)


@pytest.mark.parametrize("state", [a, (a, b), (a, (b, c)), (None, a), None, ()], ids=str)
def test_a_state_keeps_its_nesting(state):
    doubled = map_state(lambda t: 2 * t, state)
    assert shapes_of(doubled) == shapes_of(state)
    for two, one in zip(tensors_of(doubled), tensors_of(state), strict=True):
        assert torch.equal(two, 2 * one)


def test_states_are_mapped_together_only_if_nested_alike():
    assert torch.equal(map_state(torch.add, (a, b), (a, b))[0], 2 * a)
    with pytest.raises(ValueError, match="zip"):
        map_state(torch.add, (a, b), (a,))


def test_shapes_name_what_is_no_tensor():
    assert shapes_of((a, [b, 1.5], None)) == ((2, 3), ((2,), "float"), "NoneType")


def test_detach_cuts_every_part_and_shares_its_memory():
    state = (a.clone().requires_grad_(), (b.clone().requires_grad_() * 2, None))
    cut = deeplstm.detach(state)
    assert not any(t.requires_grad for t in tensors_of(cut))
    assert [t.data_ptr() for t in tensors_of(cut)] == [t.data_ptr() for t in tensors_of(state)]
    assert cut[1][1] is None


def test_detach_stops_the_gradient_between_windows():
    cell = deeplstm.GRUCell(2, 3)
    layer, x = deeplstm.Recurrent(cell), torch.randn(4, 1, 2, requires_grad=True)
    _, state = layer(x[:2])
    y, _ = layer(x[2:], deeplstm.detach(state))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert bool((gradient[:2] == 0).all())
    assert bool((gradient[2:] != 0).any())
