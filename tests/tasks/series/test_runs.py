"""Training on a table: that it learns, that it resumes, and what is kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from deeplstm.errors import InputError
from deeplstm.tasks.series import (
    SeriesConfig,
    SeriesData,
    SeriesModel,
    SeriesTraining,
    evaluate,
    load,
    read_table,
    resume,
    train,
)
from deeplstm.tasks.series.problem import SeriesProblem
from deeplstm.tasks.series.rows import load_rows, split
from deeplstm.tasks.series.scaler import Scaler
from deeplstm.tasks.series.summary import target_table
from tasks.series.tables import wave, write
from training.toys import assert_same_run


def config(data: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **training: Any) -> SeriesConfig:
    options = {"steps": 6, "batch_size": 4, "window": 10, "threads": 1, "device": "cpu"} | training
    return SeriesConfig(
        data=SeriesData(**data or {}),
        model=SeriesModel(**{"width": 8} | (model or {})),
        training=SeriesTraining(**options),
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("table") / "wave.csv", wave(1200))


def test_it_learns_far_more_than_as_the_row_before(table: Path, tmp_path: Path):
    result = train(table, tmp_path / "run", config(model={"width": 16}, steps=250, window=30, lr=0.01), quiet=True)
    a, b = result.valid.targets
    assert result.valid.share < 0.25
    assert a.own_naive_mae > 5
    assert a.own_mae < 1.6 * 3 * np.sqrt(2 / np.pi)  # 3 is the noise; the best there is is 1 times that
    assert b.own_mae < 0.3 * b.own_naive_mae
    assert (result.unit, result.outcome.reason) == ("rows", "complete")


def test_what_the_run_keeps(table: Path, tmp_path: Path):
    result = train(table, tmp_path / "run", config({"targets": ("b",)}), quiet=True)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.toml",
        "data",
        "loss.png",
        "metrics.csv",
        "predictions.png",
        "resume.ckpt",
        "scaler.json",
        "scores.json",
        "weights.safetensors",
    }
    network, scaler, choices = load(tmp_path / "run")
    assert choices == config({"targets": ("b",)})
    assert scaler.left_out == {"day": "line 2 is 'day 0', no number"}
    assert [column.name for column in scaler.target_columns] == ["b"]
    assert not network.training
    values = read_table(table, scaler.names).values
    np.testing.assert_array_equal(load_rows(tmp_path / "run/data/train.npy", scaler), scaler.standard(values[:1080]))
    np.testing.assert_array_equal(load_rows(tmp_path / "run/data/valid.npy", scaler), scaler.standard(values[1080:]))
    assert scaler.columns[1].mean == pytest.approx(
        values[:1080, 1].mean(), rel=1e-12
    )  # the held-out rows are not looked at
    assert evaluate(network, values[1080:], scaler) == result.valid
    assert evaluate(network, values[:120], scaler) == result.train
    scores = json.loads((tmp_path / "run/scores.json").read_text())
    assert scores["valid"]["mse"] == result.valid.mse
    assert scores["test"] is None
    for name in ("predictions.png", "loss.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")


def test_tables_of_their_own_to_validate_and_test_on(table: Path, tmp_path: Path):
    other = tmp_path / "other.csv"
    other.write_text("b,more,a\n" + "".join(f"{n / 10},x,{n + 490}\n" for n in range(30)))
    result = train(table, tmp_path / "run", config({"valid": other, "test": other}), quiet=True)
    assert result.valid.rows == 29
    assert result.test == result.valid
    _, scaler, _ = load(tmp_path / "run")
    rows = load_rows(tmp_path / "run/data/test.npy", scaler)
    np.testing.assert_allclose(scaler.own_columns(rows)[:2], [[490, 0], [491, 0.1]], rtol=1e-6, atol=1e-6)
    assert len(load_rows(tmp_path / "run/data/train.npy", scaler)) == 1200


RANDOM = {"dropout": 0.2, "zoneout": 0.1, "weight_drop": 0.1, "recurrent_dropout": 0.1, "layers": 2}


def test_resume_after_a_crash_is_as_if_it_had_not_happened(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    choices = config(model=RANDOM, steps=30, save_every=5, validate_every=9)  # 30 steps are more than an epoch
    train(table, tmp_path / "whole", choices, quiet=True)

    class Crash(Exception):
        pass

    loss, calls = SeriesProblem.loss, iter(range(100))

    def crashing(*args: Any) -> Any:
        if next(calls) == 23:
            raise Crash
        return loss(*args)

    mine = tmp_path / "mine.csv"
    mine.write_bytes(table.read_bytes())
    with monkeypatch.context() as patched:
        patched.setattr(SeriesProblem, "loss", crashing)
        with pytest.raises(Crash):
            train(mine, tmp_path / "run", choices, quiet=True)
    assert not (tmp_path / "run/scores.json").exists()
    mine.unlink()  # the run has its rows
    resume(tmp_path / "run", quiet=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    for name in ("scores.json", "config.toml", "predictions.png"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_complete_run_goes_on_where_more_is_asked_for(table: Path, tmp_path: Path):
    train(table, tmp_path / "run", config(), quiet=True)
    with pytest.raises(InputError, match="run is complete; to train it further"):
        resume(tmp_path / "run", quiet=True)
    assert resume(tmp_path / "run", steps=9, quiet=True).outcome.steps == 9
    assert load(tmp_path / "run")[2].training.steps == 9


def test_a_run_that_goes_on_is_not_complete_until_it_is(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train(table, tmp_path / "run", config(), quiet=True)

    def crashing(*args: Any) -> Any:
        raise RuntimeError("crash")

    with monkeypatch.context() as patched:
        patched.setattr(SeriesProblem, "loss", crashing)
        with pytest.raises(RuntimeError, match="crash"):
            resume(tmp_path / "run", steps=9, quiet=True)
    assert resume(tmp_path / "run", quiet=True).outcome.steps == 9  # which a complete run would refuse


def test_the_sum_over_time_is_a_loss_too(table: Path, tmp_path: Path):
    result = train(table, tmp_path / "run", config(loss="sum-over-time", carry_state=False), quiet=True)
    assert result.valid.mse < result.valid.naive_mse * 1.1


def test_left_out_columns_are_said(table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    train(table, tmp_path / "run", config())
    out, err = capfd.readouterr()
    assert out == ""
    assert f"{table}: column 'day' is left out: line 2 is 'day 0', no number\n" in err
    assert "1,080 rows to train on, 120 to validate on" in err


def test_names_of_any_kind(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    names = ["温度", "</script>", "$x_1$", "[red]a", "\x1b[31mred", "a very long name that goes on and on"]
    lines = [",".join(map(str, row)) for row in np.random.default_rng(0).normal(size=(80, len(names)))]
    (tmp_path / "my.csv").write_text("\n".join([",".join(names), *lines]) + "\n", encoding="utf-8")
    result = train(tmp_path / "my.csv", tmp_path / "run", config(batch_size=2), quiet=True)
    assert [target.name for target in result.valid.targets] == names
    Console().print(target_table(result.valid))
    out, err = capfd.readouterr()
    assert err == ""
    assert "\x1b" not in out
    assert "[red]a" in out


@pytest.mark.parametrize(
    ("choices", "part"),
    [
        (config({"columns": ("a", "day")}), "column 'day', line 2 is 'day 0', no number: leave the column out"),
        (config({"columns": ("c",)}), "lacks columns: 'c' is not among them"),
        (config({"targets": ("day",)}), "'day' is no column that is read (line 2 is 'day 0', no number)"),
        (config({"valid": Path("none.csv")}), "none.csv cannot be read"),
        (config({"valid_fraction": 0.001}), "1,199 to train on and 1 to validate on, but each part needs 2"),
        (config(batch_size=64, window=100), "The training table has 1,080 rows, but 64 streams with one window"),
        (config(model={"skip": "residual"}), "model.skip=residual, but it acts on layers that keep their width"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing_behind(choices: SeriesConfig, part: str, table: Path, tmp_path: Path):
    with pytest.raises(InputError) as error:
        train(table, tmp_path / "run", choices, quiet=True)
    assert part in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_damaged(table: Path, tmp_path: Path):
    parts, scaler = split(read_table(table), SeriesData())
    path = tmp_path / "rows.npy"
    for content, part in [
        (parts.train.astype(np.float64), "holds float64 of (1080, 2), but float32 of (rows, 2) is expected"),
        (parts.train[:, :1], "holds float32 of (1080, 1)"),
        (parts.train[0], "holds float32 of (2,)"),
        (parts.train[:1], "holds float32 of (1, 2)"),
        (np.array([{}], object), "is damaged"),  # which only pickle could read
    ]:
        np.save(path, content)
        with pytest.raises(InputError) as error:
            load_rows(path, scaler)
        assert part in str(error.value)
    for content in (b"", b"nonsense" * 50, path.read_bytes()[:50]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is damaged"):
            load_rows(path, scaler)
    np.savez(tmp_path / "rows.npz", parts.train)
    with pytest.raises(InputError, match="holds something else than an array"):
        load_rows(tmp_path / "rows.npz", scaler)
    with pytest.raises(InputError, match="cannot be read"):
        load_rows(tmp_path / "none.npy", scaler)


def test_a_run_of_another_task(table: Path, tmp_path: Path):
    train(table, tmp_path / "run", config(), quiet=True)
    file = tmp_path / "run/config.toml"
    file.write_text(file.read_text().replace('task = "series"', 'task = "text"'))
    with pytest.raises(InputError, match="is of the task 'text'; 'series' was expected"):
        load(tmp_path / "run")


def test_a_scaler_of_another_table(table: Path, tmp_path: Path):
    train(table, tmp_path / "run", config(), quiet=True)
    Scaler.of(read_table(table, ["a"]), 1000).save(tmp_path / "run/scaler.json")
    with pytest.raises(InputError, match=r"weights.safetensors does not fit the network"):
        load(tmp_path / "run")
    with pytest.raises(InputError, match=r"train.npy holds float32 of \(1080, 2\), but float32 of \(rows, 1\)"):
        resume(tmp_path / "run", steps=9, quiet=True)
