"""Writing a file so that its reader meets the old one or the new one, whole, whatever happens in between."""

import contextlib
import os
import tempfile
from pathlib import Path


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace the file at `path` by `data`, or leave it exactly as it was.

    The bytes go to a temporary file in the same folder (a rename does not cross file systems), reach the disk, and
    take the name in one step. A process killed at any point leaves the previous file whole, and at worst a stray
    `.NAME.*.tmp` beside it.

    Raises:
        OSError: nothing could be written (a full disk, no permission); the temporary file is gone, `path` untouched.
    """
    path = Path(path)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp gives the file to its owner alone
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {path} was not written, its previous version is whole") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    _sync_folder(path.parent)


def _umask() -> int:
    """The process's file mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; where folders cannot be opened (Windows) there is nothing to do."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
