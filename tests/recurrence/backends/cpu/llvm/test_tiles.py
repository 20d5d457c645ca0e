"""How products are cut, by what the host is like."""

from dataclasses import replace

import pytest
import torch

from deeplstm import RNNCell
from deeplstm.recurrence.backends.cpu.llvm.host import _ways, host
from deeplstm.recurrence.backends.cpu.llvm.layout import layout
from deeplstm.recurrence.program.capture import Signature, call_of, capture
from deeplstm.recurrence.program.interpret import products
from deeplstm.recurrence.program.program import forward
from deeplstm.recurrence.program.stages import stages


def tile(hidden_size, **changed):
    """Of the recurrent product of a plain RNN."""
    cell = RNNCell(4, hidden_size)
    weights = tuple((name, tuple(p.shape)) for name, p in cell.named_parameters())
    step = capture(call_of(cell), Signature(weights, 4, (hidden_size,), False, (), True, torch.float32, ()))
    split = forward(step).split
    loop = stages(split, products(step.graph, split.before))
    return layout(loop, "float32", replace(host(), vector_bytes=64, registers=32, **changed)).packed[0].tile


@pytest.mark.parametrize(
    ("hidden_size", "ways", "is_large"),
    [(1008, 8, True), (1024, 8, False), (1024, 12, True), (256, 12, False)],
)
def test_rows_4096_bytes_apart_are_many_only_where_the_first_cache_has_ways_for_them(hidden_size, ways, is_large):
    assert tile(hidden_size, ways=ways).large == is_large


def test_the_ways_of_the_first_cache_are_what_linux_says(tmp_path):
    def said(**files):
        for name, content in files.items():
            (tmp_path / name).write_text(f"{content}\n")
        return _ways(tmp_path)

    assert said() == 8  # it says nothing
    assert said(level="1", type="Data", ways_of_associativity="12") == 12
    assert said(ways_of_associativity="many") == 8
    assert said(ways_of_associativity="12", type="Instruction") == 8
