"""What a trained LSTM does inside: gates, memory half-lives, how far back it looks. Draws the figures of docs/inspect.md.

    python examples/look_inside.py [FOLDER]

The task: three channels that are silent but for rare pulses of +1 or -1; the network says the last pulse of each channel.
"""

import sys
from pathlib import Path

import torch

import deeplstm

STEPS, ROWS, CHANNELS = 100, 32, 3


class LastPulse(torch.nn.Module):
    """From x (T, B, 3) to what the last pulse of each channel was, (T, B, 3)."""

    def __init__(self):
        super().__init__()
        self.core = deeplstm.Stack(deeplstm.LSTMCell(CHANNELS, 12, forget_bias=1.0), deeplstm.LSTMCell(12, 12))
        self.output = torch.nn.Linear(12, CHANNELS)

    def forward(self, x, state=None, lengths=None):
        h, state = self.core(x, state, lengths=lengths)
        return self.output(h), state


def pulses(steps=STEPS, rows=ROWS):
    """Rare pulses x (T, B, 3), and the last one of each channel at every step, y (T, B, 3), 0 before the first."""
    x = torch.randn(steps, rows, CHANNELS).sign() * (torch.rand(steps, rows, CHANNELS) < 0.05)
    y = torch.zeros_like(x)
    for t in range(steps):
        y[t] = torch.where(x[t] != 0, x[t], y[t - 1] if t else 0.0)
    return x, y


def train(model, steps):
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(steps):
        x, y = pulses()
        loss = (model(x)[0] - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99:
            print(f"step {step + 1}: mean squared error {loss.item():.4f}")


def main(folder="build/inspect", steps=600):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    model = LastPulse()
    train(model, steps)
    model.eval()

    print(deeplstm.gates(model)["layer 1"])
    x, y = pulses()
    seen = deeplstm.trace(model, x, loss=lambda output: (output - y).square().mean(-1))
    summary = seen.summary()
    print(summary)
    found = deeplstm.memory(model, x)
    print(found)
    seen.plot(values=["input", "forget", "output", "c"]).savefig(folder / "trace.png", dpi=110)
    summary.plot().savefig(folder / "summary.png", dpi=110)
    found.plot().savefig(folder / "memory.png", dpi=110)
    print(f"figures are in {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
