"""The network of a language model, put together from what the user chose."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deeplstm.errors import InputError
from deeplstm.tasks.network.build import draw_uniformly, parts
from deeplstm.tasks.text.config import TextModel


def build(model: TextModel, vocabulary_size: int) -> "TextNetwork":
    """The network that `model` describes, for a vocabulary of this size.

    Raises: InputError with every choice that is out of range or does not fit the others.
    """
    complaints = model.check(vocabulary_size)
    if vocabulary_size < 1:
        complaints.append(f"vocabulary_size={vocabulary_size}, but a model needs symbols: give 1 or more.")
    if complaints:
        raise InputError(" ".join(complaints))
    return TextNetwork(model, vocabulary_size)


class TextNetwork(nn.Module):
    """Scores of every symbol to be the next one, at every step of a text.

    (1) e = dropout(embedding[ids])      (2) y, state = core(before(e), state)
    (3) y = after(dropout(y))            (4) logits = W y + b, where tied with the embedding's W

    Shapes: ids (T, B) int64 -> logits (T, B, V); state is what the call before returned, None for zeros.
    Paper: Zaremba et al. 2014, if nothing but widths, dropout and init is chosen. We differ: each LSTM layer has torch's
        two biases where one would do, so that the small model has 4,653,200 numbers and not 4,651,600.
    """

    def __init__(self, model: TextModel, vocabulary_size: int) -> None:
        super().__init__()
        width = model.embedding_width or vocabulary_size
        self.vocabulary_size = vocabulary_size
        self.embedding = nn.Embedding(vocabulary_size, width) if model.embedding_width else None
        self.dropout, self.before, self.core, self.after = parts(width, model)
        self.output = Output(model.read_width, vocabulary_size, tied=model.tied)
        if model.tied:  # N(0, 1), an embedding's own start, would make the first scores enormous
            assert self.embedding is not None
            nn.init.uniform_(self.embedding.weight, -(width**-0.5), width**-0.5)
        if model.init is not None:
            draw_uniformly(self, model.init)

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        if ids.dim() != 2 or ids.dtype != torch.int64:
            raise ValueError(
                f"TextNetwork got ids of shape {tuple(ids.shape)} and {ids.dtype}, but asks for (T, B) and torch.int64. "
                "Put time first, and convert with ids.long()."
            )
        if self.embedding is None:
            e = F.one_hot(ids, self.vocabulary_size).to(self.output.bias.dtype)  # (T, B, V)
        else:
            e = self.embedding(ids)  # (T, B, E)
        y, state = self.core(self.before(self.dropout(e)), state)
        y = self.after(self.dropout(y))
        return self.output(y, self.embedding), state

    def parameter_counts(self) -> dict[str, int]:
        """Trainable numbers: embedding, core (hidden layers before and after it included), output, total.

        Tied weights count once, as the embedding's.
        """
        parts: dict[str, list[nn.Module | None]] = {
            "embedding": [self.embedding],
            "core": [self.before, self.core, self.after],
            "output": [self.output],
        }
        counts = {
            name: sum(p.numel() for module in modules if module is not None for p in module.parameters())
            for name, modules in parts.items()
        }
        return counts | {"total": sum(counts.values())}


class Output(nn.Module):
    """One score for each symbol; where tied, the embedding's weights are its own (Press & Wolf 2017).

    Shapes: y (T, B, E) -> (T, B, V).
    """

    def __init__(self, width: int, symbols: int, tied: bool) -> None:
        super().__init__()
        bound = width**-0.5
        # no second name for the embedding's weights: weights files refuse one tensor under two names
        self.weight = None if tied else nn.Parameter(torch.empty(symbols, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(symbols).uniform_(-bound, bound))

    def forward(self, y: Tensor, embedding: nn.Embedding | None) -> Tensor:
        weight = embedding.weight if self.weight is None and embedding is not None else self.weight
        assert weight is not None
        return F.linear(y, weight, self.bias)

    def extra_repr(self) -> str:
        symbols = len(self.bias)
        return f"{symbols}, tied" if self.weight is None else f"{self.weight.shape[1]}, {symbols}"
