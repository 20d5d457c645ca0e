"""Where the data sets lie: none of them is part of the project."""

import os
from pathlib import Path

from deeplstm import InputError

VARIABLE = "DEEPLSTM_DATA"


def data_files(*names: str, source: str) -> list[Path]:
    """Files below the folder that the environment variable DEEPLSTM_DATA names.

    Args:
        names: what is needed, such as "ptb/ptb.train.txt".
        source: where one gets them, for the message.

    Raises: InputError that lists everything that is missing.
    """
    folder = os.environ.get(VARIABLE)
    expected = f"a folder with {', '.join(names)} is expected. Get the files from {source}"
    if not folder:
        raise InputError(f"The environment variable {VARIABLE} is not set; {expected}, and set it to their folder.")
    files = [Path(folder, name) for name in names]
    missing = [name for name, file in zip(names, files, strict=True) if not file.is_file()]
    if missing:
        raise InputError(f"{VARIABLE}={folder} has no {', '.join(missing)}; {expected}.")
    return files
