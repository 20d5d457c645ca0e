import subprocess
import sys
from pathlib import Path

import pytest

from deeplstm.errors import InputError
from deeplstm.tasks.series.choices import SeriesConfig
from deeplstm.tasks.series.config import SeriesData, SeriesModel, SeriesTraining
from deeplstm.training.config import Training
from deeplstm.training.options import from_table, to_table


def test_reading_the_options_imports_neither_torch_nor_numpy_nor_polars():
    code = "import sys, deeplstm.tasks.series.choices; print([m for m in ('torch', 'numpy', 'polars') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_defaults_make_sense():
    SeriesConfig().require()


def test_options_come_back_from_their_table():
    config = SeriesConfig(data=SeriesData(columns=("a", "b"), targets=("b",)), model=SeriesModel(after=(4,)))
    assert from_table(SeriesConfig, to_table(config), "it") == config


def test_the_options_of_training_are_the_same_but_for_their_defaults():
    ours, theirs = to_table(SeriesTraining()), to_table(Training())
    assert list(ours) == list(theirs)
    assert {name for name in ours if ours[name] != theirs[name]} == {"epochs", "batch_size", "window"}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"valid_fraction": 0.0}, "data.valid_fraction=0.0, but a share of the table is above 0 and below 1"),
        ({"valid_fraction": float("nan")}, "data.valid_fraction=nan, but a share"),
        ({"valid_fraction": 0.2, "valid": Path("v.csv")}, "nothing is cut from the training table"),
        ({"columns": ("a", "a")}, "data.columns=a,a, but a column is read once: name each at most once."),
        ({"targets": ("a", "a")}, "data.targets=a,a, but a column is read once"),
        (
            {"columns": ("a", "b"), "targets": ("c", "b", "d")},
            "data.targets=c,b,d, but what is predicted is also read, and columns=a,b leaves out c, d: name it in columns",
        ),
    ],
)
def test_one_complaint_about_each_table_that_makes_no_sense(data, complaint):
    (found,) = SeriesData(**data).check()
    assert complaint in found


def test_all_complaints_come_at_once():
    config = SeriesConfig(
        data=SeriesData(valid_fraction=2.0), model=SeriesModel(layers=0), training=SeriesTraining(lr=0.0)
    )
    with pytest.raises(InputError, match="3 times"):
        config.require()
