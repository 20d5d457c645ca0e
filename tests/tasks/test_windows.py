import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deeplstm.errors import InputError
from deeplstm.tasks.windows import Windows


def test_two_streams_by_hand():
    windows = Windows(np.arange(12, dtype=np.uint8), batch_size=2, window=2)
    assert len(windows) == 2
    (a, b), (c, d) = windows
    assert a.tolist() == [[0, 6], [1, 7]]
    assert b.tolist() == [[1, 7], [2, 8]]
    assert c.tolist() == [[2, 8], [3, 9]]
    assert d.tolist() == [[3, 9], [4, 10]]
    assert a.dtype == b.dtype == torch.int64


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 60))
def test_every_target_of_every_stream_comes_once(batch_size, window, extra):
    tokens = batch_size * (window + 1) + extra
    windows = Windows(np.arange(tokens, dtype=np.uint16), batch_size, window)
    n = tokens // batch_size
    steps = (n - 1) // window
    assert len(windows) == steps
    seen = torch.cat([targets for _, targets in windows])
    expected = torch.arange(1, steps * window + 1)[:, None] + n * torch.arange(batch_size)
    torch.testing.assert_close(seen, expected)
    assert n - 1 - len(seen) < window  # less than one window is left out
    for inputs, targets in windows:
        torch.testing.assert_close(inputs + 1, targets)


def test_any_window_at_any_time():
    windows = Windows(np.arange(100, dtype=np.uint8), 3, 4)
    in_order = list(windows)
    for index in (5, 0, 7, 5):
        torch.testing.assert_close(windows[index], in_order[index])
    for index in (len(windows), -1):
        with pytest.raises(IndexError):
            windows[index]


def test_a_text_that_is_too_short():
    assert len(Windows(np.zeros(3232, np.uint8), 32, 100)) == 1
    with pytest.raises(InputError) as error:
        Windows(np.zeros(3231, np.uint8), 32, 100)
    assert str(error.value) == (
        "The text has 3,231 tokens, but 32 streams with one window of 100 steps and the token after it need 3,232: "
        "lower batch_size or window, or give a longer text."
    )
