"""Writing text with a network, one symbol at a time."""

import math
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

import deeplstm
from deeplstm.errors import InputError
from deeplstm.tasks.network.evaluating import evaluating
from deeplstm.tasks.text.model import TextNetwork
from deeplstm.tasks.text.vocabulary import Vocabulary

PROMPT_WINDOW = 256
"""Steps of a prompt read at a time."""


def generate(
    network: nn.Module,
    vocabulary: Vocabulary,
    prompt: str = "",
    *,
    length: int = 500,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int | None = None,
) -> Iterator[str]:
    """Let a network go on with a text, on a `Stream`.

    Args:
        network: a `TextNetwork`, or any `(ids (T, B), state) -> (logits (T, B, V), state)`, which is called then; it comes
            back in the mode it was in, and may be trained between two pieces.
        prompt: how the text begins; it is read, and not given back. Empty: the network begins a line of its own.
        length: symbols to write: characters, words or bytes.
        temperature: above 1 bolder, below 1 more careful, 0 always the likeliest symbol.
        top_p: choose among the fewest likeliest symbols whose probabilities reach this sum (Holtzman et al. 2020).
        seed: makes the text the same every time. None: a new text each time. torch's and NumPy's generators are left alone.

    Yields: pieces of text as soon as they are whole.
    Raises: InputError with every value out of range and all characters of the prompt that the network has never seen,
        when called and not at the first piece.
    """
    complaints = []
    if length < 0:
        complaints.append(f"length={length}, but a number of symbols is expected: give 0 or more")
    if not 0 <= temperature < math.inf:
        complaints.append(f"temperature={temperature}, but a finite number is expected: give 0 or more")
    if not 0 < top_p <= 1:
        complaints.append(f"top_p={top_p}, but a probability above 0 is expected: give at most 1")
    if seed is not None and not 0 <= seed < 2**63:
        complaints.append(f"seed={seed}, but a whole number below 2**63 is expected: give 0 or more")
    try:
        ids = vocabulary.prompt(prompt).tolist()
    except InputError as error:
        complaints.append(f"prompt: {error}".rstrip("."))
    if complaints:
        raise InputError("; ".join(complaints) + ".")
    generator = np.random.default_rng(seed)
    return _pieces(_reader(network), vocabulary, ids, length, temperature, top_p, generator)


Scores = np.ndarray[Any, Any]


def _pieces(
    read: Callable[[list[int]], Scores],
    vocabulary: Vocabulary,
    prompt: list[int],
    length: int,
    temperature: float,
    top_p: float,
    generator: np.random.Generator,
) -> Iterator[str]:
    decoder = vocabulary.decoder()
    decoder(prompt)  # so that the first word knows whether a blank comes before it
    ids = [vocabulary.start, *prompt]
    for _ in range(length):
        ids = [choose(read(ids), temperature, top_p, generator)]
        if piece := decoder(ids):
            yield piece
    if piece := decoder([], final=True):
        yield piece


# ---------------------------------------------------------------- reading


def _reader(network: nn.Module) -> Callable[[list[int]], Scores]:
    """A function that reads symbols and gives the scores of the next one, (V,)."""
    if isinstance(network, TextNetwork) and network.output.bias.device.type == "cpu":
        return _Streamed(network)
    return _Called(network)


class _Streamed:
    """Symbol by symbol on a `Stream`, which notices when the network is trained in between."""

    def __init__(self, network: TextNetwork) -> None:
        self.network = network
        self.stream: deeplstm.Stream | None = None

    def __call__(self, ids: list[int]) -> Scores:
        if self.stream is None:  # not before the first piece is asked for: it takes a moment
            self.stream = deeplstm.Stream(as_stack(self.network))
        if len(ids) == 1:
            return self.stream.step(np.array(ids))[0]
        return self.stream.feed(np.array(ids)[:, None])[-1, 0]


class _Called:
    """Any network `(ids (T, B), state) -> (logits (T, B, V), state)`, called."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.state = network, None

    def __call__(self, ids: list[int]) -> Scores:
        device = next(self.network.parameters()).device
        with evaluating(self.network):  # not around a yield: the caller may train in between
            for begin in range(0, len(ids), PROMPT_WINDOW):
                steps = torch.tensor(ids[begin : begin + PROMPT_WINDOW], device=device)[:, None]  # (T, 1)
                logits, self.state = self.network(steps, self.state)
        scores: Scores = logits[-1, 0].double().cpu().numpy()
        return scores


_stacks: WeakKeyDictionary[TextNetwork, deeplstm.Stack] = WeakKeyDictionary()


def as_stack(network: TextNetwork) -> deeplstm.Stack:
    """A network's own layers as a `Stack`, which is what a stream takes; the same one for every call."""
    if network not in _stacks:
        table = network.embedding
        if table is None:  # a row of the identity is a symbol as (4) of the network has it, one-hot
            table = nn.Embedding.from_pretrained(torch.eye(network.vocabulary_size, dtype=network.output.bias.dtype))
        _stacks[network] = deeplstm.Stack(table, network.before, network.core, network.after, _Output(network))
    return _stacks[network]


class _Output(nn.Module):
    """(4) of the network as a layer."""

    def __init__(self, network: TextNetwork) -> None:
        super().__init__()
        self.output, self.embedding = network.output, network.embedding

    def forward(self, y: Tensor) -> Tensor:
        logits: Tensor = self.output(y, self.embedding)
        return logits


# ---------------------------------------------------------------- drawing


def choose(logits: Scores, temperature: float, top_p: float, generator: np.random.Generator) -> int:
    """Draw a symbol from its scores, (V,).

    Raises: InputError where the largest is no finite number.
    """
    scores = logits.astype(np.float64)  # no small probability lost
    likeliest = int(scores.argmax())
    if not math.isfinite(scores[likeliest]):  # of NaN too, which NumPy takes for the largest
        raise InputError(
            "The network gives scores that are not finite numbers, so there is nothing to choose from. Its training has "
            "gone astray: train it anew, with a smaller learning rate or with clipped gradients."
        )
    if temperature == 0:
        return likeliest
    scores -= scores[likeliest]
    # divided by less than that, no difference between two scores could become any larger without becoming infinite
    scores /= max(temperature, 1e-200)
    probabilities = np.exp(scores, out=scores)
    if top_p < 1:
        order = np.argsort(-probabilities, kind="stable")
        sums = probabilities[order].cumsum()
        before = np.concatenate([[0.0], sums[:-1]])
        probabilities[order[before >= top_p * sums[-1]]] = 0
    sums = probabilities.cumsum()
    return int(sums.searchsorted(generator.random() * sums[-1], side="right"))
