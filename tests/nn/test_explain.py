"""`explain`: which backend every layer takes, and why not the others."""

import pytest
import torch
from torch import nn

from deeplstm import LSTM, MLP, GRUCell, LSTMCell, Recurrent, RNNCell, Stack, backend, explain

x = torch.zeros(5, 2, 3)


def test_every_layer_of_a_stack_with_its_place_and_reasons():
    stack = Stack(MLP(3, 4), LSTMCell(4, 4), Recurrent(GRUCell(4, 4, norm=True), bidirectional=True), LSTM(8, 2, 3))
    assert str(explain(stack, x)) == (
        "layers.1: LSTMCell runs on backend 'torch'\n"
        "layers.2: GRUCell runs on backend 'reference'\n"
        "    not on 'torch': torch's kernel has no norm=True\n"
        "layers.2: GRUCell runs on backend 'reference'\n"
        "    not on 'torch': torch's kernel has no norm=True\n"
        "layers.3: LSTM runs on backend 'torch'"
    )


def test_all_reasons_and_the_arguments_of_the_call():
    found = explain(Recurrent(RNNCell(3, 4, norm=True, zoneout=0.1)), x, resets=torch.zeros(5, 2, dtype=torch.bool))
    (choice,) = found.choices
    assert (choice.layer, choice.what, choice.backend) == ("Recurrent", "RNNCell", "reference")
    assert choice.passed_over == {
        "torch": [
            "torch's kernel has no norm=True",
            "torch's kernel has no zoneout=0.1",
            "torch's kernels have no resets",
        ]
    }


def test_a_forced_backend_passes_nothing_over():
    with backend("reference"):
        assert str(explain(Recurrent(RNNCell(3, 4)), x)) == "Recurrent: RNNCell runs on backend 'reference'"


def test_what_is_no_recurrence():
    assert repr(explain(MLP(3, 4), x)) == "nothing here is a recurrence"


def test_it_leaves_no_trace():
    """No hooks, no gradients, no random numbers, and no record of later calls."""
    net = Stack(LSTMCell(3, 4, zoneout=0.5), nn.Dropout(0.5))
    before = torch.get_rng_state()
    found = explain(net, x)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())
    net(x)
    assert len(found.choices) == 1


def test_a_module_that_fails_is_left_as_it_was():
    net = Stack(LSTMCell(3, 4))
    with pytest.raises(ValueError, match="Stack got input of shape"):
        explain(net, torch.zeros(5, 2, 9))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert len(explain(net, x).choices) == 1


def test_a_layer_used_twice_is_named_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = Recurrent(RNNCell(3, 3))

        def forward(self, x):
            return self.layer(self.layer(x)[0])

    assert [choice.layer for choice in explain(Twice(), x).choices] == ["layer", "layer"]


def test_what_a_batch_norm_has_seen_stays():
    stack = Stack(nn.BatchNorm1d(3), RNNCell(3, 4)).train()
    before = {name: value.clone() for name, value in stack.named_buffers()}
    explain(stack, torch.randn(5, 2, 3))
    assert all(torch.equal(value, before[name]) for name, value in stack.named_buffers())
