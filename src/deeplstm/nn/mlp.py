"""The feed-forward network that deepens a stack before, between and after cells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..cells._cell import probability_complaints, raise_all, size_complaints
from ..cells._gates import ACTIVATIONS, activation_complaints


class MLP(nn.Module):
    """A multilayer perceptron, the same at every step.

    (1) z_n = dropout(act(norm(W_n z_(n-1) + b_n))), z_0 = x        (2) y = output_act(W_N z_(N-1) + b_N)

    Args:
        input_size: I, numbers in x.
        layer_sizes: widths of the hidden layers, then the output's. One size alone is a linear map.
        activation: "tanh", "relu", "gelu", "silu", "sigmoid", "softplus" or "identity", after each hidden layer.
        output_activation: the same after the last one.
        dropout: probability, after each hidden layer's activation.
        norm: layer norm before each hidden layer's activation.
        bias: whether the sums have biases.

    Shapes: x (..., I) -> (..., layer_sizes[-1]).
    Raises: ValueError that lists every option out of range, and for an input of the wrong width.

    >>> import torch, deeplstm
    >>> deeplstm.MLP(64, 128, 32, activation="gelu")(torch.zeros(5, 2, 64)).shape
    torch.Size([5, 2, 32])
    """

    def __init__(
        self,
        input_size: int,
        *layer_sizes: int,
        activation: str = "tanh",
        output_activation: str = "identity",
        dropout: float = 0.0,
        norm: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        names = {f"layer_sizes[{n}]": size for n, size in enumerate(layer_sizes)}
        complaints = size_complaints(input_size=input_size, **names) + probability_complaints(dropout=dropout)
        complaints += activation_complaints(activation=activation, output_activation=output_activation)
        if not layer_sizes:
            complaints.append("no layer size is given, at least the output's is expected: MLP(64, 128)")
        raise_all("MLP", complaints)
        factory = {"device": device, "dtype": dtype}
        self.sizes = (input_size, *layer_sizes)
        self.input_size, self.output_size = input_size, layer_sizes[-1]
        self.activation, self.output_activation = activation, output_activation
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        self.layers = nn.ModuleList(nn.Linear(i, o, bias=bias, **factory) for i, o in pairs)
        self.norms = nn.ModuleList(nn.LayerNorm(size, **factory) for size in layer_sizes[:-1] if norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != (self.input_size,):
            raise ValueError(
                f"MLP got input of shape {tuple(x.shape)} but input_size={self.input_size} asks for (..., {self.input_size}). "
                f"Check the last dimension, or build it with input_size={x.shape[-1] if x.dim() else '...'}."
            )
        *hidden, last = self.layers
        for n, layer in enumerate(hidden):
            x = layer(x)
            x = self.norms[n](x) if self.norms else x
            x = self.dropout(ACTIVATIONS[self.activation](x))
        return ACTIVATIONS[self.output_activation](last(x))

    def extra_repr(self) -> str:
        return f"{', '.join(map(str, self.sizes))}, activation={self.activation!r}"
