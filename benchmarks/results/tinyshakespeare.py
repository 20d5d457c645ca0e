"""Karpathy's char-rnn on tinyshakespeare: at most 1.60 nats for each character that it has not seen.

    DEEPLSTM_DATA=... python -m benchmarks.results.tinyshakespeare

The settings of char-rnn: two LSTM layers of 128 on one-hot characters, every number drawn from [-0.08, 0.08], forget bias 1;
windows of 50 steps in 50 streams; RMSprop at 0.002, after epoch 10 times 0.97 at each epoch, 50 epochs. The text is split
90/10; a 5-gram model (Witten-Bell) comes to 1.669 nats on the last tenth. Like char-rnn, it keeps the weights of the epoch
that is best on the held-out text, and reports those: here on every character of it, read as one stream.

We differ: RMSprop averages squares with torch's 0.99, not 0.95; the gradient of the mean loss is clipped at norm 5, not each
number of the summed loss's at 5 (both are for accidents: RMSprop makes the scale of a gradient irrelevant); the state
is zeroed at each epoch, not carried from the text's end to its beginning.

A run that was interrupted goes on where it was, and a complete one is only scored again.
"""

from benchmarks.results.data import data_files
from benchmarks.results.script import run_script
from benchmarks.results.text import trained
from deeplstm.bench.surroundings import described, markdown, surroundings
from deeplstm.tasks.text.choices import TextConfig
from deeplstm.tasks.text.config import TextData, TextModel
from deeplstm.tasks.text.metrics import evaluate
from deeplstm.training.config import Training

SOURCE = "github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt"
TARGET = 1.60
FLOOR = 1.669


def main() -> int:
    (text,) = data_files("tinyshakespeare/input.txt", source=SOURCE)
    config = TextConfig(
        data=TextData(level="char", valid_fraction=0.1),
        model=TextModel(cell="lstm", layers=2, width=128, embedding=0, init=0.08, forget_bias=1.0),
        training=Training(
            epochs=50,
            batch_size=50,
            window=50,
            optimizer="rmsprop",
            lr=0.002,
            clip_norm=5.0,
            schedule="divide",
            divide_after=10,
            divide_by=1 / 0.97,
        ),
    )
    run = trained("tinyshakespeare", [text], config)
    score = evaluate(run.network, run.encoded("valid").open(), run.vocabulary, batch_size=1)
    epochs = [
        (round(row["epoch"]), f"{row['lr']:.5f}", f"{row['valid_loss']:.3f}", f"{row['seconds'] / 60:.1f}")
        for row in run.validations
    ]
    print(markdown(["epoch", "rate", "nats, held out (50 streams)", "minutes of training"], epochs[4::5]))
    print()
    reached = score.nats <= TARGET
    row = (
        f"at most {TARGET:.2f} nats (5-gram {FLOOR})",
        f"{score.nats:.3f}",
        "yes" if reached else "NO",
        f"{score.bits_per_character:.3f}",
        f"{score.tokens:,}",
        f"{run.network.parameter_counts()['total']:,}",
    )
    print(markdown(["target", "result", "reached", "bits per character", "characters", "parameters"], [row]))
    print(f"\n{described(surroundings())}; {run.story}")
    return 0 if reached else 1


if __name__ == "__main__":
    run_script(main)
