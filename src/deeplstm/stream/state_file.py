"""A stream's state in a safetensors file, which holds numbers and runs no code."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from ..errors import InputError
from .one_step import Form

FORMAT = "deeplstm stream state 1"


def save(path: Path, form: Form, tensors: list[Tensor], batch: int) -> None:
    """Write the state; under a temporary name first, so that a killed process leaves the file that was there.

    Raises: `InputError` where there is no such folder, or a folder of that name.
    """
    _check_no_folder(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent} to save a state in. Make it, or give another path.")
    named = dict(zip(form.names, (t.detach().cpu().contiguous() for t in tensors), strict=True))
    text = safetensors.torch.save(named, {"format": FORMAT, "batch": str(batch), "states": json.dumps(form.names)})
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: Path, form: Form, like: list[Tensor], batch: int) -> list[Tensor]:
    """The state in a file, for a stream whose state tensors are as ``like``. Raises `InputError` for any other file."""
    _check_no_folder(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise InputError(f"{path} is no state that a Stream saved: its format is {about.get('format')!r}.")
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as a safetensors file: {error}") from error
    complaints = []
    for name, tensor in zip(form.names, like, strict=True):
        given = found.get(name)
        if given is None:
            complaints.append(f"{name} is missing")
        elif given.shape != tensor.shape:
            complaints.append(f"{name} has shape {tuple(given.shape)}, {tuple(tensor.shape)} is expected")
        elif given.dtype != tensor.dtype:
            complaints.append(f"{name} is {given.dtype}, {tensor.dtype} is expected")
    complaints += [f"{name} is not of this model" for name in found if name not in form.names]
    if complaints:
        raise InputError(
            f"{path} is the state of another model or batch than this stream's (batch={batch}): {'; '.join(complaints)}."
        )
    return [found[name] for name in form.names]


def _check_no_folder(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder, but the name of a file for a state is expected. Give one inside it.")
