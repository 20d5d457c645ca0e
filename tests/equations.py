"""The cells' numbered equations once more, naive and independent: NumPy numbers, one row, loops over units.

``step(cell, weights, x, state, noise)`` takes one row: x (I,), state one vector or a tuple of them, noise vectors by name
(none: evaluation). Only a cell's options and its parameters by name are read; no code of the cells is called.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Vector = Any
Weights = dict[str, Any]

ACTIVATIONS = {
    "tanh": math.tanh,
    "relu": lambda v: max(v, 0.0),
    "gelu": lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))),
    "silu": lambda v: v / (1 + math.exp(-v)),
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
    "softplus": lambda v: math.log1p(math.exp(v)),
    "identity": lambda v: v,
}
sigmoid, tanh = ACTIVATIONS["sigmoid"], math.tanh


def product(matrix: Any, vector: Vector) -> list[float]:
    return [sum(float(m) * float(v) for m, v in zip(row, vector, strict=True)) for row in matrix]


def layer_norm(values: Vector, weights: Weights, name: str) -> list[float]:
    """Mean 0 and variance 1 over all values, times a gain, plus a bias where there is one; unchanged without ``name``."""
    if f"{name}.weight" not in weights:
        return list(values)
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    bias = weights.get(f"{name}.bias", np.zeros(len(values)))
    return [
        (v - mean) / math.sqrt(variance + 1e-5) * g + b
        for v, g, b in zip(values, weights[f"{name}.weight"], bias, strict=True)
    ]


def plus(values: Vector, bias: Vector | None) -> list[float]:
    return list(values) if bias is None else [v + b for v, b in zip(values, bias, strict=True)]


def total(*vectors: Vector) -> list[float]:
    return [sum(numbers) for numbers in zip(*vectors, strict=True)]


def in_gates(values: Vector, gates: list[str]) -> dict[str, list[float]]:
    H = len(values) // max(len(gates), 1)
    return {gate: list(values[n * H : (n + 1) * H]) for n, gate in enumerate(gates)}


# ---------------------------------------------------------------- hidden layers inside the gates


def layers_of(options: Any, gates: list[str]) -> dict[str, tuple[int, ...]]:
    sharing = options["gate_sharing"]
    if isinstance(sharing, str):
        return dict.fromkeys(gates, tuple(options["gate_layers"]))
    return {gate: tuple(sharing.get(gate, ())) for gate in gates}


def groups_of(options: Any, gates: list[str], may_share: list[list[str]]) -> dict[str, list[str]]:
    """Name of a network of hidden layers -> the gates it feeds."""
    deep = [gate for gate, layers in layers_of(options, gates).items() if layers]
    groups = {}
    for together in may_share:
        members = [gate for gate in together if gate in deep]
        if options["gate_sharing"] == "shared" and len(members) > 1:
            groups["shared"] = members
        else:
            groups.update({f"{gate}_gate": [gate] for gate in members})
    return groups


def hidden_layers(weights: Weights, options: Any, group: str, depth: int, x: Vector, h: Vector) -> list[float]:
    """(1)-(3) of the hidden layers: z_1 = act(W_1 x + R_1 h + b_1), z_n = act(W_n z + b_n), pre = V z + b."""
    at = f"deep.{group}."
    act = ACTIVATIONS[options["gate_activation"]]
    from_x = layer_norm(product(weights[at + "weight_ih"], x), weights, at + "norm_ih")
    from_h = layer_norm(product(weights[at + "weight_hh"], h), weights, at + "norm_hh")
    z = plus(total(from_x, from_h), weights.get(at + "bias"))
    for n in range(depth):
        z = [act(v) for v in z]
        z = layer_norm(product(weights[f"{at}layers.{n}.weight"], z), weights, f"{at}norms.{n}")
        z = plus(z, weights.get(f"{at}layers.{n}.bias"))
    return z


def deep_sums(
    weights: Weights, options: Any, gates: list[str], may_share: list[list[str]], x: Vector, h: Vector, only: list[str]
) -> dict[str, list[float]]:
    """What the hidden layers give to each of the gates ``only``."""
    sums = {}
    for group, members in groups_of(options, gates, may_share).items():
        if members[0] in only:
            depth = len(layers_of(options, gates)[members[0]])
            sums.update(in_gates(hidden_layers(weights, options, group, depth, x, h), members))
    return sums


def direct_gates(options: Any, gates: list[str]) -> list[str]:
    layers = layers_of(options, gates)
    return [gate for gate in gates if not layers[gate] or options["gate_shortcut"]]


def add(sums: dict[str, list[float]], more: dict[str, list[float]]) -> dict[str, list[float]]:
    return {g: total(sums[g], more[g]) if g in sums and g in more else (sums | more)[g] for g in sums | more}


def from_input(weights: Weights, x: Vector, gates: list[str]) -> dict[str, list[float]]:
    if not gates:
        return {}
    normed = layer_norm(product(weights["weight_ih"], x), weights, "norm_ih")
    return in_gates(plus(normed, weights.get("bias_ih")), gates)


def from_state(weights: Weights, h: Vector, gates: list[str]) -> dict[str, list[float]]:
    if not gates:
        return {}
    normed = layer_norm(product(weights["weight_hh"], h), weights, "norm_hh")
    return in_gates(plus(normed, weights.get("bias_hh")), gates)


def weighted_sums(weights: Weights, options: Any, gates: list[str], x: Vector, h: Vector) -> dict[str, list[float]]:
    direct = direct_gates(options, gates)
    sums = add(from_input(weights, x, direct), from_state(weights, h, direct))
    return add(sums, deep_sums(weights, options, gates, [gates], x, h, gates))


# ---------------------------------------------------------------- noise


def masked(h: Vector, noise: Weights) -> list[float]:
    mask = noise.get("recurrent_dropout", np.ones(len(h)))
    return [v * m for v, m in zip(h, mask, strict=True)]


def zoned(old: Vector, new: Vector, probability: float, mask: Vector | None) -> list[float]:
    if mask is None:
        return [probability * o + (1 - probability) * n for o, n in zip(old, new, strict=True)]
    return [o if m else n for o, n, m in zip(old, new, mask, strict=True)]


# ---------------------------------------------------------------- the cells


def lstm(options: Any, weights: Weights, x: Vector, state: tuple[Vector, Vector], noise: Weights) -> Any:
    h_prev, c_prev = state
    gates = ["forget", "cell", "output"] if options["coupled"] else ["input", "forget", "cell", "output"]
    pre = weighted_sums(weights, options, gates, x, masked(h_prev, noise))
    H = len(c_prev)
    zero = np.zeros(H)
    peep_i, peep_f, peep_o = (weights.get(f"weight_c{gate}", zero) for gate in "ifo")
    clip = options["cell_clip"] or math.inf
    c = []
    for u in range(H):
        f = sigmoid(pre["forget"][u] + peep_f[u] * c_prev[u])
        i = 1 - f if options["coupled"] else sigmoid(pre["input"][u] + peep_i[u] * c_prev[u])
        g = tanh(pre["cell"][u])
        c.append(min(max(f * c_prev[u] + i * g, -clip), clip))
    seen = layer_norm(c, weights, "norm_c")
    h = [sigmoid(pre["output"][u] + peep_o[u] * c[u]) * tanh(seen[u]) for u in range(H)]
    if "weight_hr" in weights:
        h = product(weights["weight_hr"], h)
    given = options["zoneout"]
    zone_h, zone_c = given if isinstance(given, tuple) else (given, given)
    h = zoned(h_prev, h, zone_h, noise.get("zoneout_h") if zone_h else None)
    c = zoned(c_prev, c, zone_c, noise.get("zoneout_c") if zone_c else None)
    return h, (h, c)


def gru(options: Any, weights: Weights, x: Vector, h_prev: Vector, noise: Weights) -> Any:
    gates = ["reset", "update", "candidate"]
    read, H = masked(h_prev, noise), len(h_prev)
    direct = direct_gates(options, gates)
    if options["reset_after"]:
        from_x = from_input(weights, x, [g for g in gates if g in direct or g == "candidate"])
        from_h = add(from_state(weights, read, direct), deep_sums(weights, options, gates, [gates], x, read, gates))
        r, z = ([sigmoid(a + b) for a, b in zip(from_x.get(g, np.zeros(H)), from_h[g], strict=True)] for g in gates[:2])
        n = [tanh(from_x["candidate"][u] + r[u] * from_h["candidate"][u]) for u in range(H)]
    else:
        may_share = [gates[:2], gates[2:]]
        plain = [g for g in direct if g != "candidate"]
        sums = from_input(weights, x, direct)
        if plain:
            rows = len(plain) * H
            normed = layer_norm(product(weights["weight_hh"][:rows], read), weights, "norm_hh")
            bias = weights["bias_hh"][:rows] if "bias_hh" in weights else None
            sums = add(sums, in_gates(plus(normed, bias), plain))
        sums = add(sums, deep_sums(weights, options, gates, may_share, x, read, gates[:2]))
        r, z = ([sigmoid(v) for v in sums[g]] for g in gates[:2])
        reset = [a * b for a, b in zip(r, read, strict=True)]
        if "candidate" in direct:
            normed = layer_norm(product(weights["weight_hh"][-H:], reset), weights, "norm_hn")
            bias = weights["bias_hh"][-H:] if "bias_hh" in weights else None
            sums = add(sums, {"candidate": plus(normed, bias)})
        sums = add(sums, deep_sums(weights, options, gates, may_share, x, reset, ["candidate"]))
        n = [tanh(v) for v in sums["candidate"]]
    h = [(1 - z[u]) * n[u] + z[u] * h_prev[u] for u in range(H)]
    h = zoned(h_prev, h, options["zoneout"], noise.get("zoneout_h"))
    return h, h


def rnn(options: Any, weights: Weights, x: Vector, h_prev: Vector, noise: Weights) -> Any:
    act = ACTIVATIONS[options["nonlinearity"]]
    h = [act(v) for v in weighted_sums(weights, options, ["hidden"], x, masked(h_prev, noise))["hidden"]]
    h = zoned(h_prev, h, options["zoneout"], noise.get("zoneout_h"))
    return h, h


def highway(options: Any, weights: Weights, x: Vector, h_prev: Vector, noise: Weights) -> Any:
    gates = ["n", "t"] if options["coupled"] else ["n", "t", "k"]
    s = list(h_prev)
    for m in range(options["micro_steps"]):
        normed = layer_norm(product(weights[f"weight_hh.{m}"], masked(s, noise)), weights, f"norm_hh.{m}")
        pre = in_gates(plus(normed, weights.get(f"bias_hh.{m}")), gates)
        if m == 0:
            pre = add(pre, from_input(weights, x, gates))
        for u in range(len(s)):
            t = sigmoid(pre["t"][u])
            k = 1 - t if options["coupled"] else sigmoid(pre["k"][u])
            s[u] = t * tanh(pre["n"][u]) + k * s[u]
    s = zoned(h_prev, s, options["zoneout"], noise.get("zoneout_h"))
    return s, s


STEPS = {"LSTMCell": lstm, "GRUCell": gru, "RNNCell": rnn, "HighwayCell": highway}


def step(cell: Any, weights: Weights, x: Vector, state: Any, noise: Weights) -> Any:
    """One step of one row by the equations of this cell's class."""
    return STEPS[type(cell).__name__](cell.options, weights, x, state, noise)
