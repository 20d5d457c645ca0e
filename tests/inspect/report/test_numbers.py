"""`deeplstm.report`: what is on the page of a model that reads numbers, and what it says where there can be none."""

import base64
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import deeplstm
from deeplstm import (
    GRU,
    LSTM,
    MLP,
    RNN,
    GRUCell,
    HighwayCell,
    InputError,
    LSTMCell,
    Readout,
    Recurrent,
    RNNCell,
    Stack,
    report,
    trace,
)
from deeplstm.inspect.report import collect


class Own(nn.Module):
    """A cell that keeps one channel and marks another."""

    input_size, output_size, state_size = 3, 2, (2, 2)

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(2, 3))

    def forward(self, x, state):
        deeplstm.mark(x[:, 1:2].repeat(1, 2), "copy")
        h = torch.tanh(x @ self.W.T + state[0])
        return h, (h, state[1] + 1)


class Headed(nn.Module):
    """A model of one's own, batch first, that pools over time."""

    def __init__(self):
        super().__init__()
        self.core, self.head = LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.core(x)[0].mean(1))


MODELS = {
    "lstm": lambda: LSTM(3, 4, 2),
    "both directions, batch first": lambda: LSTM(3, 4, 2, bidirectional=True, batch_first=True),
    "projection": lambda: LSTM(3, 4, proj_size=2),
    "gru": lambda: GRU(3, 4, dropout=0.5, num_layers=2),
    "rnn": lambda: RNN(3, 4),
    "double": lambda: LSTM(3, 4).double(),
    "mlp and a head": lambda: Stack(MLP(3, 6, 5), LSTMCell(5, 4), nn.LayerNorm(4), MLP(4, 2)),
    "inside": lambda: Stack(LSTMCell(3, 4, gate_layers=(5, 6)), GRUCell(4, 4), skip="residual"),
    "separate": lambda: Stack(LSTMCell(3, 4, gate_sharing={"forget": (5,)}), LSTMCell(4, 4), skip="highway"),
    "peephole, norm, zoneout": lambda: Recurrent(LSTMCell(3, 4, peephole=True, norm=True, zoneout=0.3)),
    "dense": lambda: Stack(RNNCell(3, 4), HighwayCell(7, 4), skip="dense", dropout=0.5),
    "readout": lambda: Stack(LSTMCell(3, 4), Readout(nn.Linear(4, 2)), LSTMCell(4, 4)),
    "reverse": lambda: Recurrent(GRUCell(3, 4), reverse=True),
    "both directions of a cell": lambda: Stack(Recurrent(GRUCell(3, 4), bidirectional=True), LSTMCell(8, 2)),
    "a cell": lambda: LSTMCell(3, 4),
    "own": lambda: Recurrent(Own()),
    "pooled": Headed,
}


def data_in(page: Path) -> dict:
    (content,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
    return json.loads(content)


def unpacked(packed: dict) -> np.ndarray:
    q = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8).reshape(packed["shape"])
    share = q / (packed["levels"] - 1)
    low, high = (np.broadcast_to(np.array(packed[end], float), len(q))[:, None] for end in ("low", "high"))
    bent = high * (2 * share - 1) * np.abs(2 * share - 1)
    return bent if packed["bent"] else low + share * (high - low)


def drawn(model: nn.Module, T: int = 30, B: int = 2) -> torch.Tensor:
    shape = (B, T, 3) if any(getattr(m, "batch_first", False) for m in model.modules()) else (T, B, 3)
    return torch.randn(shape, dtype=next(model.parameters()).dtype)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.html"


@pytest.mark.parametrize("name", MODELS)
def test_what_is_shown_is_what_the_model_did(name: str, page: Path):
    model = MODELS[name]().train()
    x = drawn(model)
    random, before = torch.random.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    assert report(model, x, page, row=1) == page
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

    data = data_in(page)
    row = x[1:] if x.shape[0] == 2 else x[:, 1:]
    seen = trace(Recurrent(model) if name == "a cell" else model.eval(), row)
    assert data["steps"] == {"kind": "numbers", "unit": "step", "first": 0, "count": 30, "pieces": []}
    assert [layer["name"] for layer in data["trace"]["layers"]] == list(seen)
    for layer in data["trace"]["layers"]:
        assert [value["name"] for value in layer["values"]] == list(seen[layer["name"]])
        for value in layer["values"]:
            true = seen[layer["name"]][value["name"]][:, 0].numpy().T
            near = 0.005 * max(1.0, float(np.abs(true).max()))
            assert unpacked(value["array"]) == pytest.approx(true, abs=near * (8 if value["array"]["bent"] else 1))
    inputs = [one for one in data["features"] if one["kind"] == "input"]
    assert [one["name"] for one in inputs] == ["channel 0", "channel 1", "channel 2"]
    assert np.array([one["values"] for one in inputs]) == pytest.approx(row.reshape(30, 3).T.numpy(), abs=1e-3)
    links = sum(p.numel() for m in model.modules() if isinstance(m, Stack) for p in m.gates.parameters())
    assert sum(block["parameters"] for block in data["network"]) == sum(p.numel() for p in model.parameters()) - links
    assert data["loss"] is data["expected"] is None
    assert set(map(len, (layer["norms"] for layer in data["memory"]["layers"]))) == {30}
    assert data["notes"] == []


def test_outputs_are_shown_where_they_are_not_just_the_units(page: Path):
    def kinds(model, x):
        return [(one["kind"], one["name"]) for one in data_in(report(model, x, page))["features"]][3:]

    x = torch.randn(9, 1, 3)
    assert kinds(LSTM(3, 2, bidirectional=True), x) == []
    assert kinds(Stack(LSTMCell(3, 4), nn.Linear(4, 1)), x) == [("output", "output")]
    net = Stack(LSTMCell(3, 4), nn.Linear(4, 2))
    assert kinds(net, x) == [("output", "output 0"), ("output", "output 1")]
    report(net, x, page, channels=["output 1", "b", "c"])
    outputs = [one for one in data_in(page)["features"] if one["kind"] == "output"]
    assert [one["name"] for one in outputs] == ["output 0", "output 1 of the model"]
    assert outputs[1]["values"] == pytest.approx(net(x)[0][:, 0, 1].tolist(), abs=1e-3)
    assert kinds(Stack(LSTMCell(3, 4), nn.Linear(4, 9)), x) == []  # more than anybody could tell apart


def test_links_around_layers_are_said(page: Path):
    def links(net):
        return [block["link"] for block in data_in(report(net, torch.randn(9, 1, 3), page))["network"][1:]]

    cells = lambda: (LSTMCell(3, 4), LSTM(4, 4, 2), MLP(4, 4, 4), nn.Linear(4, 1))  # noqa: E731
    assert links(Stack(*cells())) == [""] * 5
    assert links(Stack(*cells(), skip="residual")) == ["", "", *["+ what it reads (residual)"] * 2, ""]
    assert links(Stack(*cells(), skip="highway")) == ["", "", *["highway gate 4 × 4, 20 parameters"] * 2, ""]
    net = Stack(LSTMCell(3, 4), LSTMCell(7, 4), nn.Linear(11, 1), skip="dense")
    assert links(net) == ["", *["reads all before it, too (dense)"] * 2]
    assert links(Stack(nn.Tanh(), Stack(GRUCell(3, 3), skip="residual"))) == ["+ what it reads (residual)"]


def test_a_unit_that_follows_a_channel_is_found(page: Path):
    report(Recurrent(Own()), torch.randn(200, 1, 3), page, channels=["a", "b", "c"])
    data = data_in(page)
    best = {one["name"]: one["best"][0] for one in data["features"]}
    assert (best["b"]["value"], best["b"]["r"]) == ("copy", 1)
    assert best["a"]["value"] == "h"
    assert {key: data["start"][key] for key in ("value", "feature")} == {"value": "copy", "feature": "b"}


def test_channels_of_any_size_are_compared_and_one_that_never_changes_is_not(page: Path):
    signal = torch.randn(100).double()
    x = torch.stack([1e9 + signal, 1e-12 * signal, torch.full((100,), 0.1).double()], -1)
    report(Recurrent(Own()).double(), x, page)
    huge, tiny, still = data_in(page)["features"]
    assert huge["chance"] == tiny["chance"] > 0
    assert still["best"] == []
    assert np.corrcoef(huge["values"], tiny["values"])[0, 1] > 0.9999
    assert set(still["values"]) == {0.1}


def test_weights_of_a_cell_of_ones_own_and_of_a_projection(page: Path):
    report(Recurrent(Own()), torch.randn(9, 1, 3), page)
    (weights,) = data_in(page)["weights"]
    assert (weights["name"], weights["gate"], weights["rows"], weights["columns"]) == ("W", None, 2, 3)
    report(LSTM(3, 4, proj_size=2), torch.randn(9, 1, 3), page)
    assert [one["name"] for one in data_in(page)["weights"]] == ["input", "forget", "cell", "output", "weight_hr"]


def test_a_model_that_reads_whole_numbers(page: Path):
    net = Stack(nn.Embedding(7, 3), LSTMCell(3, 4), nn.Linear(4, 7))
    ids = torch.arange(40)[:, None] % 7
    report(net, ids, page)
    data = data_in(page)
    assert data["features"][0]["values"] == ids[:, 0].tolist()
    assert data["network"][0]["kind"] == "whole numbers"
    assert data["network"][1]["kind"] == "a row a symbol"


def test_an_array_one_row_times_losses_and_a_title(page: Path):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    x.flags.writeable = False
    report(LSTM(3, 4), x[:, ::-1], str(page), times=range(1900, 1920), losses=[4, 3, 2.5], title="<mine>")
    data = data_in(page)
    assert data["steps"]["pieces"] == [str(year) for year in range(1900, 1920)]
    assert data["loss"]["train"] == {"x": [1, 2, 3], "y": [4, 3, 2.5]}
    assert data["title"] == "<mine>"
    assert data["features"][0]["values"] == pytest.approx(x[:, 2].tolist(), abs=1e-3)


def test_ten_thousand_losses_are_a_thousand_points(page: Path):
    report(LSTM(3, 4), torch.randn(5, 1, 3), page, losses=np.linspace(2, 1, 10_000))
    curve = data_in(page)["loss"]["train"]
    assert (len(curve["x"]), curve["x"][0], curve["x"][-1]) == (1000, 1, 10_000)


def test_what_is_cut_is_said(page: Path, monkeypatch: pytest.MonkeyPatch):
    report(LSTM(40, 2), torch.randn(60, 1, 40), page, steps=50)
    data = data_in(page)
    assert data["steps"]["count"] == 50
    assert data["about"] == "LSTM, reading the first 50 steps of 40 channels"
    assert data["notes"] == [
        "Of 60 steps the first 50 are shown.",
        "Of 40 channels the first 32 are shown as curves.",
    ]
    monkeypatch.setattr(collect, "TRACE_SIZE", 3500)
    report(LSTM(3, 8), torch.randn(60, 1, 3), page)
    count = data_in(page)["steps"]["count"]
    assert 5 < count < 60
    assert data_in(page)["notes"] == [
        f"Of 60 steps the first {count} are shown: a page holds no more of them with all values of all units."
    ]
    assert all(len(one["values"]) == count for one in data_in(page)["features"])


@pytest.mark.parametrize("T", [1, 2, 3])
def test_hardly_any_steps(T: int, page: Path):
    data = data_in(report(LSTM(1, 1), torch.randn(T, 1, 1), page))
    assert data["steps"]["count"] == T
    assert (data["memory"] is None) == (T == 1)


def test_layers_that_see_other_steps_are_left_out_and_named(page: Path):
    class Halving(nn.Module):
        def __init__(self):
            super().__init__()
            self.low, self.high = LSTM(3, 4), LSTM(8, 4)

        def forward(self, x):
            y = self.low(x)[0]
            return self.high(torch.cat([y[::2], y[1::2]], -1))[0]

    report(Halving(), torch.randn(20, 1, 3), page)
    data = data_in(page)
    assert [layer["name"] for layer in data["trace"]["layers"]] == ["layer 1"]
    assert data["notes"] == ["Not shown, since they do not take every step of the row as it comes: layer 2."]


X = torch.zeros(10, 2, 3)


@pytest.mark.parametrize(
    ("x", "options", "error", "part"),
    [
        (X, {"row": 2}, ValueError, "row=2, but the batch has 2 rows: a number from 0 to 1"),
        (X, {"row": True}, ValueError, "row=True"),
        (X, {"channels": ["a", "b"]}, ValueError, "channels is 2 names, 3 are expected: one for each channel"),
        (X, {"channels": "abc"}, ValueError, "channels is the text 'abc'"),
        (X, {"channels": ["a", "b", "a"]}, ValueError, "a name twice"),
        (X, {"times": [1]}, ValueError, "times is 1 names, 10 are expected: one for each step"),
        (X, {"steps": 0}, ValueError, "steps=0 is given, a whole number from 1 to 10,000"),
        (X, {"steps": 10_001}, ValueError, "steps=10001"),
        (X, {"losses": []}, ValueError, "losses"),
        (X, {"losses": [1, float("nan")]}, ValueError, "losses"),
        (X.double(), {}, ValueError, "x of float64, the model's float32 is expected"),
        (X.numpy().astype(float), {}, ValueError, "x of float64"),
        (X.numpy().astype(str), {}, TypeError, "which torch does not have"),
        (X.numpy().astype(">f4"), {}, TypeError, "which torch does not have"),
        (X.tolist(), {}, TypeError, "x of type list"),
        (X[0, 0], {}, ValueError, r"x of float32 and shape \(3,\), but \(T, B, I\) or \(T, I\) is expected\."),
        (X[None], {}, ValueError, r"x of float32 and shape \(1, 10, 2, 3\)"),
        (
            X.long(),
            {},
            ValueError,
            r"x of int64 and shape \(10, 2, 3\), but \(T, B\) or \(T,\) is expected of whole numbers",
        ),
        (X[:0], {}, ValueError, "nothing in it"),
        (X[:, :0], {}, ValueError, "the batch has 0 rows"),
        (X[..., :2], {}, RuntimeError, "Expected 3, got 2"),
        (torch.where(torch.arange(10)[:, None, None] == 4, torch.nan, X), {}, ValueError, "NaN or infinite at step 4"),
    ],
)
def test_what_cannot_be_shown(x, options, error, part, page: Path):
    page.write_text("mine")
    with pytest.raises(error, match=part):
        report(LSTM(3, 4), x, page, **options)
    assert page.read_text() == "mine"
    assert list(page.parent.iterdir()) == [page]


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_in_any_mode(mode, page: Path):
    net = Stack(LSTMCell(3, 4), nn.Linear(4, 1))
    with mode():
        report(net, torch.randn(20, 1, 3), page)
    assert data_in(page)["memory"]["layers"][0]["norms"][0] > 0


def test_models_and_places_that_cannot_be(page: Path):
    with pytest.raises(TypeError, match="report got a model of type str"):
        report("lstm", X, page)
    with pytest.raises(ValueError, match=r"no recurrent layer of deeplstm ran in Linear"):
        report(nn.Linear(3, 4), X, page)
    with pytest.raises(ValueError, match=r"use deeplstm's class of that name"):
        report(nn.LSTM(3, 4), X, page)
    with pytest.raises(InputError, match="there is no folder"):
        report(LSTM(3, 4), X, page.parent / "no" / "page.html")
    with pytest.raises(InputError, match="could not be written"):
        report(LSTM(3, 4), X, page.parent)
    broken = LSTM(3, 4)
    nn.init.constant_(broken.weight_ih_l0, float("nan"))
    with pytest.raises(InputError, match="NaN or infinite values cannot be drawn"):
        report(broken, X, page)
    assert list(page.parent.iterdir()) == []
