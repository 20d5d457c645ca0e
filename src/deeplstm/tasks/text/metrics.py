"""How well a network predicts a text."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deeplstm.errors import InputError
from deeplstm.tasks.network.evaluating import evaluating
from deeplstm.tasks.text.encoded import Tokens
from deeplstm.tasks.text.files import Progress
from deeplstm.tasks.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Score:
    """How well a text was predicted; lower is better.

    (1) nats = -sum(ln p(token)) / tokens      (2) perplexity = exp(nats)
    (3) bits_per_character = -sum(log2 p(token)) / characters, with `Vocabulary.characters`
    """

    nats: float
    bits_per_character: float
    perplexity: float
    tokens: int
    characters: int

    @classmethod
    def of(cls, nats: float, tokens: int, characters: int) -> "Score":
        """The score of a text that cost so many nats in all."""
        mean = nats / tokens
        perplexity = math.inf if mean > 700 else math.exp(mean)  # exp raises where floats end
        bits = nats / math.log(2) / characters if characters else math.inf  # bytes need not make up a character
        return cls(mean, bits, perplexity, tokens, characters)


def score_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats that each target costs, -ln softmax(logits)[target], in float32 whatever the logits are.

    Shapes: logits (T, B, V), targets (T, B) int64 -> (T, B).
    """
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none").view_as(targets)


def evaluate(
    network: nn.Module,
    ids: Tokens,
    vocabulary: Vocabulary,
    *,
    batch_size: int = 1,
    window: int = 100,
    progress: Progress | None = None,
) -> Score:
    """Let a network predict a text, every token of it once, and sum up what the tokens cost.

    The first token is predicted from the line end, every other from the one before it. The state is carried over the whole
    text, however short the windows are. With several streams each begins with a zero state, which costs a little where
    it begins and is faster; published results are those of one.

    Args:
        network: `(ids (T, B), state) -> (logits (T, B, V), state)`; it comes back in the mode it was in.
        ids: token numbers, an array or `Encoded.open()`.
        batch_size: streams that the text is cut into.
        window: steps at a time; a matter of memory, not of the result.
        progress: called with the tokens predicted and the tokens in all.

    Raises: InputError for an empty text.
    """
    if not len(ids):
        raise InputError("There is no token to predict, but a score needs one: give a text that is not empty.")
    batch_size = min(batch_size, len(ids))
    device = next(network.parameters()).device
    streams = _Streams(ids, batch_size, vocabulary.start)
    nats, done, state = 0.0, 0, None
    for begin in range(0, streams.steps, window):
        inputs, targets, counted = streams.read(begin, min(begin + window, streams.steps))
        with evaluating(network):
            logits, state = network(inputs.to(device), state)
            costs = score_targets(logits, targets.to(device)).double()
        nats += costs[counted.to(device)].sum().item()
        done += int(counted.sum())
        if progress:
            progress(done, len(ids))
    return Score.of(nats, len(ids), _characters(ids, vocabulary))


class _Streams:
    """A text cut into B stretches of n or n + 1 tokens, the longer ones first, each read beside the token before it."""

    def __init__(self, ids: Tokens, batch_size: int, start: int) -> None:
        self.ids, self.start = ids, start
        short, longer = divmod(len(ids), batch_size)
        self.lengths = [short + (stream < longer) for stream in range(batch_size)]
        self.begins = [stream * short + min(stream, longer) for stream in range(batch_size)]
        self.steps = self.lengths[0]

    def read(self, begin: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and which targets count, each (end - begin, B); a short stream is filled up at its end."""
        rows = np.full((end - begin + 1, len(self.begins)), self.start, np.int64)
        for stream, (first, length) in enumerate(zip(self.begins, self.lengths, strict=True)):
            stop = first + min(end, length)
            if first + begin:
                column = self.ids[first + begin - 1 : stop]
                rows[: len(column), stream] = column
            else:  # before the first token of the text stands the line end
                column = self.ids[:stop]
                rows[1 : 1 + len(column), stream] = column
        tokens = torch.from_numpy(rows)
        counted = torch.arange(begin, end)[:, None] < torch.tensor(self.lengths)
        return tokens[:-1], tokens[1:], counted


def _characters(ids: Tokens, vocabulary: Vocabulary) -> int:
    if vocabulary.level == "char":
        return len(ids)
    total, last = 0, None
    for begin in range(0, len(ids), 1 << 20):
        piece = ids[begin : begin + (1 << 20)]
        total += vocabulary.characters(piece, last)
        last = int(piece[-1])
    return total
