"""Machine code that is put into memory without LLVM: it computes the same, and what is not known is left to LLVM."""

import ctypes
import gc
import platform
import sys

import pytest

from deeplstm.recurrence.backends.cpu.llvm import host as hosts
from deeplstm.recurrence.backends.cpu.llvm import kernels
from deeplstm.recurrence.backends.cpu.llvm.host import host
from deeplstm.recurrence.backends.cpu.llvm.image import Image, image

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="LLVM loads what it makes for other systems"
)

SWITCHES = """
@table = private constant [4 x i64] [i64 7, i64 11, i64 13, i64 17]
define internal i64 @inner(i64 %n) noinline {
  %at = getelementptr [4 x i64], ptr @table, i64 0, i64 %n
  %value = load i64, ptr %at
  ret i64 %value
}
define i64 @other(i64 %n) {
  %called = call i64 @inner(i64 %n)
  %real = sitofp i64 %called to double
  %scaled = fmul double %real, 2.5
  %whole = fptosi double %scaled to i64
  ret i64 %whole
}
define i64 @chosen(i64 %n) {
  switch i64 %n, label %none [ i64 0, label %a  i64 1, label %b  i64 2, label %c  i64 3, label %d ]
a:
  ret i64 70
b:
  %x = call i64 @other(i64 2)
  ret i64 %x
c:
  %y = call i64 @other(i64 3)
  ret i64 %y
d:
  ret i64 -5
none:
  ret i64 0
}
"""
"""Constants, calls and a table of places to jump to."""

CALLS_OUT = "declare i64 @getpid()\ndefine i64 @chosen(i64 %n) {\n  %x = call i64 @getpid()\n  ret i64 %x\n}"
WRITES = """
@count = global i64 0
define i64 @chosen(i64 %n) {
  %old = load i64, ptr @count
  %new = add i64 %old, 1
  store i64 %new, ptr @count
  ret i64 %new
}
"""


def code_of(text: str) -> bytes:
    return kernels._object_code(kernels._with_attributes(text, host()), host(), optimise=False)


def function(loaded, name: str):
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(loaded.get_function_address(name))


def test_the_same_as_loaded_by_llvm():
    code = code_of(SWITCHES)
    ours, theirs = image(code), kernels._engine(code, host())
    assert isinstance(ours, Image)
    for name in ("other", "chosen"):
        assert [function(ours, name)(n) for n in range(4)] == [function(theirs, name)(n) for n in range(4)]
    assert [function(ours, "chosen")(n) for n in range(5)] == [70, 32, 42, -5, 0]


@pytest.mark.parametrize("text", [CALLS_OUT, WRITES])
def test_what_takes_more_is_left_to_llvm(text):
    code = code_of(text)
    assert image(code) is None
    assert function(kernels._loaded(code, host()), "chosen")(0) > 0


def test_files_of_other_systems_are_left_to_llvm():
    code = code_of(SWITCHES)
    for at, byte in ((0, 0xCF), (4, 1), (16, 3), (18, 183)):  # no ELF, 32 bits, not to be linked, ARM
        assert image(code[:at] + bytes([byte]) + code[at + 1 :]) is None


def test_a_function_that_is_not_there():
    with pytest.raises(KeyError):
        image(code_of(SWITCHES)).get_function_address("run")


def test_its_pages_can_be_run_and_not_written_and_go_with_it():
    loaded = image(code_of(SWITCHES))
    page = loaded.get_function_address("chosen") // 4096 * 4096

    def rights():
        with open("/proc/self/maps", encoding="utf-8") as file:
            for line in file:
                place, kind = line.split()[:2]
                start, end = (int(part, 16) for part in place.split("-"))
                if start <= page < end:
                    return start, end, kind
        return None

    found = rights()
    assert found[2] == "r-xp"
    del loaded
    gc.collect()
    assert rights() != found


def test_a_processor_is_known_without_llvm():
    found = hosts._of_linux()
    if found is None:
        pytest.skip("this version of torch does not tell of the processor")
    shaped_by = {"avx2", "fma", "avx512f", "avx512vl", "x86-64"}
    assert found[1] & shaped_by == hosts._of_llvm()[1] & shaped_by
