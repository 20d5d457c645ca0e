"""A recurrence under torch.compile: `python -m benchmarks.compile` prints the table of docs/compiler.md.

A layer-normed LSTM, (B=8, H=64), as it is and under `torch.compile(layer, fullgraph=True)` with torch's default backend.
Outputs and gradients are compared before anything is timed.
"""

import argparse
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor, nn

import deeplstm
from deeplstm.bench.surroundings import cpu_model
from deeplstm.bench.timing import FULL, Rounds, take_turns

B, H = 8, 64
STEPS = (100, 1000)


class Row(NamedTuple):
    """Of one number of steps: seconds of the first compiled call, with the kernels there, and milliseconds of a later one."""

    T: int
    first_s: float
    inference: float
    inference_compiled: float
    training: float
    training_compiled: float


def measure(T: int, rounds: Rounds, backend: str = "inductor") -> Row:
    """Raises: AssertionError where the compiled layer gives other numbers."""
    torch._dynamo.reset()
    layer, x = deeplstm.Recurrent(deeplstm.LSTMCell(H, H, norm=True)), torch.randn(T, B, H, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    wanted = _training(layer, x)()  # the kernels are there after it
    start = perf_counter()
    compiled(x)
    first_s = perf_counter() - start
    torch.testing.assert_close(_training(compiled, x)(), wanted, rtol=1e-4, atol=1e-4)
    calls = {
        "inference": _inference(layer, x.detach()),
        "inference_compiled": _inference(compiled, x.detach()),
        "training": _training(layer, x),
        "training_compiled": _training(compiled, x),
    }
    for call in calls.values():  # what torch compiles for each kind of call is no part of the times
        call()
    return Row(T, first_s, **{name: time.median for name, time in take_turns(calls, rounds).items()})


def _inference(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    @torch.no_grad()
    def call() -> object:
        return layer(x)

    return call


def _training(layer: nn.Module, x: Tensor) -> Callable[[], list[Tensor]]:
    """Forward and backward; gives y and the gradients of x and of the weights."""

    def call() -> list[Tensor]:
        y = layer(x)[0]
        return [y.detach(), *torch.autograd.grad(y.sum(), [x, *layer.parameters()])]

    return call


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = ["| T | first call, s | forward, ms | compiled | forward and backward, ms | compiled |"]
    lines.append("| ---: |" + " ---: |" * 5)
    for T, first_s, *times in rows:
        lines.append(f"| {T} | {first_s:.1f} | " + " | ".join(f"{ms:.1f}" for ms in times) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile", description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="torch's threads (2)")
    torch.set_num_threads(parser.parse_args(arguments).threads)
    torch.manual_seed(0)
    import torch._inductor.config as config

    with config.patch(fx_graph_cache=False):  # or a second run would find what the first has compiled
        torch.compile(torch.nn.Linear(H, H))(torch.randn(B, H))  # imports torch's compiler
        rows = [measure(T, FULL) for T in STEPS]
    print(f"B={B}, H={H}, float32, {torch.get_num_threads()} threads, {cpu_model()}, torch {torch.__version__}\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
