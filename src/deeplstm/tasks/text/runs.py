"""Training a network on text, from files to a run folder; going on with it; and using it."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deeplstm.tasks.runs import introduce, resumed
from deeplstm.tasks.text.choices import TextConfig
from deeplstm.tasks.text.corpus import Split, build_vocabulary, split, standard_library
from deeplstm.tasks.text.encoded import Encoded
from deeplstm.tasks.text.metrics import Score, evaluate
from deeplstm.tasks.text.model import TextNetwork, build
from deeplstm.tasks.text.problem import TextProblem
from deeplstm.tasks.text.vocabulary import Vocabulary
from deeplstm.tasks.text.writing import generate
from deeplstm.tasks.windows import Windows
from deeplstm.training.curves import draw_curves
from deeplstm.training.files import write_atomic
from deeplstm.training.fit import Fitting, Outcome
from deeplstm.training.loop import columns
from deeplstm.training.metrics import MetricsFile
from deeplstm.training.progress import display, showing
from deeplstm.training.run_folder import Run
from deeplstm.training.surroundings import device, require_available, seeded, threads

TASK = "text"
SAMPLE_LENGTH = {"char": 600, "byte": 600, "word": 120}
SAMPLE_TEMPERATURE = 0.7
STRETCH = 1_000_000
"""Tokens of the training text, at most, that its final score is taken on."""


@dataclass(frozen=True)
class Result:
    """What a training came to. The scores are those of the best weights."""

    run: Path
    outcome: Outcome
    train: Score
    """On the beginning of the training text, as long as the validation text (at most a million tokens)."""
    valid: Score
    test: Score | None
    parameters: dict[str, int]
    unit: str
    sample: str


def train(
    files: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    config: TextConfig | None = None,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Result:
    """Train a network on text files and keep it, and everything about it, in the new folder `out`.

    Arguments:
        files: the text, in this order; none: Python's own library, which every machine has.
        config: what to choose; everything left out has a default.
        overwrite: replace an existing run.
        quiet: neither progress nor results on the screen.

    Raises:
        InputError: options or files that cannot be used (nothing is left behind); a loss that becomes NaN.
        Interrupted: Ctrl-C; the training has been saved, and `resume` goes on with it.
    """
    config = config or TextConfig()
    config.require()
    require_available(config.training)
    with Run.create(out, overwrite=overwrite) as making:
        _prepare([Path(file) for file in files] or standard_library(), making, config, quiet)
    return _train(Run.open(out), config, resume=False, quiet=quiet)


def resume(
    out: str | os.PathLike[str],
    *,
    epochs: float | None = None,
    steps: int | None = None,
    lr: float | None = None,
    quiet: bool = False,
) -> Result:
    """Go on with the run in the folder `out`, exactly as if it had never been stopped.

    Arguments:
        epochs, steps: a new length of the whole training; for a run that is complete.
        lr: a new learning rate from here on; for a run that was about to diverge.
    """
    run = Run.open(out)
    config = _choices(run)
    training = resumed(config.training, run, run.sample, epochs=epochs, steps=steps, lr=lr)
    config = replace(config, training=training)
    config.require()
    return _train(run, config, resume=True, quiet=quiet)


def load(run: str | os.PathLike[str]) -> tuple[TextNetwork, Vocabulary, TextConfig]:
    """The network of a run with its best weights, in evaluation mode; its vocabulary; its choices."""
    folder = Run.open(run)
    config = _choices(folder)
    vocabulary = Vocabulary.load(folder.vocabulary)
    network = build(config.model, len(vocabulary))
    folder.read_weights(network)
    return network.eval(), vocabulary, config


def _choices(run: Run) -> TextConfig:
    config = run.read_config(TASK, TextConfig)
    config.require(f"The options in {run.config}")
    return config


def _prepare(files: Sequence[Path], run: Run, config: TextConfig, quiet: bool) -> None:
    """All of the run that is known before training. The text is kept as numbers: a resumed run reads what it read."""
    with showing(quiet, "bytes read") as hear:
        vocabulary = build_vocabulary(files, config.data, hear)
    with showing(quiet, "bytes encoded") as hear:
        parts = split(files, config.data, run.data, vocabulary, hear)
    Windows(parts.train.open(), config.training.batch_size, config.training.window)  # says if the text is too short
    vocabulary.save(run.vocabulary)
    run.write_config(TASK, config)


def _train(run: Run, config: TextConfig, *, resume: bool, quiet: bool) -> Result:
    vocabulary = Vocabulary.load(run.vocabulary)
    parts = _encoded(run, config, vocabulary)
    options = config.training
    # Everything random comes from the seed: first the weights, then the dropout masks, in the order of the steps.
    with run.only_here(), seeded(options.seed), threads(options.threads):
        problem = TextProblem(build(config.model, len(vocabulary)), parts, vocabulary, config)
        fitting = Fitting(problem, options, run, resume=resume, quiet=quiet)

        def begin() -> None:
            run.write_config(TASK, config)  # a resumed run may have new choices
            run.sample.unlink(missing_ok=True)  # written last, it says that a run is complete

        introduce(run, problem, options, (parts.train.tokens, parts.valid.tokens), display(quiet).say)
        outcome = fitting.run(begin)
        return _finish(run, config, problem, parts, outcome)


def _encoded(run: Run, config: TextConfig, vocabulary: Vocabulary) -> Split:
    train, valid = (Encoded.load(run.data / f"{name}.bin", vocabulary) for name in ("train", "valid"))
    test = Encoded.load(run.data / "test.bin", vocabulary) if config.data.test else None
    return Split(train, valid, test)


def _finish(run: Run, config: TextConfig, problem: TextProblem, parts: Split, outcome: Outcome) -> Result:
    """Scores, curves and a sample of the best weights."""
    network, vocabulary, options = problem.network, problem.vocabulary, config.training
    network.to(device(options.device))
    length = SAMPLE_LENGTH[vocabulary.level]
    stretch = parts.train.open()[: min(parts.valid.tokens, STRETCH)]
    trained, valid = (
        evaluate(network, ids, vocabulary, batch_size=options.batch_size, window=options.window)
        for ids in (stretch, parts.valid.open())
    )
    with threads(1):  # one stream of text is too little to share
        test = evaluate(network, parts.test.open(), vocabulary) if parts.test else None
        network.to("cpu").eval()
        pieces = generate(network, vocabulary, length=length, temperature=SAMPLE_TEMPERATURE, seed=options.seed)
        sample = "".join(pieces)
    label = f"nats per {problem.unit.removesuffix('s')}"
    draw_curves(MetricsFile(run.metrics, columns(problem.metrics)).read(), run.curves, label)
    write_atomic(run.sample, sample.encode())
    return Result(run.path, outcome, trained, valid, test, network.parameter_counts(), problem.unit, sample)
