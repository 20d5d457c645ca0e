"""The emitted functions against torch and mpmath, in ulp, for every type and lane count."""

import ctypes
import functools
import inspect
import re

import mpmath
import pytest
import torch
import torch.nn.functional as F
from llvmlite import binding, ir

from deeplstm.recurrence.backends.cpu.llvm import math

INFINITY, NAN = float("inf"), float("nan")
TYPES = {torch.float32: ir.FloatType(), torch.float64: ir.DoubleType()}
SHAPES = [(dtype, lanes) for dtype in TYPES for lanes in (1, 2, 4, 8, 16)]

# What torch computes, or something as good and more accurate; the largest error in ulp in float32 and in float64.
# In float64 torch's own error is part of what is seen.
TABLE = {
    "exp": (torch.exp, 1.5, 2),
    "log": (torch.log, 1, 2),
    "log1p": (torch.log1p, 1.5, 3),
    "expm1": (torch.expm1, 2, 3),
    "sigmoid": (torch.sigmoid, 3.5, 4),
    "tanh": (torch.tanh, 3.5, 4),
    "softplus": (F.softplus, 2.5, 4),
    "silu": (F.silu, 3.5, 4),
    "erf": (torch.erf, 2.5, 3),
    "gelu": (F.gelu, 6, 8),
    "sqrt": (torch.sqrt, 0.5, 1),
    "rsqrt": (torch.rsqrt, 1.5, 1),
    "sin": (torch.sin, 2, 2),
    "cos": (torch.cos, 2, 2),
    "abs": (torch.abs, 0, 0),
    "neg": (torch.neg, 0, 0),
    "maximum": (torch.maximum, 0, 0),
    "minimum": (torch.minimum, 0, 0),
    "sign": (torch.sign, 0, 0),
    "reciprocal": (torch.reciprocal, 0.5, 0),
    "floor": (torch.floor, 0, 0),
    "ceil": (torch.ceil, 0, 0),
    "round": (torch.round, 0, 0),
    "pow": (torch.pow, 0.51, 3),  # float64: 3 for each unit of |y log x|
}
# Where a claim is made: past 1e5 float32 has no digits of x modulo pi to give; silu follows torch into exp's overflow; a torch
# gelu has lost its digits below -1, where mpmath is asked instead.
RANGES = {"sin": (-1e5, 1e5), "cos": (-1e5, 1e5), "silu": (-88.7, INFINITY), "gelu": (-1.0, INFINITY)}


def machine() -> binding.TargetMachine:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    target = binding.Target.from_default_triple()
    return target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=2)


def module_of(name, dtype, lanes) -> ir.Module:
    """A module with `f(inputs..., output, vectors)`, a loop over whole vectors."""
    element = TYPES[dtype]
    type = element if lanes == 1 else ir.VectorType(element, lanes)
    inputs = len(inspect.signature(math.FUNCTIONS[name]).parameters) - 1
    module, i64 = ir.Module(), ir.IntType(64)
    f = ir.Function(module, ir.FunctionType(ir.VoidType(), [type.as_pointer()] * (inputs + 1) + [i64]), "f")
    before, loop, after = (f.append_basic_block(label) for label in ("before", "loop", "after"))
    ir.IRBuilder(before).branch(loop)
    b = ir.IRBuilder(loop)
    i = b.phi(i64)
    values = [b.load(b.gep(p, [i]), align=dtype.itemsize) for p in f.args[:inputs]]
    b.store(math.FUNCTIONS[name](b, *values), b.gep(f.args[inputs], [i]), align=dtype.itemsize)
    following = b.add(i, i64(1))
    i.add_incoming(i64(0), before)
    i.add_incoming(following, loop)
    b.cbranch(b.icmp_unsigned("<", following, f.args[-1]), loop, after)
    ir.IRBuilder(after).ret_void()
    return module


@functools.cache
def compiled(name, dtype, lanes):
    # llvmlite knows no attributes with a value, so they are written into the text.
    text = re.sub(r'(define void @"f"\(.*\))', r"\1 #0", str(module_of(name, dtype, lanes)))
    text += '\nattributes #0 = { "min-legal-vector-width"="512" "prefer-vector-width"="512" }\n'
    host = machine()
    parsed = binding.parse_assembly(text)
    parsed.verify()
    passes = binding.create_pass_builder(host, binding.create_pipeline_tuning_options(speed_level=2))
    passes.getModulePassManager().run(parsed, passes)
    engine = binding.create_mcjit_compiler(parsed, host)
    engine.finalize_object()
    pointers = len(inspect.signature(math.FUNCTIONS[name]).parameters)
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, ctypes.c_int64)(engine.get_function_address("f"))
    call.engine = engine  # owns the code
    return call


def apply(name, dtype, lanes, *inputs):
    size = inputs[0].numel()
    padded = [F.pad(x.to(dtype), (0, -size % lanes)) for x in inputs]
    result = torch.full_like(padded[0], NAN)
    compiled(name, dtype, lanes)(*[x.data_ptr() for x in (*padded, result)], padded[0].numel() // lanes)
    return result[:size]


def ulp_errors(result, expected):
    """Distance in units of the last place of `expected`, where that is normal; elsewhere both must be small or large alike."""
    limits = torch.finfo(result.dtype)
    normal = (expected.abs() >= limits.tiny) & (expected.abs() <= limits.max)
    _, exponent = torch.frexp(torch.where(normal, expected, 1.0))
    ulp = torch.ldexp(torch.full_like(expected, limits.eps / 2), exponent)
    assert torch.equal(result.isnan(), expected.isnan())
    assert bool((result[expected.abs() < limits.tiny].abs() <= limits.tiny).all())
    over = expected.abs() > limits.max * (1 + limits.eps)
    assert torch.equal(result[over].double(), expected[over].sign() * INFINITY)
    return torch.where(normal, (result.double() - expected).abs() / ulp, 0.0)


def values_for(name, dtype):
    """Grids, a normal distribution, and magnitudes from denormal to the largest."""
    generator = torch.Generator().manual_seed(0)
    limits = torch.finfo(dtype)
    double = {"dtype": torch.float64, "generator": generator}
    reach = 110 if dtype == torch.float32 else 750
    low, high = mpmath.log(limits.smallest_normal) * 1.04, mpmath.log(limits.max)
    magnitudes = torch.exp(torch.rand(20_000, **double) * float(high - low) + float(low))
    signs = torch.randint(0, 2, (20_000,), generator=generator) * 2 - 1
    x = [torch.linspace(-reach, reach, 40_001), torch.linspace(-2, 2, 20_001), torch.randn(20_000, **double) * 3]
    x = torch.cat([*x, magnitudes * signs]).to(dtype)
    low, high = RANGES.get(name, (-INFINITY, INFINITY))
    return x[(x >= low) & (x <= high)]


def limit(name, dtype):
    return TABLE[name][1 if dtype == torch.float32 else 2]


def test_the_table_is_complete():
    assert list(TABLE) == list(math.FUNCTIONS)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", [name for name in TABLE if name not in ("maximum", "minimum", "pow")])
def test_error(name, dtype):
    x = values_for(name, dtype)
    expected = TABLE[name][0](x.double())
    result = apply(name, dtype, 16, x)
    errors = ulp_errors(result, expected)
    worst = int(errors.argmax())
    assert errors[worst] <= limit(name, dtype), f"{name}({x[worst]!r}) = {result[worst]!r}, not {expected[worst]!r}"


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_gelu_keeps_its_digits_below_zero(dtype):
    lowest = -13.0 if dtype == torch.float32 else -37.3
    x = torch.linspace(lowest, -0.5, 801, dtype=dtype)
    with mpmath.workdps(40):
        root = mpmath.sqrt(2)
        expected = [float(v * mpmath.erfc(-v / root) / 2) for v in map(mpmath.mpf, x.tolist())]
    errors = ulp_errors(apply("gelu", dtype, 16, x), torch.tensor(expected, dtype=torch.float64))
    assert errors.max() <= limit("gelu", dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_pow(dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, generator=generator, dtype=dtype).mul(2).exp()
    y = torch.randn(20_000, generator=generator, dtype=dtype) * 10
    x[:5000].neg_()
    y[:4000].round_()
    errors = ulp_errors(apply("pow", dtype, 16, x, y), torch.pow(x.double(), y.double()))
    growth = 1 + (y.double() * x.double().abs().log()).abs() if dtype == torch.float64 else 1
    assert (errors / growth).max() <= limit("pow", dtype)


HARD = [0.0, -0.0, INFINITY, -INFINITY, NAN, -NAN, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 2.0, 3.0, -3.0]
HARD += [1e4, -1e4, 1e30, -1e30, 1e-40, -1e-40, 5e-324, 88.5, 89.0, -104.0, 19.9, 20.0, 20.1, 709.7, 709.9, -746.0]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", TABLE)
def test_hard_values(name, dtype):
    """As torch in float64, signs of zeros included; denormal results may be 0."""
    if name in ("maximum", "minimum", "pow"):
        inputs = [part.reshape(-1) for part in torch.meshgrid(*[torch.tensor(HARD, dtype=dtype)] * 2, indexing="ij")]
    else:
        inputs = [torch.tensor(HARD, dtype=dtype)]
        if name in ("sin", "cos"):
            inputs = [x[~(x.abs() > 1e5) | x.isinf()] for x in inputs]
    expected = TABLE[name][0](*[x.double() for x in inputs]).to(dtype)
    result = apply(name, dtype, 8, *inputs)
    eps, tiny = torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    growth = 700 if name == "pow" else 1
    tiny = eps if name == "gelu" else tiny  # torch's own error, see RANGES
    torch.testing.assert_close(result, expected, rtol=4 * eps * growth, atol=tiny, equal_nan=True)
    if name not in ("maximum", "minimum", "sin"):  # 0 and -0 are the same to these
        zeros = (expected == 0) & (result == 0)
        assert torch.equal(result[zeros].signbit(), expected[zeros].signbit())


@pytest.mark.parametrize(("dtype", "lanes"), SHAPES, ids=str)
@pytest.mark.parametrize("name", TABLE)
def test_every_width_gives_the_same_bits(name, dtype, lanes):
    x = values_for(name, dtype)[::97]
    inputs = [x, x.flip(0)][: len(inspect.signature(math.FUNCTIONS[name]).parameters) - 1]
    torch.testing.assert_close(
        apply(name, dtype, lanes, *inputs), apply(name, dtype, 16, *inputs), rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_what_is_bounded_stays_in_its_bounds(dtype):
    x = values_for("tanh", dtype)
    for name in ("tanh", "erf"):
        assert apply(name, dtype, 16, x).abs().max() == 1
    assert apply("sigmoid", dtype, 16, x).aminmax() == (0, 1)
    far = torch.tensor([1e6, -1e9, 3e17, -1e30, torch.finfo(dtype).max], dtype=dtype)
    for name in ("sin", "cos"):
        assert apply(name, dtype, 16, far).abs().max() <= 1


def test_what_is_emitted_is_straight_line():
    """One block and only intrinsics, each declared once."""
    for name in TABLE:
        text = str(module_of(name, torch.float32, 16))
        assert text.count("br ") == 2  # into the loop and round it
        declared = re.findall(r'declare .* @"([^"]+)"', text)
        assert all(function.startswith("llvm.") for function in declared)
        assert len(declared) == len(set(declared))


def test_splat_and_intrinsic():
    module = ir.Module()
    vector = ir.VectorType(ir.FloatType(), 16)
    b = ir.IRBuilder(ir.Function(module, ir.FunctionType(vector, [vector]), "f").append_basic_block())
    x = module.get_global("f").args[0]
    math.fma(b, x, x, math.splat(vector, 2.0))
    math.fma(b, x, x, math.splat(vector, 3.0))
    assert [name for name in module.globals if name != "f"] == ["llvm.fma.v16f32"]
    assert str(math.splat(ir.DoubleType(), 1.0)) == "double 0x3ff0000000000000"
