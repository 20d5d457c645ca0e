"""The same cells in JAX, as one who knows it would write them: `lax.scan` under `jit`, with the products of the input before
the loop. Equations: `deeplstm.cells`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import deeplstm
from deeplstm.bench.contestants import Contestant, Outputs
from deeplstm.cells._cell import Cell
from deeplstm.cells.gru import GRUCell
from deeplstm.cells.lstm import LSTMCell


def why_not_jax() -> str | None:
    """Why JAX is left out; None where it can run. Must be asked after torch's number of threads is set."""
    # XLA sizes its pool when it is first imported
    os.environ.setdefault("NPROC", str(torch.get_num_threads()))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if torch.get_num_threads() == 1:
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    try:
        import jax  # noqa: F401
    except ImportError as error:
        return f"{error}; pip install jax"
    return None


class JaxContestant(Contestant):
    """A stack's weights in JAX's hands. ``parameters`` are torch's, to count; gradients come in their order."""

    cells: list[Cell]
    weights: dict[str, Any]
    compiled: dict[str, Callable[..., Any]]

    @classmethod
    def of(cls, cell: str, name: str, stack: deeplstm.Stack, names: dict[str, str]) -> JaxContestant:
        """``names``: the contestants' names of the stack's parameters."""
        import jax

        parameters: dict[str, Tensor] = {names[n]: p for n, p in stack.named_parameters()}
        self = cls(cell, name, lambda x: [], {n: parameters[n] for n in names.values()}, stack)
        self.cells = [layer.cell for layer in stack.layers]  # type: ignore[misc]
        self.weights = {names[n]: _array(p) for n, p in stack.named_parameters()}
        inside = {ours: theirs for theirs, ours in names.items()}

        def forward(weights: dict[str, Any], x: Any, noise: Any) -> list[Any]:
            return _stack(self.cells, {inside[n]: w for n, w in weights.items()}, x, noise)

        def backward(weights: dict[str, Any], x: Any, noise: Any, upstream: Any) -> Any:
            outputs, pull = jax.vjp(lambda w, x: forward(w, x, noise)[: len(upstream)], weights, x)
            return outputs, pull(upstream)

        self.compiled = {"inference": jax.jit(forward), "training": jax.jit(backward)}
        return self

    def inference(self, x: Tensor) -> Callable[[], Outputs]:
        import jax

        given = _array(x)

        def call() -> Outputs:
            outputs = self.compiled["inference"](self.weights, given, [{} for _ in self.cells])
            return [_tensor(value) for value in jax.block_until_ready(outputs)]

        return call

    def training(self, x: Tensor, upstream: list[Tensor]) -> Callable[[], tuple[Outputs, list[Tensor]]]:
        import jax

        given, above = _array(x), [_array(d) for d in upstream]

        def call() -> tuple[Outputs, list[Tensor]]:
            self.module.train()
            noise = [self._noise(cell, x) for cell in self.cells]  # drawn as the others draw it: the time counts
            results = self.compiled["training"](self.weights, given, noise, above)
            outputs, (dweights, dx) = jax.block_until_ready(results)
            gradients = [dx, *(dweights[name] for name in self.parameters)]
            return [_tensor(value) for value in outputs], [_tensor(value) for value in gradients]

        return call

    def _noise(self, cell: Cell, x: Tensor) -> dict[str, Any]:
        return {name: _array(mask) for name, mask in cell.draw_noise(*x.shape[:2], like=x).items()}


def _array(tensor: Tensor) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(tensor.detach().numpy())


def _tensor(array: Any) -> Tensor:
    return torch.from_dlpack(array)


def _stack(cells: list[Cell], weights: dict[str, Any], x: Any, noise: list[dict[str, Any]]) -> list[Any]:
    """Y and the final state, (L, B, H) for each part."""
    import jax.numpy as jnp

    finals = []
    for n, cell in enumerate(cells):
        prefix = f"layers.{n}.cell."
        own = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        x, final = _scan(cell, own, x, noise[n])
        finals.append(final)
    return [x, *(jnp.stack(parts) for parts in zip(*finals, strict=True))]


def _scan(cell: Cell, p: dict[str, Any], x: Any, noise: dict[str, Any]) -> tuple[Any, tuple[Any, ...]]:
    import jax
    import jax.numpy as jnp

    kind = _lstm if isinstance(cell, LSTMCell) else _gru if isinstance(cell, GRUCell) else _highway
    whole = {name: mask[0] for name, mask in noise.items() if mask.shape[0] == 1}
    each = {name: mask for name, mask in noise.items() if mask.shape[0] > 1}

    def step(state: Any, at: Any) -> Any:
        pre_x, masks = at
        state = kind(cell, p, pre_x, state, {**whole, **masks})
        return state, state[0]

    sizes = cell.state_size if isinstance(cell.state_size, tuple) else (cell.state_size,)
    start = tuple(jnp.zeros((x.shape[1], size), x.dtype) for size in sizes)
    final, y = jax.lax.scan(step, start, (_input(p, x), each))
    return y, final


def _input(p: dict[str, Any], x: Any) -> Any:
    """The products of the input, with the biases beside them, for all steps at once."""
    deep = "deep.shared."
    if deep + "weight_ih" in p:
        return x @ p[deep + "weight_ih"].T + p[deep + "bias"]
    return _normed(p, "norm_ih", x @ p["weight_ih"].T) + p["bias_ih"]


def _lstm(cell: Any, p: dict[str, Any], pre_x: Any, state: Any, noise: dict[str, Any]) -> tuple[Any, Any]:
    import jax.numpy as jnp
    from jax.nn import sigmoid

    h_prev, c_prev = state
    read = h_prev * noise["recurrent_dropout"] if "recurrent_dropout" in noise else h_prev
    deep = "deep.shared."
    if deep + "weight_hh" in p:
        hidden = jnp.tanh(pre_x + read @ p[deep + "weight_hh"].T)
        pre = hidden @ p[deep + "layers.0.weight"].T + p[deep + "layers.0.bias"]
    else:
        pre = pre_x + _normed(p, "norm_hh", read @ p["weight_hh"].T) + p["bias_hh"]
    parts = dict(zip(cell.gate_names, jnp.split(pre, len(cell.gate_names), -1), strict=True))
    f = sigmoid(parts["forget"] + p.get("weight_cf", 0.0) * c_prev)
    i = 1 - f if cell.coupled else sigmoid(parts["input"] + p.get("weight_ci", 0.0) * c_prev)
    c = f * c_prev + i * jnp.tanh(parts["cell"])
    h = sigmoid(parts["output"] + p.get("weight_co", 0.0) * c) * jnp.tanh(_normed(p, "norm_c", c))
    return (
        jnp.where(noise["zoneout_h"], h_prev, h) if "zoneout_h" in noise else _mean(cell.zoneout_h, h_prev, h),
        jnp.where(noise["zoneout_c"], c_prev, c) if "zoneout_c" in noise else _mean(cell.zoneout_c, c_prev, c),
    )


def _gru(cell: Any, p: dict[str, Any], pre_x: Any, state: Any, noise: dict[str, Any]) -> tuple[Any]:
    import jax.numpy as jnp
    from jax.nn import sigmoid

    (h,), H = state, cell.hidden_size
    x_r, x_z, x_n = jnp.split(pre_x, 3, -1)
    if cell.reset_after:
        h_r, h_z, h_n = jnp.split(h @ p["weight_hh"].T + p["bias_hh"], 3, -1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + r * h_n)
    else:
        h_r, h_z = jnp.split(h @ p["weight_hh"][: 2 * H].T + p["bias_hh"][: 2 * H], 2, -1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + (r * h) @ p["weight_hh"][2 * H :].T + p["bias_hh"][2 * H :])
    return ((1 - z) * n + z * h,)


def _highway(cell: Any, p: dict[str, Any], pre_x: Any, state: Any, noise: dict[str, Any]) -> tuple[Any]:
    import jax.numpy as jnp
    from jax.nn import sigmoid

    (s,) = state
    for m in range(cell.micro_steps):
        pre = s @ p[f"weight_hh.{m}"].T + p[f"bias_hh.{m}"]
        n, t = jnp.split(pre + pre_x if m == 0 else pre, 2, -1)
        t = sigmoid(t)
        s = t * jnp.tanh(n) + (1 - t) * s
    return (s,)


def _normed(p: dict[str, Any], name: str, value: Any) -> Any:
    import jax

    if f"{name}.weight" not in p:
        return value
    centred = value - value.mean(-1, keepdims=True)
    normal = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return normal * p[f"{name}.weight"] + p.get(f"{name}.bias", 0.0)


def _mean(zoneout: float, old: Any, new: Any) -> Any:
    """Zoneout in evaluation mode."""
    return zoneout * old + (1 - zoneout) * new if zoneout else new
