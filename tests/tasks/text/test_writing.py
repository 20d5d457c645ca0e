from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import deeplstm
from deeplstm.errors import InputError
from deeplstm.tasks.text.config import TextModel
from deeplstm.tasks.text.model import build
from deeplstm.tasks.text.vocabulary import BYTES, Vocabulary
from deeplstm.tasks.text.writing import _Called, as_stack, choose, generate

ABC = Vocabulary("char", "\nabc")
WORDS = Vocabulary("word", ["<eos>", "the", "cat", "sat"])
BYTE = Vocabulary("byte", BYTES)


class Chain(nn.Module):
    """Says the symbols of a cycle one after the other, counting in its state, whatever it reads."""

    def __init__(self, cycle, size):
        super().__init__()
        self.cycle, self.size = cycle, size
        self.weight = nn.Parameter(torch.zeros(1))
        self.inputs, self.calls = [], []

    def forward(self, ids, state=None):
        begin = state or 0
        self.inputs += ids[:, 0].tolist()
        self.calls.append(len(ids))
        logits = torch.full((len(ids), 1, self.size), -1e4)
        for step in range(len(ids)):
            logits[step, 0, self.cycle[(begin + step) % len(self.cycle)]] = 0
        return logits, begin + len(ids)


@pytest.fixture
def network():
    return build(TextModel(width=8, dropout=0.5), 4)


def write(*arguments, **options):
    return "".join(generate(*arguments, **options))


def test_one_symbol_after_the_other_each_read_once():
    network = Chain([1, 2, 3], 4)
    pieces = list(generate(network, ABC, length=5))
    assert pieces == ["a", "b", "c", "a", "b"]
    assert network.inputs == [0, 1, 2, 3, 1]  # from the line end on; the last one need not be read
    assert network.calls == [1] * 5


def test_a_prompt_is_read_and_not_given_back(monkeypatch):
    monkeypatch.setattr("deeplstm.tasks.text.writing.PROMPT_WINDOW", 4)
    network = Chain([1, 2, 3, 0], 4)
    assert write(network, ABC, "cccccb", length=3) == "c\na"
    assert network.inputs == [0, 3, 3, 3, 3, 3, 2, 3, 0]
    assert network.calls == [4, 3, 1, 1]


def test_words_are_parted_by_blanks():
    assert write(Chain([1, 2, 0], 4), WORDS, length=5) == "the cat\nthe cat"
    assert write(Chain([1, 2, 3], 4), WORDS, "the", length=2) == " cat sat"
    assert write(Chain([0, 1, 2], 4), WORDS, "the\n", length=2) == "cat\n"


def test_bytes_come_as_whole_characters():
    cycle = list("é漢".encode())
    assert list(generate(Chain(cycle, 256), BYTE, length=5)) == ["é", "漢"]
    assert write(Chain(cycle, 256), BYTE, length=4) == "é\ufffd"  # it stops within a character


def test_the_state_is_carried(network):
    """Greedy text, against running the whole text through the network again for each symbol."""
    network.eval()
    ids = [ABC.start, *ABC.encode("ab")]
    for _ in range(10):
        logits, _ = network(torch.tensor(ids)[:, None])
        ids.append(int(logits[-1, 0].argmax()))
    assert write(network, ABC, "ab", length=10, temperature=0) == ABC.decode(ids[3:])


def test_a_seed_makes_it_the_same_every_time_and_leaves_torch_alone(network):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    texts = [write(network, ABC, length=60, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert write(network, ABC, length=60) != write(network, ABC, length=200)
    assert torch.equal(torch.get_rng_state(), before)
    assert network.training


def test_the_caller_may_do_other_things_between_two_pieces(network):
    pieces = generate(network, ABC, length=3)
    next(pieces)
    assert network.training
    assert torch.is_grad_enabled()
    assert network(torch.zeros(1, 1, dtype=torch.int64))[0].requires_grad


def drawn(temperature=1.0, top_p=1.0):
    """Shares of 4 symbols with probabilities 0.5, 0.3, 0.2 and nearly 0, of 600 draws."""
    logits = np.log(np.array([0.2, 0.5, 1e-9, 0.3], np.float32))
    generator = np.random.default_rng(0)
    counts = Counter(choose(logits, temperature, top_p, generator) for _ in range(600))
    return [counts[symbol] / 600 for symbol in range(4)]


def test_shares_follow_probabilities():
    assert drawn() == pytest.approx([0.2, 0.5, 0, 0.3], abs=0.07)


def test_temperature_sharpens_and_flattens():
    assert drawn(temperature=0.5) == pytest.approx([4 / 38, 25 / 38, 0, 9 / 38], abs=0.07)
    assert drawn(temperature=1e6) == pytest.approx([0.25] * 4, abs=0.07)
    assert drawn(temperature=0) == drawn(temperature=1e-300) == [0, 1, 0, 0]


def test_top_p_keeps_the_fewest_likeliest_symbols_that_reach_it():
    assert drawn(top_p=0.5) == drawn(top_p=0.01) == [0, 1, 0, 0]
    assert drawn(top_p=0.51) == drawn(top_p=0.8) == pytest.approx([0, 0.625, 0, 0.375], abs=0.07)
    assert drawn(top_p=0.81) == pytest.approx([0.2, 0.5, 0, 0.3], abs=0.07)


def test_top_p_reached_exactly_is_enough():
    generator = np.random.default_rng(0)
    assert {choose(np.zeros(4), 1.0, 0.5, generator) for _ in range(100)} == {0, 1}


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0, 1])
def test_a_network_gone_astray(score, temperature):
    with pytest.raises(InputError, match="not finite"):
        choose(np.array([0.0, score, 1.0]), temperature, 1.0, np.random.default_rng(0))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"embedding": 0},
        {"tied": True, "width": 8, "embedding": 8},
        {"before": (5,), "between": (8,), "after": (6,), "skip": "residual", "dropout": 0.5, "variational": True},
        {"layers": 2, "skip": "dense", "cell": "gru", "norm": True, "zoneout": 0.3},
    ],
    ids=str,
)
def test_a_network_as_a_stack_is_the_network(options):
    network = build(TextModel(**{"width": 8, **options}), 4).eval()
    ids = torch.randint(4, (5, 2))
    with torch.no_grad():
        expected = network(ids)[0]
        given = as_stack(network)(ids)[0]
    torch.testing.assert_close(given, expected)
    assert as_stack(network) is as_stack(network)


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_it_writes_what_calling_the_network_would_write(network, name):
    """Symbol for symbol, also after the network was trained in between."""
    with deeplstm.backend(name):
        pieces = generate(network, ABC, "ab", length=40, seed=5)
        written = [next(pieces) for _ in range(20)]
        with torch.no_grad():
            network.output.weight.mul_(3)
        written += list(pieces)
    with torch.no_grad():
        network.output.weight.div_(3)
    read, generator = _Called(network), np.random.default_rng(5)
    ids = [ABC.start, *ABC.encode("ab")]
    expected = []
    for n in range(40):
        if n == 20:
            with torch.no_grad():
                network.output.weight.mul_(3)
        ids = [choose(read(ids), 1.0, 1.0, generator)]
        expected += ids
    assert "".join(written) == ABC.decode(expected)


def test_all_wrong_values_at_once_when_called(network):
    with pytest.raises(InputError) as error:
        generate(network, ABC, "aXY", length=-1, temperature=float("nan"), top_p=0.0, seed=-1)
    message = str(error.value)
    for given in ("length=-1", "temperature=nan", "top_p=0.0", "seed=-1", "'X' 'Y'"):
        assert given in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "wrong", [{"temperature": -0.1}, {"temperature": float("inf")}, {"top_p": 1.1}, {"seed": 2**63}]
)
def test_each_wrong_value(network, wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}="):
        generate(network, ABC, **wrong)


def test_nothing_to_write(network):
    assert write(network, ABC, "ab", length=0) == ""
