"""The numbers on a page about a text run, against the network itself."""

import base64
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import deeplstm
from deeplstm.errors import InputError
from deeplstm.inspect.report import collect
from deeplstm.inspect.report.page import render
from deeplstm.tasks.text import TextConfig, TextData, TextModel, Training, load, train
from deeplstm.tasks.text.report import report, shown

TEXT = "to be, or (not) to be:\nthat is the question é ☃.\n" * 30
CHOICES = {
    "char": (TextData(), TextModel(layers=2, width=7)),
    "word": (TextData(level="word"), TextModel(layers=1, width=6, cell="gru")),
    "byte": (TextData(level="byte"), TextModel(layers=1, width=6, gate_layers=(5,))),
    "rnn": (TextData(), TextModel(layers=1, width=6, cell="rnn")),
    "highway": (TextData(), TextModel(layers=1, width=6, cell="highway")),
    "proj": (TextData(), TextModel(layers=2, width=6, proj_size=4, skip="dense", between=(5,), after=(5,))),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT)
    made: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in made:
            data, model = CHOICES[name]
            options = Training(steps=2, batch_size=4, window=8, threads=1, device="cpu")
            config = TextConfig(data=data, model=model, training=options)
            made[name] = train([folder / "text.txt"], folder / name, config, quiet=True).run
        return made[name]

    return run


def numbers(packed):
    q = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8).reshape(packed["shape"])
    assert not packed["bent"]
    low, high = (np.broadcast_to(np.array(packed[end], float), len(q))[:, None] for end in ("low", "high"))
    return low + q / (packed["levels"] - 1) * (high - low)


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_shown_is_what_the_network_did(name: str, runs):
    data = report(runs(name), steps=30)
    network, vocabulary, _ = load(runs(name))
    ids = [int(n) for n in np.fromfile(runs(name) / "data" / "valid.bin", vocabulary.dtype)[:30]]
    assert data["steps"]["count"] == len(ids)
    inputs = torch.tensor([vocabulary.start, *ids])[:, None]
    with torch.no_grad():
        probabilities = torch.softmax(network(inputs)[0][:-1, 0], -1).numpy()
    expected = data["expected"]
    for step, number in enumerate(ids):
        assert expected["symbols"][expected["actual"][step]] == vocabulary.symbols[number]
        assert expected["p"][step] == pytest.approx(probabilities[step, number], abs=1e-5)
        likeliest = [probability for _, probability in expected["top"][step]]
        assert likeliest == pytest.approx(sorted(probabilities[step], reverse=True)[: len(likeliest)], abs=1e-4)
    seen = deeplstm.trace(network, inputs)
    assert [layer["name"] for layer in data["trace"]["layers"]] == list(seen)
    for layer in data["trace"]["layers"]:
        assert [value["name"] for value in layer["values"]] == list(seen[layer["name"]])
        for value in layer["values"]:
            true = seen[layer["name"]][value["name"]][1:, 0].detach().numpy().T
            assert numbers(value["array"]) == pytest.approx(true, abs=0.005 * max(1.0, float(np.abs(true).max())))
    assert sum(block["parameters"] for block in data["network"]) == network.parameter_counts()["total"] - links(network)
    render(data)


def links(network) -> int:
    return sum(p.numel() for p in network.core.gates.parameters())


def test_weights_are_those_of_the_gates(runs):
    data = report(runs("char"), steps=5)
    network, _, _ = load(runs("char"))
    forget = next(one for one in data["weights"] if (one["layer"], one["gate"]) == ("layer 2", "forget"))
    cell = network.core.layers[1].cell
    true = torch.cat([cell.weight_ih[7:14], cell.weight_hh[7:14]], 1).detach().numpy()
    assert (forget["rows"], forget["columns"], forget["split"]) == (7, 14, 7)
    assert numbers(forget["array"]) == pytest.approx(true, abs=0.005)


@pytest.mark.parametrize("name", ["char", "word", "byte"])
def test_the_pieces_are_the_text(name: str, runs):
    data = report(runs(name), steps=10_000)
    text = "".join(data["steps"]["pieces"])
    if name == "byte":
        text = text.replace("\\xc3", "").replace("\\xe2", "").replace("\\x98", "")  # bytes of characters to come
    if name == "word":
        assert " " in text
    assert text.strip() in TEXT


def test_a_text_of_words_is_not_cut_within_one(runs, tmp_path: Path):
    long = tmp_path / "long.txt"
    long.write_text(("to be,   " + "\n" * 200) * 400)
    data = report(runs("word"), long, steps=11)
    assert data["steps"]["count"] == 11
    assert data["notes"] == ["Of long.txt the first 11 words are shown."]
    (tmp_path / "one.txt").write_text("a" * 1000)
    with pytest.raises(InputError, match=r"one.txt has no word within its first 320 characters"):
        report(runs("word"), tmp_path / "one.txt", steps=10)


def test_saturation_counts_steps(runs):
    data = report(runs("char"), steps=40)
    network, vocabulary, _ = load(runs("char"))
    ids = np.fromfile(runs("char") / "data" / "valid.bin", vocabulary.dtype)[:40].astype(np.int64)
    seen = deeplstm.trace(network, torch.tensor([vocabulary.start, *ids])[:, None])["layer 1"]
    found = {one["gate"]: one for one in data["saturation"] if one["layer"] == "layer 1"}
    assert list(found) == ["input", "forget", "cell", "output"]
    for gate, (low, high) in {"forget": (0.1, 0.9), "cell": (-0.9, 0.9)}.items():
        values = seen[gate][1:, 0]
        assert found[gate]["left"] == [round(1000 * share) for share in (values < low).double().mean(0).tolist()]
        assert found[gate]["right"] == [round(1000 * share) for share in (values > high).double().mean(0).tolist()]


def test_characters_that_would_not_stay_in_their_place_are_replaced():
    assert shown("a\tb\n") == "a\tb\n"
    assert shown("\x00\x1b\r") == "\u2400\u241b\u240d"
    assert shown("\u202e\u2028\x85\ud800") == "\ufffd" * 4
    assert shown("é☃") == "é☃"


def test_a_wide_network_shows_fewer_steps_and_says_so(runs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(collect, "TRACE_SIZE", 2500)
    data = report(runs("char"), steps=60)
    count = data["steps"]["count"]
    assert 5 < count < 60
    assert len(data["expected"]["p"]) == count == len(data["steps"]["pieces"])
    assert data["notes"] == [
        f"Of its validation text the first {count} characters are shown: a page holds no more of them with all values of "
        "all units."
    ]
