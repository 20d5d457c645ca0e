import pytest
import torch
from torch import nn

import deeplstm
from deeplstm.errors import InputError
from deeplstm.tasks.text.config import TextModel
from deeplstm.tasks.text.model import build

V = 11


def ids(steps=5, batch=3):
    return torch.randint(V, (steps, batch), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("width", "millions", "core"),
    [(200, 4.65, 2 * 4 * 200 * 402), (650, 19.8, 2 * 4 * 650 * 1302), (1500, 66.0, 2 * 4 * 1500 * 3002)],
    ids=["small", "medium", "large"],
)
def test_the_sizes_of_zaremba_et_al(width, millions, core):
    with torch.device("meta"):  # no memory for 66 million weights
        counts = build(TextModel(width=width), 10_000).parameter_counts()
    embedding, output = 10_000 * width, 10_000 * width + 10_000
    total = embedding + core + output
    assert counts == {"embedding": embedding, "core": core, "output": output, "total": total}
    assert float(f"{total / 1e6:.3g}") == millions


MODELS = {
    "plain": {},
    "widths": {"widths": (6, 9, 4)},
    "one-hot": {"embedding": 0},
    "tied": {"tied": True, "embedding": 8},
    "tied projection": {"tied": True, "proj_size": 3},
    "tied after": {"tied": True, "after": (5,)},
    "dropout": {"dropout": 0.3},
    "variational": {"dropout": 0.3, "variational": True},
    "residual": {"skip": "residual", "embedding": 5},
    "dense": {"skip": "dense", "layers": 3, "embedding": 5},
    "highway links": {"skip": "highway"},
    "before, between, after": {"before": (7, 6), "between": (9, 5), "after": (4, 3), "mlp_activation": "gelu"},
    "dense between": {"skip": "dense", "layers": 3, "between": (5,), "before": (7,)},
    "residual between": {"skip": "residual", "between": (8,)},
    "deep gates": {"gate_layers": (6, 5), "gate_activation": "relu"},
    "separate gates": {"gate_layers": (6,), "gate_sharing": "separate", "gate_shortcut": True},
    "one deep gate": {"gate_layers": (6,), "deep_gates": ("forget",)},
    "everything on lstm": {
        "peephole": True,
        "coupled": True,
        "norm": True,
        "proj_size": 3,
        "cell_clip": 2.0,
        "forget_bias": 1.0,
        "zoneout": 0.1,
        "zoneout_c": 0.2,
        "recurrent_dropout": 0.1,
        "weight_drop": 0.1,
        "init": 0.1,
    },
    "gru": {"cell": "gru", "reset_after": False, "gate_layers": (6,), "deep_gates": ("update", "reset")},
    "rnn": {"cell": "rnn", "nonlinearity": "relu", "gate_layers": (6,)},
    "highway": {"cell": "highway", "micro_steps": 2, "coupled": False, "norm": True},
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own, of its kernel
@pytest.mark.parametrize("name", MODELS)
def test_every_way_of_building_runs_and_learns(name):
    network = build(TextModel(**({"width": 8} if "widths" not in MODELS[name] else {}), **MODELS[name]), V)
    logits, state = network(ids())
    logits, state = network(ids(), state)
    assert logits.shape == (5, 3, V)
    logits.square().sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name
    counts = network.parameter_counts()
    assert counts["total"] == sum(parameter.numel() for parameter in network.parameters())
    assert counts["total"] == counts["embedding"] + counts["core"] + counts["output"]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", MODELS)
def test_two_windows_with_a_carried_state_are_one(name):
    network = build(TextModel(**({"width": 8} if "widths" not in MODELS[name] else {}), **MODELS[name]), V).eval()
    tokens = ids(steps=7)
    whole, last = network(tokens)
    first, state = network(tokens[:3])
    second, state = network(tokens[3:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(state, last)


def test_the_plain_model_is_zarembas():
    """Against torch.nn: embedding, LSTM, linear."""
    network = build(TextModel(width=6), V)
    lstm = nn.LSTM(6, 6, num_layers=2)
    weights = network.state_dict()
    for layer in (0, 1):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            (found,) = (weights[k] for k in weights if k.startswith(f"core.layers.{layer}.") and k.endswith(kind))
            getattr(lstm, f"{kind}_l{layer}").data.copy_(found)
    y, _ = lstm(weights["embedding.weight"][ids()])
    expected = y @ weights["output.weight"].T + weights["output.bias"]
    torch.testing.assert_close(network(ids())[0], expected)


def test_dropout_on_the_embedding_between_layers_and_before_the_output():
    network = build(TextModel(width=200, dropout=0.5), V)
    zeros = []

    def watch(module, arguments, output):
        zeros.append((arguments[0] == 0).double().mean().item())

    network.core.layers[0].register_forward_hook(watch)
    network.core.layers[1].register_forward_hook(watch)
    network.output.register_forward_hook(watch)
    network(ids(20, 20))
    assert zeros == pytest.approx([0.5, 0.5, 0.5], abs=0.02)
    zeros.clear()
    network.eval()(ids(20, 20))
    assert zeros == [0, 0, 0]


def test_variational_dropout_keeps_its_mask_over_time():
    network = build(TextModel(width=50, dropout=0.5, variational=True), V)
    seen = []
    network.core.layers[0].register_forward_hook(lambda module, arguments, output: seen.append(arguments[0]))
    network(torch.zeros(6, 2, dtype=torch.int64))
    assert torch.equal(seen[0][0], seen[0][5])
    assert not torch.equal(seen[0][0, 0], seen[0][0, 1])


def test_one_hot_is_an_embedding_that_is_not_learned():
    network = build(TextModel(width=4, embedding=0), V)
    seen = []
    network.core.register_forward_hook(lambda module, arguments, output: seen.append(arguments[0]))
    network(ids())
    assert torch.equal(seen[0].argmax(-1), ids())
    assert seen[0].sum() == ids().numel()
    assert network.parameter_counts()["embedding"] == 0


def test_hidden_layers_between_give_the_next_cell_their_prediction():
    network = build(TextModel(widths=(8, 7, 6), between=(5, 4)), V)
    assert [(layer.input_size, layer.output_size) for layer in network.core.layers] == [(8, 4), (4, 4), (4, 6)]
    assert network.core.layers[0].layers[1].output_activation == "tanh"  # a hidden layer, not a linear map


def test_deep_gates_deepen_only_the_gates_named():
    network = build(TextModel(width=4, layers=1, gate_layers=(6, 5), deep_gates=("forget", "output")), V)
    cell = network.core.layers[0].cell
    assert [mlp.gates for mlp in cell.deep.values()] == [("forget",), ("output",)]
    assert set(cell.direct_h) == {"input", "cell"}


def test_tied_weights_have_one_name_and_count_once():
    network = build(TextModel(width=4, tied=True), V)
    assert [name for name in network.state_dict() if "embedding" in name or "output" in name] == [
        "embedding.weight",
        "output.bias",
    ]
    assert network.parameter_counts()["embedding"] == V * 4
    assert network.parameter_counts()["output"] == V
    y = torch.randn(2, 3, 4)
    torch.testing.assert_close(
        network.output(y, network.embedding), y @ network.embedding.weight.T + network.output.bias
    )


def test_init_draws_every_weight_and_bias():
    network = build(TextModel(width=40, init=0.05, forget_bias=None), V)
    for name, parameter in network.named_parameters():
        assert parameter.abs().max() <= 0.05, name
        assert parameter.abs().max() > 0.03, name
        assert parameter.min() < 0 < parameter.max(), name


def test_init_leaves_alone_what_starts_at_a_value_of_its_own():
    network = build(TextModel(width=6, init=0.05, forget_bias=1.0, norm=True, skip="highway"), V)
    cell = network.core.layers[0].cell
    forget = slice(6, 12)
    assert torch.equal(cell.bias_ih[forget] + cell.bias_hh[forget], torch.ones(6))
    assert cell.bias_ih[:6].abs().max() <= 0.05
    assert torch.equal(cell.norm_ih.weight, torch.ones(24))
    assert torch.equal(network.core.gates["0"].bias, torch.full((6,), -1.0))
    cell = build(TextModel(cell="highway", width=6, init=0.05, micro_steps=2), V).core.layers[0].cell
    transform = slice(6, 12)
    assert torch.equal(cell.bias_hh[1][transform], torch.full((6,), -2.0))
    assert torch.equal(cell.bias_ih[transform], torch.zeros(6))
    assert cell.bias_hh[1][:6].abs().max() <= 0.05


def test_zoneout_of_the_two_states():
    def zoneout(**model):
        return build(TextModel(width=4, layers=1, **model), V).core.layers[0].cell.options["zoneout"]

    assert zoneout() == 0
    assert zoneout(zoneout=0.2) == 0.2
    assert zoneout(zoneout=0.2, zoneout_c=0.0) == (0.2, 0.0)


def test_the_plain_model_runs_on_torchs_own_kernels():
    network = build(TextModel(width=4), V)
    with deeplstm.backend("torch"):
        network(ids())


def test_all_complaints_about_a_model_at_once():
    with pytest.raises(InputError) as error:
        build(TextModel(layers=0, dropout=2.0), 0)
    message = str(error.value)
    for given in ("model.layers=0", "model.dropout=2.0", "vocabulary_size=0"):
        assert given in message


@pytest.mark.parametrize("wrong", [torch.zeros(5, dtype=torch.int64), torch.zeros(5, 3)])
def test_ids_of_a_wrong_shape_or_type(wrong):
    network = build(TextModel(width=4), V)
    with pytest.raises(ValueError, match=r"asks for \(T, B\) and torch.int64"):
        network(wrong)
