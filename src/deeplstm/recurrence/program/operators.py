"""The one table of elementwise operators: how torch computes each, and what it costs.

To add an operator is to add an entry here, and its vector form in `backends/cpu/llvm/math.py` where that has no such name yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

aten = torch.ops.aten


class Operator(NamedTuple):
    """One elementwise operator.

    Attributes:
        run: the same in torch, for tensors or numbers.
        flops: what it counts for in the printed program.
        is_costly: whether to compute it twice is worse than to keep it in memory.
        gives_bool: whether it gives a mask.
    """

    run: Callable[..., Any]
    flops: int = 1
    is_costly: bool = False
    gives_bool: bool = False


TABLE: dict[str, Operator] = {
    "add": Operator(torch.add),
    "sub": Operator(torch.sub),
    "mul": Operator(torch.mul),
    "div": Operator(torch.div),
    "neg": Operator(torch.neg),
    "abs": Operator(torch.abs),
    "sign": Operator(torch.sign),
    "maximum": Operator(torch.maximum),
    "minimum": Operator(torch.minimum),
    "reciprocal": Operator(torch.reciprocal),
    "sqrt": Operator(torch.sqrt, 4, True),
    "rsqrt": Operator(torch.rsqrt, 4, True),
    "exp": Operator(torch.exp, 10, True),
    "expm1": Operator(torch.expm1, 12, True),
    "log": Operator(torch.log, 12, True),
    "log1p": Operator(torch.log1p, 12, True),
    "sigmoid": Operator(torch.sigmoid, 12, True),
    "tanh": Operator(torch.tanh, 14, True),
    "erf": Operator(torch.erf, 20, True),
    "sin": Operator(torch.sin, 20, True),
    "cos": Operator(torch.cos, 20, True),
    "pow": Operator(torch.pow, 24, True),
    "floor": Operator(torch.floor),
    "ceil": Operator(torch.ceil),
    "round": Operator(torch.round),
    "where": Operator(torch.where),
    "real": Operator(lambda mask: mask.to(torch.float64)),
    "gt": Operator(torch.gt, gives_bool=True),
    "ge": Operator(torch.ge, gives_bool=True),
    "lt": Operator(torch.lt, gives_bool=True),
    "le": Operator(torch.le, gives_bool=True),
    "eq": Operator(torch.eq, gives_bool=True),
    "ne": Operator(torch.ne, gives_bool=True),
    "and": Operator(torch.logical_and, gives_bool=True),
    "or": Operator(torch.logical_or, gives_bool=True),
    "not": Operator(torch.logical_not, gives_bool=True),
}

ATEN: dict[Any, str] = {
    aten.add.Tensor: "add",
    aten.add.Scalar: "add",
    aten.sub.Tensor: "sub",
    aten.sub.Scalar: "sub",
    aten.mul.Tensor: "mul",
    aten.mul.Scalar: "mul",
    aten.div.Tensor: "div",
    aten.div.Scalar: "div",
    aten.neg.default: "neg",
    aten.abs.default: "abs",
    aten.sign.default: "sign",
    aten.sgn.default: "sign",
    aten.maximum.default: "maximum",
    aten.minimum.default: "minimum",
    aten.reciprocal.default: "reciprocal",
    aten.sqrt.default: "sqrt",
    aten.rsqrt.default: "rsqrt",
    aten.exp.default: "exp",
    aten.expm1.default: "expm1",
    aten.log.default: "log",
    aten.log1p.default: "log1p",
    aten.sigmoid.default: "sigmoid",
    aten.tanh.default: "tanh",
    aten.erf.default: "erf",
    aten.sin.default: "sin",
    aten.cos.default: "cos",
    aten.pow.Tensor_Tensor: "pow",
    aten.floor.default: "floor",
    aten.ceil.default: "ceil",
    aten.round.default: "round",
    aten.where.self: "where",
    aten.where.ScalarOther: "where",
    aten.where.ScalarSelf: "where",
    aten.where.Scalar: "where",
    aten.logical_and.default: "and",
    aten.logical_and_.default: "and",
    aten.bitwise_and.Tensor: "and",
    aten.logical_or.default: "or",
    aten.logical_or_.default: "or",
    aten.bitwise_or.Tensor: "or",
    aten.logical_not.default: "not",
    aten.bitwise_not.default: "not",
    **{
        getattr(getattr(aten, name), overload): name
        for name in ("gt", "ge", "lt", "le", "eq", "ne")
        for overload in ("Scalar", "Tensor")
    },
}
"""Which operators of torch are which of the table; what has another form stands in `lower.py`."""
