"""What all tests share: one thread, fixed seeds, and drawn examples that are the same in every run."""

import os
import tempfile

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("deeplstm", derandomize=True, deadline=None, max_examples=20, database=None)
hypothesis.settings.load_profile("deeplstm")

# compiling a kernel takes a second: what is not about kernels runs without
os.environ["DEEPLSTM_BACKENDS"] = "torch,reference"
torch.set_num_threads(1)  # pytest-xdist already keeps every core busy


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # workers inherit it: they share one folder
        folder = tempfile.TemporaryDirectory(prefix="deeplstm-kernels-", ignore_cleanup_errors=True)
        os.environ["DEEPLSTM_CACHE"] = folder.name
        config.add_cleanup(folder.cleanup)
    # torch says once in a process, wherever that is, that it takes another of its own kernels
    config.addinivalue_line("filterwarnings", "ignore:LSTM with projections is not supported with oneDNN:UserWarning")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
