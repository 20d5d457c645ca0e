"""Writing a file so that its reader meets the old one or the new one, whole, whatever happens in between."""

import contextlib
import os
from pathlib import Path


def write_atomic(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Replace the file at `path` by `data`, or leave it exactly as it was.

    The bytes go to a temporary file in the same folder (a rename does not cross file systems), reach the disk, and
    take the name in one step. A process killed at any point leaves the previous file whole, and at worst a stray
    `.NAME.*.tmp` beside it.

    Raises:
        OSError: nothing could be written (a full disk, no permission); the temporary file is gone, `path` untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = f"{error.strerror}: {path} could not be written; what it held before is untouched"
        raise OSError(error.errno, reason) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; where folders cannot be opened (Windows) there is nothing to do."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
