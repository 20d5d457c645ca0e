"""What a forward keeps for its backward."""

import torch
from torch import Tensor

from deeplstm.bench.cases import Case
from deeplstm.bench.contestants import Contestant


def kept_bytes(contestant: Contestant, case: Case) -> int:
    """Bytes of all tensors that are saved for the backward, each storage once; parameters and the input are there anyway."""
    contestant.module.train()
    x = torch.randn(case.T, case.B, case.H, requires_grad=True)
    there = {p.untyped_storage().data_ptr() for p in (x, *contestant.parameters.values())}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        alive = contestant.run(x)  # as long as the graph lives, no address is given out twice
    del alive
    return sum(size for address, size in saved.items() if address not in there)
