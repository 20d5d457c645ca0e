"""Tensors made of two parameters: they read and write as a view would."""

import copy
import io

import numpy
import pytest
import torch

from deeplstm.inspect.live import Live, beside, total


def parts():
    return torch.arange(6.0).view(2, 3), torch.arange(4.0).view(2, 2) + 10


def halve_out(m):
    torch.mul(m, 0.5, out=m)


def by_row(m):
    for row in m:
        row[1] = -3


WRITES = {
    "index": lambda m: m.__setitem__((1, 3), 5.0),
    "row": lambda m: m[0].fill_(2.0),
    "seam": lambda m: m[:, 2:4].zero_(),
    "turned": lambda m: m.T[4].add_(1),
    "times": lambda m: m.mul_(3),
    "mask": lambda m: m.__setitem__(m > 4, 0.0),
    "copy": lambda m: m.copy_(torch.ones(2, 5)),
    "flat": lambda m: m.view(-1)[7:9].neg_(),
    "init": lambda m: torch.nn.init.constant_(m, 4.0),
    "out": halve_out,
    "rows": by_row,
    "split": lambda m: m.split([4, 1], 1)[1].fill_(8.0),
    "data": lambda m: m.data[1].fill_(6.0),
    "detached": lambda m: m.detach().sub_(1),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_writing_by_any_way_reaches_the_parts(write):
    left, right = parts()
    plain = torch.cat([left, right], 1)
    write(plain)
    write(beside(left, right))
    assert torch.equal(torch.cat([left, right], 1), plain)


def test_reading_sees_the_parts_as_they_are_now():
    left, right = parts()
    whole = beside(left, right)
    row = whole[1]
    left.zero_()
    assert torch.equal(whole, torch.cat([left, right], 1))
    assert row.tolist() == [0, 0, 0, 12, 13]
    assert whole.sum() == 46
    assert (whole @ torch.ones(5)).tolist() == [21, 25]


def test_what_is_computed_is_a_plain_tensor():
    whole = beside(*parts())
    for result in (whole + 1, whole @ whole.T, whole.clone(), copy.deepcopy(whole), whole.sum()):
        assert type(result) is torch.Tensor
    assert type(whole[0]) is Live


def test_only_a_write_writes():
    left, right = parts()
    whole, before = beside(left, right), (left._version, right._version)
    _ = whole.sum() + whole[0, 0] + whole.max()
    repr(whole), f"{whole[0, 1]:.2f}"
    assert (left._version, right._version) == before


def test_numpy_is_read_only_and_files_have_plain_tensors():
    whole = beside(*parts())
    for array in (whole.numpy(), numpy.asarray(whole)):
        assert array.tolist() == whole.tolist()
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1
    file = io.BytesIO()
    torch.save(whole, file)
    file.seek(0)
    assert torch.equal(torch.load(file), whole.clone())


def test_other_memory_is_refused():
    with pytest.raises(TypeError, match="write into it, with copy_"):
        beside(*parts()).data = torch.zeros(2, 5)


def test_a_sum_puts_what_is_written_into_the_first():
    first, second = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 3.0])
    both = total(first, second)
    both[1] = 0.7
    assert torch.equal(both[1:2].clone(), torch.tensor([0.7]))
    assert torch.equal(first, torch.tensor([0.1, 0.7, 0.3]))
    assert second.tolist() == [1, 0, 3]
