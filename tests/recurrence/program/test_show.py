"""Programs as text."""

import re

import pytest
import torch

import deeplstm
from table import CELLS, cells


@cells()
def test_every_program_prints_every_product_once(case):
    text = str(deeplstm.program(case.make().train()))
    assert text.count("forward\n") == 1
    assert "backward, from the last step to the first" in text
    names = re.findall(r"^    (v\d+) \(", text, re.MULTILINE)
    assert len(set(names)) > 5
    assert "None" not in text


@cells()
def test_every_name_is_defined_before_it_is_read(case):
    known = set()
    for line in str(deeplstm.program(case.make().train())).splitlines():
        if line.startswith("  from the forward"):
            continue  # of the part above
        defined = re.match(r"^    (?:kept )?(v\d+)(?: \(|(?:\[\d+:\])? <- )", line)
        known |= {defined[1]} if defined else set()
        assert set(re.findall(r"\bv\d+\b", line)) <= known, line


def test_every_part_says_what_it_costs():
    text = str(deeplstm.program(deeplstm.LSTMCell(3, 4)))
    forward, backward = text.split("\n\n")[1:]
    # x (3) times four gates of 4 columns; it reads x and leaves the gates
    assert "before the loop, all steps at once: 96 FLOP and 76 bytes a row, weights 192 bytes" in forward
    # dx and two weight gradients, of a row each; it reads the gates' gradients, x and h, and leaves dx
    after = re.search(r"after the loop, all steps at once: ([\d,]+) FLOP and (\d+) bytes", backward)
    assert (int(after[1]), int(after[2])) == (2 * 16 * (3 + 3 + 4), 4 * (16 + 3 + 4 + 3))


def test_a_cell_that_has_no_program():
    class Sorting(torch.nn.Module):
        state_size = input_size = 4

        def forward(self, x, state):
            new = (state + x).sort(1).values
            return new, new

    with pytest.raises(
        deeplstm.BackendUnavailable,
        match=r"program got Sorting, of which no program can be made: programs lack .* aten\.sort.*test_show\.py.*line",
    ):
        deeplstm.program(Sorting())


def test_the_plain_lstm_reads_as_its_equations():
    text = str(deeplstm.program(deeplstm.LSTMCell(3, 4)))
    lines = text.splitlines()
    assert lines[0] == "LSTMCell: x (3), state (4, 4)"
    assert sum("stage " in line for line in lines) == 3
    assert "x @ weight_ih[0:4].T" in text
    assert "state0 @ weight_hh[12:16].T" in text
    assert re.search(r"kept v\d+\[4:\] <- ", text)
    assert re.search(r"v\d+ \(16, 4\) = v\d+\.T @ state0, summed over rows and steps", text)
    stage = next(line for line in lines if "stage 1" in line)
    products = 2 * 4 * 16  # one row of h times four gates
    flops = int(re.search(r"([\d,]+) FLOP", stage)[1].replace(",", ""))
    assert products < flops < 4 * products
    assert "weights 256 bytes" in stage


def test_a_cell_of_ones_own_and_its_input_size():
    class Leaky(torch.nn.Module):
        state_size = 4

        def forward(self, x, state):
            new = 0.5 * state + x
            return new, new

    with pytest.raises(ValueError, match="program got Leaky, which does not say its input_size: give input_size="):
        deeplstm.program(Leaky())
    assert "state0 * 0.5" in str(deeplstm.program(Leaky(), input_size=4))


def test_it_leaves_the_cell_and_the_generators_as_they_are():
    cell = next(case for case in CELLS if case.name == "LSTMCell-everything").make().train()
    before = {name: p.clone() for name, p in cell.named_parameters()}
    deeplstm.program(cell)
    assert all(torch.equal(p, before[name]) for name, p in cell.named_parameters())
    assert cell.training
