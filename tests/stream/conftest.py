"""What tests of streams share."""

import pytest

import deeplstm


@pytest.fixture(params=["cpu", "reference"])
def backend(request):
    """On kernels and in plain PyTorch."""
    with deeplstm.backend(request.param):
        yield request.param
