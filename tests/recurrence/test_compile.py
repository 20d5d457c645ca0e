"""torch.compile and torch.export: the loop over time is one operator, right for any T and B."""

import copy
import io
import shutil
import subprocess
import sys
import warnings

import pytest
import torch
from torch import library, nn
from torch.export import Dim, export

import deeplstm
from deeplstm import GRU, LSTM, GRUCell, HighwayCell, LSTMCell, Readout, Recurrent, Stack, scan
from deeplstm.recurrence.backends.cpu import opaque


@pytest.fixture(autouse=True)
def _kernels(monkeypatch):
    monkeypatch.setenv("DEEPLSTM_BACKENDS", "cpu,torch,reference")
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        yield
    torch._dynamo.reset()


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value or ()
    return [tensor for part in parts for tensor in tensors(part)]


class Compiled:
    """A function under torch.compile; ``graphs`` holds what was compiled."""

    def __init__(self, function, backend="aot_eager", **options):
        self.graphs = []

        def compile_it(module, inputs):
            self.graphs.append(module.graph)
            return torch._dynamo.lookup_backend(backend)(module, inputs)

        self.call = torch.compile(function, fullgraph=True, backend=compile_it, **options)

    def __call__(self, *args, **kwargs):
        return self.call(*args, **kwargs)

    @property
    def nodes(self):
        return loops(self.graphs[-1])


def loops(graph):
    return sum("deeplstm.forward" in str(node.target) for node in graph.nodes)


def reference(function, *args, seed=0, **kwargs):
    torch.manual_seed(seed)
    with deeplstm.backend("reference"):
        return tensors(function(*args, **kwargs))


def inputs(T, B, names):
    given = {"lengths": torch.randint(0, T + 1, (B,)), "resets": torch.rand(T, B) < 0.3}
    return torch.randn(T, B, 3, dtype=torch.float64), {name: given[name] for name in names}


def assert_equal(got, wanted, leaves):
    """Values, and gradients with random upstream ones."""
    torch.testing.assert_close(got, wanted)
    upstream = [torch.randn_like(t) for t in wanted]
    gradients = [torch.autograd.grad(outputs, leaves, upstream, allow_unused=True) for outputs in (got, wanted)]
    torch.testing.assert_close(*gradients)


BOTH = ("lengths", "resets")
NOISE = {"zoneout": (0.3, 0.2), "recurrent_dropout": 0.4, "weight_drop": 0.2, "peephole": True}
MODULES = {
    "resets, recompute": (lambda: Recurrent(LSTMCell(3, 4, norm=True), memory="recompute"), ("resets",), 1),
    "both directions": (lambda: Recurrent(LSTMCell(3, 4), bidirectional=True), BOTH, 2),
    "reverse": (lambda: Recurrent(HighwayCell(3, 4, micro_steps=2), reverse=True), BOTH, 1),
    "noise": (lambda: Recurrent(LSTMCell(3, 4, **NOISE)), BOTH, 1),
    "stack": (lambda: Stack(nn.Linear(3, 4), LSTMCell(4, 4), LSTMCell(4, 4), dropout=0.3, skip="residual"), BOTH, 2),
    "dense": (lambda: Stack(LSTMCell(3, 4), GRUCell(7, 4), Readout(nn.Linear(11, 2)), skip="dense"), ("lengths",), 2),
    "LSTM": (lambda: LSTM(3, 4, 2, bidirectional=True, dropout=0.3), (), 4),
    "GRU": (lambda: GRU(3, 4, 2), BOTH, 2),
}


@pytest.mark.parametrize("name", MODULES)
def test_one_node_a_layer_and_direction(name):
    make, names, nodes = MODULES[name]
    module = make().double()
    compiled = Compiled(module, dynamic=True)
    after_first = 0
    for T, B in ((5, 2), (4, 6), (9, 7)):  # no two sizes are the same, or torch takes them for one
        x, given = inputs(T, B, names)
        x.requires_grad_()
        torch.manual_seed(0)
        got = tensors(compiled(x, **given))
        assert_equal(got, reference(module, x, **given), [x, *module.parameters()])
        after_first = after_first or len(compiled.graphs)
    assert len(compiled.graphs) == after_first  # torch may ask twice for one graph, but not again for other sizes
    assert compiled.nodes == nodes


def test_the_graph_does_not_grow_with_the_steps():
    module = Recurrent(LSTMCell(3, 4, norm=True))
    sizes = []
    for T in (2, 300):
        torch._dynamo.reset()
        compiled = Compiled(module)
        compiled(torch.randn(T, 2, 3))
        sizes.append(len(compiled.graphs[0].nodes))
    assert sizes[0] == sizes[1]


def test_without_gradient_and_in_evaluation():
    module = Recurrent(LSTMCell(3, 4, zoneout=0.3, recurrent_dropout=0.2)).double()
    compiled = Compiled(module, dynamic=True)
    x, given = inputs(5, 2, BOTH)
    with torch.no_grad():
        torch.manual_seed(0)
        torch.testing.assert_close(tensors(compiled(x, **given)), reference(module, x, **given))
        module.eval()  # the mode is watched
        torch.testing.assert_close(tensors(compiled(x, **given)), reference(module, x, **given))


def test_only_some_gradients():
    module = Recurrent(LSTMCell(3, 4, peephole=True)).double()
    module.cell.weight_ih.requires_grad_(False)
    x, _ = inputs(5, 3, ())
    state = tuple(torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    got = tensors(Compiled(module)(x, state))
    leaves = [*state, *(p for p in module.parameters() if p.requires_grad)]
    assert_equal(got, reference(module, x, state), leaves)


def test_traces():
    cell = LSTMCell(3, 4).double()
    state = (torch.zeros(3, 4, dtype=torch.float64),) * 2

    def call(x, **given):
        return scan(cell, None, x, state, trace=["forget", "c"], **given)

    x, given = inputs(5, 3, BOTH)
    assert_equal(tensors(Compiled(call)(x, **given)), reference(call, x, **given), [*cell.parameters()])


def test_layers_of_one_class_are_not_mixed_up():
    layers = [Recurrent(LSTMCell(3, 4, forget_bias=bias, cell_clip=clip)) for bias, clip in ((0.0, 0.1), (1.0, 0.2))]
    layers.append(copy.deepcopy(layers[0]))
    x = torch.randn(6, 2, 3)
    for compiled, layer in [(torch.compile(layer, fullgraph=True, backend="aot_eager"), layer) for layer in layers] * 2:
        torch.testing.assert_close(tensors(compiled(x)), reference(layer, x))


class Leaky(nn.Module):
    """A cell with a number that can be changed."""

    state_size = 3

    def __init__(self):
        super().__init__()
        self.rate = 0.5
        self.weight = nn.Parameter(torch.randn(3, 3))

    def forward(self, x, state):
        new = self.rate * state + torch.tanh(x @ self.weight)
        return new, new


def test_a_cell_that_is_changed_is_compiled_again():
    module = Recurrent(Leaky())
    compiled = Compiled(module)
    x = torch.randn(6, 2, 3)
    for rate in (0.5, 0.25, 0.75, 0.125):
        module.cell.rate = rate
        torch.testing.assert_close(tensors(compiled(x)), reference(module, x))
        assert compiled.nodes == 1


class Sorting(nn.Module):
    """A cell that programs do not have."""

    state_size = 3

    def forward(self, x, state):
        new = (x + state).sort(-1).values
        return new, new


def test_what_has_no_program_is_unrolled_and_says_so():
    module = Recurrent(Sorting())
    x = torch.randn(3, 2, 3)
    compiled = Compiled(module)
    with pytest.warns(UserWarning, match="Sorting runs on the reference backend"):
        got = tensors(compiled(x))
    torch.testing.assert_close(got, reference(module, x))
    assert compiled.nodes == 0


def test_lengths_are_checked_when_the_graph_runs():
    module = Recurrent(LSTMCell(3, 4))
    compiled = Compiled(module)
    x = torch.randn(5, 2, 3)
    compiled(x, lengths=torch.tensor([5, 1]))
    with pytest.raises(ValueError, match=r"lengths contain \[6\], numbers from 0 to T=5 are expected"):
        compiled(x, lengths=torch.tensor([6, 1]))


def test_rows_without_a_step():
    module = Recurrent(GRUCell(3, 4)).double()
    compiled = Compiled(module)
    x, state = torch.randn(5, 2, 3).double().requires_grad_(), torch.randn(2, 4).double().requires_grad_()
    for lengths in (torch.tensor([5, 5]), torch.tensor([0, 0])):
        got = tensors(compiled(x, state, lengths=lengths))
        assert_equal(got, reference(module, x, state, lengths=lengths), [x, state, *module.parameters()])


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile's own code needs a C++ compiler")
def test_with_inductor():
    module = Stack(LSTMCell(3, 4), nn.Linear(4, 4), GRUCell(4, 4), skip="residual").double()
    x, given = inputs(5, 3, ("lengths",))
    x.requires_grad_()
    import torch._inductor.config as config

    with config.patch(fx_graph_cache=False):
        got = tensors(Compiled(module, "inductor")(x, **given))
        assert_equal(got, reference(module, x, **given), [x, *module.parameters()])


def test_without_fullgraph_a_drop_in_runs_between_graphs():
    net = nn.Sequential(LSTM(3, 4))
    x = torch.randn(5, 2, 3)
    torch._dynamo.config.allow_rnn = False  # torch's own choice
    torch.testing.assert_close(tensors(torch.compile(net, backend="aot_eager")(x)), reference(net, x))
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="allow_rnn"):
        torch.compile(net, backend="aot_eager", fullgraph=True)(x)


# ---------------------------------------------------------------- the operators


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_operators_keep_torchs_rules(monkeypatch):
    module = Recurrent(LSTMCell(3, 4, norm=True, zoneout=0.2)).double()
    seen = []
    operator = torch.ops.deeplstm.forward

    def spy(*args):
        seen.append(args)
        return operator(*args)

    monkeypatch.setattr(torch.ops.deeplstm, "forward", spy)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    x, given = inputs(5, 3, BOTH)
    module(x.requires_grad_(), **given)
    (args,) = seen
    monkeypatch.undo()
    library.opcheck(operator.default, args, test_utils=("test_schema", "test_faketensor", "test_autograd_registration"))


def operands(module, T=5, B=3):
    """What the operator gets for a module, from its exported graph."""
    x = torch.randn(T, B, 3)
    graph = export(module, (x,)).graph
    (node,) = [n for n in graph.nodes if "deeplstm.forward" in str(n.target)]
    weights = [p.detach() for p in module.parameters()]
    return [
        node.args[0],
        x,
        [torch.zeros(B, 4)],
        [],
        weights,
        [],
        None,
        None,
        False,
        "save",
        [False] * (2 + len(weights)),
    ]


def test_tensors_that_do_not_fit_are_refused():
    args = operands(Recurrent(GRUCell(3, 4)))
    torch.ops.deeplstm.forward(*args)
    for place, wrong in (
        (1, torch.randn(5, 3, 2)),
        (2, [torch.zeros(2, 4)]),
        (4, args[4][:-1]),
        (2, [torch.zeros(3, 4).double()]),
    ):
        with pytest.raises(ValueError, match="deeplstm::forward got"):
            torch.ops.deeplstm.forward(*args[:place], wrong, *args[place + 1 :])


def test_a_damaged_program_is_refused():
    args = operands(Recurrent(GRUCell(3, 4)))
    for text in ("GRUCell", "GRUCell:", args[0][:-20], args[0].replace("GRUCell:", "GRUCell:AA")):
        with pytest.raises(ValueError, match="cannot be read"):
            torch.ops.deeplstm.forward(text, *args[1:])


def test_programs_are_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(opaque, "KNOWN", 2)
    results = []
    for seed in (0, 1, 2, 0):
        torch.manual_seed(seed)
        args = operands(Recurrent(GRUCell(3, 4, reset_after=seed != 1, bias=seed != 2)))
        results.append(torch.ops.deeplstm.forward(*args)[0].shape)
    assert len(opaque._programs) == 2
    assert set(results) == {(5, 3, 4)}


# ---------------------------------------------------------------- export

T, B = Dim("T", min=1, max=1000), Dim("B", min=1, max=1000)


@pytest.mark.parametrize(("name", "strict"), [("noise", False), ("stack", False), ("GRU", True)])
def test_export_with_any_number_of_steps_and_rows(name, strict):
    make, _, nodes = MODULES[name]
    module = make().double().eval()
    x, given = inputs(5, 3, ("lengths",))
    first = "input" if isinstance(module, nn.RNNBase) else "x"
    program = export(module, (x,), given, dynamic_shapes={first: {0: T, 1: B}, "lengths": {0: B}}, strict=strict)
    assert loops(program.graph) == nodes
    exported = program.module()
    for steps, rows in ((5, 3), (11, 2), (1, 1), (4, 7)):
        x, given = inputs(steps, rows, ("lengths",))
        x.requires_grad_()
        torch.testing.assert_close(tensors(exported(x, **given)), reference(module, x, **given))
    wanted, got = reference(module, x, **given), tensors(exported(x, **given))
    upstream = [torch.randn_like(t) for t in wanted]
    names = [name for name, _ in module.named_parameters()]
    for leaves in ([x], names):
        pairs = [[t if isinstance(t, torch.Tensor) else m.get_parameter(t) for t in leaves] for m in (exported, module)]
        gradients = [
            torch.autograd.grad(outputs, given, upstream, retain_graph=True)
            for outputs, given in zip((got, wanted), pairs, strict=True)
        ]
        torch.testing.assert_close(*gradients)


def test_an_exported_graph_has_no_second_derivative_and_says_so():
    x = torch.randn(5, 2, 3, requires_grad=True)
    exported = export(Recurrent(LSTMCell(3, 4)), (x,)).module()
    (gradient,) = torch.autograd.grad(exported(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(gradient.sum(), x)


LOADS = """
import torch
{use}
program = torch.export.load({path!r})
x, wanted = torch.load({results!r})
torch.testing.assert_close(program.module()(x)[0], wanted)
print("loaded")
"""


def test_a_saved_program_runs_in_another_process(tmp_path):
    module = Recurrent(LSTMCell(3, 4, norm=True)).eval()
    x = torch.randn(5, 2, 3)
    path, results = str(tmp_path / "model.pt2"), str(tmp_path / "results.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, about its own tree
        torch.export.save(export(module, (x,), dynamic_shapes={"x": {0: T, 1: B}}), path)
    torch.save((torch.randn(7, 4, 3), None), results)
    x, _ = torch.load(results)
    torch.save((x, module(x)[0].detach()), results)

    def run(use):
        code = LOADS.format(use=use, path=path, results=results)
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    done = run("from deeplstm import scan")
    assert done.stdout == "loaded\n", done.stderr
    alone = run("")
    assert alone.returncode
    assert "failed to resolve torch.ops.deeplstm.forward" in alone.stderr


def test_a_buffer_holds_what_a_file_would():
    module = Recurrent(GRUCell(3, 4))
    x = torch.randn(5, 2, 3)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.export.save(export(module, (x,)).run_decompositions(), buffer)
        buffer.seek(0)
        again = torch.export.load(buffer).module()
    torch.testing.assert_close(tensors(again(x)), reference(module, x))
