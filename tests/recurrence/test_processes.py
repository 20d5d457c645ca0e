"""Modules whose kernels have run: copied, pickled, shared, forked, spawned, trained by several processes."""

import copy
import multiprocessing
import pickle
import socket
import sys

import pytest
import torch
import torch.distributed
from torch import nn
from torch.utils.data import DataLoader, Dataset

import deeplstm
from deeplstm import LSTM, GRUCell, LSTMCell, Recurrent, Stack

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and shares memory as Linux does"),
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # JAX says it, where another test has imported it
]
SECONDS = 60


def make():
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "stack": Stack(LSTMCell(8, 64, norm=True), GRUCell(64, 64)),
            "lstm": LSTM(8, 64),
        }
    )


def run(net):
    """On kernels, with enough work for two threads: (outputs, gradients)."""
    x = torch.linspace(-1, 1, 20 * 16 * 8).view(20, 16, 8)
    with deeplstm.backend("cpu"):
        outputs = [layer(x)[0] for layer in net.values()]
    gradients = torch.autograd.grad(sum(y.sum() for y in outputs), list(net.parameters()))
    return [t.detach() for t in (*outputs, *gradients)]


@pytest.fixture
def net():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    net = make()
    run(net)
    yield net
    torch.set_num_threads(threads)


def test_copies_and_pickles(net):
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(run(other), run(net))
        with torch.no_grad():
            for p in other.parameters():
                p.add_(1)
        assert not torch.equal(run(other)[0], run(net)[0])  # nothing is shared with the original
    assert "_cells" not in net["lstm"].__getstate__()


def test_a_compiled_layer_can_be_copied():
    layer = Recurrent(GRUCell(3, 4))
    x = torch.randn(5, 2, 3)
    with deeplstm.backend("cpu"):
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        compiled(x)
        other = copy.deepcopy(compiled)
        with torch.no_grad():
            other.cell.weight_hh.add_(1)
        torch.testing.assert_close(other(x)[0], other._orig_mod(x)[0])
        torch.testing.assert_close(compiled(x)[0], layer(x)[0])


def child(net, queue):
    # as numbers: tensors would need their sender until they are received
    queue.put([t.numpy() for t in run(net)])


def in_child(kind, net):
    context = multiprocessing.get_context(kind)
    queue = context.Queue()
    process = context.Process(target=child, args=(net, queue))
    process.start()
    try:
        return [torch.from_numpy(array) for array in queue.get(timeout=SECONDS)]
    finally:
        process.join(5)
        if process.is_alive():
            process.kill()


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_child_processes(kind, net):
    torch.testing.assert_close(in_child(kind, net), run(net), rtol=1e-4, atol=1e-4)


def train_a_step(net):
    loss = sum((layer(torch.ones(20, 16, 8))[0] ** 2).mean() for layer in net.values())
    loss.backward()
    with torch.no_grad():
        for p in net.parameters():
            p -= 0.1 * p.grad


def test_shared_weights_are_trained_by_another_process(net):
    net.share_memory()
    before = [p.detach().clone() for p in net.parameters()]
    process = multiprocessing.get_context("fork").Process(target=train_a_step, args=(net,))
    process.start()
    process.join(SECONDS)
    assert process.exitcode == 0
    assert all(not torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True))
    with deeplstm.backend("reference"):
        wanted = [layer(torch.ones(20, 16, 8))[0] for layer in net.values()]
    with deeplstm.backend("cpu"):
        torch.testing.assert_close([layer(torch.ones(20, 16, 8))[0] for layer in net.values()], wanted)


class Encoded(Dataset):
    """What a network gives for drawn sequences: computed in the loader's workers."""

    def __init__(self, net):
        self.net = net

    def __len__(self):
        return 4

    def __getitem__(self, n):
        x = torch.full((20, 16, 8), n / 4)
        with torch.no_grad(), deeplstm.backend("cpu"):
            return torch.cat([layer(x)[0] for layer in self.net.values()])


def test_workers_of_a_data_loader(net):
    data = Encoded(net)
    loaded = list(DataLoader(data, batch_size=None, num_workers=2, timeout=SECONDS))
    torch.testing.assert_close(loaded, [data[n] for n in range(len(data))])


def replica(rank, port, queue):
    torch.set_num_threads(1)
    store = torch.distributed.TCPStore("127.0.0.1", port, 2, is_master=rank == 0)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    net = Stack(LSTMCell(8, 64, norm=True), GRUCell(64, 64))
    torch.manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.uniform_(-0.1, 0.1)
    parallel = nn.parallel.DistributedDataParallel(net)
    x = torch.linspace(-1, 1, 20 * 16 * 8).view(20, 16, 8)[:, 8 * rank : 8 * rank + 8]
    with deeplstm.backend("cpu"):
        parallel(x)[0].mean().backward()
    queue.put((rank, [p.grad.numpy() for p in net.parameters()], [p.detach().numpy() for p in net.parameters()]))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_of_distributed_data_parallel():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=replica, args=(rank, port, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    try:
        (_, one, weights), (_, other, _) = sorted((queue.get(timeout=SECONDS) for _ in processes), key=lambda r: r[0])
    finally:
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.kill()
    net = Stack(LSTMCell(8, 64, norm=True), GRUCell(64, 64))
    with torch.no_grad():
        for p, value in zip(net.parameters(), weights, strict=True):
            p.copy_(torch.from_numpy(value))
    with deeplstm.backend("reference"):  # the mean over both halves is the mean over all
        net(torch.linspace(-1, 1, 20 * 16 * 8).view(20, 16, 8))[0].mean().backward()
    for a, b, p in zip(one, other, net.parameters(), strict=True):
        assert (a == b).all()
        torch.testing.assert_close(torch.from_numpy(a), p.grad, rtol=1e-4, atol=1e-6)
