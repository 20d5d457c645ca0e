"""What a page shows of a network, as one dict of plain values that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..gates import Gates, gates
from ..memory import memory as memory_of
from ..trace import Trace, trace
from .arrays import fit, pack
from .features import FEATURES, SHIFTS, features, tracking
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
Traces = dict[tuple[str, str], NDArray[np.float32]]


def affordable_steps(model: nn.Module, x: Any) -> int:
    """How many steps of a model a page can hold, at the very most.

    Args:
        x: an input of a few steps, which is traced to see how many values a step has.
    """
    a_step = sum(values.shape[-1] for layer in trace(model, x).values() for values in layer.values())
    return max(1, int(TRACE_SIZE / LEAST_SIZE / max(a_step, 1)))


def collect(
    model: nn.Module,
    seen: Trace,
    pieces: Sequence[str],
    *,
    title: str,
    about: str,
    unit: str,
    skip: int = 0,
    text: Sequence[str] | None = None,
    memory: dict[str, Any] | None = None,
    loss: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The data of a page about a model and what it did with one sequence.

    ``render`` draws it; a task adds what it alone knows: "made_by", "facts" (pairs of name and value), "notes" (sentences
    above all), and "expected" (see `expectations`).

    Args:
        seen: `trace` of the model on one sequence, T + skip steps of one row.
        pieces: what each of the T steps is called on the page; together they are the text.
        title, about: the page's head.
        unit: what a step is: "character".
        skip: steps at the beginning that are not shown.
        text: the pieces as features see them, where the page shows them differently.
        memory: {"about", "label", "lags": (K,), "layers": [{"name", "norms": (K,)}]}.
        loss: {"about", "label", "top", "train" and "valid": {"x": (N,), "y": (N,)}}.

    Returns: a dict of ``data["steps"]["count"]`` steps: fewer than given where all values of all units for more of them
        would make the page too large. The task says so in a note.
    Raises: InputError for values that are not finite.
    """
    traces = _rows(seen, skip)
    steps, packed = fit(traces, TRACE_SIZE)
    traces = {key: values[:, :steps] for key, values in traces.items()}
    found = gates(model)
    tracked = _tracked(traces, (text or pieces)[:steps])
    return {
        "format": FORMAT,
        "made_by": "deeplstm",
        "title": title,
        "about": about,
        "notes": [],
        "facts": [],
        "network": blocks(model, found, seen),
        "loss": loss,
        "steps": {"unit": unit, "count": steps, "pieces": list(pieces[:steps])},
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
        "start": _start(tracked, pieces[:steps]),
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


def memory_curves(model: nn.Module, x: Any, unit: str, lags: int) -> dict[str, Any]:
    """How far back the layers of a model look, as a page draws it.

    Args:
        x: input (T, B): several rows make the curves smoother.
        lags: how many steps back.
    """
    found = memory_of(model, x, lags=lags)
    reach = found.reach()
    last = "model" if "model" in reach else list(reach)[-1]
    curves = {"whole model" if name == "model" else name: curve for name, curve in found.curves.items()}
    return {
        "about": f"How strongly what was read k {unit}s before still moves what a layer gives now, and what the whole model "
        f"gives: the norm of the gradient, estimated. Nine tenths of the {'whole model' if last == 'model' else last}'s lie "
        f"within {reach[last]} {unit}s.",
        "label": "gradient norm",
        "lags": list(range(lags)),
        "layers": [
            {"name": name, "norms": [float(f"{norm:.4g}") if norm == norm else None for norm in curve.tolist()]}
            for name, curve in curves.items()
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


def _rows(seen: Trace, skip: int) -> Traces:
    """Every value as (n, T), the steps of one unit side by side."""
    return {
        (layer, name): np.ascontiguousarray(values[skip:, 0].float().cpu().numpy().T)
        for layer, named in seen.items()
        for name, values in named.items()
    }


def _tracked(traces: Traces, pieces: Sequence[str]) -> list[dict[str, Any]]:
    found = features(pieces)
    entries = []
    for name, (about, _) in FEATURES.items():
        best, chance = tracking(traces, found[name]) if name in found else ([], 0.0)
        entries.append(
            {
                "name": name,
                "about": about,
                "values": [int(value) for value in found.get(name, [])],
                "best": [{**one._asdict(), "r": round(one.r, 3)} for one in best],
                "chance": round(chance, 3),
                "shifts": SHIFTS,
            }
        )
    return entries


def _start(tracked: list[dict[str, Any]], pieces: Sequence[str]) -> dict[str, Any]:
    """What the page shows first: the unit that is most of all more than chance."""
    step = next((n for n in range(len(pieces) // 5, len(pieces)) if pieces[n].strip()), 0)
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
