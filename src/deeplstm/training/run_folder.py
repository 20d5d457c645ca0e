"""A run: the folder that holds everything one training chose, read, measured and learned.

    config.toml           every choice, defaults included       data/           the encoded training data
    weights.safetensors   the best weights so far               metrics.csv     a row for every few steps
    resume.ckpt           all it takes to go on, bit for bit    loss.png        the curves
    of a text:            vocabulary.json                       sample.txt, written last
    of a series:          scaler.json                           predictions.png; scores.json, written last

Config, weights and vocabulary or scaler are what there is to share. Reading any of it executes nothing: TOML,
safetensors, JSON, and a checkpoint that may contain tensors and plain values only.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deeplstm.errors import InputError
from deeplstm.training.files import write_atomic
from deeplstm.training.options import from_table, joined, read_toml, to_table

if TYPE_CHECKING:
    from torch import Tensor, nn

Config = TypeVar("Config")
FORMAT = 1


class Run:
    """The files of one run, by name, with what reads and writes those that every task has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.weights = path / "weights.safetensors"
        self.resume = path / "resume.ckpt"
        self.vocabulary = path / "vocabulary.json"
        self.scaler = path / "scaler.json"
        self.data = path / "data"
        self.metrics = path / "metrics.csv"
        self.curves = path / "loss.png"
        self.sample = path / "sample.txt"
        self.predictions = path / "predictions.png"
        self.scores = path / "scores.json"
        self.tensorboard = path / "tensorboard"

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Run":
        """The run at `path`; InputError if there is none."""
        run = cls(Path(path))
        if not run.path.exists():
            raise InputError(f"{path} does not exist; the folder of a run was expected. `deeplstm train` makes one.")
        if not run.config.is_file():
            raise InputError(f"{path} is not the folder of a run: it has no config.toml. `deeplstm train` makes one.")
        return run

    @classmethod
    @contextmanager
    def create(cls, path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator["Run"]:
        """A new run, filled by the body of the `with` and given its name at the end of it.

        Until then it is a hidden folder beside `path`, so that a body that fails leaves nothing behind, and a run that
        is overwritten stays as it is until the new one is complete.

        Raises:
            InputError: `path` exists and `overwrite` was not asked for, or is not a run that could be overwritten.
        """
        path = Path(path)
        cls._check_free(path, overwrite)
        beside = path.absolute().parent
        beside.mkdir(parents=True, exist_ok=True)
        making, leaving = (beside / f".{path.name}.{state}-{os.getpid()}" for state in ("making", "leaving"))
        making.mkdir()
        try:
            yield cls(making)
            cls._check_free(path, overwrite)
            if path.exists():
                with cls(path).only_here():
                    path.rename(leaving)
            making.rename(path)
        finally:
            shutil.rmtree(making, ignore_errors=True)
            shutil.rmtree(leaving, ignore_errors=True)

    @classmethod
    def _check_free(cls, path: Path, overwrite: bool) -> None:
        if not path.exists() and not path.is_symlink():
            return
        if not overwrite:
            raise InputError(
                f"{path} exists already and nothing is overwritten unasked: choose another name, or give --overwrite "
                "(overwrite=True)."
            )
        if not cls(path).config.is_file() or path.is_symlink():
            raise InputError(f"{path} is not the folder of a run, so it is not overwritten; choose another name.")

    @contextmanager
    def only_here(self) -> Iterator[None]:
        """No other process trains this run meanwhile; InputError if one does already."""
        try:
            import fcntl
        except ImportError:  # Windows: nobody is kept out
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go by the system when the process dies
            yield
        except BlockingIOError:
            raise InputError(
                f"{self.path} is being trained by another process; stop that one, or wait for it."
            ) from None
        finally:
            os.close(descriptor)

    # --- config.toml

    @property
    def task(self) -> str:
        """What the run was trained for, as its config says; "" where it does not. InputError for another format."""
        return str(_formatted(self.config, header_needed=True).get("task", ""))

    def write_config(self, task: str, config: Any) -> None:
        import tomli_w

        table = {"format": FORMAT, "task": task, **to_table(config)}
        write_atomic(self.config, tomli_w.dumps(table).encode())

    def read_config(self, task: str, kind: type[Config]) -> Config:
        """The choices of the run; InputError if the file is damaged, of another task or of a newer version."""
        return from_table(kind, config_table(self.config, task, header_needed=True), str(self.config))

    # --- weights.safetensors

    def write_weights(self, network: "nn.Module") -> None:
        from safetensors.torch import save

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named_tensors(network).items()}
        write_atomic(self.weights, save(tensors, metadata={"format": str(FORMAT)}))

    def read_weights(self, network: "nn.Module") -> None:
        """Load the weights into `network`; InputError if the file is missing, damaged or of another network."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(self.weights.read_bytes())
        except FileNotFoundError:
            raise InputError(
                f"{self.weights} does not exist: this run has not been validated yet. "
                f"Train it further with: deeplstm resume {self.path}"
            ) from None
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise InputError(
                f"{self.weights} is damaged or no safetensors file: {error}. Put back a whole copy."
            ) from None
        load_tensors(network, tensors, str(self.weights))


def config_table(path: Path, task: str, *, header_needed: bool) -> dict[str, Any]:
    """The options in a config file of `task`, without its header (format and task), which is checked."""
    table = _formatted(path, header_needed)
    named = table.pop("task", None if header_needed else task)
    if named != task:
        raise InputError(f"{path} is of the task {named!r}; {task!r} was expected. Use the commands of that task.")
    return table


def _formatted(path: Path, header_needed: bool) -> dict[str, Any]:
    """The content of a config file of a format that this version reads, without it."""
    table = read_toml(path)
    given = table.pop("format", None if header_needed else FORMAT)
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise InputError(f"{path} says format = {given!r}; format = {FORMAT} was expected. It is no run's config.toml.")
    if given > FORMAT:
        raise InputError(f"{path} has format {given}; this version reads up to {FORMAT}. Install a newer deeplstm.")
    return table


def named_tensors(network: "nn.Module") -> dict[str, "Tensor"]:
    """The network's parameters and buffers, each once, under the first of its names (tied weights have several)."""
    tensors: dict[str, Tensor] = {}
    seen = set()
    for name, tensor in network.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor
    return tensors


def compare_tensors(network: "nn.Module", tensors: Mapping[str, Any]) -> list[str]:
    """Everything in which `tensors` differ from what `network` has: missing, unexpected, other shapes and types."""
    own = named_tensors(network)
    differences = [f"{name} is missing" for name in own if name not in tensors]
    differences += [f"{name} is unexpected" for name in tensors if name not in own]
    for name in own.keys() & tensors.keys():
        mine, given = own[name], tensors[name]
        if mine.shape != given.shape or mine.dtype != given.dtype:
            differences.append(f"{name} is {_describe(given)} in place of {_describe(mine)}")
    return differences


def load_tensors(network: "nn.Module", tensors: Mapping[str, "Tensor"], source: str) -> None:
    """Copy `tensors` into `network`; one InputError naming `source` and every difference if they do not fit."""
    import torch

    if differences := compare_tensors(network, tensors):
        raise InputError(joined(f"{source} does not fit the network that the run's other files describe", differences))
    with torch.no_grad():
        for name, tensor in named_tensors(network).items():
            tensor.copy_(tensors[name])


def _describe(tensor: "Tensor") -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
