"""`deeplstm`: the commands put together, and how each may end."""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

import deeplstm
from deeplstm.cli.arguments import SHOWN, exact_values
from deeplstm.cli.bench import bench
from deeplstm.cli.doctor import doctor
from deeplstm.cli.evaluate import evaluate
from deeplstm.cli.forecast import forecast
from deeplstm.cli.generate import generate
from deeplstm.cli.inspect import inspect
from deeplstm.cli.resume import resume
from deeplstm.errors import BackendUnavailable, InputError

GOOD, BAD_INPUT, INTERRUPTED = 0, 2, 130
"""Exit statuses. An unexpected error is Python's own: a traceback and status 1."""


def build_app() -> App:
    """The command line as cyclopts sees it."""
    app = App(
        name="deeplstm",
        help="Deep recurrent networks: train them, let them write, measure them.",
        version=deeplstm.__version__,
        help_format="plaintext",
        default_parameter=SHOWN,
        suppress_keyboard_interrupt=False,  # its message says how to go on
    )
    # By name: the options of a network take longer to read than the rest of the help to show.
    app.command("deeplstm.cli.train:train", name="train", help="Train a network and keep it in a folder, its run.")
    for command in (resume, generate, forecast, evaluate, inspect, bench, doctor):
        app.command(command, config=[exact_values])
    return app


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command line (None: this process's own) and return its exit status.

    0: done. 2: something given cannot be used, or the disk refused: one line on stderr says what. 130, 143: stopped by
    Ctrl-C or SIGTERM.
    """
    try:
        return build_app()(tokens, print_error=False, exit_on_error=False, result_action="return_value") or GOOD
    except CycloptsError as error:
        error.verbose = False
        return _say(str(error), BAD_INPUT)
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not try to write the rest of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    except (InputError, BackendUnavailable) as error:
        return _say(str(error), BAD_INPUT)
    except OSError as error:
        return _say(f"{error.filename}: {error.strerror}" if error.filename else str(error), BAD_INPUT)
    except KeyboardInterrupt as error:
        return _say(str(error) or "Stopped.", getattr(error, "status", INTERRUPTED))


def _say(message: str, status: int) -> int:
    print(f"deeplstm: {message}", file=sys.stderr)
    return status
