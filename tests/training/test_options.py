import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from deeplstm.errors import InputError
from deeplstm.tasks.text.choices import TextConfig
from deeplstm.tasks.text.config import TextData, TextModel
from deeplstm.training.config import Training
from deeplstm.training.options import from_table, read_toml, to_table


@dataclass(frozen=True, kw_only=True)
class Part:
    count: int = 1
    share: float = 0.5
    on: bool = False
    kind: Literal["red", "green"] = "red"
    sizes: tuple[int, ...] = ()
    path: Path | None = None
    limit: float | None = 1.0
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class Tree:
    name: str = "x"
    part: Part = field(default_factory=Part)


parts = st.builds(
    Part,
    count=st.integers(-(2**62), 2**62),
    share=st.floats(allow_nan=False),
    on=st.booleans(),
    kind=st.sampled_from(["red", "green"]),
    sizes=st.lists(st.integers(0, 99)).map(tuple),
    path=st.none() | st.just(Path("a b/ü.txt")),
    limit=st.none() | st.floats(allow_nan=False),
    steps=st.none() | st.integers(0, 99),
)


@given(part=parts, name=st.text(st.characters(codec="utf-8")))
def test_there_and_back(part: Part, name: str):
    tree = Tree(name=name, part=part)
    text = tomli_w.dumps(to_table(tree))
    assert from_table(Tree, tomllib.loads(text), "f") == tree


def test_everything_is_written_and_none_is_said():
    table = to_table(Tree())
    assert table["part"] == {
        "count": 1,
        "share": 0.5,
        "on": False,
        "kind": "red",
        "sizes": [],
        "path": "none",
        "limit": 1.0,
        "steps": "none",
    }


def test_what_is_left_out_has_its_default():
    assert from_table(Tree, {"part": {"limit": "none"}}, "f") == Tree(part=Part(limit=None))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"part": {"count": 1.0}}, "part.count is 1.0; it must be a whole number."),
        ({"part": {"count": True}}, "part.count is True; it must be a whole number."),
        ({"part": {"count": "1"}}, "part.count is '1'; it must be a whole number."),
        ({"part": {"share": True}}, "part.share is True; it must be a number."),
        ({"part": {"on": 1}}, "part.on is 1; it must be true or false."),
        ({"part": {"steps": 1.5}}, "part.steps is 1.5; it must be a whole number, or 'none'."),
        ({"part": {"sizes": 3}}, "part.sizes is 3; it must be a list, each item a whole number."),
        ({"part": {"sizes": [3, "4"]}}, "part.sizes is [3, '4']; it must be a list, each item a whole number."),
        ({"part": {"path": 3}}, "part.path is 3; it must be a path in quotes, or 'none'."),
        ({"part": {"kind": "gren"}}, "part.kind is 'gren'; it must be one of 'red', 'green' (did you mean 'green'?)."),
        ({"part": {"cuont": 3}}, "part.cuont is no option; did you mean count?"),
        ({"qqq": 3}, "qqq is no option; known: name, part."),
        ({"part": 3}, "part is 3; it must be a table."),
        ({"name": 3}, "name is 3; it must be a text in quotes."),
    ],
)
def test_one_complaint_is_one_line(table: dict, message: str):
    with pytest.raises(InputError) as error:
        from_table(Tree, table, "my.toml")
    assert str(error.value) == f"my.toml does not fit: {message}"


def test_whole_number_is_a_number():
    assert from_table(Tree, {"part": {"share": 1}}, "f").part.share == 1.0


def test_all_complaints_at_once():
    table = {"nam": 1, "part": {"count": "x", "sizes": 3, "typo": 0}}
    with pytest.raises(InputError) as error:
        from_table(Tree, table, "my.toml")
    first, *rest = str(error.value).splitlines()
    assert first == "my.toml does not fit, 4 times:"
    assert [line.split()[0] for line in rest] == ["nam", "part.count", "part.sizes", "part.typo"]


def test_all_of_text_config():
    config = TextConfig(
        data=TextData(valid=Path("v.txt")),
        model=TextModel(gate_layers=(128,), deep_gates=("forget",), cell_clip=None, coupled=True),
        training=replace(Training(), clip_norm=None, steps=5, schedule="divide"),
    )
    text = tomli_w.dumps(to_table(config))
    assert from_table(TextConfig, tomllib.loads(text), "f") == config
    assert text.count("none") >= 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = ", "is not a TOML file: "),
        (b"\xff", "is not a TOML file: "),
        (b"a = 1\na = 2", "is not a TOML file: "),
        (None, "does not exist; a TOML file with options was expected"),
    ],
)
def test_no_toml(content: bytes | None, message: str, tmp_path: Path):
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_toml(path)
    assert str(error.value).startswith(f"{path} {message}")


def test_folder_in_place_of_toml(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read as a TOML file: Is a directory"):
        read_toml(tmp_path)
