"""Programs as text: what is written is read again; what a stranger wrote is a program that kernels can trust, or refused."""

import base64
import contextlib
import json
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.recurrence import test_users_cells as users

from deeplstm import GRUCell, LSTMCell
from deeplstm.recurrence.backends.cpu import opaque
from deeplstm.recurrence.program.capture import Signature, call_of, capture
from deeplstm.recurrence.program.interpret import straight_line
from deeplstm.recurrence.program.rows import Unsupported
from deeplstm.recurrence.program.text import FORMAT, read, write
from table import cells


def signature_of(cell, dtype=torch.float64, is_noisy=False):
    sizes = cell.state_size
    noise = tuple((n, w, kind == "step") for n, (kind, w, _) in cell.noise_shapes().items()) if is_noisy else ()
    weights = tuple((name, tuple(p.shape)) for name, p in cell.named_parameters())
    states = sizes if isinstance(sizes, tuple) else (sizes,)
    return Signature(weights, cell.input_size, states, isinstance(sizes, tuple), noise, is_noisy, dtype)


def unpacked(text):
    return json.loads(zlib.decompress(base64.urlsafe_b64decode(text.rpartition(":")[2])))


def packed(content, name="Cell"):
    return f"{name}:{base64.urlsafe_b64encode(zlib.compress(json.dumps(content).encode())).decode()}"


# ---------------------------------------------------------------- what is written


@cells()
def test_the_tables_cells_are_read_as_they_were_written(case):
    text = write("cell", capture(call_of(case.make()), signature_of(case.make(), is_noisy=True)))
    assert write("cell", read(text)) == text


@pytest.mark.parametrize("function", users.COMPILED.values(), ids=users.COMPILED)
def test_users_cells_are_read_as_they_were_written(function):
    cell = users.Cell(function).double()
    text = write("cell", capture(call_of(cell), signature_of(cell)))
    assert write("cell", read(text)) == text


# ---------------------------------------------------------------- what a stranger wrote


def contents():
    lstm, gru = LSTMCell(3, 4, norm=True, peephole=True, zoneout=0.2).double(), GRUCell(3, 4).double()
    steps = [capture(call_of(lstm), signature_of(lstm, is_noisy=True)), capture(call_of(gru), signature_of(gru))]
    for name in ("weights of weights", "masks of weights", "constants"):
        cell = users.Cell(users.COMPILED[name]).double()
        steps.append(capture(call_of(cell), signature_of(cell)))
    return [unpacked(write("cell", step)) for step in steps]


CONTENTS = contents()
OPERATORS = sorted({node[0] for content in CONTENTS for node in content["nodes"]})
TARGETS = ["as_strided.default", "index.Tensor", "permute.default", "slice.Tensor", "select.int", "expand.default"]
JUNK = [
    *(None, -1, 0, 1, 2, 4, 2**31, 2**63, -(2**70), 0.5, float("nan"), True, "x", [], {}, [0], [4], [4, 4], [0, 1]),
    *({"name": "x"}, {"node": 0}, {"node": -1}, {"node": 9999}, {"dict": []}, {"device": "meta"}, {"dtype": "float16"}),
    *({"aten": f"aten.{name}"} for name in TARGETS),
]


def paths(value, at=()):
    """Where everything in a nest of lists and dictionaries is."""
    parts = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, part in parts:
        yield (*at, key)
        yield from paths(part, (*at, key))


def put(value, path, new):
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


@st.composite
def mutated(draw):
    content = json.loads(json.dumps(draw(st.sampled_from(CONTENTS))))
    for _ in range(draw(st.integers(1, 2))):
        node = draw(st.sampled_from(content["nodes"]))
        what = draw(st.sampled_from(["operator", "reference", "shape", "kind", "order", "anything"]))
        if what == "operator":
            node[0] = draw(st.sampled_from(OPERATORS))
        elif what == "reference":
            places = [path for path in paths(node[1]) if path[-1] == "node"]
            if places:
                put(node[1], draw(st.sampled_from(places)), draw(st.integers(0, len(content["nodes"]))))
        elif what == "shape":
            shape = draw(st.sampled_from(content["nodes"]))[4]
            node[4] = draw(st.sampled_from([*JUNK, shape, *([shape[::-1]] if isinstance(shape, list) else [])]))
        elif what == "kind":
            node[3], node[5] = draw(st.sampled_from(["rows", "free", "sum"])), draw(st.booleans())
        elif what == "order":
            content["nodes"] = draw(st.permutations(content["nodes"]))
        else:
            part = draw(st.sampled_from([node, content["signature"], content["step"]]))
            new = draw(st.sampled_from(JUNK) | st.builds(lambda n: {"node": n}, st.integers(0, 40)))
            put(part, draw(st.sampled_from(list(paths(part)))), new)
    return content


def run(text, step):
    """Forward and backward on kernels, and the outputs by torch alone."""
    s, T, B = step.signature, 3, 2
    x, states = torch.randn(T, B, s.x, dtype=s.dtype), [torch.randn(B, width, dtype=s.dtype) for width in s.states]
    weights = [torch.randn(shape, dtype=s.dtype) for _, shape in s.weights]
    noise = [torch.rand(T, B, w) > 0.5 if is_mask else torch.rand(T, B, w, dtype=s.dtype) for _, w, is_mask in s.noise]
    given = (text, x, states, [], weights, noise, None, None, False, "save", [True] * (2 + len(weights)))
    assert opaque.FORWARD  # to import it makes the operators known
    results = torch.ops.deeplstm.forward(*given)
    shown = 1 + len(states) + len(step.marks)
    gradients = torch.ops.deeplstm.backward(*given, results[shown:], results[:shown])
    assert [g.shape for g in gradients] == [t.shape for t in (x, *states, *weights)]

    known = [step.x, *step.states, *step.noise.values(), *step.weights.values()]
    one_step, y = straight_line([step.y, *step.new], known), []
    for t in range(T):
        y_t, *states = one_step(x[t], *states, *(n[t] for n in noise), *weights)
        y.append(y_t)
    torch.testing.assert_close(results[: 1 + len(states)], [torch.stack(y), *states], equal_nan=True)


@settings(max_examples=120)
@given(mutated())
def test_what_is_read_can_be_trusted(content):
    """A mistake here ends the process, or gives what torch does not."""
    text, step = packed(content), None
    with contextlib.suppress(ValueError):  # any other error is a mistake of ours
        step = read(text)
    if step is not None and content not in CONTENTS:
        run(text, step)


@settings(max_examples=100)
@given(st.data())
def test_damaged_text_is_refused(data):
    text = packed(CONTENTS[1])
    at = data.draw(st.integers(5, len(text) - 1))
    damaged = text[:at] + data.draw(st.sampled_from(["", "A", "-", "é", ":", text[5:]])) + text[at + 1 :]
    with contextlib.suppress(ValueError):
        read(damaged)


def with_node(**changes):
    """A program with other attributes in its last operator of torch."""
    content = json.loads(json.dumps(CONTENTS[2]))
    node = next(node for node in reversed(content["nodes"]) if node[0] == "aten")
    for place, value in changes.items():
        node[{"args": 1, "attrs": 2, "shape": 4}[place]] = value
    return packed(content)


RUNS = '__import__("builtins").print("run")'


@pytest.mark.parametrize(
    "changes",
    [
        {"args": [{"name": RUNS}]},
        {"attrs": [{"aten": "aten.from_file.default"}, []]},
        {"attrs": [{"aten": "aten.add_.Tensor"}, []]},
        {"attrs": [{"aten": "aten.fbgemm_linear_fp16_weight.default"}, []]},
        {"attrs": [{"aten": "aten.empty_like.default"}, []]},
        {"attrs": [{"aten": "aten.clone.default"}, [[{"name": RUNS}, 1]]]},
        {"attrs": [{"aten": "aten.clone.default"}, [], {"name": RUNS}]},
        {"attrs": [{"aten": "aten.zeros_like.default"}, [[{"name": "device"}, {"device": "meta"}]]]},
        {"attrs": [{"dtype": "hub.load"}, []]},
    ],
    ids=str,
)
def test_nothing_is_run_by_reading(changes, capsys):
    with pytest.raises(ValueError, match="cannot be read"):
        read(with_node(**changes))
    assert capsys.readouterr().out == ""


def test_another_format_is_named():
    with pytest.raises(ValueError, match=f"its format is 2, {FORMAT} is expected"):
        read(packed({**CONTENTS[1], "format": 2}))


def test_what_text_cannot_hold_is_not_written():
    cell = users.Cell(lambda c, x, h: torch.tanh(c.a(x) + c.b(h) * torch.special.i1e(c.b.bias.cumsum(0)).sort()[0]))
    step = capture(call_of(cell), signature_of(cell, torch.float32))
    for node in [n for n in step.graph._made.values() if n.op == "aten"]:
        object.__setattr__(node, "attrs", (torch.ops.aten.rand_like.default, ()))
    with pytest.raises(Unsupported, match="rand_like"):
        write("cell", step)
