"""How options are read where cyclopts is kinder than we want to be, and how their defaults are shown."""

import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from cyclopts import App, Parameter, Token
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict

from deeplstm.errors import InputError

NONE = "none"


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return (
        ",".join(map(str, default)) or NONE if isinstance(default, tuple) else NONE if default is None else str(default)
    )


SHOWN = Parameter(negative_iterable=(), show_default=_shown)
"""Defaults as one would type them; no `--empty-...` twin for options that are lists."""


def config_file(task: str, kind: type) -> Callable[[App, tuple[str, ...], ArgumentCollection], None]:
    """What fills in what `--config FILE.toml` says, for every option that the command line leaves open.

    Args:
        task: whose config the file is.
        kind: its options.
    """

    def fill_in(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        from deeplstm.training.options import from_table
        from deeplstm.training.run_folder import config_table

        for argument in arguments:
            if argument.name == "--config" and argument.tokens:
                path = Path(argument.tokens[0].value)
                table = config_table(path, task, header_needed=False)
                from_table(kind, table, str(path))  # every mistake in the file, in one message
                Dict(table, source=str(path), use_commands_as_keys=False)(app, commands, arguments)

    return fill_in


def exact_values(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Read numbers, lists and "none" to the letter.

    2.5 layers are an error (cyclopts rounds), `256,128` is a list of two, and "none" is no file of that name.
    """
    for argument in arguments:
        parts = _parts(argument.field_info.annotation)
        if any(get_origin(part) is tuple for part in parts):
            argument.tokens = [part for token in argument.tokens for part in _split(token)]
            parts = {item for part in parts for item in get_args(part)}
        for number, token in enumerate(argument.tokens):
            if token.value == NONE and type(None) in parts:
                argument.tokens[number] = token.evolve(value="", implicit_value=None)
            elif int in parts and token.value and not re.fullmatch(r"[+-]?\d+", token.value):
                raise InputError(
                    f"{token.keyword or argument.name} is {token.value!r}, but a whole number is expected."
                )


def _parts(kind: Any) -> set[Any]:
    """The types that an option may have: the members of a union, or the one there is."""
    if get_origin(kind) in (Union, types.UnionType):
        return set(get_args(kind))
    return {kind}


def _split(token: Token) -> list[Token]:
    if not token.value or token.source != "cli":  # a file has lists of its own, and may have commas in their items
        return [token]
    return [token.evolve(value=value) for value in token.value.split(",") if value]


def free_folder(wanted: Path) -> Path:
    """`wanted` itself, or the first of `wanted-2`, `wanted-3`, ... that does not exist yet."""
    path, number = wanted, 1
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path
