"""What a page shows of a network, as one dict of plain values that JSON can hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..gates import Gates, gates
from ..memory import memory as memory_of
from ..run import is_batch_first
from ..trace import trace
from ..words import counted
from .arrays import fit, pack
from .features import FEATURES, SHIFTS, Tracking, features, tracking
from .network import blocks, matrices

FORMAT = 1
TRACE_SIZE = 4_600_000
"""Characters of a page that all traces together may take."""
WEIGHTS = 500_000
"""Numbers that the pictures of all weights together may have; beyond, a pixel stands for several weights."""
LEAST_SIZE = 0.45
"""Characters that a traced number takes where it is compressed best, about: what cannot fit need not be traced."""
NEARLY = 0.9
"""Where a gate counts as open or shut: beyond 0.9 or below 0.1, of those with a sign beyond 0.9 of either."""
MOST_STEPS = 10_000
"""Steps of a page, at most: of a text each is an element, and a browser slows down under more of them."""
POINTS = 1000
"""Points of a loss curve, at most: beyond, each is the mean of several."""
LAGS = 100
"""Steps back that the memory curves show, at most."""
Traced = Mapping[str, Mapping[str, Tensor]]
Traces = dict[tuple[str, str], NDArray[np.float32]]


class Curve(NamedTuple):
    """One number for every step that a model read ("input") or gave ("output"), as a page draws it.

    Shapes: values (T,).
    """

    name: str
    kind: str
    values: NDArray[Any]
    beside: str = ""
    """Name of the curve that it is drawn over, as a prediction over what came; none: on its own."""


def affordable_steps(model: nn.Module, x: Any) -> int:
    """How many steps of a model a page can hold, at the very most.

    Args:
        x: an input of a few steps, which is traced to see how many values a step has.
    """
    a_step = sum(values.shape[-1] for layer in trace(model, x).values() for values in layer.values())
    return max(1, int(TRACE_SIZE / LEAST_SIZE / max(a_step, 1)))


def collect(
    model: nn.Module,
    seen: Traced,
    pieces: Sequence[str],
    *,
    title: str,
    about: str,
    unit: str,
    skip: int = 0,
    first: int | None = None,
    text: Sequence[str] | None = None,
    curves: Sequence[Curve] | None = None,
    memory: dict[str, Any] | None = None,
    loss: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The data of a page about a model and what it did with one sequence: a text, or numbers over time.

    ``render`` draws it; a task adds what it alone knows: "facts" (pairs of name and value), "notes" (sentences
    above all), and "expected" (see `expectations`).

    Args:
        seen: `trace` of the model on one sequence, or what is wanted of it: T + skip steps of one row in every layer.
        pieces: what each of the T steps is called on the page; together they are the text. Of numbers it may be empty: then
            steps have their number alone.
        title, about: the page's head.
        unit: what a step is: "character".
        skip: steps at the beginning that are not shown.
        first: number of the first step that is shown; None: 1 in a text, else 0.
        text: the pieces as features see them, where the page shows them differently.
        curves: the numbers, where it is no text that was read: they stand in its place, and units are looked for that follow
            them instead of a text's features.
        memory: {"about", "label", "direction" ("back", "back or ahead"), "lags": (K,), "layers": [{"name", "norms": (K,)}]}.
        loss: {"about", "label", "top", "train" and "valid": {"x": (N,), "y": (N,)}}.

    Returns: a dict of ``data["steps"]["count"]`` steps: fewer than given where all values of all units for more of them
        would make the page too large. The task says so in a note.
    Raises: InputError for values that are not finite.
    """
    traces = _rows(seen, skip)
    drawn = [_rounded(curve.values) for curve in curves or ()]
    steps, packed = fit(traces, TRACE_SIZE - len(json.dumps(drawn)))
    traces = {key: values[:, :steps] for key, values in traces.items()}
    found = gates(model)
    if curves is None:
        tracked = _features(traces, (text or pieces)[:steps])
    else:
        tracked = _curves(traces, curves, [values[:steps] for values in drawn])
    return {
        "format": FORMAT,
        "made_by": f"deeplstm {sys.modules['deeplstm'].__version__}",
        "title": title,
        "about": about,
        "notes": [],
        "facts": [],
        "network": blocks(model, found, seen),
        "loss": loss,
        "steps": {
            "kind": "text" if curves is None else "numbers",
            "unit": unit,
            "first": int(curves is None) if first is None else first,
            "count": steps,
            "pieces": list(pieces[:steps]),
        },
        "expected": None,
        "trace": {
            "layers": [
                {"name": layer, "values": [{"name": name, "array": packed[layer, name]} for name in values]}
                for layer, values in seen.items()
            ]
        },
        "features": tracked,
        "saturation": saturation(traces),
        "weights": _weights(found),
        "memory": memory,
        "start": _start(tracked, pieces[:steps], steps),
    }


def expectations(
    probabilities: NDArray[Any], actual: NDArray[Any], symbols: Sequence[str], most: int = 5
) -> dict[str, Any]:
    """What the model expected at each step: the likeliest symbols, and the probability of the one that came.

    Shapes: probabilities (T, V) of the symbol at each step; actual (T,), its number; symbols: V of them.
    """
    T = len(actual)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :most]  # (T, most)
    used = np.unique(np.concatenate([order.ravel(), actual]))
    place = {int(symbol): n for n, symbol in enumerate(used)}
    likeliest = np.take_along_axis(probabilities, order, axis=1)
    return {
        "symbols": [symbols[symbol] for symbol in used],
        "symbols_in_all": len(symbols),
        "top": [
            [[place[int(symbol)], round(float(p), 4)] for symbol, p in zip(*row, strict=True)]
            for row in zip(order, likeliest, strict=True)
        ],
        "actual": [place[int(symbol)] for symbol in actual],
        "p": [round(float(p), 6) for p in probabilities[np.arange(T), actual]],
    }


def thin(values: Sequence[float]) -> list[float]:
    """A loss curve of at most `POINTS` points."""
    count = -(-len(values) // POINTS)
    if count < 2:
        return list(values)
    return [float(f"{np.mean(values[n : n + count]):.6g}") for n in range(0, len(values), count)]


def memory_curves(model: nn.Module, x: Tensor, unit: str) -> dict[str, Any] | None:
    """How far back the layers of a model look, as a page draws it; None where there are too few steps to tell.

    The sequence is cut into rows of equal length: the same steps, at less cost, and smoother curves.

    Args:
        x: the input of one row, (T, ...), as the model reads it but for the batch.
    """
    rows = max(1, len(x) // (2 * LAGS))
    length = len(x) // rows
    lags = min(LAGS, length)
    if lags < 2:
        return None
    cut = x[: rows * length].unflatten(0, (rows, length))  # (rows, length, ...)
    found = memory_of(model, cut if is_batch_first(model) else cut.transpose(0, 1), lags=lags)
    reach = found.reach()
    last = "model" if "model" in reach else list(reach)[-1]
    reverse = [name for name in found.layers if "reverse" in name]
    ahead = ", and what comes k later where a layer reads from the end," if reverse else ""
    names = {"model": "whole model", "model ahead": "whole model, ahead"}
    names |= {name: f"{name}, ahead" for name in reverse}
    return {
        "about": f"How strongly what was read k {unit}s before{ahead} still moves what a layer gives now, and what the whole "
        f"model gives: the norm of the gradient, estimated. Nine tenths of the {'whole model' if last == 'model' else last}'s "
        f"lie within {counted(reach[last], unit)}.",
        "label": "gradient norm",
        "direction": "back or ahead" if reverse else "back",
        "lags": list(range(lags)),
        "layers": [
            {
                "name": names.get(name, name),
                "norms": [float(f"{norm:.4g}") if norm == norm else None for norm in curve.tolist()],
            }
            for name, curve in found.curves.items()
        ],
    }


def saturation(traces: Mapping[tuple[str, str], NDArray[Any]]) -> list[dict[str, Any]]:
    """For every gate how often, in thousandths of the steps, each unit is nearly shut ("left") or open ("right").

    A cell without gates shows its h.
    """
    gates = {
        (layer, name): v for (layer, name), v in traces.items() if name not in "hc" and not name.startswith("state")
    }
    found = []
    for (layer, gate), values in (gates or {key: v for key, v in traces.items() if key[1] == "h"}).items():
        low = 1 - NEARLY if values.min() >= 0 else -NEARLY
        left, right = ((values < low).mean(axis=1), (values > NEARLY).mean(axis=1))
        found.append(
            {
                "layer": layer,
                "gate": gate,
                "low": round(low, 3),
                "high": NEARLY,
                "left": [round(1000 * share) for share in left.tolist()],
                "right": [round(1000 * share) for share in right.tolist()],
            }
        )
    return found


def _rows(seen: Traced, skip: int) -> Traces:
    """Every value as (n, T), the steps of one unit side by side."""
    return {
        (layer, name): np.ascontiguousarray(values[skip:, 0].float().cpu().numpy().T)
        for layer, named in seen.items()
        for name, values in named.items()
    }


def _features(traces: Traces, pieces: Sequence[str]) -> list[dict[str, Any]]:
    """The features of a text, those that it does not have included."""
    found = features(pieces)
    best = tracking(traces, found)
    return [
        _feature(name, about, [int(value) for value in found.get(name, [])], *best.get(name, ([], 0.0)))
        for name, (about, _) in FEATURES.items()
    ]


def _curves(traces: Traces, curves: Sequence[Curve], drawn: Sequence[list[float]]) -> list[dict[str, Any]]:
    """The curves as features, one that never changes included."""
    wide = {
        curve.name: curve.values[: len(values)].astype(np.float64) for curve, values in zip(curves, drawn, strict=True)
    }
    moving = {name: (v - v.mean()) / v.std() for name, v in wide.items() if v.std() > 0}
    best = tracking(traces, moving)
    return [
        {
            **_feature(curve.name, curve.name, values, *best.get(curve.name, ([], 0.0))),
            "kind": curve.kind,
            "beside": curve.beside,
        }
        for curve, values in zip(curves, drawn, strict=True)
    ]


def _feature(name: str, about: str, values: list[Any], best: list[Tracking], chance: float) -> dict[str, Any]:
    return {
        "name": name,
        "about": about,
        "values": values,
        "best": [{**one._asdict(), "r": round(one.r, 3)} for one in best],
        "chance": round(chance, 3),
        "shifts": SHIFTS,
    }


def _rounded(values: NDArray[Any]) -> list[float]:
    """Numbers to a ten-thousandth of their range, or to five digits where they are all the same."""
    extent = float(values.max() - values.min()) if len(values) else 0.0
    if extent == 0:
        return [float(f"{value:.5g}") for value in values.tolist()]
    digits = 4 - int(np.floor(np.log10(extent)))
    return [round(float(value), digits) for value in values]


def _start(tracked: list[dict[str, Any]], pieces: Sequence[str], steps: int) -> dict[str, Any]:
    """What the page shows first: the unit that is most of all more than chance."""
    step = next((n for n in range(steps // 5, len(pieces)) if pieces[n].strip()), 0) if pieces else steps // 5
    known = [one for one in tracked if one["best"] and abs(one["best"][0]["r"]) > one["chance"]]
    if not known:
        return {"step": step}
    feature = max(known, key=lambda one: abs(one["best"][0]["r"]) - one["chance"])
    return {**feature["best"][0], "feature": feature["name"], "step": step}


def _weights(found: Gates) -> list[dict[str, Any]]:
    """A picture of each gate's matrix over [x, h_prev]; a pixel is the largest, either way, of the weights it stands for."""
    every = list(matrices(found))
    numbers = sum(matrix.weight.size for matrix in every)
    block = int(np.ceil(np.sqrt(max(1, numbers / WEIGHTS))))
    pictures = [pack(_largest(matrix.weight, block)) for matrix in every]
    entries = []
    for matrix, picture in zip(every, pictures, strict=True):
        beside = [one["limit"] for other, one in zip(every, pictures, strict=True) if other.layer == matrix.layer]
        entries.append(
            {
                "layer": matrix.layer,
                "gate": matrix.gate,
                "name": matrix.name,
                "rows": matrix.weight.shape[0],
                "columns": matrix.weight.shape[1],
                "split": matrix.split,
                "block": block,
                "array": {**picture, "limit": max(beside)},  # one scale for a layer, so that its gates can be compared
            }
        )
    return entries


def _largest(matrix: NDArray[Any], block: int) -> NDArray[Any]:
    """Of every block x block numbers the one that is largest in size."""
    if block == 1:
        return matrix
    rows, columns = (-(-size // block) for size in matrix.shape)
    whole = np.zeros((rows * block, columns * block), matrix.dtype)
    whole[: matrix.shape[0], : matrix.shape[1]] = matrix
    blocks = whole.reshape(rows, block, columns, block).swapaxes(1, 2).reshape(rows, columns, block * block)
    largest: NDArray[Any] = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2, keepdims=True), axis=2)[..., 0]
    return largest
