"""A page about a text run: what its network does with a text, character by character."""

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import deeplstm
from deeplstm.errors import InputError
from deeplstm.inspect.report.collect import MOST_STEPS, affordable_steps, collect, expectations, memory_curves
from deeplstm.inspect.report.network import source_block
from deeplstm.inspect.words import counted
from deeplstm.tasks.files import check_files
from deeplstm.tasks.page import described, loss_curves
from deeplstm.tasks.text.encoded import Encoded
from deeplstm.tasks.text.files import read_bytes, read_text
from deeplstm.tasks.text.problem import UNITS, TextProblem
from deeplstm.tasks.text.runs import load
from deeplstm.tasks.text.vocabulary import BYTES, Vocabulary
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
    losses, notes = loss_curves(Run.open(run), TextProblem.metrics, f"nats per {unit}", f"{{}} nats a {unit}")
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
        f"{described(config.model)}, reading " + (f"the first {counted(count, unit)} of " if cut else "") + source
    )
    data["notes"] += notes
    if cut and (text is not None or count < steps):
        why = ": a page holds no more of them with all values of all units" if count < steps else ""
        are = "is" if count == 1 else "are"
        data["notes"].append(f"Of {source} the first {counted(count, unit)} {are} shown{why}.")
    probabilities = torch.softmax(seen.y[:count, 0].double(), dim=-1).numpy()  # y at step t is about step t + 1
    data["expected"] = expectations(probabilities, ids[:count].astype(np.int64), vocabulary.symbols)
    data["facts"] = _facts(network.parameter_counts(), losses, data["expected"]["p"], unit)
    data["network"] = [source_block(unit, f"one of {len(vocabulary):,}"), *data["network"]]
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


def _facts(counts: dict[str, int], losses: dict[str, Any] | None, p: list[float], unit: str) -> list[list[str]]:
    bits = float(np.mean(-np.log2(np.maximum(p, 1e-6))))
    facts = [["parameters", f"{counts['total']:,}"]]
    if losses and losses["valid"]["y"]:
        facts.append(["best validation loss", f"{min(losses['valid']['y']):.4g} nats a {unit}"])
    return [*facts, [f"this text, {counted(len(p), unit)}", f"{bits:.2f} bits a {unit}"]]
