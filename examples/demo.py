"""About two minutes: a deep LSTM learns from Python's own library, writes some of its own, and is shown on a page.

python examples/demo.py [RUN]
"""

import shutil
import sys
from pathlib import Path

from deeplstm.cli import main
from deeplstm.cli.train_text import free_folder

OPTIONS = """
    --data.valid-fraction 0.02
    --model.layers 2 --model.width 192 --model.embedding 64
    --training.steps 2000 --training.batch-size 32 --training.window 64
    --training.lr 0.004 --training.warmup-steps 50 --training.validate-every 500
"""

NEXT = """
What to try next:

open {run}/report.html in a browser
    shows what its gates and units do while they read: which of them count brackets, indentation, the length of a line
{deeplstm} generate {run} --prompt "def main(" --temperature 0.5
    lets it go on with a text of yours
{deeplstm} resume {run} --steps 20000
    trains it ten times as long; stop it with Ctrl-C at any time, and resume again
{deeplstm} train text my.txt --model.layers 3 --model.skip residual
    learns from a text of yours, with a deeper network
{deeplstm} train text --help
    shows every choice there is
"""


def demo(wanted: Path) -> int:
    """Train into `wanted`, or the next free name beside it, and write the run's page; the exit status of what failed, or 0."""
    run = free_folder(wanted)
    if run != wanted:
        print(f"{wanted} exists already, so this run goes to {run}.")
    print("A deep LSTM learns from the sources of Python's own library: about two minutes on two cores.", flush=True)
    status = main(["train", "text", "--out", str(run), *OPTIONS.split()])
    status = status or main(["inspect", str(run)])
    if status == 0:
        print(NEXT.format(deeplstm=command(), run=run))
    return status


def command() -> str:
    """How to call `deeplstm` from here: by its name, or by its path in an environment that is not activated."""
    beside = Path(sys.executable).with_name("deeplstm")
    return "deeplstm" if shutil.which("deeplstm") or not beside.exists() else str(beside)


if __name__ == "__main__":
    sys.exit(demo(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")))
