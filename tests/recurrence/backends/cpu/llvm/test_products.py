"""Products in registers, and the packing of their weights: right for every shape, whatever lies around."""

import ctypes
import dataclasses

import pytest
import torch

import deeplstm
from deeplstm.recurrence.backends.cpu.llvm import kernels
from deeplstm.recurrence.backends.cpu.llvm.elements import lanes_of
from deeplstm.recurrence.backends.cpu.llvm.host import host
from deeplstm.recurrence.backends.cpu.llvm.libraries import KINDS, Packing, Products, most_rows
from deeplstm.recurrence.backends.cpu.llvm.packing import SIGNATURE, kind_of
from deeplstm.recurrence.backends.cpu.llvm.shared import shared

ELEMENTS = ["float32", "float64", "bfloat16"]
NARROWER = [(64, 32), (32, 16), (16, 16)]
"""Bytes of a vector, and registers."""

TOLERANCE = {"float32": 1e-5, "float64": 1e-13, "bfloat16": 1e-5}
GUARD = 7.0


def dtype_of(element):
    return getattr(torch, element)


def computed(element):
    return torch.float64 if element == "float64" else torch.float32


def functions(library, processor, signature):
    """The functions of a library, to be called with numbers and tensors."""
    found = shared(library, processor)
    kinds = [
        ctypes.c_bool if str(t) == "i1" else ctypes.c_int64 if str(t) == "i64" else ctypes.c_void_p
        for t in signature.args
    ]
    table = (ctypes.c_int64 * len(library.names(processor))).from_address(found.table)
    made = [ctypes.CFUNCTYPE(None, *kinds)(address) for address in table]
    given = lambda a: a.data_ptr() if isinstance(a, torch.Tensor) else a  # noqa: E731
    return [lambda *args, f=f: f(*map(given, args)) for f in made]


class Setting:
    """Rows that lie apart, a panel of weights, and a tile with something behind it."""

    def __init__(self, library, processor, K, apart=5):
        self.library, self.K = library, K
        self.calls = functions(library, processor, library.signature)
        self.most = most_rows(library.vectors, processor)
        dtype, columns = dtype_of(library.element), library.vectors * lanes_of(library.element, processor)
        self.memory = torch.full((self.most, K + apart), float("nan"), dtype=dtype)
        self.rows = self.memory[:, 1 : K + 1]
        self.rows.copy_(torch.randn(self.most, K))
        self.panel = torch.randn(K, columns).to(dtype)
        self.row_bytes = (K + apart) * dtype.itemsize
        self.ahead = [columns * dtype.itemsize * n for n in (3, 4)] if library.is_large else []

    def tile(self):
        return torch.full((self.most + 1, self.panel.shape[1]), GUARD, dtype=computed(self.library.element))

    def run(self, rows, tile, start=0, end=None, is_first=None):
        """Steps start to end of the product for so many rows; 0 is for the only one."""
        is_first = start == 0 if is_first is None else is_first
        steps = (self.K if end is None else end) - start
        given = [self.rows[0, start:], self.row_bytes, self.panel[start:], tile, steps, is_first, *self.ahead]
        self.calls[rows](*given)
        return tile

    def assert_right(self, rows, tile):
        count = max(1, rows)
        want = self.rows[:count].double() @ self.panel.double()
        scale = TOLERANCE[self.library.element] * self.K**0.5
        torch.testing.assert_close(tile[:count].double(), want, rtol=scale, atol=scale)
        assert bool((tile[count:] == GUARD).all()), "nothing is written behind the rows"


def settings(element, processor, *Ks):
    for vectors in (1, 2, 3, 4):
        for is_large in (False, True):
            for K in Ks:
                yield Setting(Products(element, vectors, is_large), processor, K)


@pytest.mark.parametrize("element", ELEMENTS)
def test_every_shape_and_number_of_rows(element):
    for setting in settings(element, host(), 1, 2, 7, 64, 129):
        for rows in range(setting.most + 1):
            setting.assert_right(rows, setting.run(rows, setting.tile()))


@pytest.mark.parametrize(("width", "registers"), NARROWER)
@pytest.mark.parametrize("element", ELEMENTS)
def test_narrower_vectors_and_fewer_registers(element, width, registers):
    if width > host().vector_bytes or registers > host().registers:
        pytest.skip("this processor has less")
    narrow = dataclasses.replace(host(), vector_bytes=width, registers=registers)
    for setting in settings(element, narrow, 1, 33):
        for rows in range(setting.most + 1):
            setting.assert_right(rows, setting.run(rows, setting.tile()))


@pytest.mark.parametrize("element", ELEMENTS)
def test_a_row_has_the_same_bits_in_every_block(element):
    for setting in settings(element, host(), 37):
        want = setting.run(setting.most, setting.tile())
        for rows in range(1, setting.most):
            assert torch.equal(setting.run(rows, setting.tile())[:rows], want[:rows])


@pytest.mark.parametrize("element", ELEMENTS)
def test_a_sum_may_be_made_of_parts(element):
    for setting in settings(element, host(), 75):
        for rows in range(setting.most + 1):
            tile, parts = setting.tile(), []
            for start, end in [(0, 32), (32, 64), (64, 75)]:
                setting.run(rows, tile, start, end)
                parts.append(setting.run(rows, setting.tile(), start, end, is_first=True)[: max(1, rows)])
            setting.assert_right(rows, tile)
            assert torch.equal(tile[: max(1, rows)], parts[0] + parts[1] + parts[2]), "part by part"


def packed(weight, processor, vectors, panels, parts=1):
    """(panels, K, vectors * lanes), as kernels have it packed: between two other linears of the panel."""
    element = str(weight.dtype).removeprefix("torch.")
    (K, width), columns = weight.shape, vectors * lanes_of(element, processor)
    target = torch.full((panels, K, 3, columns), GUARD, dtype=weight.dtype)
    pack = functions(Packing(element), processor, SIGNATURE)[kind_of(weight.stride())]
    for part in range(parts):
        first, last = panels * part // parts, panels * (part + 1) // parts
        sizes, steps = (*weight.stride(), K, width), (vectors, K * 3 * columns, 3 * columns)
        pack(weight, *sizes, first, last, target[0, 0, 1], *steps)
    assert bool((target[:, :, [0, 2]] == GUARD).all())
    return target[:, :, 1]


@pytest.mark.parametrize(("width", "registers"), NARROWER)
@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_packed_weights(kind, element, width, registers):
    if width > host().vector_bytes:
        pytest.skip("this processor has less")
    narrow = dataclasses.replace(host(), vector_bytes=width, registers=registers)
    for K, n in [(1, 1), (5, 33), (33, 5), (64, 64), (31, 130)]:
        wide = torch.randn(2 * K + 2, 3 * n + 3).to(dtype_of(element))
        weight = {
            "rows": wide[:K, 1 : n + 1],
            "columns": torch.randn(n + 2, K + 3).to(wide.dtype)[1 : n + 1, :K].t(),
            "numbers": wide[::2, ::3][:K, :n],
        }[kind]
        assert KINDS[kind_of(weight.stride())] == kind
        for vectors in (1, 3):
            columns = vectors * lanes_of(element, narrow)
            panels = -(-n // columns)
            want = torch.zeros(K, panels * columns, dtype=wide.dtype)
            want[:, :n] = weight
            for parts in (1, 2):
                got = packed(weight, narrow, vectors, panels, parts)
                assert torch.equal(got, want.view(K, panels, columns).transpose(0, 1))


def test_cells_share_products(monkeypatch):
    """What is compiled for a cell has its own loop alone; only new shapes of products are compiled beside it."""
    monkeypatch.setenv("DEEPLSTM_CACHE", "off")
    texts, compile_it = [], kernels._object_code
    monkeypatch.setattr(kernels, "_object_code", lambda *given: texts.append(given[0]) or compile_it(*given))

    def first_call(size):
        texts.clear()
        x = torch.randn(3, 2, size, requires_grad=True)
        with deeplstm.backend("cpu"):
            deeplstm.Recurrent(deeplstm.LSTMCell(size, size))(x)[0].sum().backward()
        return ["@product1(" in text.replace('"', "") for text in texts]

    first_call(67)
    assert first_call(71) == [False] * 4, "before the loop, forward, backward, after it"
