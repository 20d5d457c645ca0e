"""Reading tables, and what is said where one cannot be read."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from deeplstm.errors import InputError
from deeplstm.tasks.series.table import read_table


def written(folder: Path, content: str | bytes, name: str = "my.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_columns_of_numbers_are_read_and_others_left_out_with_a_reason(tmp_path: Path):
    file = written(tmp_path, "when,a,name,b,nothing\n2024-01-01,1,x,-2.5e-3,\n2024-01-02, 2 ,5,+7,\n")
    table = read_table(file)
    assert table.columns == ("a", "b")
    assert table.values.dtype == np.float64
    assert table.values.tolist() == [[1, -0.0025], [2, 7]]
    assert table.left_out == {
        "when": "line 2 is '2024-01-01', no number",
        "name": "line 2 is 'x', no number",
        "nothing": "it is empty",
    }


def test_columns_by_name_in_the_order_asked_for(tmp_path: Path):
    table = read_table(written(tmp_path, "a,b,c\n1,2,x\n4,5,y\n"), ["b", "a"])
    assert table.columns == ("b", "a")
    assert table.values.tolist() == [[2, 1], [5, 4]]
    assert table.left_out == {}


def test_numbers_are_read_to_the_last_bit(tmp_path: Path):
    numbers = np.random.default_rng(0).normal(size=100) * 10.0 ** np.arange(-30, 20, 0.5)
    file = written(tmp_path, "a\n" + "\n".join(map(repr, numbers.tolist())) + "\n")
    assert read_table(file).values[:, 0].tolist() == numbers.tolist()


def test_a_late_decimal_or_word_is_seen(tmp_path: Path):
    """Types are not guessed from the first rows."""
    rows = [f"{n},{n}" for n in range(5000)]
    rows[4000], rows[4500] = "0.5,3", "7,none"
    table = read_table(written(tmp_path, "a,b\n" + "\n".join(rows) + "\n"))
    assert table.values[4000, 0] == 0.5
    assert table.left_out == {"b": "line 4,502 is 'none', no number"}


def test_windows_line_ends_quotes_and_a_byte_order_mark(tmp_path: Path):
    table = read_table(written(tmp_path, b'\xef\xbb\xbf"a, b",c\r\n"1",2\r\n3,"4"\r\n'))
    assert table.columns == ("a, b", "c")
    assert table.values.tolist() == [[1, 2], [3, 4]]


def test_parquet(tmp_path: Path):
    frame = pl.DataFrame({"day": [date(2024, 1, 1), date(2024, 1, 2)], "a": [1, 2], "b": [0.5, 0.25], "s": ["3", "4"]})
    frame.write_parquet(tmp_path / "my.PARQUET")
    table = read_table(tmp_path / "my.PARQUET")
    assert table.columns == ("a", "b", "s")
    assert table.values.tolist() == [[1, 0.5, 3], [2, 0.25, 4]]
    assert table.left_out == {"day": "row 1 is '2024-01-01', no number"}
    pl.DataFrame({"a": [1.0, None]}).write_parquet(tmp_path / "hole.parquet")
    with pytest.raises(InputError, match=r"column 'a', row 2 is empty, one of 1"):
        read_table(tmp_path / "hole.parquet")


@pytest.mark.parametrize(
    ("content", "columns", "parts"),
    [
        (b"", (), ["is empty, but a table is expected"]),
        ("a,b\n", (), ["has no row of numbers below its header"]),
        ("a,b\n1,2\n", ("a", "wind"), ["lacks columns: 'wind' is not among them; known: 'a', 'b'."]),
        ("temp,b\n1,2\n", ("tmp",), ["did you mean 'temp'?"]),
        ("a,b\n1,2\n3,x\n", ("b",), ["column 'b', line 3 is 'x', no number: leave the column out, or correct it"]),
        ("a,b\n1,2\n,4\n,5\n", (), ["column 'a', line 3 is empty, one of 2: fill in or drop such rows"]),
        ("a\n1\n \n", (), ["line 3 is empty"]),
        ("a,b\n1,2\n3\n", (), ["column 'b', line 3 is empty"]),
        ("a\n1\nnan\n", (), ["column 'a', line 3 is NaN, one of 1"]),
        ("a\n1\n-inf\n", (), ["column 'a', line 3 is infinite, one of 1"]),
        ("a\n1\n-1e39\n", (), ["column 'a', line 3 is beyond 3.4e+38, the largest float32", "a larger unit"]),
        ("a\n1\n1e400\n", (), ["line 3 is infinite"]),
        ("a,a\n1,2\n", (), ["has a header that cannot be used: 'a' is there twice: name each once"]),
        ("a,,b\n1,2,3\n", (), ["a column has no name"]),
        (
            "a;b\n1;2\n",
            (),
            ["has no column of numbers (they are parted by commas", "'a;b', line 2 is '1;2', no number"],
        ),
        ("a,b\n1,2\n3,4,5\n", (), ["cannot be read as CSV, with commas and a header"]),
        ("a\ngr\xfcn\n".encode("latin-1"), (), ["cannot be read as CSV"]),
        (b"\x00\x01\x02" * 100, (), ["my.csv"]),
    ],
)
def test_what_cannot_be_read(content: str | bytes, columns: tuple[str, ...], parts: list[str], tmp_path: Path):
    with pytest.raises(InputError) as error:
        read_table(written(tmp_path, content), columns)
    assert str(tmp_path / "my.csv") in str(error.value)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_everything_wrong_with_a_table_at_once(tmp_path: Path):
    file = written(tmp_path, "a,b,c\n1,x,inf\nnan,2,\n")
    with pytest.raises(InputError) as error:
        read_table(file, ["a", "b", "c"])
    assert str(error.value).splitlines() == [
        f"{file} cannot be used, 4 times:",
        "  column 'a', line 3 is NaN, one of 1: fill in or drop such rows",
        "  column 'b', line 2 is 'x', no number: leave the column out, or correct it",
        "  column 'c', line 3 is empty, one of 1: fill in or drop such rows",
        "  column 'c', line 2 is infinite, one of 1: fill in or drop such rows",
    ]


def test_no_file_no_pattern_and_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "a\n1\n2\n", "one.csv")
    for name in ("no.csv", "*.csv", "https://example.invalid/my.csv"):
        with pytest.raises(InputError, match="cannot be read"):
            read_table(name)
    with pytest.raises(InputError, match="is a folder, but a table is expected"):
        read_table(tmp_path)


def test_a_file_that_is_no_parquet(tmp_path: Path):
    with pytest.raises(InputError, match=r"my.parquet cannot be read as Parquet: "):
        read_table(written(tmp_path, b"PAR1" + b"nonsense" * 20, "my.parquet"))
