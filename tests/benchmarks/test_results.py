"""The scripts for published results: what they say where data is missing, and that an interrupted one goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.results import adding, text
from benchmarks.results.data import VARIABLE, data_files

from deeplstm import InputError
from deeplstm.tasks.text.choices import TextConfig
from deeplstm.tasks.text.config import TextModel
from deeplstm.training.config import Training


def test_the_folder_of_data_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(InputError, match=r"DEEPLSTM_DATA is not set; a folder with set/a.txt is expected.*from there"):
        data_files("set/a.txt", source="there")


def test_every_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("here")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(
        InputError, match=r"has no a.txt, c.txt; a folder with a.txt, b.txt, c.txt is expected.*from there"
    ):
        data_files("a.txt", "b.txt", "c.txt", source="there")
    assert data_files("b.txt", source="there") == [tmp_path / "b.txt"]


def test_a_text_run_is_trained_gone_on_with_or_only_scored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(text, "OUT", tmp_path)
    file = tmp_path / "text.txt"
    file.write_text("The cat sat on the mat.\n" * 40)
    tiny = TextModel(layers=1, width=8)
    config = TextConfig(model=tiny, training=Training(epochs=3, batch_size=4, window=20, threads=1))

    run = text.trained("tiny", [file], config)
    assert run.story == "trained in this run of the script"
    assert [row["epoch"] for row in run.validations] == [1, 2, 3]
    assert run.encoded("train").tokens + run.encoded("valid").tokens == 24 * 40

    weights = (run.folder / "weights.safetensors").stat().st_mtime_ns
    again = text.trained("tiny", [file], config)
    assert again.story == "trained before, scored now"
    assert again.validations == run.validations
    assert (run.folder / "weights.safetensors").stat().st_mtime_ns == weights

    (run.folder / "sample.txt").unlink()  # as if killed before the end
    rest = text.trained("tiny", [file], config)
    assert rest.story == "trained in several runs of the script"
    assert rest.validations == run.validations

    other = TextConfig(model=TextModel(layers=1, width=9), training=config.training)
    with pytest.raises(InputError, match="tiny was trained with other settings than this script's"):
        text.trained("tiny", [file], other)


def test_one_number_of_each_half_is_marked_and_the_sum_is_theirs() -> None:
    x, total = adding.sequences(500, torch.Generator().manual_seed(0))
    numbers, marks = x.unbind(-1)
    first, second = marks.split(adding.T // 2)
    assert x.shape == (adding.T, 500, 2)
    assert set(marks.unique().tolist()) == {0.0, 1.0}
    assert (first.sum(0) == 1).all()
    assert (second.sum(0) == 1).all()
    rows, where, where_too = torch.arange(500), first.argmax(0), adding.T // 2 + second.argmax(0)
    torch.testing.assert_close(total, numbers[where, rows] + numbers[where_too, rows])
    assert where.min() < 5
    assert where_too.max() >= adding.T - 5


def test_units_start_with_every_length_of_memory() -> None:
    lstm = adding.Adder().lstm
    adding.start_with_long_memory_(lstm)
    for layer in range(adding.LAYERS):
        bias = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
        in_, forget, _, _ = bias.detach().chunk(4)
        torch.testing.assert_close(in_, -forget)
        assert 0 <= forget.min() < 4 < forget.max() <= torch.tensor(adding.T - 1.0).log()


def test_seeds_that_are_finished_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned: list[int] = []

    def learn(seed: int) -> dict[str, Any]:
        if len(learned) == 3:
            raise KeyboardInterrupt
        learned.append(seed)
        return {"seed": seed, "steps": 700, "seconds": 90.0, "mse": 0.2 if seed in (1, 4) else 0.004}

    monkeypatch.setattr(adding, "OUT", tmp_path)
    monkeypatch.setattr(adding, "learn", learn)
    monkeypatch.setattr(torch, "set_flush_denormal", lambda mode: None)  # it would hold for the tests after this one
    with pytest.raises(KeyboardInterrupt):
        adding.main()
    assert [record["seed"] for record in json.loads((tmp_path / "adding.json").read_text())["seeds"]] == [0, 1, 2]
    learned.clear()
    assert adding.main() == 1  # 3 of 5
    assert learned == [3, 4]
    assert "| 3 of 5 | NO " in capsys.readouterr().out
    learned.clear()
    assert adding.main() == 1
    assert not learned

    monkeypatch.setattr(adding, "SETTINGS", {**adding.SETTINGS, "lr": 0.02})  # other settings: nothing of it counts
    with pytest.raises(KeyboardInterrupt):
        adding.main()
    assert learned == [0, 1, 2]


def test_the_adder_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "T", 6)
    monkeypatch.setattr(adding, "HIDDEN", 16)
    monkeypatch.setattr(adding, "SETTINGS", {**adding.SETTINGS, "most_steps": 1500})
    record = adding.learn(0)
    assert record["mse"] < adding.TARGET
    assert record["steps"] < 1500
