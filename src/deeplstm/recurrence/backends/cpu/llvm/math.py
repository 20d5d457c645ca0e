"""Mathematics emitted as LLVM IR: each function takes a builder and values, and returns the value of the result.

Values are scalars or vectors of any lane count, in float32 or float64. What is emitted is straight-line: no branch, no call
into a library, no table in memory. NaN and infinities come out as from torch; a result too small to be normal may be 0.

Largest error in ulp where the result is normal, measured against torch in float64 (float64: with torch's own error):

    exp       1.3  1    sigmoid   3.3  3    erf   2.1  2    sqrt        0.5  1
    expm1     1.9  2    tanh      2.9  3    gelu  5.6  7    rsqrt       1.5  1
    log       0.8  1    softplus  2.4  3    sin   1.6  2    reciprocal  0.5  0
    log1p     1.4  2    silu      3.4  3    cos   1.6  2    pow         0.5  see there

Everything else is exact. sin and cos hold up to 1e5 in float32, 1e9 in float64; silu is -0 below -88.7, as in torch.
"""

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir


@dataclass(frozen=True)
class _Format:
    """Constants of one floating-point type. Polynomials have their lowest coefficient first.

    Coefficients are our own minimax fits (Remez exchange in 50 digits, each coefficient rounded before the next is fitted);
    the number beside each is its largest relative error on its interval.
    """

    integer: ir.IntType
    fraction_bits: int
    smallest_normal: float
    ln2: tuple[float, float]  # ln 2 as a sum; both positive, which keeps -0 through n = 0
    half_pi: tuple[float, float, float]  # as a sum
    exp_range: tuple[float, float]  # 2**n is 0 at the first, and 2**n p(r) overflows at the second
    exp: tuple[float, ...]
    exp_near: tuple[float, ...]
    expm1: tuple[float, ...]  # expm1(x) / x, as the next
    expm1_near: tuple[float, ...]
    log: tuple[float, ...]
    log1p: tuple[float, ...]
    sin: tuple[float, ...]
    cos: tuple[float, ...]
    tanh_limit: float  # tanh is 1 from here on
    erf_limit: float  # erf is 1 from here on
    gelu_limit: float  # gelu is 0 from minus this down
    erf: tuple[float, ...]
    erfcx: tuple[tuple[float, ...], tuple[float, ...]]

    @property
    def bias(self) -> int:
        """What the exponent field holds for 2**0."""
        return 127 if self.fraction_bits == 23 else 1023

    @property
    def magic(self) -> float:
        """Adding this rounds to an integer, which is then in the lowest bits."""
        return 1.5 * 2.0**self.fraction_bits


_FLOAT = _Format(
    integer=ir.IntType(32),
    fraction_bits=23,
    smallest_normal=2.0**-126,
    ln2=(0.6931471228599548, 5.769998878690785e-08),
    half_pi=(1.57079637050628662109375, -4.37113900018624283e-8, -1.71512449e-15),
    exp_range=(-88.0, 88.9),
    # 3.8e-8 on [-ln2 / 2, ln2]
    exp=(1.0, 0.9999998807907104, 0.5000022649765015, 0.1666719764471054, 0.04162008315324783, 0.008319059386849403,
         0.0016312140505760908),
    # 9.2e-8 on [-ln2 / 2, ln2 / 2]
    exp_near=(1.0, 0.9999997019767761, 0.4999914765357971, 0.16667647659778595, 0.041898250579833984, 0.008289826102554798),
    # 5.1e-9 on [-ln2 / 2, ln2]
    expm1=(1.0, 0.4999999701976776, 0.1666669249534607, 0.04166768118739128, 0.008327567018568516, 0.0013851745752617717,
           0.00023034444893710315),
    # 1.4e-8 on [-ln2 / 2, ln2 / 2]
    expm1_near=(1.0, 0.4999999701976776, 0.1666654646396637, 0.04166743531823158, 0.008366272784769535, 0.0013870708644390106),
    # 1.6e-9
    log=(0.6666677594184875, 0.3997756838798523, 0.29871463775634766),
    # 5.3e-9 on [0, 1]
    log1p=(1.0, -0.4999993145465851, 0.33330464363098145, -0.24958018958568573, 0.19692102074623108, -0.15344882011413574,
           0.10661137849092484, -0.05745745822787285, 0.020086470991373062, -0.003290552878752351),
    # 4.2e-9 and 1.4e-10 on [0, pi / 4]
    sin=(-0.16666653752326965, 0.008332106284797192, -0.00019507888646330684),
    cos=(0.04166664555668831, -0.0013887297827750444, 2.4430084522464313e-05),
    tanh_limit=9.1,
    erf_limit=4.0,
    gelu_limit=14.0,
    # 1.6e-9 on [0, 0.75]: erf(x) / x - 1 in powers of x**2
    erf=(0.12837916612625122, -0.3761261999607086, 0.11283379048109055, -0.026834335178136826, 0.005113157909363508,
         -0.0006737606599926949),
    # 1.6e-8 on [0, 10.2]: exp(x**2) erfc(x) = P(x) / Q(x)
    erfcx=((1.0, 1.2377562522888184, 0.7308741807937622, 0.22885239124298096, 0.032710716128349304),
           (1.0, 2.366135835647583, 2.4007644653320312, 1.323996663093567, 0.4056568443775177, 0.05797753110527992)),
)  # fmt: skip

_DOUBLE = _Format(
    integer=ir.IntType(64),
    fraction_bits=52,
    smallest_normal=2.0**-1022,
    ln2=(0.6931471805599453, 2.3190468138462996e-17),
    half_pi=(1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33),
    exp_range=(-709.0, 709.9),
    # 1.0e-17 on [-ln2 / 2, ln2]
    exp=(1.0, 1.0, 0.5000000000000011, 0.16666666666665825, 0.04166666666658126, 0.008333333333805001, 0.0013888888905776867,
         0.00019841268889501742, 2.4801579121038785e-05, 2.7558126014841e-06, 2.7552345230281676e-07, 2.482803104474243e-08,
         2.4646532000737133e-09),
    # 3.7e-18 on [-ln2 / 2, ln2 / 2]
    exp_near=(1.0, 1.0, 0.5000000000000011, 0.16666666666666452, 0.04166666666652804, 0.008333333333476635,
              0.0013888888944003476, 0.0001984126953586278, 2.4801492789148377e-05, 2.7557565416714156e-06,
              2.763034849869744e-07, 2.500561287241594e-08),
    # 7.5e-19 on [-ln2 / 2, ln2]
    expm1=(1.0, 0.5, 0.16666666666666677, 0.04166666666666613, 0.008333333333325702, 0.0013888888889206303,
           0.00019841269856604252, 2.480158662171966e-05, 2.755731054602774e-06, 2.755792381273417e-07,
           2.5049339687033357e-08, 2.0701222412935193e-09, 1.8822446577525157e-10),
    # 2.8e-19 on [-ln2 / 2, ln2 / 2]
    expm1_near=(1.0, 0.5, 0.16666666666666677, 0.041666666666666685, 0.00833333333332179, 0.001388888888889374,
                0.00019841269885373738, 2.480158727887633e-05, 2.7557245102593567e-06, 2.7557329559163453e-07,
                2.51087102140409e-08, 2.089393966598802e-09),
    # 2.5e-18
    log=(0.6666666666666735, 0.39999999999409386, 0.2857142874367147, 0.22222198431248052, 0.18183572202478632,
         0.15313836866694872, 0.14798204413852462),
    # 9.5e-18 on [0, 1]
    log1p=(1.0, -0.4999999999999946, 0.3333333333323523, -0.24999999993684502, 0.19999999791509726, -0.1666666250130783,
           0.1428565892608275, -0.1249947982644824, 0.11107507173359422, -0.09981019866490826, 0.09013169737018951,
           -0.08081252472621056, 0.07035624226864942, -0.05750330568858072, 0.042301691026991925, -0.026745435536870997,
           0.013839622714490176, -0.005543636001072133, 0.0015959258611090903, -0.00029180099475777294,
           2.5333903444648123e-05),
    # 4.2e-18 and 6.8e-20 on [0, pi / 4]
    sin=(-0.16666666666666627, 0.008333333333321069, -0.00019841269828698037, 2.7557313298437835e-06,
         -2.5050695438584124e-08, 1.5893110255883078e-10),
    cos=(0.04166666666666658, -0.001388888888887097, 2.480158728752795e-05, -2.755731379155801e-07, 2.087564748806328e-09,
         -1.1355743836041933e-11),
    tanh_limit=20.0,
    erf_limit=6.0,
    gelu_limit=38.5,
    # 6.7e-18 on [0, 0.75]
    erf=(0.12837916709551256, -0.3761263890318339, 0.11283791670935328, -0.02686617064069101, 0.005223977573412896,
         -0.0008548323448565963, 0.00012055180138097237, -1.492148253024403e-05, 1.6389927014875011e-06,
         -1.560068306329229e-07, 1.0270198073779303e-08),
    # 5.6e-17 on [0, 27.5]
    erfcx=((1.0, 2.190725041884173, 2.374209921463784, 1.634689599728455, 0.7802924491349078, 0.26668590586012764,
            0.0652544634454505, 0.011060472133626353, 0.0011873449096575178, 6.239852981474747e-05),
           (1.0, 3.3191042089796765, 5.1194179642959865, 4.844482747368915, 3.1240932543048276, 1.4398102946119087,
            0.4824352532346813, 0.11671278192270389, 0.019659475686557373, 0.0021045140574262465, 0.00011059851446132901)),
)  # fmt: skip

_LN2 = 0.6931471805599453
_LOG2E = 1.4426950408889634
_INFINITY = float("inf")
_NAN = float("nan")


# The small pieces


def splat(type: ir.Type, number: float) -> ir.Constant:
    """`number` as a constant of `type`, in every lane."""
    if isinstance(type, ir.VectorType):
        return ir.Constant(type, [ir.Constant(type.element, number)] * type.count)
    return ir.Constant(type, number)


def intrinsic(b: ir.IRBuilder, name: str, *values: ir.Value) -> ir.Value:
    """Call of `llvm.<name>` on values of one type, such as `llvm.fma.v16f32`; declared once in a module."""
    type = values[0].type
    element = _element(type)
    suffix = f"v{type.count}" if isinstance(type, ir.VectorType) else ""
    suffix += f"i{element.width}" if isinstance(element, ir.IntType) else f"f{_format(type).integer.width}"
    full_name = f"llvm.{name}.{suffix}"
    function = b.module.globals.get(full_name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(type, [value.type for value in values]), full_name)
    return b.call(function, values)


def fma(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """The sum x * y + z, rounded once."""
    return intrinsic(b, "fma", x, y, z)


def _element(type: ir.Type) -> ir.Type:
    return type.element if isinstance(type, ir.VectorType) else type


def _format(type: ir.Type) -> _Format:
    return _FLOAT if _element(type) == ir.FloatType() else _DOUBLE


def _integers(type: ir.Type) -> ir.Type:
    """The integer type of the same shape and width."""
    integer = _format(type).integer
    return ir.VectorType(integer, type.count) if isinstance(type, ir.VectorType) else integer


def _horner(b: ir.IRBuilder, x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
    """The polynomial with these coefficients, lowest first. Horner: fewest instructions; other steps hide the latency."""
    value: ir.Value = splat(x.type, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = fma(b, value, x, splat(x.type, coefficient))
    return value


def _at_least(b: ir.IRBuilder, x: ir.Value, low: float) -> ir.Value:
    """max(x, low), one instruction; a NaN stays, because no comparison with it is true."""
    bound = splat(x.type, low)
    return b.select(b.fcmp_ordered("<", x, bound), bound, x)


def _at_most(b: ir.IRBuilder, x: ir.Value, high: float) -> ir.Value:
    bound = splat(x.type, high)
    return b.select(b.fcmp_ordered(">", x, bound), bound, x)


def _clamp(b: ir.IRBuilder, x: ir.Value, low: float, high: float) -> ir.Value:
    return _at_most(b, _at_least(b, x, low), high)


# Exponentials. With n = rint(x / ln2) and r = x - n ln2, exp(x) = 2**n exp(r).


def _power_of_two(
    b: ir.IRBuilder, x: ir.Value, log2_base: float, bias: int, most: int | None = None
) -> tuple[ir.Value, ir.Value]:
    """The integer n nearest to x log2(base), at most `most`, and 2**(n + bias - the format's bias).

    The exponent field of the second is n + bias, which makes it 0 when n + bias = 0. Multiplying by it, rather than adding n to
    the bits of a result, keeps every NaN and overflows to infinity by itself.
    """
    type, form = x.type, _format(x.type)
    magic = form.magic + bias
    shifted = fma(b, x, splat(type, log2_base), splat(type, magic))
    if most is not None:
        shifted = _at_most(b, shifted, magic + most)
    integers = _integers(type)
    field = b.shl(b.bitcast(shifted, integers), splat(integers, form.fraction_bits))
    return b.fsub(shifted, splat(type, magic)), b.bitcast(field, type)


def _reduce(
    b: ir.IRBuilder, x: ir.Value, bias: int, most: int | None = None, sign: int = 1
) -> tuple[ir.Value, ir.Value]:
    """The remainder r and the power of `_power_of_two`: exp(sign x) = 2**n exp(sign r)."""
    n, power = _power_of_two(b, x, sign * _LOG2E, bias, most)
    high, low = _format(x.type).ln2
    r = fma(b, n, splat(x.type, -sign * high), x)  # exact: x and n ln2 share their highest bits
    return fma(b, n, splat(x.type, -sign * low), r), power


def _reduce_wide(b: ir.IRBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The pair r and 2**n for any x.

    n stops at the largest exponent, where r grows instead: 2**n exp(r) is finite up to r = ln2 and then overflows.
    """
    form = _format(x.type)
    return _reduce(b, _at_least(b, x, form.exp_range[0]), form.bias, form.bias)


def exp(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Results below the smallest normal number become 0 (or stay denormal where 2**n is still normal)."""
    r, power = _reduce_wide(b, x)
    return b.fmul(_horner(b, r, _format(x.type).exp), power)


def expm1(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    r, power = _reduce_wide(b, x)
    return _expm1_of_parts(b, r, power, _format(x.type).expm1)


def _expm1_of_parts(b: ir.IRBuilder, r: ir.Value, power: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
    """2**n expm1(r) - (1 - 2**n). Minus the difference, and not plus its negative, so that -0 gives -0."""
    near = b.fmul(r, _horner(b, r, coefficients))
    return fma(b, near, power, b.fneg(b.fsub(splat(r.type, 1.0), power)))


def _exp_of_negative(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """exp(x) for x <= 0, where nothing overflows."""
    form = _format(x.type)
    r, power = _reduce(b, _at_least(b, x, form.exp_range[0]), form.bias)
    return b.fmul(_horner(b, r, form.exp), power)


def _one_plus_exp_of_minus(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """1 + exp(-x), infinite where exp(-x) is.

    Computed as 2 exp(-r) 2**(n - 1) + 1: the power stays finite up to the largest n, and the product overflows by itself. x is
    nowhere negated: LLVM would mix that into the clamp, which then takes four instructions instead of one.
    """
    form = _format(x.type)
    x = _clamp(b, x, -form.exp_range[1], -form.exp_range[0] - 1)
    r, half_power = _reduce(b, x, form.bias - 1, sign=-1)
    twice = _horner(b, r, tuple(2 * c * (-1) ** k for k, c in enumerate(form.exp_near)))
    return fma(b, twice, half_power, splat(x.type, 1.0))


def sigmoid(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return b.fdiv(splat(x.type, 1.0), _one_plus_exp_of_minus(b, x))


def silu(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """The product x sigmoid(x); as torch, -0 once exp(-x) overflows and NaN at -infinity."""
    return b.fdiv(x, _one_plus_exp_of_minus(b, x))


def tanh(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """The quotient e / (e + 2) with e = expm1(2x), which loses nothing near 0.

    In float32 x P(x**2) / Q(x**2), the usual alternative, comes out at 5 ulp and a little above 1 near its limit; clamped to 1
    it takes a tenth less time than this.
    """
    form = _format(x.type)
    x = _clamp(b, x, -form.tanh_limit, form.tanh_limit)
    n, power = _power_of_two(b, x, 2 * _LOG2E, form.bias)
    # n ln2 in one piece: its error grows as n, what tanh sees of it falls as 2**-n
    half_r = fma(b, n, splat(x.type, -0.5 * _LN2), x)
    e = _expm1_of_parts(b, half_r, power, tuple(c * 2 ** (k + 1) for k, c in enumerate(form.expm1_near)))
    return b.fdiv(e, b.fadd(e, splat(x.type, 2.0)))


# The error function. erfc(a) = exp(-a**2) P(a) / Q(a) for a >= 0; all coefficients are positive, so nothing cancels.


def _erfcx(b: ir.IRBuilder, a: ir.Value) -> ir.Value:
    """exp(a**2) erfc(a) for a >= 0."""
    above, below = _format(a.type).erfcx
    return b.fdiv(_horner(b, a, above), _horner(b, a, below))


def erf(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """1 - erfc(|x|) with the sign of x, and below 0.75 an odd polynomial."""
    form = _format(x.type)
    a = _at_most(b, abs(b, x), form.erf_limit)
    square = b.fmul(a, a)
    near = fma(b, x, _horner(b, square, form.erf), x)
    erfc = b.fmul(_exp_of_negative(b, b.fneg(square)), _erfcx(b, a))
    far = intrinsic(b, "copysign", b.fsub(splat(x.type, 1.0), erfc), x)
    return b.select(b.fcmp_ordered("<", a, splat(x.type, 0.75)), near, far)


def gelu(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """The product x erfc(-x / sqrt(2)) / 2.

    Torch's x (1 + erf(x / sqrt(2))) / 2 cancels for negative x; this keeps its digits there. Both are NaN at -infinity.
    """
    type, form = x.type, _format(x.type)
    a = _at_most(b, abs(b, x), form.gelu_limit)
    half = b.fmul(a, splat(type, 0.5))
    square = b.fmul(a, half)
    lost = fma(b, a, half, b.fneg(square))  # what rounding took from a**2 / 2, which exp would make many ulp
    power = _exp_of_negative(b, b.fneg(square))
    power = fma(b, b.fneg(power), lost, power)
    half_scaled = b.fmul(_erfcx(b, b.fmul(a, splat(type, 0.5**0.5))), splat(type, 0.5))
    # In this order, lest a factor turn denormal before the result does.
    negative = b.fmul(b.fmul(x, half_scaled), power)
    positive = b.fmul(x, b.fsub(splat(type, 1.0), b.fmul(half_scaled, power)))
    return b.select(b.fcmp_ordered("<", x, splat(type, 0.0)), negative, positive)


# Logarithms. With x = 2**k (1 + f) and 1 + f between sqrt(1/2) and sqrt(2), log(x) = k ln2 + log(1 + f).


def _exponent(b: ir.IRBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The k of a normal x as an integer, and k moved to the exponent field."""
    form, integers = _format(x.type), _integers(x.type)
    shift = splat(integers, form.fraction_bits)
    lowest = 0x3F3504F3 if form is _FLOAT else 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
    k = b.ashr(b.sub(b.bitcast(x, integers), splat(integers, lowest)), shift)
    return k, b.shl(k, shift)


def _small_integer_to_float(b: ir.IRBuilder, k: ir.Value, type: ir.Type) -> ir.Value:
    """By the bits of k + magic: few processors convert vectors of 64-bit integers."""
    magic = splat(type, _format(type).magic)
    shifted = b.add(k, b.bitcast(magic, k.type))
    return b.fsub(b.bitcast(shifted, type), magic)


def _log_of_parts(b: ir.IRBuilder, k: ir.Value, f: ir.Value) -> ir.Value:
    """The sum k ln2 + log(1 + f), with k as a float.

    As in fdlibm's log: with s = f / (2 + f), log(1 + f) = f - (f**2 / 2 - s (f**2 / 2 + s**2 R(s**2))).
    """
    form = _format(f.type)
    s = b.fdiv(f, b.fadd(f, splat(f.type, 2.0)))
    z = b.fmul(s, s)
    half_square = b.fmul(b.fmul(f, splat(f.type, 0.5)), f)
    rest = fma(b, z, _horner(b, z, form.log), half_square)
    rest = fma(b, s, rest, b.fmul(k, splat(f.type, form.ln2[1])))
    return fma(b, k, splat(f.type, form.ln2[0]), b.fsub(f, b.fsub(half_square, rest)))


def _log_at_the_edges(b: ir.IRBuilder, value: ir.Value, x: ir.Value, argument: ir.Value) -> ir.Value:
    """`value` where the logarithm's `argument` is positive and finite; x where x is infinite; else -infinity or NaN."""
    zero, infinity = splat(x.type, 0.0), splat(x.type, _INFINITY)
    value = b.select(b.fcmp_ordered("<", x, infinity), value, x)
    otherwise = b.select(b.fcmp_ordered("==", argument, zero), splat(x.type, -_INFINITY), splat(x.type, _NAN))
    return b.select(b.fcmp_ordered(">", argument, zero), value, otherwise)


def log(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    type, form = x.type, _format(x.type)
    digits = form.fraction_bits + 1
    denormal = b.fcmp_ordered("<", x, splat(type, form.smallest_normal))
    normal = b.select(denormal, b.fmul(x, splat(type, 2.0**digits)), x)
    k, field = _exponent(b, normal)
    f = b.fsub(b.bitcast(b.sub(b.bitcast(normal, field.type), field), type), splat(type, 1.0))
    k = _small_integer_to_float(b, k, type)
    k = b.select(denormal, b.fsub(k, splat(type, digits)), k)
    return _log_at_the_edges(b, _log_of_parts(b, k, f), x, x)


def log1p(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """log(1 + x). k comes from the rounded 1 + x, f from x itself: f = x 2**-k + (2**-k - 1), so nothing of x is lost."""
    type, integers = x.type, _integers(x.type)
    one = splat(type, 1.0)
    u = b.fadd(x, one)
    k, field = _exponent(b, u)
    inverse = b.bitcast(b.sub(b.bitcast(one, integers), field), type)
    f = fma(b, x, inverse, b.fsub(inverse, one))
    f_of_large = b.fsub(b.bitcast(b.sub(b.bitcast(u, integers), field), type), one)  # there 2**-k may not be normal
    f = b.select(b.fcmp_ordered("<", x, splat(type, 2.0**60)), f, f_of_large)
    value = _log_of_parts(b, _small_integer_to_float(b, k, type), f)
    return intrinsic(b, "copysign", _log_at_the_edges(b, value, x, u), x)  # log1p(-0) is -0


def softplus(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """max(x, 0) + log1p(exp(-|x|)), and x itself above torch's threshold of 20."""
    type = x.type
    z = _exp_of_negative(b, b.fneg(abs(b, x)))
    tail = b.fmul(z, _horner(b, z, _format(type).log1p))
    value = b.fadd(_at_least(b, x, 0.0), tail)
    return b.select(b.fcmp_ordered(">", x, splat(type, 20.0)), x, value)


# Sine and cosine. With n = rint(2x / pi) and r = x - n pi / 2, each is +-sin(r) or +-cos(r) by the last two bits of n.


def sin(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return _circular(b, x, 0)


def cos(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return _circular(b, x, 1)


def _circular(b: ir.IRBuilder, x: ir.Value, quarters: int) -> ir.Value:
    """sin(x + quarters pi / 2).

    Accurate while n has a rounded fraction to spare: |x| up to 1e5 in float32, 1e9 in float64. Beyond, the value is between -1
    and 1 and means nothing; a table of digits of pi would be needed.
    """
    type, form, integers = x.type, _format(x.type), _integers(x.type)
    one = splat(type, 1.0)
    magic = splat(type, form.magic)
    shifted = fma(b, x, splat(type, 0.6366197723675814), magic)
    n = b.fsub(shifted, magic)
    r = x
    for part in form.half_pi:
        r = fma(b, n, splat(type, -part), r)
    r = _clamp(b, r, -1.0, 1.0)
    z = b.fmul(r, r)
    sine = fma(b, b.fmul(r, z), _horner(b, z, form.sin), r)
    cosine = fma(b, b.fmul(z, z), _horner(b, z, form.cos), fma(b, z, splat(type, -0.5), one))
    quadrant = b.add(b.bitcast(shifted, integers), splat(integers, quarters))
    odd = b.icmp_unsigned("!=", b.and_(quadrant, splat(integers, 1)), splat(integers, 0))
    sign = b.shl(b.lshr(quadrant, splat(integers, 1)), splat(integers, form.integer.width - 1))
    value = b.bitcast(b.select(odd, cosine, sine), integers)
    return b.bitcast(b.xor(value, sign), type)


# Powers


def pow(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """exp(y log|x|), with the sign and the edges of C's pow.

    float32 is computed in float64. In float64 the error grows with |y log|x||: about one ulp for each unit of it.
    """
    if _format(x.type) is _FLOAT:
        wide = ir.VectorType(ir.DoubleType(), x.type.count) if isinstance(x.type, ir.VectorType) else ir.DoubleType()
        return b.fptrunc(pow(b, b.fpext(x, wide), b.fpext(y, wide)), x.type)
    type = x.type
    zero, one, infinity = splat(type, 0.0), splat(type, 1.0), splat(type, _INFINITY)
    size = abs(b, x)
    exponent = b.select(b.fcmp_ordered("==", size, one), zero, b.fmul(y, log(b, size)))  # 1**infinity and 1**NaN are 1
    value = exp(b, exponent)
    half = b.fmul(y, splat(type, 0.5))
    whole = b.fcmp_ordered("==", floor(b, y), y)
    odd = b.and_(whole, b.fcmp_ordered("one", floor(b, half), half))
    value = b.select(odd, intrinsic(b, "copysign", value, x), value)
    root = b.and_(b.fcmp_ordered("<", x, zero), b.fcmp_ordered("<", size, infinity))
    value = b.select(b.and_(root, b.not_(whole)), splat(type, _NAN), value)
    return b.select(b.fcmp_ordered("==", y, zero), one, value)


# Roots, signs, choices


def sqrt(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return intrinsic(b, "sqrt", x)


def abs(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return intrinsic(b, "fabs", x)


def neg(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return b.fneg(x)


def sign(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """1, 0 or -1; 0 for NaN, as in torch."""
    zero = splat(x.type, 0.0)
    below = b.select(b.fcmp_ordered("<", x, zero), splat(x.type, -1.0), zero)
    return b.select(b.fcmp_ordered(">", x, zero), splat(x.type, 1.0), below)


def reciprocal(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return b.fdiv(splat(x.type, 1.0), x)


def rsqrt(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return reciprocal(b, sqrt(b, x))


def floor(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return intrinsic(b, "floor", x)


def ceil(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return intrinsic(b, "ceil", x)


def round(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """To the nearest integer, halves to the even one."""
    return intrinsic(b, "roundeven", x)


def maximum(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """A NaN on either side is passed on. (`llvm.maximum` also orders -0 before 0, at twice the instructions.)"""
    larger = b.select(b.fcmp_ordered(">", x, y), x, y)
    return b.select(b.fcmp_unordered("uno", x, x), x, larger)


def minimum(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    smaller = b.select(b.fcmp_ordered("<", x, y), x, y)
    return b.select(b.fcmp_unordered("uno", x, x), x, smaller)


FUNCTIONS: dict[str, Callable[..., ir.Value]] = {
    "exp": exp,
    "log": log,
    "log1p": log1p,
    "expm1": expm1,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softplus": softplus,
    "silu": silu,
    "erf": erf,
    "gelu": gelu,
    "sqrt": sqrt,
    "rsqrt": rsqrt,
    "sin": sin,
    "cos": cos,
    "abs": abs,
    "neg": neg,
    "maximum": maximum,
    "minimum": minimum,
    "sign": sign,
    "reciprocal": reciprocal,
    "floor": floor,
    "ceil": ceil,
    "round": round,
    "pow": pow,
}
