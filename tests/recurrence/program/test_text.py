"""Programs as text: what is written is read again, and what a stranger wrote is a program that kernels can trust, or refused."""

import base64
import json
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from deeplstm import GRUCell, LSTMCell
from deeplstm.recurrence.program.capture import Signature, call_of, capture
from deeplstm.recurrence.program.rows import Unsupported
from deeplstm.recurrence.program.text import FORMAT, read, write
from table import cells
from tests.recurrence import test_users_cells as users


def signature_of(cell, dtype=torch.float64, is_noisy=False):
    sizes = cell.state_size
    noise = tuple((n, w, kind == "step") for n, (kind, w, _) in cell.noise_shapes().items()) if is_noisy else ()
    weights = tuple((name, tuple(p.shape)) for name, p in cell.named_parameters())
    states = sizes if isinstance(sizes, tuple) else (sizes,)
    return Signature(weights, cell.input_size, states, isinstance(sizes, tuple), noise, is_noisy, dtype)


def unpacked(text):
    return json.loads(zlib.decompress(base64.urlsafe_b64decode(text.rpartition(":")[2])))


def packed(content, name="Cell"):
    return f"{name}:{base64.urlsafe_b64encode(zlib.compress(json.dumps(content).encode())).decode()}"


# ---------------------------------------------------------------- what is written


@cells()
def test_the_tables_cells_are_read_as_they_were_written(case):
    text = write("cell", capture(call_of(case.make()), signature_of(case.make(), is_noisy=True)))
    assert write("cell", read(text)) == text


@pytest.mark.parametrize("function", users.COMPILED.values(), ids=users.COMPILED)
def test_users_cells_are_read_as_they_were_written(function):
    cell = users.Cell(function).double()
    text = write("cell", capture(call_of(cell), signature_of(cell)))
    assert write("cell", read(text)) == text
