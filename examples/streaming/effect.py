"""A sound effect in real time: an LSTM that has learned an overdrive plays a WAV file through it, block by block.

    python effect.py in.wav out.wav --block 128 --drive 8

First the network learns what the effect does to a sound: a soft clip behind a filter that remembers (no recording is needed,
the sound to learn from is made up). Then the file goes through a `deeplstm.Stream` in blocks, as a sound card would hand
them out, and the share of real time that took is printed: below 100 % it could be played live. Each channel is a row of the
batch. Reads and writes WAV files of 16 bits.
"""

import argparse
import sys
import time
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import deeplstm

WIDTH = 16


@dataclass(frozen=True)
class Used:
    """How much of real time the blocks took: of all, and of the one that took longest."""

    share: float
    worst: float


def overdriven(x: torch.Tensor, drive: float) -> torch.Tensor:
    """The effect, sample by sample: y_t = 0.6 y_(t-1) + 0.4 tanh(drive x_t), for x (T, B)."""
    y, out = torch.zeros(x.shape[1]), []
    for sample in torch.tanh(drive * x):
        y = 0.6 * y + 0.4 * sample
        out.append(y)
    return torch.stack(out)


def learn(drive: float, steps: int) -> deeplstm.Stack:
    """A network that does to a sound what the effect does."""
    torch.manual_seed(0)
    net = deeplstm.Stack(deeplstm.LSTMCell(1, WIDTH), torch.nn.Linear(WIDTH, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    time_ = torch.arange(256)[:, None] / 44100
    for step in range(steps):
        pitch, loudness = torch.rand(1, 16) * 2000 + 50, torch.rand(1, 16)
        x = loudness * torch.sin(2 * torch.pi * pitch * time_) + 0.1 * loudness * torch.randn(256, 16)
        y, _ = net(x[..., None])
        loss = torch.nn.functional.mse_loss(y[..., 0], overdriven(x, drive))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if step == steps // 2:
            for group in optimizer.param_groups:
                group["lr"] = 0.005
    return net


def play(net: deeplstm.Stack, source: Path, target: Path, block: int) -> Used:
    """Send a file through a network in blocks. Raises ValueError for a file that is no sound of 16 bits."""
    with opened(source) as sound:
        channels, rate = sound.getnchannels(), sound.getframerate()
        stream = deeplstm.Stream(net, batch=channels)
        stream.feed(np.zeros((1, channels, 1), np.float32))  # before the first sample nobody waits
        stream.reset()
        samples, taken, worst = 0, 0.0, 0.0
        with wave.open(str(target), "wb") as result:
            result.setparams((channels, 2, rate, 0, "NONE", "not compressed"))
            while frames := sound.readframes(block):
                start = time.perf_counter()
                numbers = np.frombuffer(
                    frames[: len(frames) // (2 * channels) * 2 * channels], "<i2"
                )  # a file may be cut
                x = numbers.reshape(-1, channels, 1).astype(np.float32) / 32768
                y = stream.feed(x)
                result.writeframes((np.clip(y, -1, 1) * 32767).astype("<i2").tobytes())
                seconds = time.perf_counter() - start
                taken, worst = taken + seconds, max(worst, seconds / (max(1, len(x)) / rate))
                samples += len(x)
    return Used(taken / (samples / rate) if samples else 0.0, worst)


def opened(source: Path) -> wave.Wave_read:
    """A WAV file to read. Raises ValueError for any other."""
    try:
        sound = wave.open(str(source), "rb")  # noqa: SIM115, the caller closes it
    except OSError as error:
        raise ValueError(f"{source} cannot be read: {error.strerror}") from None
    except (EOFError, wave.Error) as error:
        raise ValueError(f"{source} is no WAV file: {str(error) or 'it ends too early'}") from None
    if sound.getsampwidth() != 2:
        sound.close()
        raise ValueError(f"{source} has {8 * sound.getsampwidth()} bits a sample, but 16 are expected")
    return sound


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a WAV file of 16 bits")
    parser.add_argument("target", type=Path, help="where the result goes; must not exist yet")
    parser.add_argument("--block", type=int, default=128, help="samples a block")
    parser.add_argument("--drive", type=float, default=8.0, help="how much of the effect")
    parser.add_argument("--steps", type=int, default=300, help="steps of training")
    options = parser.parse_args(arguments)
    if options.block < 1:
        parser.error(f"--block {options.block} is given, at least 1 is expected")
    if options.target.exists():
        parser.error(f"{options.target} exists already: choose another name")
    if not options.target.parent.is_dir():
        parser.error(f"{options.target.parent} is no folder to write {options.target.name} into: make it")
    try:
        opened(options.source).close()  # what is no sound is said before anything is learned
        print(f"learning the effect, {options.steps} steps ...", flush=True)
        used = play(learn(options.drive, options.steps), options.source, options.target, options.block)
    except ValueError as error:
        options.target.unlink(missing_ok=True)
        print(f"effect: {error}", file=sys.stderr)
        return 2
    print(
        f"{options.target}: {100 * used.share:.1f} % of real time used, {100 * used.worst:.1f} % in the longest block"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
