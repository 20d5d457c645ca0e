"""How a result's script ends: 0 for a result that was reached, 1 for one that was not, 2 for what it cannot run with."""

import sys
from collections.abc import Callable
from typing import NoReturn

from deeplstm import InputError
from deeplstm.training.interrupt import Interrupted


def run_script(main: Callable[[], int]) -> NoReturn:
    try:
        sys.exit(main())
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except Interrupted as stopped:
        print(f"{stopped} or by running this script again.", file=sys.stderr)
        sys.exit(stopped.status)
