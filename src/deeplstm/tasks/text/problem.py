"""A text as something to train on: what `deeplstm.training.fit` asks for."""

import torch

from deeplstm.tasks.text.choices import TextConfig
from deeplstm.tasks.text.corpus import Split
from deeplstm.tasks.text.metrics import evaluate, score_targets
from deeplstm.tasks.text.model import TextNetwork
from deeplstm.tasks.text.vocabulary import Vocabulary
from deeplstm.tasks.windows import Windows
from deeplstm.training.problem import Loss, State

UNITS = {"char": "characters", "word": "words", "byte": "bytes"}


class TextProblem:
    """Predict each token from those before it.

    (1) mean = -sum(ln p(target)) / (T B)      (2) loss="sum-over-time": T * mean, as Zaremba et al. 2014
    """

    metrics = ("loss", "bits_per_character", "perplexity")

    def __init__(self, network: TextNetwork, parts: Split, vocabulary: Vocabulary, config: TextConfig) -> None:
        self.network, self.vocabulary, self.options = network, vocabulary, config.training
        self.unit = UNITS[vocabulary.level]
        self.train = Windows(parts.train.open(), self.options.batch_size, self.options.window)
        self._valid = parts.valid.open()

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor], state: State) -> Loss:
        inputs, targets = batch  # (T, B) each
        logits, state = self.network(inputs, state)
        mean = score_targets(logits, targets).mean()  # (1)
        objective = mean * len(targets) if self.options.loss == "sum-over-time" else mean  # (2)
        return Loss(objective, mean, targets.numel(), state)

    def validate(self) -> dict[str, float]:
        """The score of the held-out text, read in as many streams as a training batch: fast, and the same each time."""
        score = evaluate(
            self.network,
            self._valid,
            self.vocabulary,
            batch_size=self.options.batch_size,
            window=self.options.window,
        )
        return {"loss": score.nats, "bits_per_character": score.bits_per_character, "perplexity": score.perplexity}
