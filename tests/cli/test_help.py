"""Help, versions, and the time they take."""

import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import deeplstm

HEAVY = {"torch", "lightning", "numpy", "matplotlib", "safetensors", "polars"}


@pytest.mark.parametrize(
    "command", ["--help", "--version", "train text --help", "train series --help", "resume --help"]
)
def test_answers_without_torch(command: str):
    code = "import sys; from deeplstm.cli import main; main(sys.argv[1:]); print(*sys.modules, sep=',')"
    output = subprocess.check_output([sys.executable, "-c", code, *command.split()], text=True)
    assert not HEAVY & set(output.splitlines()[-1].split(","))


def test_help_takes_less_than_half_a_second():
    def seconds(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.check_output([sys.executable, *command])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # The processor's time, not the clock's: other tests share the cores. A busy machine is slow even so: then at most
    # three times what reading the parser's own package takes.
    help_takes = min(seconds("-m", "deeplstm", "--help") for _ in range(3))
    parser_takes = min(seconds("-c", "import cyclopts, rich.console") for _ in range(3))
    assert help_takes < max(0.5, 3 * parser_takes)


def test_help_names_every_command(deeplstm):
    status, out, _ = deeplstm("--help")
    assert status == 0
    for command in ("train", "resume", "generate", "forecast", "evaluate", "inspect"):
        assert command in out


@pytest.mark.parametrize("task", ["text", "series"])
def test_every_choice_is_an_option(task: str, deeplstm):
    from dataclasses import fields

    from deeplstm.tasks.series.choices import SeriesConfig
    from deeplstm.tasks.text.choices import TextConfig

    status, out, _ = deeplstm("train", task, "--help")
    assert status == 0
    config = {"text": TextConfig, "series": SeriesConfig}[task]()
    for section in fields(config):
        for field in fields(getattr(config, section.name)):
            assert f"--{section.name}.{field.name.replace('_', '-')} " in out


def test_version(deeplstm):
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(pyproject.read_text())["project"]["version"] == deeplstm("--version").out.strip()


def test_module_is_the_command():
    output = subprocess.check_output([sys.executable, "-m", "deeplstm", "--version"], text=True, env=os.environ)
    assert output.strip() == deeplstm.__version__
