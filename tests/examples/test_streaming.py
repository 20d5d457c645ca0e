"""The streaming examples do what they say."""

import importlib.util
import io
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

import deeplstm

FOLDER = Path(__file__).parents[2] / "examples" / "streaming"


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sensor, effect = loaded("sensor"), loaded("effect")


def run_sensor(lines, *options, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
    return sensor.main(list(options))


def test_a_knock_stands_out_of_a_beat(monkeypatch, capsys):
    lines = [f"{20 + 3 * np.sin(t / 4):.4f}" for t in range(460)]
    lines[430] = "31"
    assert run_sensor(lines, "--learn", "400", "--steps", "60", monkeypatch=monkeypatch) == 0
    out, err = capsys.readouterr()
    printed = out.splitlines()
    assert [line.split(":")[0] for line in printed] == [str(n) for n in range(401, 461)]
    assert printed[30].endswith("came 31.000 !")
    assert printed[0].split("came ")[1] == f"{float(lines[400]):.3f}"
    assert not any("!" in line for line in printed[:30])
    assert "microseconds a reading" in err


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["1.0"] * 50 + ["x"], "line 51 is 'x', but numbers"),
        (["1 2", "1"], "line 2 is '1', but 2 finite numbers"),
        (["1", "nan"], "line 2 is 'nan', but 1 finite"),
        (["1"] * 30, "ended after 30 readings"),
    ],
)
def test_lines_that_are_no_readings(lines, says, monkeypatch, capsys):
    assert run_sensor(lines, "--learn", "100", monkeypatch=monkeypatch) == 2
    assert says in capsys.readouterr().err


def sound(path, channels=2, seconds=0.05, bits=16):
    t = np.arange(int(44100 * seconds))
    x = np.stack([0.5 * np.sin(t / (20 + 10 * c)) for c in range(channels)], 1)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, bits // 8, 44100, 0, "NONE", "not compressed"))
        file.writeframes((x * 32767).astype("<i2").tobytes() if bits == 16 else bytes(len(t) * channels))
    return torch.from_numpy((x * 32767).astype("<i2") / 32768).float()


def samples_of(path):
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(10**9), "<i2").reshape(-1, file.getnchannels())


def test_blocks_are_the_whole_file(tmp_path):
    """Whatever the blocks: every sample is what the network gives for the whole sound."""
    x = sound(tmp_path / "in.wav")
    net = deeplstm.Stack(deeplstm.LSTMCell(1, 4), torch.nn.Linear(4, 1))
    with torch.no_grad():
        expected = net(x[..., None])[0][..., 0].clamp(-1, 1) * 32767
    for block in (100, 10**6):
        used = effect.play(net, tmp_path / "in.wav", tmp_path / f"{block}.wav", block)
        assert 0 < used.share <= used.worst
        np.testing.assert_allclose(samples_of(tmp_path / f"{block}.wav"), expected, atol=1.01)


def test_it_learns_the_effect():
    net = effect.learn(8.0, 40)
    x = 0.5 * torch.sin(torch.arange(400) / 20)[:, None]
    with torch.no_grad():
        off = net(x[..., None])[0][..., 0] - effect.overdriven(x, 8.0)
    assert off.square().mean() < 0.1 * effect.overdriven(x, 8.0).square().mean()


def test_the_command(tmp_path, capsys):
    sound(tmp_path / "in.wav", channels=1, seconds=0.02)
    arguments = [str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), "--steps", "2"]
    assert effect.main(arguments) == 0
    assert "% of real time used" in capsys.readouterr().out
    before = (tmp_path / "out.wav").read_bytes()
    with pytest.raises(SystemExit):
        effect.main(arguments)
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "out.wav").read_bytes() == before


def test_files_that_are_no_sounds(tmp_path, capsys):
    (tmp_path / "text.wav").write_text("not a sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    sound(tmp_path / "8.wav", bits=8)
    for name, says in {
        "text.wav": "is no WAV file: file does not start with RIFF id",
        "empty.wav": "is no WAV file: it ends too early",
        "8.wav": "has 8 bits a sample, but 16 are expected",
        "nothing.wav": "cannot be read: No such file or directory",
    }.items():
        assert effect.main([str(tmp_path / name), str(tmp_path / "out.wav"), "--steps", "1"]) == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"effect: {tmp_path / name} {says}\n")
        assert not (tmp_path / "out.wav").exists()
    sound(tmp_path / "in.wav")
    with pytest.raises(SystemExit):
        effect.main([str(tmp_path / "in.wav"), str(tmp_path / "no" / "out.wav")])
    assert "no is no folder to write out.wav into" in capsys.readouterr().err


def test_a_file_that_was_cut_plays_as_far_as_it_goes(tmp_path):
    sound(tmp_path / "in.wav")
    whole = (tmp_path / "in.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: 44 + 4 * 100 + 3])
    net = deeplstm.Stack(deeplstm.LSTMCell(1, 4), torch.nn.Linear(4, 1))
    for name in ("in", "cut"):
        effect.play(net, tmp_path / f"{name}.wav", tmp_path / f"{name}-out.wav", 64)
    played, full = (samples_of(tmp_path / f"{name}-out.wav") for name in ("cut", "in"))
    np.testing.assert_array_equal(played, full[:100])
