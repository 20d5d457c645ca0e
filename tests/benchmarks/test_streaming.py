"""The benchmark of streaming measures right things, and says no when a contestant is wrong."""

import numpy as np
import pytest
import torch

import deeplstm
from benchmarks import streaming
from deeplstm.bench.timing import QUICK


def test_every_contestant_at_a_small_size(monkeypatch):
    monkeypatch.setattr(streaming, "reading_seconds", lambda size_bytes, parts: size_bytes / 1e11)
    with deeplstm.backend("cpu"):
        rows = streaming.latency(QUICK, [(1, 8)])
    names = [row.name for row in rows]
    assert names[0] == "nn.LSTM"
    assert {"Stream", "Stream, bfloat16", "Stream, tensors"} <= set(names)
    assert rows[0].against_torch == 1.0
    for row in rows:
        assert row.microseconds > 0
        assert (row.floor is None) == (not row.name.startswith("Stream"))
        if row.against_onnx is not None:
            onnx = next(r for r in rows if r.name == "ONNX Runtime")
            assert row.against_onnx == pytest.approx(onnx.microseconds / row.microseconds)
    lines = streaming.table(rows).splitlines()
    assert len(lines) == 2 + len(rows)


def test_a_wrong_contestant_is_found():
    right, wrong = (lambda n: torch.full((1, 4), float(n))), (lambda n: np.full((1, 4), n + 1e-3, np.float32))
    streaming.check({"nn.LSTM": right, "other": right})
    with pytest.raises(AssertionError, match=r"other is off by 1.4e-04"):
        streaming.check({"nn.LSTM": right, "other": wrong})
    streaming.check({"nn.LSTM": right, "other, bfloat16": wrong})


def test_reading_takes_longer_for_more():
    assert 0 < streaming.reading_seconds(1 << 18, 1) < streaming.reading_seconds(1 << 24, 1)
