"""Why an LSTM's gates are one product: `python -m benchmarks.one_product` prints the table of docs/how-it-works.md.

The same forward in five ways, from one product a gate to the generated kernel. All are checked against torch.nn.LSTM before
they are timed in turns.
"""

import argparse
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

import deeplstm
from deeplstm.bench.cases import Case
from deeplstm.bench.surroundings import cpu_model
from deeplstm.bench.timing import FULL, Rounds, take_turns

CASES = [Case(100, 1, 64, 1), Case(100, 32, 64, 1), Case(100, 1, 256, 1), Case(100, 32, 256, 1)]

Run = Callable[[Tensor], Tensor]
"""x (T, B, I) -> y (T, B, H)."""


def product_per_gate(lstm: nn.LSTM) -> Run:
    """Eight products a step: each gate has one for x and one for h."""
    W, R, b = lstm.weight_ih_l0.chunk(4), lstm.weight_hh_l0.chunk(4), (lstm.bias_ih_l0 + lstm.bias_hh_l0).chunk(4)
    gates = [(W_n.T, R_n.T, b_n) for W_n, R_n, b_n in zip(W, R, b, strict=True)]
    return lambda x: _over_time(lambda x_t, h: [x_t @ W_n + h @ R_n + b_n for W_n, R_n, b_n in gates], lstm, x)


def product_of_gates(lstm: nn.LSTM) -> Run:
    """Two products a step: the gates' matrices stand on top of each other."""
    W, R, b = lstm.weight_ih_l0.T, lstm.weight_hh_l0.T, lstm.bias_ih_l0 + lstm.bias_hh_l0
    return lambda x: _over_time(lambda x_t, h: (x_t @ W + h @ R + b).chunk(4, -1), lstm, x)


def product_of_steps(lstm: nn.LSTM) -> Run:
    """One product a step: x needs no h, so that all its steps are one product before the loop."""
    W, R, b = lstm.weight_ih_l0.T, lstm.weight_hh_l0.T, lstm.bias_ih_l0 + lstm.bias_hh_l0
    return lambda x: _over_time(lambda pre_x, h: (pre_x + h @ R).chunk(4, -1), lstm, x @ W + b)


def _over_time(sums: Callable[[Tensor, Tensor], Sequence[Tensor]], lstm: nn.LSTM, x: Tensor) -> Tensor:
    h = c = x.new_zeros(x.shape[1], lstm.hidden_size)
    y = []
    for x_t in x:
        i, f, g, o = sums(x_t, h)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        y.append(h)
    return torch.stack(y)


def generated_kernel(lstm: nn.LSTM) -> Run:
    """The loop itself as machine code, the elementwise part of the gates included."""
    cell = deeplstm.LSTMCell(lstm.input_size, lstm.hidden_size)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in lstm.state_dict().items()})

    def run(x: Tensor) -> Tensor:
        zeros = x.new_zeros(x.shape[1], lstm.hidden_size)
        y: Tensor = deeplstm.scan(cell, None, x, (zeros, zeros), backend="cpu")[0]
        return y

    return run


WAYS: dict[str, Callable[[nn.LSTM], Run]] = {
    "a product for each gate, for x and for h": product_per_gate,
    "one for the four gates": product_of_gates,
    "and one for x at all steps, before the loop": product_of_steps,
    "torch.nn.LSTM": lambda lstm: lambda x: lstm(x)[0],
    "deeplstm's generated kernel": generated_kernel,
}


def measure(cases: Sequence[Case], rounds: Rounds) -> dict[tuple[str, Case], float]:
    """Milliseconds of a forward by way and case. Raises: AssertionError where a way gives other numbers."""
    calls = {}
    for case in cases:
        lstm, x = nn.LSTM(case.H, case.H).requires_grad_(False), torch.randn(case.T, case.B, case.H)
        for name, way in WAYS.items():
            run = way(lstm)
            torch.testing.assert_close(run(x), lstm(x)[0], rtol=1e-4, atol=1e-5)
            calls[name, case] = lambda run=run, x=x: run(x)
    with torch.no_grad():
        return {key: time.median for key, time in take_turns(calls, rounds).items()}


def table(found: dict[tuple[str, Case], float]) -> str:
    """Markdown: a row for each way, milliseconds and how many times as fast as the first."""
    cases = list(dict.fromkeys(case for _, case in found))
    first = next(iter(WAYS))
    lines = ["| products, ms | " + " | ".join(f"H = {case.H}, B = {case.B}" for case in cases) + " |"]
    lines.append("| --- |" + " ---: |" * len(cases))
    for name in WAYS:
        cells = [f"{found[name, case]:.2f} ({found[first, case] / found[name, case]:.1f}x)" for case in cases]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one_product", description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (1)")
    torch.set_num_threads(parser.parse_args(arguments).threads)
    torch.manual_seed(0)
    found = measure(CASES, FULL)
    steps, threads = CASES[0].T, torch.get_num_threads()
    print(
        f"{steps} steps forward, float32, {threads} thread{'s' * (threads > 1)}, {cpu_model()}, torch {torch.__version__}\n"
    )
    print(table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
