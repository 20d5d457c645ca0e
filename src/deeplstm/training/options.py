"""A tree of option dataclasses, to and from TOML, strictly: nothing unknown is skipped, nothing is cast.

Config(model=Model(layers=2), training=Training(clip_norm=None)) is a table [model] with layers = 2 and a table [training]
with clip_norm = "none": TOML has no null, so where an option may be None, it is written "none".
"""

import difflib
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from deeplstm.errors import InputError

Config = TypeVar("Config")
NONE = "none"


def to_table(config: Any) -> dict[str, Any]:
    """The options as nested TOML tables, every one of them, defaults included."""
    return {field.name: _plain(getattr(config, field.name)) for field in fields(config)}


def from_table(kind: type[Config], table: Mapping[str, Any], source: str) -> Config:
    """The options of `kind` as `table` gives them; an option that it leaves out has its default.

    Raises:
        InputError: one, naming `source` and listing every unknown name (with the nearest known one) and wrong type.
    """
    complaints: list[str] = []
    config = _read_tree(kind, table, "", complaints)
    if complaints:
        raise InputError(joined(f"{source} does not fit", complaints))
    return config


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; one InputError where there is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; a TOML file with options was expected there.") from None
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise InputError(f"{path} cannot be read as a TOML file: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}.") from None


def joined(what: str, complaints: list[str]) -> str:
    """One message for one complaint or many: a single line, or a line for each."""
    if len(complaints) == 1:
        return f"{what}: {complaints[0]}"
    return "\n  ".join([f"{what}, {len(complaints)} times:", *complaints])


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that looks most like `name`, or at all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}."


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_table(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if value is None:
        return NONE
    return str(value) if isinstance(value, Path) else value


@cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read_tree(kind: type, table: Any, prefix: str, complaints: list[str]) -> Any:
    if not isinstance(table, Mapping):
        complaints.append(f"{prefix.rstrip('.')} is {table!r}; it must be a table.")
        return None
    known = _types(kind)
    given = {}
    for name, value in table.items():
        if name not in known:
            complaints.append(f"{prefix}{name} is no option; {nearest(name, known)}")
        elif is_dataclass(known[name]):
            given[name] = _read_tree(known[name], value, f"{prefix}{name}.", complaints)
        else:
            try:
                given[name] = _read_value(known[name], value)
            except TypeError as error:
                complaints.append(f"{prefix}{name} is {value!r}; it must be {error}.")
    # With a complaint noted the tree will not be used, and its parts may be missing.
    return None if complaints else kind(**given)


def _read_value(kind: Any, value: Any) -> Any:
    """`value` as TOML gives it, as the option's type wants it; TypeError(what it must be) where it is another type."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value == NONE and type(None) in parts:
            return None
        (kind,) = (part for part in parts if part is not type(None))
        try:
            return _read_value(kind, value)
        except TypeError as error:
            raise TypeError(f"{error}, or {NONE!r}") from None
    if origin is Literal:
        if value in parts and not isinstance(value, bool):
            return value
        hint = difflib.get_close_matches(str(value), [str(part) for part in parts], n=1)
        wanted = "one of " + ", ".join(repr(part) for part in parts)
        raise TypeError(wanted + (f" (did you mean {hint[0]!r}?)" if hint else ""))
    if origin is tuple:
        item, _ = parts
        if not isinstance(value, list):
            raise TypeError(f"a list, each item {_NAMES[item]}")
        try:
            return tuple(_read_value(item, each) for each in value)
        except TypeError as error:
            raise TypeError(f"a list, each item {error}") from None
    # A bool is an int to Python, and an int is as good as a float to whoever writes 1 for 1.0; nothing else passes.
    if kind is float and type(value) is int:
        return float(value)
    if kind is Path and type(value) is str:
        return Path(value)
    if type(value) is not kind:
        raise TypeError(_NAMES[kind])
    return value


_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text in quotes",
    Path: "a path in quotes",
}
