"""The check sees every kind of wrong result, and the contestants are what they say."""

import copy
import re

import pytest
import torch

import deeplstm
from deeplstm.bench.cases import QUICK, Case, flops
from deeplstm.bench.cells import CELLS, LSTM, stack_of
from deeplstm.bench.check import ERROR, beyond_rounding, complaint, disagreements, results
from deeplstm.bench.contestants import (
    LOOP,
    ONNX,
    OURS,
    PEER,
    Contestant,
    Outputs,
    contestants,
    on,
    other,
    peer_of,
    plain,
)
from deeplstm.bench.peers_jax import why_not_jax

CASE = Case(5, 3, 8, 2)


@pytest.mark.parametrize("part", ["y", "state", "gradient"])
def test_the_check_sees_every_kind_of_result(part: str) -> None:
    right, wrong = plain(CASE)[0], plain(CASE)[0]
    for name, weight in wrong.parameters.items():
        weight.data.copy_(right.parameters[name])
    run = wrong.run

    def broken(x: torch.Tensor) -> Outputs:
        y, h, c = run(x)
        if part == "y":
            y = y + 0.001 * y.detach()
        elif part == "state":
            c = c + 0.001 * c.detach()
        else:
            y = y + 0.001 * (y - y.detach())
        return [y, h, c]

    assert disagreements([right, wrong], CASE)[PEER][0] < ERROR
    wrong.run = broken
    error, where = disagreements([right, wrong], CASE)[PEER]
    assert ERROR < error < 0.1
    assert {"y": "y", "state": "state 1", "gradient": "d"}[part] in where


def test_nothing_is_worse_than_nan() -> None:
    right, wrong = plain(CASE)[0], plain(CASE)[0]
    run = wrong.run
    wrong.run = lambda x: [value * float("nan") for value in run(x)]
    assert disagreements([right, wrong], CASE)[PEER][0] == float("inf")


def test_one_that_raises_is_wrong_and_says_why() -> None:
    right, broken = plain(CASE)[:2]

    def run(x: torch.Tensor) -> Outputs:
        raise ZeroDivisionError("by zero\nand more")

    broken.run = run
    error, where = disagreements([right, broken], CASE)[broken.name]
    assert error == float("inf")
    assert complaint(error, where) == "ZeroDivisionError was raised: by zero"


class Steep(torch.nn.Module):
    """A cell whose layer norm sees numbers that are nearly equal: rounding becomes a thousand times as large."""

    input_size = output_size = state_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = torch.nn.Linear(8, 8), torch.nn.LayerNorm(8, eps=1e-12)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.tanh(self.linear(x) + self.norm(1 + 1e-3 * torch.sin(h)))
        return h, h


def steep() -> tuple[Contestant, Contestant, Contestant]:
    """The plain loop, ours and float64."""
    stack = deeplstm.Stack(Steep())
    exact = copy.deepcopy(stack).double()
    named = ((LOOP, "reference", stack), (OURS, "cpu", stack), ("in float64", "reference", exact))
    loop, ours, right = (
        Contestant("Steep", name, on(backend, net), dict(net.named_parameters()), net) for name, backend, net in named
    )
    return loop, ours, right


def test_rounding_that_equations_make_larger_is_no_mistake() -> None:
    torch.manual_seed(0)
    loop, ours, exact = steep()
    assert disagreements([loop, ours], CASE)[OURS][0] > ERROR
    assert beyond_rounding(loop, ours, exact, CASE) is None


@pytest.mark.parametrize("part", ["y", "gradient"])
@pytest.mark.parametrize("error", [1e-3, float("nan")])
def test_a_mistake_is_no_rounding(part: str, error: float) -> None:
    torch.manual_seed(0)
    loop, ours, exact = steep()
    run = ours.run

    def broken(x: torch.Tensor) -> Outputs:
        y, h = run(x)
        return [y + error * (y.detach() if part == "y" else y - y.detach()), h]

    ours.run = broken
    complaint = beyond_rounding(loop, ours, exact, CASE)
    assert complaint is not None
    assert re.fullmatch(
        r".+ is .+ of its largest value from float64, the plain loop .+: at most 2 times as much is expected", complaint
    )


def test_a_loop_that_is_itself_far_off_excuses_nobody() -> None:
    torch.manual_seed(0)
    loop, ours, exact = steep()
    for parameter in exact.parameters.values():
        parameter.data.mul_(1.01)
    complaint = beyond_rounding(loop, ours, exact, CASE)
    assert complaint is not None
    assert "of the plain loop itself is" in complaint


@pytest.mark.parametrize("cell", ["zoneout", "recurrent dropout"])
def test_noise_is_the_same_for_all(cell: str) -> None:
    loop, again = (other(cell, CASE, compiled=False)[0] for _ in range(2))
    for name, weight in again.parameters.items():
        weight.data.copy_(loop.parameters[name])
    again.name = "again"
    assert disagreements([loop, again], CASE)["again"][0] == 0
    x = torch.randn(CASE.T, CASE.B, CASE.H)
    call = loop.training(x, [torch.ones(CASE.T, CASE.B, CASE.H)])
    assert not torch.equal(call()[0][0], call()[0][0])


@pytest.mark.parametrize("cell", CELLS)
def test_jax_has_the_same_cells(cell: str) -> None:
    pytest.importorskip("jax")
    assert why_not_jax() is None
    field = contestants(cell, Case(3, 2, 4, 2), jax=True)
    (error, where) = disagreements([field[0], field[-1]], Case(3, 2, 4, 2))[field[-1].name]
    assert error <= ERROR, where


@pytest.mark.filterwarnings("ignore")
def test_onnx_runtime_has_the_same_lstm() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    field = contestants(LSTM, Case(3, 2, 4, 2), onnx=True)
    assert field[-1].name == ONNX
    expected = results(field[0], x := torch.randn(3, 2, 4))
    given = results(field[-1], x)
    assert set(given) == {name for name in expected if name.startswith("inference, ")}
    assert len(given) == 3
    assert disagreements([field[0], field[-1]], Case(3, 2, 4, 2))[ONNX][0] <= ERROR


def test_every_cell_is_another_recurrence_than_the_lstm() -> None:
    described = {repr(stack_of(cell, QUICK).layers[0]) for cell in CELLS}
    assert len(described) == len(CELLS)


def test_a_flop_is_counted_once_a_weight_step_and_row() -> None:
    parameters = plain(Case(5, 3, 8, 2))[0].parameters.values()
    assert flops(Case(5, 3, 8, 2), parameters, "inference") == 2 * 5 * 3 * 2 * (2 * 4 * 8 * 8)
    assert flops(Case(5, 3, 8, 2), parameters, "training") == 3 * flops(Case(5, 3, 8, 2), parameters, "inference")


def test_the_peer_is_torch_or_the_better_of_loops() -> None:
    assert peer_of(LSTM, {PEER: 3.0, LOOP: 1.0, OURS: 2.0}) == PEER
    assert peer_of("peephole", {LOOP: 3.0, "compiled step": 2.0, OURS: 1.0}) == "compiled step"
    assert peer_of("peephole", {OURS: 1.0}) is None
