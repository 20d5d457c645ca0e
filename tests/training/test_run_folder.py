import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from deeplstm.errors import InputError
from deeplstm.training.config import Training
from deeplstm.training.run_folder import Run


def make(path: Path, text: str = "", **options) -> None:
    with Run.create(path, **options) as run:
        run.write_config("toy", Training())
        run.sample.write_text(text)


def test_new_run(tmp_path: Path):
    path = tmp_path / "a" / "b" / "run"
    make(path, "hello")
    assert Run.open(path).sample.read_text() == "hello"
    assert [item.name for item in path.parent.iterdir()] == ["run"]


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    make(Path("run"))
    assert Run.open("run").config.exists()


def test_what_is_there_stays(tmp_path: Path):
    path = tmp_path / "run"
    make(path, "old")
    with pytest.raises(InputError, match=r"run exists already and nothing is overwritten unasked: .*--overwrite"):
        make(path, "new")
    assert Run.open(path).sample.read_text() == "old"
    make(path, "new", overwrite=True)
    assert Run.open(path).sample.read_text() == "new"
    assert [item.name for item in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("kind", ["file", "empty folder", "folder", "link"])
def test_only_a_run_is_overwritten(kind: str, tmp_path: Path):
    path = tmp_path / "thing"
    match kind:
        case "file":
            path.write_text("mine")
        case "empty folder":
            path.mkdir()
        case "folder":
            path.mkdir()
            (path / "thesis.txt").write_text("mine")
        case "link":
            make(tmp_path / "run")
            path.symlink_to(tmp_path / "run")
    with pytest.raises(InputError, match="thing is not the folder of a run, so it is not overwritten"):
        make(path, overwrite=True)
    assert path.exists()


def test_a_body_that_fails_leaves_nothing_and_the_old_run(tmp_path: Path):
    path = tmp_path / "run"
    make(path, "old")

    class Failure(Exception):
        pass

    for out in (path, tmp_path / "other"):
        with pytest.raises(Failure):  # noqa: PT012, SIM117
            with Run.create(out, overwrite=True) as run:
                run.sample.write_text("half")
                raise Failure
    assert [item.name for item in tmp_path.iterdir()] == ["run"]
    assert Run.open(path).sample.read_text() == "old"


@pytest.mark.parametrize("kind", ["missing", "file", "folder"])
def test_no_run(kind: str, tmp_path: Path):
    path = tmp_path / "thing"
    if kind == "file":
        path.write_text("")
    elif kind == "folder":
        path.mkdir()
    expected = (
        "does not exist; the folder of a run was" if kind == "missing" else "is not the folder of a run: it has no"
    )
    with pytest.raises(InputError, match=expected):
        Run.open(path)


def test_config_there_and_back(tmp_path: Path):
    make(tmp_path / "run")
    assert Run.open(tmp_path / "run").read_config("toy", Training) == Training()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("format = 1", "format = 2"), "has format 2; this version reads up to 1. Install a newer deeplstm."),
        (("format = 1", 'format = "1"'), "says format = '1'; format = 1 was expected."),
        (("format = 1", ""), "says format = None; format = 1 was expected."),
        (('"toy"', '"series"'), "is of the task 'series'; 'toy' was expected."),
        (('task = "toy"', ""), "is of the task None; 'toy' was expected."),
        (("window =", "windw ="), "windw is no option; did you mean window?"),
        (("epochs = 10.0", 'epochs = "ten"'), "epochs is 'ten'; it must be a number."),
        (("epochs =", "epochs"), "is not a TOML file"),
    ],
)
def test_damaged_config(change: tuple[str, str], message: str, tmp_path: Path):
    make(tmp_path / "run")
    run = Run.open(tmp_path / "run")
    run.config.write_text(run.config.read_text().replace(*change))
    with pytest.raises(InputError) as error:
        run.read_config("toy", Training)
    assert message in str(error.value)
    assert str(run.config) in str(error.value)


class Tied(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, width)
        self.output = nn.Linear(width, 5)
        self.output.weight = self.embedding.weight
        self.register_buffer("count", torch.tensor(7))


def test_weights_there_and_back(tmp_path: Path):
    make(tmp_path / "run")
    run = Run.open(tmp_path / "run")
    one, other = Tied(), Tied()
    one.count += 1
    run.write_weights(one)
    run.read_weights(other)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
    assert other.output.weight is other.embedding.weight


def test_weights_of_another_network(tmp_path: Path):
    make(tmp_path / "run")
    run = Run.open(tmp_path / "run")
    run.write_weights(Tied())
    network = nn.Module()
    network.embedding = nn.Embedding(5, 4)
    network.count = nn.Parameter(torch.tensor(1.0))
    network.more = nn.Parameter(torch.zeros(2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError) as error:
        run.read_weights(network)
    first, *rest = str(error.value).splitlines()
    assert first.startswith(f"{run.weights} does not fit the network that the run's other files describe, 4 times:")
    assert sorted(line.strip() for line in rest) == [
        "count is () int64 in place of () float32",
        "embedding.weight is (5, 3) float32 in place of (5, 4) float32",
        "more is missing",
        "output.bias is unexpected",
    ]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_one_process_at_a_time(tmp_path: Path):
    make(tmp_path / "run")
    run = Run.open(tmp_path / "run")
    hold = "import sys; from deeplstm.training.run_folder import Run\n"
    hold += "with Run.open(sys.argv[1]).only_here(): print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InputError, match="run is being trained by another process"), run.only_here():
            pass
        with pytest.raises(InputError, match="run is being trained by another process"):
            make(run.path, overwrite=True)
        other.kill()
    with run.only_here():  # the system lets go for a process that is killed
        pass
