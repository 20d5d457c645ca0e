"""One step at a time, one row, from Python: `deeplstm.Stream` beside ONNX Runtime and nn.LSTM, and beside the memory's speed.

python -m benchmarks.streaming
"""

from __future__ import annotations

import ctypes
import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import deeplstm
from deeplstm.bench.surroundings import described, markdown, surroundings
from deeplstm.bench.timing import FULL, Rounds, take_turns

SIZES = [(1, 40), (2, 128), (2, 256), (2, 512)]
"""Layers, and the width of each and of the input."""

ERROR = {"float32": 2e-5, "bfloat16": 2e-2}
"""Largest difference from nn.LSTM that is allowed, relative to the largest output, by how weights are kept."""

SETTLE = 0.06
"""Seconds for which each takes steps before they count: it takes some 30 steps until 16 MB of weights come from the third cache
again, and ONNX Runtime's threads look for work for 20 milliseconds after its last step, and take a core."""

SYMBOLS = 96
CHARACTERS = 400


@dataclass(frozen=True)
class Row:
    """One contestant at one size.

    Attributes:
        microseconds: of one step, the median over the rounds.
        against_onnx, against_torch: how many times faster than these; None where the peer is not there.
        floor: microseconds that reading the weights alone takes, one core or two, whichever this may use; None for peers.
    """

    size: str
    name: str
    microseconds: float
    against_onnx: float | None
    against_torch: float
    floor: float | None


# ---------------------------------------------------------------- contestants

Step = Callable[[int], Any]
"""Takes the number of a step, so that the inputs differ."""


def contestants(layers: int, H: int, xs: Tensor) -> tuple[dict[str, Step], dict[str, deeplstm.Stream]]:
    """Everyone who takes a step, by name, and the streams among them; all with the same weights."""
    ours = deeplstm.LSTM(H, H, num_layers=layers)
    torchs = nn.LSTM(H, H, num_layers=layers)
    torchs.load_state_dict(ours.state_dict())
    arrays = list(xs.numpy())
    streams = {
        "Stream": deeplstm.Stream(ours),
        "Stream, one thread": deeplstm.Stream(ours, threads=1),
        "Stream, bfloat16": deeplstm.Stream(ours, weights=torch.bfloat16),
        "Stream, bfloat16, one thread": deeplstm.Stream(ours, weights=torch.bfloat16, threads=1),
    }
    steps: dict[str, Step] = {"nn.LSTM": _torch_step(torchs, xs)}
    onnx = _onnx_step(torchs, layers, H, arrays)
    if onnx is not None:
        steps["ONNX Runtime"] = onnx
    for name, stream in streams.items():
        steps[name] = lambda n, s=stream: s.step(arrays[n % len(arrays)])
    tensors, tensor_stream = list(xs), deeplstm.Stream(ours)
    streams["Stream, tensors"] = tensor_stream
    steps["Stream, tensors"] = lambda n: tensor_stream.step(tensors[n % len(tensors)])
    return steps, streams


def _torch_step(model: nn.LSTM, xs: Tensor) -> Step:
    state: Any = None
    inputs = list(xs[:, None])

    def step(n: int) -> Tensor:
        nonlocal state
        with torch.inference_mode():
            y, state = model(inputs[n % len(inputs)], state)
        return y[0]

    return step


def _onnx_step(model: nn.LSTM, layers: int, H: int, arrays: list[Any]) -> Step | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(_onnx_model(model, layers, H), options, providers=["CPUExecutionProvider"])
    states = [np.zeros((1, 1, H), np.float32) for _ in range(2 * layers)]
    names = [f"state{n}" for n in range(2 * layers)]
    inputs = [x[None] for x in arrays]

    def step(n: int) -> Any:
        nonlocal states
        y, *states = session.run(None, {"x": inputs[n % len(inputs)], **dict(zip(names, states, strict=True))})
        return y[0, 0]

    return step


def _onnx_model(model: nn.LSTM, layers: int, H: int) -> bytes:
    """ONNX's own LSTM, layer by layer; its gates are in the order input, output, forget, cell."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def turned(weight: Tensor) -> Any:
        i, f, g, o = weight.detach().chunk(4)
        return torch.cat([i, o, f, g])[None].numpy()

    nodes, constants = [], []
    read = "x"
    for n in range(layers):
        ih, hh, b_ih, b_hh = (getattr(model, f"{w}_l{n}") for w in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        bias = np.concatenate([turned(b_ih), turned(b_hh)], axis=1)
        for name, value in (("W", turned(ih)), ("R", turned(hh)), ("B", bias)):
            constants.append(numpy_helper.from_array(value, f"{name}{n}"))
        states = [f"state{2 * n}", f"state{2 * n + 1}"]
        inputs = [read, f"W{n}", f"R{n}", f"B{n}", "", *states]
        nodes.append(helper.make_node("LSTM", inputs, [f"Y{n}", *(f"new {s}" for s in states)], hidden_size=H))
        nodes.append(helper.make_node("Squeeze", [f"Y{n}", "axis"], [f"y{n}"]))  # (T, 1, B, H) -> (T, B, H)
        read = f"y{n}"
    constants.append(numpy_helper.from_array(np.array([1]), "axis"))
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, H])  # noqa: E731
    names = [f"state{n}" for n in range(2 * layers)]
    graph = helper.make_graph(
        nodes, "steps", [value("x"), *map(value, names)], [value(read), *(value(f"new {n}") for n in names)], constants
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(whole)
    file = io.BytesIO()
    onnx.save(whole, file)
    return file.getvalue()


def check(steps: dict[str, Step], number: int = 8) -> None:
    """Raise where a contestant's outputs are not nn.LSTM's."""
    expected = [np.asarray(steps["nn.LSTM"](n)).ravel() for n in range(number)]
    scale = max(np.abs(e).max() for e in expected)
    for name, step in steps.items():
        if name == "nn.LSTM":
            continue
        off = max(np.abs(np.asarray(step(n)).ravel() - e).max() for n, e in enumerate(expected)) / scale
        allowed = ERROR["bfloat16" if "bfloat16" in name else "float32"]
        if not off <= allowed:
            raise AssertionError(f"{name} is off by {off:.1e} of the largest output, at most {allowed:.0e} is expected")


# ---------------------------------------------------------------- the memory


def reading_seconds(size_bytes: int, parts: int) -> float:
    """How long it takes to read so many bytes again and again, on so many cores, at the best of several rounds.

    Each core reads two streams, which is a tenth faster than one where these are in the third cache.
    """
    from llvmlite import ir

    from deeplstm.recurrence.backends.cpu import threads
    from deeplstm.recurrence.backends.cpu.llvm import kernels
    from deeplstm.recurrence.backends.cpu.llvm.control import accumulate
    from deeplstm.recurrence.backends.cpu.llvm.control import loop as loop_
    from deeplstm.recurrence.backends.cpu.llvm.host import host
    from deeplstm.recurrence.backends.cpu.llvm.memory import I8, I64, PTR

    lanes, chains = host().vector_bytes // 4, 8
    module, vector = ir.Module(), ir.VectorType(ir.FloatType(), lanes)
    chunk = chains // 2 * lanes * 4  # of each stream
    run = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64, I64, PTR]), "run")
    b = ir.IRBuilder(run.append_basic_block())
    begin, end, context = run.args
    entry = lambda n: b.load(b.gep(context, [I64(n)], source_etype=I64), typ=I64)  # noqa: E731
    data, chunks, out = b.inttoptr(entry(0), PTR), entry(1), b.inttoptr(entry(2), PTR)
    with loop_(b, begin, end, "part") as part:
        size = b.mul(chunks, I64(chunk))
        streams = [b.gep(data, [b.mul(b.add(b.mul(part, I64(2)), I64(n)), size)], source_etype=I8) for n in range(2)]

        def body(k: Any, sums: list[Any]) -> list[Any]:
            at = b.mul(k, I64(chunk))
            offsets = [b.add(at, I64(n * lanes * 4)) for n in range(chains // 2)]
            places = [b.gep(s, [offset], source_etype=I8) for s in streams for offset in offsets]
            return [b.fadd(s, b.load(p, typ=vector, align=4)) for s, p in zip(sums, places, strict=True)]

        total, *others = accumulate(b, chunks, [ir.Constant(vector, None)] * chains, body)
        for other in others:
            total = b.fadd(total, other)
        b.store(total, b.gep(out, [b.mul(part, I64(256))], source_etype=I8), align=4)
    b.ret_void()
    text = kernels._with_attributes(str(module), host())
    engine = kernels._loaded(kernels._object_code(text, host(), optimise=True), host())

    class Reader:
        address = engine.get_function_address("run")
        call = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(address)

    count_of_chunks = max(1, size_bytes // parts // (2 * chunk))
    memory, results = torch.zeros(parts * count_of_chunks * 2 * chunk // 4), torch.zeros(64 * parts + 64)
    numbers = (ctypes.c_int64 * 3)(memory.data_ptr(), count_of_chunks, results.data_ptr())
    call = lambda: threads.run(Reader, parts, ctypes.addressof(numbers))  # noqa: E731
    times = take_turns({0: call}, Rounds(15, 0.01))
    return times[0].lower / 1e3 * size_bytes / (parts * count_of_chunks * 2 * chunk)


# ---------------------------------------------------------------- latency


def latency(rounds: Rounds = FULL, sizes: list[tuple[int, int]] = SIZES) -> list[Row]:
    """Every contestant at every size, checked first."""
    rows = []
    for layers, H in sizes:
        torch.manual_seed(0)
        steps, streams = contestants(layers, H, torch.randn(16, 1, H))
        check(steps)
        times = take_turns({name: _call(step) for name, step in steps.items()}, rounds, settle=SETTLE)
        micro = {name: time.median * 1e3 for name, time in times.items()}
        onnx = micro.get("ONNX Runtime")
        for name, taken in micro.items():
            floor = None
            if name in streams:
                cores = 1 if "one thread" in name else min(2, torch.get_num_threads())
                floor = min(reading_seconds(streams[name].weight_bytes, n) for n in range(1, cores + 1)) * 1e6
            rows.append(
                Row(
                    f"{layers}x{H}",
                    name,
                    taken,
                    None if onnx is None else onnx / taken,
                    micro["nn.LSTM"] / taken,
                    floor,
                )
            )
    return rows


def _call(step: Step) -> Callable[[], object]:
    """The next step each time."""
    numbers = count()
    return lambda: step(next(numbers))


# ---------------------------------------------------------------- text


@dataclass(frozen=True)
class Writing:
    """Characters a second of a two-layer model of width 128."""

    stream: float
    loop: float

    @property
    def ratio(self) -> float:
        return self.stream / self.loop


def writing(rounds: Rounds = FULL) -> Writing:
    """`deeplstm generate` beside a loop over nn.LSTM that draws from a softmax, as one would write it."""
    from deeplstm.tasks.text.config import TextModel
    from deeplstm.tasks.text.model import build
    from deeplstm.tasks.text.vocabulary import Vocabulary
    from deeplstm.tasks.text.writing import generate

    torch.manual_seed(0)
    network = build(TextModel(layers=2, width=128), SYMBOLS).eval()
    vocabulary = Vocabulary("char", "\n" + "".join(chr(32 + n) for n in range(SYMBOLS - 1)))
    lstm = nn.LSTM(128, 128, num_layers=2)
    for n, layer in enumerate(network.core.layers):
        for name, value in layer.cell.named_parameters():
            getattr(lstm, f"{name}_l{n}").data.copy_(value)
    state: Any = None
    read = torch.zeros(1, 1, dtype=torch.int64)

    @torch.inference_mode()
    def loop() -> None:
        nonlocal state, read
        for _ in range(CHARACTERS):
            y, state = lstm(network.embedding(read), state)
            logits = network.output(y[-1, 0], network.embedding)
            read = torch.multinomial(torch.softmax(logits, 0), 1)[None]
            vocabulary.decode([int(read)])

    pieces = generate(network, vocabulary, length=10**9, seed=0)

    def stream() -> None:
        for _ in islice(pieces, CHARACTERS):
            pass

    check_of_text(network, lstm)
    times = take_turns({"stream": stream, "loop": loop}, rounds)
    return Writing(*(CHARACTERS / times[name].median * 1e3 for name in ("stream", "loop")))


@torch.no_grad()
def check_of_text(network: Any, lstm: nn.LSTM) -> None:
    """Raise where the two networks do not give the same scores."""
    ids = torch.randint(SYMBOLS, (20, 1))
    ours, _ = network(ids)
    y, _ = lstm(network.embedding(ids))
    torch.testing.assert_close(network.output(y, network.embedding), ours, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- what is printed


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    columns = ["size", "contestant", "us a step", "x ONNX Runtime", "x nn.LSTM", "floor, us", "share of floor"]
    number = lambda value: "" if value is None else f"{value:.1f}"  # noqa: E731
    cells = [
        [
            row.size,
            row.name,
            number(row.microseconds),
            number(row.against_onnx),
            number(row.against_torch),
            number(row.floor),
            "" if row.floor is None else f"{100 * row.floor / row.microseconds:.0f} %",
        ]
        for row in rows
    ]
    return markdown(columns, cells)


def main(rounds: Rounds = FULL) -> tuple[list[Row], Writing]:
    """Measure and print; the rows, for whoever puts them into a report."""
    rows = latency(rounds)
    print(
        "One step, one row, float32 unless it says bfloat16; floor: reading the weights once from where they fit. "
        f"ONNX Runtime and nn.LSTM use {torch.get_num_threads()} threads, and so may Stream where it does not say one.\n"
    )
    print(table(rows))
    text = writing(rounds)
    print(
        f"\ndeeplstm generate, 2x128, {SYMBOLS} symbols: {text.stream:,.0f} characters/s, a loop over nn.LSTM "
        f"{text.loop:,.0f}: {text.ratio:.1f}x\n"
    )
    print(described(surroundings()))
    return rows, text


if __name__ == "__main__":
    main()
