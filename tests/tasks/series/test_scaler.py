import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeplstm.errors import InputError
from deeplstm.tasks.series.scaler import Scaler
from deeplstm.tasks.series.table import Table


def table(values: Any, **left_out: str) -> Table:
    values = np.asarray(values, float)
    return Table(Path("my.csv"), tuple("abcdef"[: values.shape[1]]), values, left_out)


def test_means_and_deviations_are_those_of_the_training_rows():
    values = np.random.default_rng(0).normal([5, 1e6, -3], [2, 1e-3, 7], (1000, 3))
    scaler = Scaler.of(table(values), 600)
    assert [column.mean for column in scaler.columns] == values[:600].mean(0).tolist()
    assert [column.deviation for column in scaler.columns] == values[:600].std(0).tolist()
    standard = scaler.standard(values)
    assert standard.dtype == np.float32
    np.testing.assert_allclose(standard[:600].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(standard[:600].std(0), 1, rtol=1e-5)
    # of the second column, whose numbers agree in eight digits, nothing is lost: they are subtracted before they are rounded
    np.testing.assert_allclose(scaler.own(standard) - values.mean(0), values - values.mean(0), rtol=1e-5, atol=1e-6)


def test_a_column_that_never_changes_has_the_deviation_1():
    scaler = Scaler.of(table([[0.1, 1], [0.1, 2], [0.1, 9]]), 2)
    assert scaler.columns[0].deviation == 1
    assert scaler.columns[0].mean == 0.1
    assert scaler.standard(np.array([[0.1, 2], [1.1, 2]]))[:, 0].tolist() == [0, 1]


def test_targets_by_name():
    values = np.array([[1.0, 10, 100], [3, 30, 300]])
    scaler = Scaler.of(table(values), 2, ["c", "a"])
    assert scaler.targets == (0, 2)
    assert scaler.own(np.array([[-1.0, 1]])).tolist() == [[1, 300]]
    assert scaler.own_columns(np.array([[0.0, 0, 0]])).tolist() == [[2, 20, 200]]
    with pytest.raises(InputError) as error:
        Scaler.of(table(values, when="line 2 is 'x', no number"), 2, ["d", "a", "when"])
    assert str(error.value).splitlines() == [
        "my.csv lacks targets, 2 times:",
        "  'd' is no column that is read: choose of 'a', 'b', 'c'",
        "  'when' is no column that is read (line 2 is 'x', no number): choose of 'a', 'b', 'c'",
    ]


def test_numbers_that_do_not_go_with_the_scaler():
    scaler = Scaler.of(table([[0, 0], [1e-30, 1]]), 2)
    with pytest.raises(InputError, match=r"The numbers of a are NaN, infinite, or too far from those"):
        scaler.standard(np.array([[1e10, 1.0]]))
    with pytest.raises(InputError, match=r"The numbers of b are"):
        scaler.standard(np.array([[0, np.nan]]))
    with pytest.raises(
        InputError, match=r"shape \(2, 3\) is given, but \(rows, 2\) is expected, with the columns a, b"
    ):
        scaler.standard(np.zeros((2, 3)))


def test_it_comes_back_from_its_file(tmp_path: Path):
    values = np.random.default_rng(1).normal(size=(50, 3))
    scaler = Scaler.of(table(values, day="line 2 is 'Möndag', no number"), 40, ["b"])
    scaler.save(tmp_path / "scaler.json")
    assert Scaler.load(tmp_path / "scaler.json") == scaler


def content() -> dict[str, Any]:
    column = {"name": "a", "mean": 1, "deviation": 2.5, "target": True}
    return {"format": 1, "columns": [column, {**column, "name": "b", "target": False}], "left_out": {"c": "why"}}


def test_the_content_that_the_next_test_damages_is_fine(tmp_path: Path):
    path = tmp_path / "scaler.json"
    path.write_text(json.dumps(content()))
    assert Scaler.load(path).names == ("a", "b")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda c: c.update(format=2), "format 2, this version reads format 1"),
        (lambda c: c.update(format=True), "format True"),
        (lambda c: c.pop("columns"), "format, columns and left_out are expected in it"),
        (lambda c: c.update(columns=[]), "columns is no list of columns"),
        (lambda c: c.update(left_out=["c"]), "left_out is no table of texts"),
        (lambda c: c["columns"][1].update(name=3), "column 2: name is no text"),
        (lambda c: c["columns"][1].update(name="a"), "a column is there twice"),
        (lambda c: c["columns"][0].update(target=1), "target neither true nor false"),
        (lambda c: c["columns"][0].update(target=False), "no column is a target"),
        (lambda c: c["columns"][0].update(mean=True), "column 1: mean=True is no finite number"),
        (lambda c: c["columns"][0].update(mean="1"), "mean='1' is no finite number"),
        (lambda c: c["columns"][0].update(mean=float("nan")), "mean=nan is no finite number"),
        (lambda c: c["columns"][0].update(mean=10**400), "is no finite number"),
        (lambda c: c["columns"][1].update(deviation=float("inf")), "column 2: deviation=inf is no finite number"),
        (lambda c: c["columns"][1].update(deviation=0), "deviation=0 is not above 0"),
        (lambda c: c["columns"][1].update(more=0), "name, mean, deviation and target are expected"),
        (lambda c: c["columns"].append(7), "column 3: name, mean, deviation and target are expected"),
    ],
)
def test_files_that_are_no_scaler(change, part: str, tmp_path: Path):
    path, damaged = tmp_path / "scaler.json", content()
    change(damaged)
    path.write_text(json.dumps(damaged))
    with pytest.raises(InputError) as error:
        Scaler.load(path)
    assert str(error.value).startswith(f"{path} is no scaler (")
    assert part in str(error.value)
    assert str(error.value).endswith("restore it from a copy of the run.")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_files_that_are_no_json(text: bytes, tmp_path: Path):
    path = tmp_path / "scaler.json"
    path.write_bytes(text)
    with pytest.raises(InputError, match="is damaged"):
        Scaler.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        Scaler.load(tmp_path / "none.json")
