"""torch.nn.LSTM's weights in the hands of ONNX Runtime, which infers and does not train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def why_not_onnx() -> str | None:
    """Why ONNX Runtime is left out; None where it can run."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        return f"{error}; pip install onnx onnxruntime"
    return None


def lstm(module: nn.LSTM) -> Callable[[Tensor], list[Tensor]]:
    """Run a stack of layers of one direction: x (T, B, I) -> y (T, B, H), h and c (L, B, H)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(_model(module), options, providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> list[Tensor]:
        y, *states = (torch.from_numpy(value) for value in session.run(None, {"x": x.numpy()}))
        return [y, torch.cat(states[0::2]), torch.cat(states[1::2])]

    return run


def _model(module: nn.LSTM) -> bytes:
    """A graph with an LSTM node for each layer, and a Squeeze of the directions, of which there is one."""
    from onnx import TensorProto, helper, numpy_helper

    H = module.hidden_size
    weights, nodes, flowing = [numpy_helper.from_array(torch.tensor([1]).numpy(), "directions")], [], "x"
    outputs = []
    for layer in range(module.num_layers):
        ih, hh, bias_ih, bias_hh = (_in_onnx_order(getattr(module, f"{name}_l{layer}"), H) for name in _NAMES)
        given = {"W": ih, "R": hh, "B": torch.cat([bias_ih, bias_hh])}
        names = [f"{name}{layer}" for name in given]
        weights += [
            numpy_helper.from_array(value[None].numpy(), name)
            for name, value in zip(names, given.values(), strict=True)
        ]
        results = [f"all{layer}", f"h{layer}", f"c{layer}"]
        nodes.append(helper.make_node("LSTM", [flowing, *names], results, hidden_size=H))
        flowing = f"y{layer}"
        nodes.append(helper.make_node("Squeeze", [results[0], "directions"], [flowing]))
        outputs += results[1:]

    def value(name: str, *shape: Any) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "lstm",
        [value("x", "T", "B", module.input_size)],
        [value(flowing, "T", "B", H), *(value(name, 1, "B", H) for name in outputs)],
        weights,
    )
    # both numbers as old as the operators allow: any ONNX Runtime of these years reads them
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8
    ).SerializeToString()
    return model


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _in_onnx_order(parameter: Tensor, H: int) -> Tensor:
    """ONNX has the gates i, o, f, g where torch has i, f, g, o."""
    i, f, g, o = parameter.detach().split(H)
    return torch.cat([i, o, f, g])
