"""Writing text with a network, one symbol at a time."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from deeplstm.errors import InputError
from deeplstm.tasks.text.metrics import evaluating
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
    """Let a network go on with a text.

    Args:
        network: `(ids (T, B), state) -> (logits (T, B, V), state)`; it comes back in the mode it was in.
        prompt: how the text begins; it is read, and not given back. Empty: the network begins a line of its own.
        length: symbols to write: characters, words or bytes.
        temperature: above 1 bolder, below 1 more careful, 0 always the likeliest symbol.
        top_p: choose among the fewest likeliest symbols whose probabilities reach this sum (Holtzman et al. 2020).
        seed: makes the text the same every time. None: a new text each time. torch's own generator is left alone.

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
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return _pieces(network, vocabulary, ids, length, temperature, top_p, generator)


def _pieces(
    network: nn.Module,
    vocabulary: Vocabulary,
    prompt: list[int],
    length: int,
    temperature: float,
    top_p: float,
    generator: torch.Generator,
) -> Iterator[str]:
    decoder = vocabulary.decoder()
    decoder(prompt)  # so that the first word knows whether a blank comes before it
    ids, state = [vocabulary.start, *prompt], None
    for _ in range(length):
        logits, state = _read(network, ids, state)
        ids = [choose(logits, temperature, top_p, generator)]
        if piece := decoder(ids):
            yield piece
    if piece := decoder([], final=True):
        yield piece


def _read(network: nn.Module, ids: list[int], state: Any) -> tuple[Tensor, Any]:
    """Scores of the symbol after these, (V,), and the state."""
    device = next(network.parameters()).device
    with evaluating(network):  # not around a yield: the caller may train in between
        for begin in range(0, len(ids), PROMPT_WINDOW):
            steps = torch.tensor(ids[begin : begin + PROMPT_WINDOW], device=device)[:, None]  # (T, 1)
            logits, state = network(steps, state)
    return logits[-1, 0], state


def choose(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """Draw a symbol from its scores, (V,)."""
    logits = logits.double().cpu()  # one generator for every device, and no small probability lost
    if temperature == 0:
        return int(logits.argmax())
    probabilities = torch.softmax((logits - logits.max()) / temperature, 0)
    if top_p < 1:
        likeliest, order = probabilities.sort(descending=True, stable=True)
        before = torch.cat([likeliest.new_zeros(1), likeliest.cumsum(0)[:-1]])
        probabilities[order[before >= top_p]] = 0
    return int(torch.multinomial(probabilities, 1, generator=generator))
