import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplstm.errors import InputError
from deeplstm.training.metrics import MetricsFile


@pytest.fixture
def table(tmp_path: Path) -> MetricsFile:
    table = MetricsFile(tmp_path / "metrics.csv", ["step", "loss", "valid_loss"])
    table.start()
    return table


def test_rows_as_text(table: MetricsFile):
    table.append({"step": 10, "loss": 2.5})
    table.append({"step": 20, "loss": 1.25, "valid_loss": math.inf})
    assert table.path.read_text() == "step,loss,valid_loss\n10,2.5,\n20,1.25,inf\n"
    assert table.read() == [{"step": 10, "loss": 2.5}, {"step": 20, "loss": 1.25, "valid_loss": math.inf}]


@given(losses=st.lists(st.floats(allow_nan=False), max_size=5))
def test_numbers_come_back_to_the_bit(losses: list[float], tmp_path_factory: pytest.TempPathFactory):
    table = MetricsFile(tmp_path_factory.mktemp("table") / "metrics.csv", ["step", "loss"])
    table.start()
    for step, loss in enumerate(losses):
        table.append({"step": step, "loss": loss})
    assert [row["loss"].hex() for row in table.read()] == [float(loss).hex() for loss in losses]


def test_cut(table: MetricsFile):
    for step in (10, 20, 30):
        table.append({"step": step, "loss": 0.1})
    table.cut(20)
    assert [row["step"] for row in table.read()] == [10, 20]


def test_last_line_cut_short_is_left_out(table: MetricsFile):
    table.append({"step": 10, "loss": 0.1})
    with open(table.path, "a") as file:
        file.write("20,0.")
    assert table.read() == [{"step": 10, "loss": 0.1}]
    table.cut(10)
    assert table.path.read_text().endswith("10,0.1,\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing; the columns step,loss,valid_loss were expected"),
        (b"a,b\n1,2\n", "begins with a,b; the columns step,loss,valid_loss"),
        (b"step,loss,valid_loss\n1,2\n", "line 2, is '1,2'; 3 numbers were expected"),
        (b"step,loss,valid_loss\n1,2,\n2,x,\n", "line 3, is '2,x,'"),
        (b"step,loss,valid_loss\n,2,3\n", "line 2, is ',2,3'"),
        (b"\xff\xfe", "cannot be read as a table of metrics"),
    ],
)
def test_damaged(content: bytes, message: str, table: MetricsFile):
    table.path.write_bytes(content)
    with pytest.raises(InputError) as error:
        table.read()
    assert message in str(error.value)
    assert str(table.path) in str(error.value)


def test_missing(table: MetricsFile):
    table.path.unlink()
    with pytest.raises(InputError, match=r"metrics\.csv cannot be read as a table of metrics: .*No such file"):
        table.read()
