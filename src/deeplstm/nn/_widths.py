"""What the layers of a stack say of the widths they read and give."""

from __future__ import annotations

from torch import nn

from ._drop_in import DropIn
from .readout import Readout
from .regularize import VariationalDropout


def sizes(layer: nn.Module) -> tuple[int | None, int | None]:
    """(width read, width given), None where a layer does not say."""
    if isinstance(layer, Readout):
        return sizes(layer.module)
    if isinstance(layer, DropIn):
        width = layer.proj_size or layer.hidden_size
        return layer.input_size, width * (2 if layer.bidirectional else 1)
    if isinstance(layer, nn.Embedding):
        return None, layer.embedding_dim
    if isinstance(layer, nn.Sequential):
        return _sizes_in_sequence(layer)
    reads = getattr(layer, "input_size", getattr(layer, "in_features", None))
    gives = getattr(layer, "output_size", getattr(layer, "out_features", None))
    return (reads if isinstance(reads, int) else None), (gives if isinstance(gives, int) else None)


def _sizes_in_sequence(layers: nn.Sequential) -> tuple[int | None, int | None]:
    reads = gives = None
    for n, layer in enumerate(layers):
        i, o = sizes(layer)
        reads = i if n == 0 else reads
        gives = o if o is not None else (gives if keeps_width(layer) else None)
    return reads, gives


def keeps_width(layer: nn.Module) -> bool:
    """Whether a layer gives the width it reads, unit by unit: norms, dropout, activations; of others nothing is known."""
    if isinstance(layer, nn.GLU | nn.MultiheadAttention):
        return False
    unit_by_unit = ("torch.nn.modules.activation", "torch.nn.modules.dropout", "torch.nn.modules.normalization")
    return type(layer).__module__ in unit_by_unit or isinstance(
        layer, nn.Identity | nn.BatchNorm1d | VariationalDropout
    )
