import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from deeplstm.tasks.text.config import TextData, TextModel


def test_reading_the_options_imports_neither_torch_nor_numpy():
    code = "import sys, deeplstm.tasks.text.config; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_defaults_make_sense():
    assert TextData().check() == []
    assert TextModel().check() == []


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ({"embedding": -1}, "model.embedding=-1, but a size is not negative"),
        ({"widths": (8, 4), "tied": True, "embedding": 8}, "the embedding has 8 and the output reads 4 numbers"),
        ({"tied": True, "embedding": 0}, "the embedding has 0 and the output reads 256 numbers"),
        ({"widths": (8, 4), "embedding": 3, "skip": "residual"}, "none of 3,8,4 does"),
        ({"widths": (8, 8), "embedding": 3, "between": (5,), "skip": "highway"}, "none of 3,5,8 does"),
    ],
)
def test_one_complaint_about_each_model_that_makes_no_sense(model, complaint):
    (found,) = TextModel(**model).check()
    assert complaint in found


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"valid_fraction": 0.0}, "data.valid_fraction=0.0, but a share"),
        ({"valid_fraction": 1.0}, "data.valid_fraction=1.0, but a share"),
        ({"valid_fraction": 0.2, "valid": Path("v.txt")}, "nothing is cut from the training text"),
        ({"max_words": 100}, "only level=word has words to count"),
        ({"max_words": 2, "level": "word"}, "data.max_words=2, but a vocabulary holds"),
    ],
)
def test_one_complaint_about_each_text_that_makes_no_sense(data, complaint):
    (found,) = TextData(**data).check()
    assert complaint in found


def test_options_keep_their_order():
    """In --help and in config.toml: the embedding's stand beside the widths."""
    names = [field.name for field in fields(TextModel)]
    assert names[:7] == ["cell", "layers", "width", "widths", "embedding", "tied", "dropout"]


@pytest.mark.parametrize(
    "model",
    [
        {"widths": (4, 8), "embedding": 4, "skip": "highway"},
        {"layers": 1, "width": 8, "before": (8,), "embedding": 3, "skip": "residual"},
        {"layers": 1, "width": 8, "embedding": 0, "skip": "residual"},  # the vocabulary may have 8 symbols
        {"tied": True, "proj_size": 100},
        {"tied": True, "after": (7,)},
        {"tied": True, "embedding": 7, "after": (7,)},
    ],
)
def test_no_complaint_about_models_that_make_sense(model):
    assert TextModel(**model).check() == []
