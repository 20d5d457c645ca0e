"""The table of cells is complete: every public cell, and every option of each with a value that is not its default."""

import inspect

import pytest

import deeplstm
from deeplstm.cells._cell import Cell
from table import CELLS

PUBLIC = [
    value for name in deeplstm.__all__ if isinstance(value := getattr(deeplstm, name), type) and issubclass(value, Cell)
]


def test_every_public_cell_stands_in_the_table():
    assert {case.cell for case in CELLS} == set(PUBLIC)


@pytest.mark.parametrize("cell", PUBLIC)
def test_every_option_of_a_cell_stands_in_the_table(cell):
    parameters = inspect.signature(cell).parameters
    options = {name for name in parameters if name not in ("input_size", "hidden_size", "device", "dtype")}
    used = {
        name
        for case in CELLS
        if case.cell is cell
        for name, value in case.options.items()
        if value != parameters[name].default
    }
    assert used == options


def test_names_are_distinct():
    assert len({case.name for case in CELLS}) == len(CELLS)
