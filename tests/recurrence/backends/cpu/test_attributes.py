"""What a program depends on beside tensors: a change is seen, and nothing is kept alive for it."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from types import SimpleNamespace

import numpy
import pytest
import torch
from torch import nn

import deeplstm
from deeplstm.recurrence.backends.cpu.attributes import Attributes


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = 1.0


@dataclass
class Settings:
    gain: float = 1.0
    activation: object = torch.tanh


@dataclass
class All:
    settings: Settings


class Cell(nn.Module):
    state_size = input_size = 4

    def __init__(self):
        super().__init__()
        self.number, self.flag, self.name, self.nothing = 1, True, "a", None
        self.pair, self.numbers, self.table, self.some = (1, 2), [1, 2], {"a": 1}, {1, 2}
        self.vector, self.inside = torch.ones(4), [torch.ones(4)]
        self.function = torch.tanh
        self.settings, self.all, self.namespace = Settings(), All(Settings()), SimpleNamespace(gain=1.0, many=[1])
        self.array = numpy.ones(3)
        self.part = Part()


def nested(cell):
    cell.inside[0] += 1


CHANGES = {
    "a number": lambda c: setattr(c, "number", 2),
    "its type alone": lambda c: setattr(c, "number", 1.0),
    "a flag": lambda c: setattr(c, "flag", 1),
    "a name": lambda c: setattr(c, "name", "b"),
    "None": lambda c: setattr(c, "nothing", 0),
    "a tuple": lambda c: setattr(c, "pair", (1, 3)),
    "in a list": lambda c: c.numbers.append(3),
    "in a dict": lambda c: c.table.update(a=2),
    "in a set": lambda c: c.some.add(3),
    "in a tensor": lambda c: c.vector.add_(1),
    "another tensor": lambda c: setattr(c, "vector", torch.ones(4)),
    "in a tensor in a list": nested,
    "in a dataclass": lambda c: setattr(c.settings, "gain", 2.0),
    "a function in it": lambda c: setattr(c.settings, "activation", torch.relu),
    "in one inside another": lambda c: setattr(c.all.settings, "gain", 2.0),
    "in a namespace": lambda c: setattr(c.namespace, "gain", 2.0),
    "in a list in it": lambda c: c.namespace.many.append(2),
    "in an array": lambda c: c.array.fill(2),
    "whether a tensor requires grad": lambda c: c.vector.requires_grad_(),
    "a function": lambda c: setattr(c, "function", torch.relu),
    "of a part": lambda c: setattr(c.part, "scale", 2.0),
    "one more": lambda c: setattr(c, "more", 1),
    "one less": lambda c: delattr(c, "name"),
    "training": lambda c: c.eval(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen(change):
    cell = Cell()
    attributes = Attributes(cell)
    before = attributes.read()
    assert attributes.read() == before
    change(cell)
    assert attributes.read() != before


def test_what_was_there_before_is_known_again():
    cell = Cell()
    attributes = Attributes(cell)
    before = attributes.read()
    cell.number = 2
    attributes.read()
    cell.number = 1
    assert attributes.read() == before
    assert hash(attributes.read()) == hash(before)


class Counts(nn.Module):
    state_size = input_size = 3

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))
        self.factor, self.bound = 1.0, self.forward

    def forward(self, x, h):
        new = torch.tanh(x + h @ self.weight) * self.factor
        return new, new


def ends_with_its_last_reference(made):
    """Whether nothing that a call has kept keeps a cell alive. ``made``: gives the cell."""
    cell = made()
    with deeplstm.backend("cpu"):
        deeplstm.Recurrent(cell)(torch.randn(2, 1, 3))
    alive = weakref.ref(cell)
    del cell
    gc.collect()
    return alive() is None


def test_a_cell_ends_with_its_last_reference():
    assert ends_with_its_last_reference(Counts)


def test_records_in_a_circle():
    cell = Counts()
    cell.first = All(None)
    cell.first.settings = All(cell.first)
    attributes = Attributes(cell)
    before = attributes.read()
    assert attributes.read() == before
    cell.first.settings.settings = None
    assert attributes.read() != before


def test_a_record_that_holds_the_cell_does_not_keep_it_alive():
    def made():
        cell = Counts()
        for held in (cell, cell.forward, lambda: cell):
            setattr(cell, f"record{len(vars(cell))}", All(Settings(1.0, held)))
        return cell

    assert ends_with_its_last_reference(made)


def test_an_attribute_that_changes_all_the_time_is_warned_of(monkeypatch):
    monkeypatch.setattr("deeplstm.recurrence.backends.cpu.programs.MANY", 3)
    module = deeplstm.Recurrent(Counts())
    with deeplstm.backend("cpu"):
        for n in range(2):
            module.cell.factor = 1.0 + n
            module(torch.randn(2, 1, 3))
        module.cell.factor = 3.0
        with pytest.warns(UserWarning, match="compiled anew"):
            module(torch.randn(2, 1, 3))
