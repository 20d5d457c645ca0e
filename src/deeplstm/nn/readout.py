"""A prediction made beside a stack."""

from __future__ import annotations

from torch import Tensor, nn


class Readout(nn.Module):
    """A prediction made beside the stack: the next layer reads what came in, not what this gives.

    In a `Stack`, an `MLP` after a cell makes the next layer read the prediction. Inside a `Readout` the prediction appears
    among the per-layer outputs, and the next layer reads h.

    Args:
        module: any time-distributed module, such as an `MLP`.

    Shapes: as the module's.

    >>> import torch, deeplstm
    >>> net = deeplstm.Stack(deeplstm.GRUCell(3, 8), deeplstm.Readout(deeplstm.MLP(8, 2)), deeplstm.GRUCell(8, 5))
    >>> y, state, layers = net(torch.zeros(4, 1, 3), return_layers=True)
    >>> [tuple(h.shape) for h in layers]
    [(4, 1, 8), (4, 1, 2), (4, 1, 5)]
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        prediction: Tensor = self.module(x)
        return prediction
