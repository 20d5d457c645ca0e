"""`deeplstm generate`: let a trained network write."""

import sys
from pathlib import Path

from deeplstm.cli.tasks import task_of
from deeplstm.errors import InputError


def generate(
    run: Path,
    *,
    prompt: str = "",
    length: int = 500,
    temperature: float = 0.8,
    top_p: float = 1.0,
    seed: int | None = None,
) -> int:
    """Write text with a trained network, as it comes.

    Parameters
    ----------
    run:
        Folder of a text run.
    prompt:
        How the text begins; it is written first.
    length:
        Characters, words or bytes to write.
    temperature:
        Above 1 bolder, below 1 more careful, 0 always the likeliest.
    top_p:
        Choose among the likeliest that together have this probability.
    seed:
        Makes the text the same every time.
    """
    if (task := task_of(run)) != "text":
        raise InputError(
            f"{run} is a {task} run, which has no text to write. Use: deeplstm forecast, evaluate or inspect."
        )
    from deeplstm.tasks.summary import visible
    from deeplstm.tasks.text.runs import load
    from deeplstm.tasks.text.writing import generate as pieces
    from deeplstm.training.surroundings import threads

    network, vocabulary, _ = load(run)
    written = pieces(network, vocabulary, prompt, length=length, temperature=temperature, top_p=top_p, seed=seed)
    on_terminal = sys.stdout.isatty()
    print(prompt, end="", flush=True)
    # One stream of text is too little to share: on a busy machine a second thread makes it twenty times slower.
    with threads(1):
        for piece in written:
            print(visible(piece) if on_terminal else piece, end="", flush=True)
    print()
    return 0
