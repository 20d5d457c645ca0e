"""The command line: one file per command, each a function of parsed options that returns an exit status.

Nothing here imports torch before a command needs it, so that `deeplstm --help` answers at once.
"""

from deeplstm.cli.app import main as main

__all__ = ["main"]
