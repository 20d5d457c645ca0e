"""The optimisers by name."""

import torch
from torch import nn

from deeplstm.training.config import Training


def optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """The optimiser that `training` names, over all parameters of `network`."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    lr, weight_decay, momentum = training.lr, training.weight_decay, training.momentum
    match training.optimizer:
        case "adamw":
            return torch.optim.AdamW(parameters, lr, weight_decay=weight_decay, fused=True)
        case "adam":
            return torch.optim.Adam(parameters, lr, weight_decay=weight_decay, fused=True)
        case "sgd":
            return torch.optim.SGD(parameters, lr, momentum, weight_decay=weight_decay)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr, momentum=momentum, weight_decay=weight_decay)
