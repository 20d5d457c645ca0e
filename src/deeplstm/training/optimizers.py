"""The optimisers by name."""

import torch
from torch import nn

from deeplstm.training.config import Training


def optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """The optimiser that `training` names, over all parameters of `network`."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    common = {"lr": training.lr, "weight_decay": training.weight_decay}
    match training.optimizer:
        case "adamw":
            return torch.optim.AdamW(parameters, **common)
        case "adam":
            return torch.optim.Adam(parameters, **common)
        case "sgd":
            return torch.optim.SGD(parameters, **common, momentum=training.momentum)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, **common, momentum=training.momentum)
