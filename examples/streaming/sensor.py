"""A sensor read line by line: a small GRU learns from the first readings, then foretells each one before it comes.

    python sensor.py --simulate 3000 | python sensor.py
    tail -f readings.txt | python sensor.py --learn 1000

Each line of standard input is one reading, a number, or several with blanks between them. For every reading after the first
``--learn`` a line is printed: its number, what was foretold, what came, and ``!`` where it is further off than readings usually
are. The stream takes a reading in microseconds and remembers all that came before it.
"""

import argparse
import math
import os
import random
import sys
import time
from collections.abc import Iterator
from itertools import islice

import torch

import deeplstm

WINDOW = 50


def simulated(count: int, seed: int = 0) -> Iterator[str]:
    """Lines of a pump's pressure: two beats, noise, and now and then a knock."""
    draw = random.Random(seed)
    for t in range(count):
        value = 20 + 3 * math.sin(t / 7) + math.sin(t / 2.3) + draw.gauss(0, 0.1)
        yield f"{value + (draw.random() < 0.005) * 4:.3f}"


def readings(lines: Iterator[str]) -> Iterator[torch.Tensor]:
    """The numbers of each line, (I,). Raises ValueError with the line that is none."""
    width = None
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = [float(part) for part in line.split()]
        except ValueError:
            raise ValueError(
                f"line {n} is {line.strip()!r}, but numbers with blanks between them are expected"
            ) from None
        width = width or len(values)
        if len(values) != width or not all(map(math.isfinite, values)):
            raise ValueError(
                f"line {n} is {line.strip()!r}, but {width} finite numbers are expected, as on the first line"
            )
        yield torch.tensor(values)


def learn(series: torch.Tensor, steps: int) -> deeplstm.Stack:
    """A network that foretells the next reading of a series (T, I)."""
    T, width = series.shape
    net = deeplstm.Stack(deeplstm.GRUCell(width, 32), torch.nn.Linear(32, width))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(steps):
        begins = torch.randint(T - WINDOW, (16,))
        batch = torch.stack([series[b : b + WINDOW + 1] for b in begins], 1)  # (WINDOW + 1, 16, I)
        y, _ = net(batch[:-1])
        loss = torch.nn.functional.mse_loss(y[10:], batch[11:])  # the first few steps know too little
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learn", type=int, default=1000, help="readings to learn from (at least 100)")
    parser.add_argument("--steps", type=int, default=200, help="steps of training")
    parser.add_argument("--simulate", type=int, metavar="N", help="print N readings of a made-up sensor instead")
    options = parser.parse_args(arguments)
    if options.simulate is not None:
        print("\n".join(simulated(options.simulate)))
        return 0
    if options.learn < 2 * WINDOW:
        parser.error(f"--learn {options.learn} is given, at least {2 * WINDOW} readings are needed")
    try:
        return watch(readings(sys.stdin), options.learn, options.steps)
    except ValueError as error:
        print(f"sensor: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # who reads this, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def watch(given: Iterator[torch.Tensor], count: int, steps: int) -> int:
    """Learn from the first readings, then foretell the others."""
    first = list(islice(given, count))
    if len(first) < count:
        raise ValueError(f"standard input ended after {len(first)} readings, but the first {count} are to learn from")
    series = torch.stack(first)
    mean, scale = series.mean(0), series.std(0).clamp_min(1e-6)
    series = (series - mean) / scale
    print(f"learning from {count} readings ...", file=sys.stderr)
    stream = deeplstm.Stream(learn(series, steps))
    foretold = stream.feed(series[:, None])  # (T, 1, I)
    usual = (foretold[WINDOW:-1, 0] - series[WINDOW + 1 :]).square().mean(0).sqrt()
    expected, taken, number = foretold[-1], 0.0, count
    for number, reading in enumerate(given, count + 1):
        x = (reading - mean) / scale
        mark = " !" if bool(((x - expected[0]).abs() > 4 * usual).any()) else ""
        texts = (" ".join(f"{v:.3f}" for v in values) for values in (expected[0] * scale + mean, reading))
        print(f"{number}: foretold {next(texts)}, came {next(texts)}{mark}", flush=True)
        start = time.perf_counter()
        expected = stream.step(x[None])
        taken += time.perf_counter() - start
    if number > count:
        print(f"{taken / (number - count) * 1e6:.0f} microseconds a reading", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
