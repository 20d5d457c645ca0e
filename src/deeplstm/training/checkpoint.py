"""resume.ckpt: Lightning's checkpoint, written atomically, read without executing anything, checked before it is used."""

import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from torch import nn

from deeplstm.errors import InputError
from deeplstm.training.files import write_atomic
from deeplstm.training.options import joined
from deeplstm.training.run_folder import FORMAT, compare_tensors, load_tensors, named_tensors

OURS = "deeplstm"
"""Key of our own part of the checkpoint, beside Lightning's (weights, optimiser, loops)."""
NETWORK = "network."
"""Prefix of the network's tensors in the LightningModule that trains it."""


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's way to the disk, with our way of writing."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomic(path, buffer.getbuffer())  # a view: no second copy of a large network

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        return _load(Path(path))


def read_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, Any]
) -> dict[str, Any]:
    """Load the checkpoint's weights into `network` and return our part of it, once it is known to belong here.

    Arguments:
        optimizer: a new one for the network; it is compared, and left as it is.
        identity: what `Loop.identity` says now, and must have said when the checkpoint was made.

    Raises:
        InputError: one, naming the file and every difference.
    """
    checkpoint = _load(path)
    ours = checkpoint.get(OURS) if isinstance(checkpoint, dict) else None
    if not isinstance(ours, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise InputError(f"{path} is not the checkpoint of a run. Put this run's own file back.")
    if ours.get("format") != FORMAT:
        raise InputError(
            f"{path} has format {ours.get('format')!r}; this version reads {FORMAT}. Resume with the version that made it."
        )
    # The checkpoint holds a tied weight under each of its names; one of them is enough.
    aliases = network.state_dict().keys() - named_tensors(network).keys()
    tensors = {name.removeprefix(NETWORK): tensor for name, tensor in checkpoint["state_dict"].items()}
    tensors = {name: tensor for name, tensor in tensors.items() if name not in aliases}
    differences = compare_tensors(network, tensors)
    differences += [
        f"{name} was {ours['identity'].get(name)!r} and is now {value!r}"
        for name, value in identity.items()
        if ours["identity"].get(name) != value
    ]
    differences += _misfits(checkpoint["optimizer_states"][0], optimizer)
    if differences:
        raise InputError(joined(f"{path} was not made by this config.toml and this data", differences))
    load_tensors(network, tensors, str(path))
    return ours


def _misfits(state: Any, optimizer: torch.optim.Optimizer) -> list[str]:
    """In what the saved state of an optimiser differs from what `optimizer` would have."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved = sum(len(group["params"]) for group in state["param_groups"])
    if saved != len(parameters):
        return [f"the optimiser has {saved} parameters in place of {len(parameters)}"]
    return [
        f"the optimiser's {name} of parameter {number} is {(*value.shape,)} in place of {(*parameters[number].shape,)}"
        for number, values in state["state"].items()
        for name, value in values.items()
        if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameters[number].shape
    ]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong while a checkpoint is being understood is said of the file, in one InputError."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path} is damaged: {error!r}. Put this run's own file back.") from error


def _load(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is damaged, or holds more than tensors and plain values: {first}") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} is damaged or no checkpoint: {first}. Put back a whole copy.") from None
