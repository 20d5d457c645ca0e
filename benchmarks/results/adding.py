"""The adding problem (Hochreiter & Schmidhuber 1997): remember two marked numbers over 200 steps, and say their sum.

    python -m benchmarks.results.adding

Each step of a sequence is a number from [0, 1) and a mark; one step of the first half and one of the second are marked, as
in Le et al. 2015. Saying 1 every time has a mean squared error of 1/6 = 0.167. The model is the one of Bai et al. 2018, two
LSTM layers of 77, and counts as having learned the problem below 0.01.

The gates start as in Tallec & Ollivier 2018 ("chrono"): with forget biases ln U(1, T - 1), and input biases of minus that,
the units remember over spans of all lengths up to T. With forget biases of 1 they forget too fast to find the first mark.

A seed that is finished is kept in benchmarks/out/adding.json; a script that was interrupted goes on with the next one.
"""

import json
import sys
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import deeplstm
from benchmarks import OUT
from benchmarks.results.script import run_script
from deeplstm.bench.surroundings import described, markdown, surroundings
from deeplstm.training.files import write_atomic

T = 200
HIDDEN, LAYERS = 77, 2
SEEDS = range(5)
TARGET, NEEDED = 0.01, 4
SETTINGS = {"lr": 0.01, "batch_size": 32, "clip_norm": 1.0, "most_steps": 6000}
CHECK_EVERY = 100


class Adder(nn.Module):
    """The sum, read off the last step. Shapes: x (T, B, 2) -> (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = deeplstm.LSTM(input_size=2, hidden_size=HIDDEN, num_layers=LAYERS)
        self.sum = nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(x)
        total: Tensor = self.sum(y[-1]).squeeze(-1)
        return total


@torch.no_grad()
def start_with_long_memory_(lstm: nn.LSTM) -> None:
    """Units that remember over 1 to T - 1 steps. The bias is in torch's order i, f, g, o; bias_hh adds to it, so it is 0."""
    H = lstm.hidden_size
    for layer in range(lstm.num_layers):
        span = torch.empty(H).uniform_(1, T - 1)
        bias_ih, bias_hh = getattr(lstm, f"bias_ih_l{layer}"), getattr(lstm, f"bias_hh_l{layer}")
        bias_ih[:H], bias_ih[H : 2 * H] = -span.log(), span.log()
        bias_hh[: 2 * H] = 0


def sequences(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs (T, B, 2), each step a number and its mark, and sums (B,)."""
    numbers, marks = torch.rand(T, count, generator=generator), torch.zeros(T, count)
    rows = torch.arange(count)
    marks[torch.randint(T // 2, (count,), generator=generator), rows] = 1
    marks[torch.randint(T // 2, T, (count,), generator=generator), rows] = 1
    return torch.stack([numbers, marks], dim=-1), (numbers * marks).sum(0)


def learn(seed: int) -> dict[str, Any]:
    """Train until the error on held-out sequences is below half the target, or there are no more steps."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Adder()
    start_with_long_memory_(model.lstm)
    optimizer = torch.optim.Adam(model.parameters(), lr=SETTINGS["lr"])
    held_out = sequences(1000, torch.Generator().manual_seed(1000 + seed))
    begin = time.process_time()  # of one thread: what else runs on the machine does not count
    for step in range(1, int(SETTINGS["most_steps"]) + 1):
        x, total = sequences(int(SETTINGS["batch_size"]), generator)
        optimizer.zero_grad()
        F.mse_loss(model(x), total).backward()
        nn.utils.clip_grad_norm_(model.parameters(), SETTINGS["clip_norm"])
        optimizer.step()
        if step % CHECK_EVERY == 0:
            error = mean_squared_error(model, *held_out)
            print(f"seed {seed}, step {step}: {error:.4f}", file=sys.stderr, flush=True)
            if error < TARGET / 2:
                break
    seconds = time.process_time() - begin
    test = sequences(10_000, torch.Generator().manual_seed(2000 + seed))
    return {"seed": seed, "steps": step, "seconds": seconds, "mse": mean_squared_error(model, *test)}


@torch.no_grad()
def mean_squared_error(model: Adder, x: Tensor, total: Tensor) -> float:
    return F.mse_loss(model(x), total).item()


def main() -> int:
    torch.set_num_threads(1)  # layers this small gain nothing from more
    torch.set_flush_denormal(True)  # gradients that fade over 200 steps become denormal, and those are 5 times as slow
    out = OUT / "adding.json"
    finished: list[dict[str, Any]] = []
    if out.exists():
        saved = json.loads(out.read_text())
        finished = saved["seeds"] if saved["settings"] == SETTINGS else []
    for seed in SEEDS:
        if seed not in [record["seed"] for record in finished]:
            finished.append(learn(seed))
            out.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(out, json.dumps({"format": 1, "settings": SETTINGS, "seeds": finished}, indent=1).encode())
    rows = [(r["seed"], f"{r['mse']:.4f}", f"{r['steps']:,}", f"{r['seconds'] / 60:.1f}") for r in finished]
    print(markdown(["seed", "test MSE", "steps", "minutes of CPU"], rows))
    print()
    learned = sum(record["mse"] < TARGET for record in finished)
    reached = learned >= NEEDED
    row = (
        f"MSE < {TARGET} in {NEEDED} of {len(SEEDS)} seeds",
        f"{learned} of {len(SEEDS)}",
        "yes" if reached else "NO",
    )
    print(markdown(["target", "result", "reached"], [row]))
    print(f"\n{described(surroundings())}")
    return 0 if reached else 1


if __name__ == "__main__":
    run_script(main)
