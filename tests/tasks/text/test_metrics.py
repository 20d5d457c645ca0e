import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from deeplstm.errors import InputError
from deeplstm.tasks.network.evaluating import evaluating
from deeplstm.tasks.text.config import TextModel
from deeplstm.tasks.text.metrics import Score, evaluate, score_targets
from deeplstm.tasks.text.model import build
from deeplstm.tasks.text.vocabulary import BYTES, Vocabulary

ABC = Vocabulary("char", "\nabc")


class Counting(nn.Module):
    """Gives each symbol a fixed score, and notes what it is asked; its state is the number of steps taken."""

    def __init__(self, scores=(0.0, 0.0, 0.0, 0.0)):
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))
        self.inputs, self.states = [], []

    def forward(self, ids, state=None):
        self.inputs.append(ids)
        self.states.append(state)
        return self.scores.expand(*ids.shape, -1), (state or 0) + len(ids)


def test_by_hand():
    """p = 1/8, 1/2, 1/4, 1/8 for the line end, a, b, c: a text of a, b, c costs 1 + 2 + 3 bits."""
    network = Counting((0.0, 2 * math.log(2), math.log(2), 0.0))
    score = evaluate(network, ABC.encode("abc"), ABC)
    assert score.nats == pytest.approx(2 * math.log(2))
    assert score.bits_per_character == pytest.approx(2)
    assert score.perplexity == pytest.approx(4)
    assert (score.tokens, score.characters) == (3, 3)


def test_each_token_is_predicted_from_the_one_before_it_and_the_first_from_the_line_end():
    network = Counting()
    evaluate(network, ABC.encode("abcab"), ABC, window=2)
    assert [ids.flatten().tolist() for ids in network.inputs] == [[0, 1], [2, 3], [1]]
    assert network.states == [None, 2, 4]


def test_streams_are_contiguous_and_start_from_zero():
    network = Counting()
    evaluate(network, ABC.encode("abcabcab"), ABC, batch_size=3, window=2)
    assert torch.cat(network.inputs).T.tolist() == [[0, 1, 2], [3, 1, 2], [3, 1, 2]]
    assert network.states == [None, 2]


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 9))
def test_every_token_is_counted_once(tokens, batch_size, window):
    """Token n costs what makes the sum tell which tokens were counted, and how often."""
    ids = np.random.default_rng(tokens).integers(0, 4, tokens).astype(np.uint8)
    network = Counting((0.1, 0.7, -1.3, 2.9))
    costs = -torch.log_softmax(network.scores.detach().double(), 0)
    heard = []
    score = evaluate(
        network,
        ids,
        ABC,
        batch_size=batch_size,
        window=window,
        progress=lambda *done: heard.append(done),
    )
    assert score.nats * tokens == pytest.approx(costs[torch.from_numpy(ids).long()].sum().item(), rel=1e-5)
    assert (score.tokens, score.characters) == (tokens, tokens)
    assert heard[-1] == (tokens, tokens)


def test_windows_change_nothing_for_a_real_network():
    network = build(TextModel(width=8, dropout=0.5), 4)
    ids = np.random.default_rng(0).integers(0, 4, 100)
    with evaluating(network):
        logits, _ = network(torch.tensor([0, *ids[:-1]])[:, None])
    expected = nn.functional.cross_entropy(logits[:, 0], torch.from_numpy(ids)).item()
    for window in (1, 7, 99, 100, 1000):
        assert evaluate(network, ids, ABC, window=window).nats == pytest.approx(expected, rel=1e-5)


def test_a_stream_reads_on_from_the_token_before_it():
    network = build(TextModel(width=8), 4)
    ids = np.random.default_rng(0).integers(0, 4, 31)
    with evaluating(network):
        costs = []
        for begin, end in ((0, 11), (11, 21), (21, 31)):
            inputs = torch.tensor([ids[begin - 1] if begin else 0, *ids[begin : end - 1]])[:, None]
            logits, _ = network(inputs)
            costs.append(nn.functional.cross_entropy(logits[:, 0], torch.from_numpy(ids[begin:end]), reduction="sum"))
    score = evaluate(network, ids, ABC, batch_size=3, window=4)
    assert score.nats * 31 == pytest.approx(sum(costs).item(), rel=1e-5)


def test_bits_per_character_count_characters_whatever_the_tokens_are():
    words = Vocabulary("word", ["<eos>", "the", "cat"])
    text = "the cat\nthe\n"
    score = evaluate(Counting((0.0, 0.0, 0.0)), words.encode(text), words)
    assert (score.tokens, score.characters) == (5, len(text))
    assert score.bits_per_character == pytest.approx(5 * math.log2(3) / len(text))
    text, network = "é漢", Counting((0.0,) * 256)
    score = evaluate(network, Vocabulary("byte", BYTES).encode(text), Vocabulary("byte", BYTES))
    assert (score.tokens, score.characters) == (5, 2)
    assert score.bits_per_character == pytest.approx(5 * 8 / 2)


def test_bytes_that_make_up_no_character():
    score = evaluate(Counting((0.0,) * 256), np.array([0x80], np.uint8), Vocabulary("byte", BYTES))
    assert score.bits_per_character == math.inf
    assert score.nats == pytest.approx(math.log(256))


def test_the_network_comes_back_as_it_was():
    network = build(TextModel(width=4, dropout=0.5), 4)
    network.core.eval()
    evaluate(network, ABC.encode("abc"), ABC)
    assert network.training
    assert not network.core.training
    assert not network.core.layers[0].training
    assert network.embedding.weight.requires_grad
    assert torch.is_grad_enabled()
    with evaluating(network):
        assert not network.core.training
        assert not network(torch.zeros(1, 1, dtype=torch.int64))[0].requires_grad
    with pytest.raises(RuntimeError), evaluating(network):
        raise RuntimeError
    assert network.training
    assert not network.core.training


def test_evaluation_is_without_dropout():
    network = build(TextModel(width=8, dropout=0.5, zoneout=0.3), 4)
    scores = {evaluate(network, ABC.encode("abcab" * 20), ABC) for _ in range(2)}
    assert len(scores) == 1


def test_a_text_without_tokens():
    with pytest.raises(InputError, match="no token to predict"):
        evaluate(Counting(), np.array([], np.uint8), ABC)


def test_a_hopeless_network_has_infinite_perplexity():
    assert Score.of(1e4, 1, 1).perplexity == math.inf
    assert math.isnan(Score.of(math.nan, 1, 1).perplexity)


def test_targets_are_scored_in_float32():
    logits = torch.randn(3, 2, 5)
    targets = torch.randint(5, (3, 2))
    expected = -torch.log_softmax(logits, -1).gather(-1, targets[..., None])[..., 0]
    torch.testing.assert_close(score_targets(logits, targets), expected)
    assert score_targets(logits.bfloat16(), targets).dtype == torch.float32
