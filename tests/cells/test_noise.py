"""What the random masks mean: how often, for how long, how scaled, and that every one is used."""

import pytest
import torch

from checks import flat, state_of
from deeplstm import GRUCell, HighwayCell, LSTMCell, Recurrent, RNNCell
from table import CELLS, cells

ALL = [LSTMCell, GRUCell, RNNCell, HighwayCell]
NOISY = [case for case in CELLS if case.is_noisy]
T, B, I, H = 40, 30, 3, 20


def masks(cell):
    return cell.train().draw_noise(T, B, like=torch.zeros(T, B, I))


@cells(NOISY)
def test_evaluation_draws_nothing_and_repeats_itself(case):
    cell = case.make().eval()
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    assert cell.draw_noise(4, 2, like=x) == {}
    assert cell.draw_weights() is None
    layer = Recurrent(cell)
    torch.testing.assert_close(layer(x), layer(x), rtol=0, atol=0)


@cells(NOISY)
def test_training_differs_from_call_to_call_and_follows_the_seed(case):
    layer, x = Recurrent(case.make(3, 12)).train(), torch.randn(6, 4, 3, dtype=torch.float64)

    def run(seed):
        torch.manual_seed(seed)
        return flat(layer(x))[0]

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


@pytest.mark.parametrize("cell", ALL)
def test_recurrent_dropout_is_one_scaled_mask_per_sequence(cell):
    mask = masks(cell(I, H, recurrent_dropout=0.25))["recurrent_dropout"]
    assert mask.shape == (1, B, H)
    assert mask.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert (mask == 0).double().mean().item() == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("cell", ALL)
def test_zoneout_keeps_old_values_step_by_step(cell):
    drawn = masks(cell(I, H, zoneout=0.25))
    assert set(drawn) == ({"zoneout_h", "zoneout_c"} if cell is LSTMCell else {"zoneout_h"})
    for mask in drawn.values():
        assert mask.shape == (T, B, H)
        assert mask.dtype == torch.bool
        assert mask.double().mean().item() == pytest.approx(0.25, abs=0.02)
        assert not torch.equal(mask[0], mask[1])


def test_zoneout_of_h_and_c_is_drawn_separately():
    drawn = masks(LSTMCell(I, H, zoneout=(0.1, 0.6), proj_size=5))
    assert drawn["zoneout_h"].shape == (T, B, 5)
    assert drawn["zoneout_h"].double().mean().item() == pytest.approx(0.1, abs=0.02)
    assert drawn["zoneout_c"].double().mean().item() == pytest.approx(0.6, abs=0.02)
    assert set(masks(LSTMCell(I, H, zoneout=(0.1, 0.0)))) == {"zoneout_h"}
    assert set(masks(LSTMCell(I, H, zoneout=(0.0, 0.1)))) == {"zoneout_c"}


@pytest.mark.parametrize("cell", ALL)
def test_zoneout_in_training_is_old_or_new_and_in_evaluation_their_mean(cell):
    noisy, plain = cell(I, H, zoneout=0.3).double(), cell(I, H).double()
    plain.load_state_dict(noisy.state_dict())
    x, state = torch.randn(B, I, dtype=torch.float64), state_of(noisy, B, requires_grad=False)
    old, new = flat(state), flat(plain(x, state)[1])
    for before, after, got in zip(old, new, flat(noisy.train()(x, state)[1]), strict=True):
        kept = got == before
        assert torch.equal(got[~kept], after[~kept])
        assert kept.double().mean().item() == pytest.approx(0.3, abs=0.06)
    for before, after, got in zip(old, new, flat(noisy.eval()(x, state)[1]), strict=True):
        torch.testing.assert_close(got, 0.3 * before + 0.7 * after)


@pytest.mark.parametrize("cell", [LSTMCell, RNNCell])  # the others carry h_prev beside what their products read
def test_one_dropout_mask_holds_over_a_whole_sequence(cell):
    """A unit that is dropped is never read: its value in the initial state changes nothing, at no step."""
    layer = Recurrent(cell(I, H, recurrent_dropout=0.5).double()).train()
    x, state = torch.randn(5, 1, I, dtype=torch.float64), state_of(layer.cell, 1)
    torch.manual_seed(8)
    unread = layer.cell.draw_noise(5, 1, like=x)["recurrent_dropout"][0, 0] == 0
    assert bool(unread.any())
    assert not bool(unread.all())
    torch.manual_seed(8)
    y, _ = layer(x, state)
    (gradient,) = torch.autograd.grad(y.sum(), flat(state)[0])
    assert torch.equal(gradient[0] == 0, unread)


@pytest.mark.parametrize("cell", ALL)
def test_weight_drop_zeroes_recurrent_weights_once_for_a_sequence(cell):
    module = cell(I, H, weight_drop=0.25).train()
    own, dropped = dict(module.named_parameters()), module.draw_weights()
    assert set(own) == set(dropped)
    for name, p in own.items():
        if "weight_hh" in name:
            zero = dropped[name] == 0
            assert zero.double().mean().item() == pytest.approx(0.25, abs=0.05)
            torch.testing.assert_close(dropped[name][~zero], p[~zero] / 0.75)
        else:
            assert dropped[name] is p


def test_weight_drop_reaches_the_hidden_layers_of_gates():
    module = LSTMCell(I, H, weight_drop=0.5, gate_layers=(50,), gate_shortcut=True).train()
    dropped = [name for name, p in module.draw_weights().items() if p is not module.get_parameter(name)]
    assert dropped == ["weight_hh", "deep.shared.weight_hh"]


def test_weight_drop_is_drawn_once_for_a_sequence_and_each_direction():
    calls = []

    class Counting(RNNCell):
        def draw_weights(self):
            calls.append(1)
            return super().draw_weights()

    Recurrent(Counting(I, H, weight_drop=0.5), bidirectional=True).train()(torch.zeros(9, 2, I))
    assert len(calls) == 2


def test_weight_drop_leaves_the_parameters_and_gives_them_their_gradient():
    layer = Recurrent(LSTMCell(I, H, weight_drop=0.5)).train()
    before = layer.cell.weight_hh.detach().clone()
    x, state = torch.randn(4, 2, I), state_of(layer.cell, 2, torch.float32)
    torch.manual_seed(2)
    zero = layer.cell.draw_weights()["weight_hh"] == 0
    torch.manual_seed(2)
    layer(x, state)[0].sum().backward()
    assert torch.equal(layer.cell.weight_hh, before)
    assert torch.equal(layer.cell.weight_hh.grad == 0, zero)


@pytest.mark.parametrize("cell", ALL)
def test_rows_and_directions_draw_their_own_masks(cell):
    mask = masks(cell(I, H, recurrent_dropout=0.5))["recurrent_dropout"][0]
    assert len({tuple(row.tolist()) for row in mask}) == B
    layer = Recurrent(cell(I, H, zoneout=0.5, recurrent_dropout=0.5), bidirectional=True).train()
    layer.cell_reverse.load_state_dict(layer.cell.state_dict())
    y = layer(torch.ones(1, 1, I))[0]
    assert not torch.equal(y[..., :H], y[..., H:])


def test_a_single_step_draws_for_itself():
    cell, x, state = LSTMCell(I, H, zoneout=0.5, weight_drop=0.5).train(), torch.randn(B, I), None
    assert not torch.equal(cell(x, state)[0], cell(x, state)[0])
    torch.manual_seed(3)
    alone = cell(x)[0]
    torch.manual_seed(3)
    weights_later = Recurrent(cell)(x[None])[0][0]  # masks, then weights: the same order
    torch.testing.assert_close(alone, weights_later)


def test_masks_have_the_mean_of_the_network_without_them():
    """Dropout is scaled in training, so that evaluation needs no scaling."""
    cell = RNNCell(I, 400, recurrent_dropout=0.3)
    assert masks(cell)["recurrent_dropout"].mean().item() == pytest.approx(1.0, abs=0.03)
    dropped = RNNCell(I, 200, weight_drop=0.3).train()
    ratio = dropped.draw_weights()["weight_hh"].abs().sum() / dropped.weight_hh.abs().sum()
    assert ratio.item() == pytest.approx(1.0, abs=0.03)
