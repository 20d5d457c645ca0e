"""A state in a file."""

import pytest

import deeplstm


def stack(**options):
    return deeplstm.Stream(deeplstm.Stack(deeplstm.LSTMCell(3, 4, **options)))


def test_a_cell_with_other_options_is_another_model(tmp_path):
    path = tmp_path / "state"
    stack(norm=True).save(path)
    stack(norm=True).load(path)
    with pytest.raises(
        deeplstm.InputError, match=r"LSTMCell state 0 is missing.*LSTMCell\(norm=True\) state 0 is not of this"
    ):
        stack().load(path)
    deeplstm.Stream(deeplstm.RNN(3, 4, nonlinearity="relu")).save(path)
    with pytest.raises(deeplstm.InputError, match="RNN layer 0 state 0 is missing"):
        deeplstm.Stream(deeplstm.RNN(3, 4)).load(path)


def test_dropout_in_training_makes_no_other_model(tmp_path):
    path = tmp_path / "state"
    stack(recurrent_dropout=0.5, weight_drop=0.5).save(path)
    stack().load(path)


def test_a_folder_is_no_file(tmp_path):
    for method in (stack().save, stack().load):
        with pytest.raises(deeplstm.InputError, match=f"{tmp_path} is a folder, but the name of a file"):
            method(tmp_path)
    assert not list(tmp_path.parent.glob("*.part"))
