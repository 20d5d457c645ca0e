"""What runs a model's steps."""

import pytest
import torch

import deeplstm
from streams import CHUNKS, assert_streams


@pytest.mark.parametrize("backend", ["auto", "cpu"])
def test_bfloat16_weights_go_with_float32(backend, monkeypatch):
    monkeypatch.setenv("DEEPLSTM_BACKENDS", "cpu,torch,reference")
    with deeplstm.backend(backend):
        for dtype, says in (
            (torch.float64, "float64, weights of another dtype"),
            (torch.float16, "float16, float32 and"),
        ):
            with pytest.raises(deeplstm.BackendUnavailable, match=f"the model is torch.{says}"):
                deeplstm.Stream(deeplstm.LSTM(3, 4).to(dtype), weights=torch.bfloat16)


class Scaled(torch.nn.Embedding):
    def forward(self, numbers):
        return 3 * super().forward(numbers)


def hooked():
    table = torch.nn.Embedding(5, 3)
    table.register_forward_hook(lambda module, given, y: 3 * y)
    return table


@pytest.mark.parametrize("make", [lambda: Scaled(5, 3), hooked])
def test_an_embedding_that_does_more_is_left_to_its_own_code(make, monkeypatch):
    monkeypatch.setenv("DEEPLSTM_BACKENDS", "cpu,torch,reference")
    stream = deeplstm.Stream(deeplstm.Stack(make(), deeplstm.GRUCell(3, 4)))
    assert stream.backend == "reference"
    assert "a forward of its own" in stream.why_not[0]
    assert_streams(stream, torch.randint(5, (7, 1)), CHUNKS[0])
