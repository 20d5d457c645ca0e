"""A page about a text run: what its network does with a text, character by character."""

import math
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import deeplstm
from deeplstm.errors import InputError
from deeplstm.inspect.report.collect import MOST_STEPS, affordable_steps, collect, expectations, memory_curves, thin
from deeplstm.inspect.words import counted
from deeplstm.tasks.text.config import TextModel
from deeplstm.tasks.text.encoded import Encoded
from deeplstm.tasks.text.files import check_files, read_bytes, read_text
from deeplstm.tasks.text.problem import UNITS, TextProblem
from deeplstm.tasks.text.runs import load
from deeplstm.tasks.text.vocabulary import BYTES, Vocabulary
from deeplstm.training.loop import columns
from deeplstm.training.metrics import MetricsFile, Row
from deeplstm.training.run_folder import Run

ROOM = {"char": 1, "word": 32, "byte": 1}
"""Characters of a file that are read for each step that is wanted."""


def report(
    run: str | os.PathLike[str], text: str | os.PathLike[str] | None = None, *, steps: int = 2000
) -> dict[str, Any]:
    """What there is to show of a run and a text, for `deeplstm.inspect.report.page.render`.

    Args:
        run: folder of the run.
        text: file to read; None: the run's validation text.
        steps: characters, words or bytes of it, at most; a note on the page says what was cut.

    Raises: InputError for a run or a text that cannot be used, before anything is drawn.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise InputError(f"steps={steps}, but a page shows from 1 to {MOST_STEPS:,}: give a number of these.")
    network, vocabulary, config = load(run)
    unit = UNITS[vocabulary.level].removesuffix("s")
    losses, notes = _losses(Run.open(run), unit)
    begin = torch.tensor([[vocabulary.start]])  # a text begins behind a line end, here as in `generate`
    wanted = min(steps, affordable_steps(network, begin))
    ids, source, cut = _read(Run.open(run), text, vocabulary, wanted)
    seen = deeplstm.trace(network, torch.cat([begin, torch.from_numpy(ids.astype(np.int64))[:, None]]))
    pieces = _pieces(vocabulary, ids)
    data = collect(
        network,
        seen,
        [shown(piece) for piece in pieces],
        title=Path(run).resolve().name,
        about="",
        unit=unit,
        skip=1,
        text=pieces,
        memory=memory_curves(network, torch.from_numpy(ids.astype(np.int64)), unit),
        loss=losses,
    )
    count = data["steps"]["count"]
    cut = cut or count < len(ids)
    data["about"] = (
        f"{_described(config.model)}, reading " + (f"the first {counted(count, unit)} of " if cut else "") + source
    )
    data["notes"] += notes
    if cut and (text is not None or count < steps):
        why = ": a page holds no more of them with all values of all units" if count < steps else ""
        are = "is" if count == 1 else "are"
        data["notes"].append(f"Of {source} the first {counted(count, unit)} {are} shown{why}.")
    probabilities = torch.softmax(seen.y[:count, 0].double(), dim=-1).numpy()  # y at step t is about step t + 1
    data["expected"] = expectations(probabilities, ids[:count].astype(np.int64), vocabulary.symbols)
    data["facts"] = _facts(network.parameter_counts(), losses, data["expected"]["p"], unit)
    data["network"] = [_input(vocabulary, unit), *data["network"]]
    return data


def shown(piece: str) -> str:
    """A piece of text that stays in its place on a page: no control characters, none that turn the direction of writing."""
    return "".join(
        chr(0x2400 + ord(one)) if one < " " and one not in "\n\t"
        else "\N{REPLACEMENT CHARACTER}" if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") and one not in "\n\t"
        else one
        for one in piece
    )  # fmt: skip


def _read(
    run: Run, text: str | os.PathLike[str] | None, vocabulary: Vocabulary, steps: int
) -> tuple[NDArray[Any], str, bool]:
    """Token numbers, at most `steps`; what they are; whether there was more."""
    if text is None:
        if not (run.data / "valid.bin").exists():
            raise InputError(
                f"{run.path} holds no validation text (data/valid.bin): give a text to read with --text FILE."
            )
        tokens = Encoded.load(run.data / "valid.bin", vocabulary).open()
        return tokens[:steps], "its validation text", len(tokens) > steps
    file = Path(text)
    check_files([file])
    if vocabulary.level == "byte":  # the first piece of a file has more bytes than a page has steps
        ids = np.frombuffer(next(read_bytes(file)), np.uint8)
        return ids[:steps], file.name, len(ids) > steps
    content, limit = "", steps * ROOM[vocabulary.level]
    for piece in read_text(file):
        content += piece
        if len(content) > limit:
            break
    cut = len(content) > limit
    content = content[:limit]
    if cut and vocabulary.level == "word":
        content = content[: max(0, *map(content.rfind, " \n"))]  # no half of a word
    try:
        ids = vocabulary.encode(content)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    if not len(ids):
        raise InputError(f"{file} has no word within its first {limit:,} characters: give a text with blanks in it.")
    return ids[:steps], file.name, cut or len(ids) > steps


def _pieces(vocabulary: Vocabulary, ids: NDArray[Any]) -> list[str]:
    """The text of each token. Bytes that begin a character have none; their number stands for them."""
    decoder = vocabulary.decoder()
    return [decoder([number]) or BYTES[number] for number in ids.tolist()]


def _losses(run: Run, unit: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The curves, None for a run that is shared without them; and what is to be said about what they leave out."""
    if not run.metrics.exists():
        return None, []
    rows = MetricsFile(run.metrics, columns(TextProblem.metrics)).read()
    train, valid = _finite(rows, "loss"), _finite(rows, "valid_loss")
    notes = []
    if lost := len(rows) - len(train) + sum("valid_loss" in row for row in rows) - len(valid):
        what = counted(lost, "loss", "losses")
        notes = [f"The curves leave out what is no finite number in {run.metrics.name}: {what}."]
    if not train:
        return None, notes
    steps, losses = zip(*train, strict=True)
    about = f"Training loss went from {losses[0]:.2f} to {losses[-1]:.2f} in {counted(steps[-1], 'step')}."
    if valid:
        step, best = min(valid, key=lambda point: point[1])
        about += f" Validation is best at step {step:,}, with {best:.3f} nats a {unit}."
    # the first steps fall from a height that would flatten everything of interest
    top = max([*losses[len(losses) // 20 :], *(loss for _, loss in valid[:1])])
    curves = {"train": _thinned(train), "valid": _thinned(valid)}
    return {"about": about, "label": f"nats per {unit}", "top": top, **curves}, notes


def _finite(rows: list[Row], name: str) -> list[tuple[float, float]]:
    """Steps and the losses there, those that a curve can have."""
    return [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]


def _thinned(points: list[tuple[float, float]]) -> dict[str, list[float]]:
    return {"x": thin([step for step, _ in points]), "y": thin([loss for _, loss in points])}


def _described(model: TextModel) -> str:
    names = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN", "highway": "highway"}
    widths = model.cell_widths
    layers = f"{len(widths)} layers" if len(widths) > 1 else "one layer"
    size = f"{widths[0]:,}" if len(set(widths)) == 1 else ", ".join(f"{width:,}" for width in widths)
    links = f", {model.skip} links" if model.skip != "none" else ""
    units = "unit" if set(widths) == {1} else "units"
    return f"{names[model.cell]}, {layers} of {size} {units}{links}"


def _facts(counts: dict[str, int], losses: dict[str, Any] | None, p: list[float], unit: str) -> list[list[str]]:
    bits = float(np.mean(-np.log2(np.maximum(p, 1e-6))))
    facts = [["parameters", f"{counts['total']:,}"]]
    if losses and losses["valid"]["y"]:
        facts.append(["best validation loss", f"{min(losses['valid']['y']):.3f} nats a {unit}"])
    return [*facts, [f"this text, {counted(len(p), unit)}", f"{bits:.2f} bits a {unit}"]]


def _input(vocabulary: Vocabulary, unit: str) -> dict[str, Any]:
    kind = f"one of {len(vocabulary):,}"
    return {
        "name": unit,
        "kind": kind,
        "layer": None,
        "joins": False,
        "carried": "",
        "gates": [],
        "shape": "",
        "link": "",
        "parameters": 0,
        "gives": "",
    }
