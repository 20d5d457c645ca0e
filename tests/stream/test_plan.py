"""What runs a model's steps."""

import pytest
import torch

import deeplstm


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
