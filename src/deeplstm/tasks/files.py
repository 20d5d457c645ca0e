"""Looking at files before they are read."""

from collections.abc import Sequence
from pathlib import Path

from deeplstm.errors import InputError


def check_files(files: Sequence[Path], kind: str = "text file") -> None:
    """Look at every file's kind and size, before hours are spent on the first of them.

    Args:
        kind: what is expected.

    Raises: InputError with all complaints, each naming its file.
    """
    complaints = [complaint for file in files if (complaint := _complaint(Path(file), kind))]
    if not files:
        complaints.append(f"No {kind} was given: name at least one.")
    if complaints:
        raise InputError(" ".join(complaints))


def _complaint(file: Path, kind: str) -> str | None:
    try:
        if file.is_dir():
            return f"{file} is a folder, but a {kind} is expected: name the files in it."
        if not file.stat().st_size:
            reason = "is empty" if file.is_file() else "is not a regular file"
            return f"{file} {reason}, but a {kind} is expected: give one with something in it."
        with open(file, "rb"):
            return None
    except OSError as error:
        return unreadable(file, error)


def unreadable(file: Path, error: OSError) -> str:
    """What the system says about a file, and what to do."""
    return f"{file} cannot be read ({error.strerror}): check its name and permissions."
