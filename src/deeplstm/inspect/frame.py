"""Traces, summaries and memories as tables of polars."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .extra import needed

if TYPE_CHECKING:
    import polars

    from .memory import Memory
    from .summary import Summary
    from .trace import Trace


def trace_frame(trace: Trace, layers: Iterable[str], names: Iterable[str] | None) -> polars.DataFrame:
    """One row for each number: layer, name, step, row, unit, value; nothing beyond a row's length."""
    pl = needed("polars", "to_frame")
    layers = list(layers)
    wanted = None if names is None else list(names)
    all_names = list(dict.fromkeys(name for layer in layers for name in trace[layer]))
    kinds = {"layer": pl.Enum(layers), "name": pl.Enum(all_names)}
    schema = {**kinds, "step": pl.Int32, "row": pl.Int32, "unit": pl.Int32, "value": pl.Float64}
    frames = [pl.DataFrame(schema=schema)]
    for layer in layers:
        for name, value in trace[layer].items():
            if wanted is not None and name not in wanted:
                continue
            T, B, n = value.shape
            step, row, unit = (i.flatten() for i in torch.meshgrid(*map(torch.arange, (T, B, n)), indexing="ij"))
            kept = None
            if (inside := trace.inside[layer]) is not None:
                kept = inside.cpu()[:, :, None].expand(T, B, n).flatten()
            columns = {"step": step, "row": row, "unit": unit, "value": value.detach().cpu().double().flatten()}
            arrays = {key: _kept(column, kept).numpy() for key, column in columns.items()}
            frame = pl.DataFrame(arrays).with_columns(
                pl.lit(layer, dtype=kinds["layer"]).alias("layer"), pl.lit(name, dtype=kinds["name"]).alias("name")
            )
            frames.append(frame.select(pl.col(key).cast(kind) for key, kind in schema.items()))
    return pl.concat(frames)


def summary_frame(summary: Summary) -> polars.DataFrame:
    """One row for each layer and value."""
    pl = needed("polars", "to_frame")
    columns = ("layer", "name", "mean", "std", "low", "high", "left", "right")
    numbers = dict.fromkeys(columns[2:], pl.Float64)
    return pl.DataFrame(
        [[getattr(row, c) for c in columns] for row in summary.rows],
        schema={"layer": pl.String, "name": pl.String, **numbers},
        orient="row",
    )


def memory_frame(memory: Memory) -> polars.DataFrame:
    """One row for each curve and lag."""
    pl = needed("polars", "to_frame")
    schema = {"layer": pl.String, "lag": pl.Int32, "norm": pl.Float64, "error": pl.Float64}
    rows = []
    for name, curve in memory.curves.items():
        errors = memory.errors[name].tolist() if name in memory.errors else [None] * len(curve)
        rows += [(name, k, norm, error) for k, (norm, error) in enumerate(zip(curve.tolist(), errors, strict=True))]
    return pl.DataFrame(rows, schema=schema, orient="row")


def _kept(column: Tensor, kept: Tensor | None) -> Tensor:
    return column if kept is None else column[kept]
