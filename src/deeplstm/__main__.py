"""`python -m deeplstm` is `deeplstm`."""

import sys

from deeplstm.cli import main

if __name__ == "__main__":
    sys.exit(main())
