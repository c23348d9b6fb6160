# C's long double (format code g), which Julia has no type for: a number that is kept as it lies in
# memory, and converts to and from BigFloat without loss.

# Bits of the significand, with the leading one. 64: x87's extended precision, where the leading one is
# written; 113: IEEE's quadruple precision. Where C's long double is a double, g is Float64; 0 stands for
# formats that are neither.
const LONG_DOUBLE_BITS =
    Sys.ARCH in (:x86_64, :i686) && !Sys.iswindows() ? 64 :
    Sys.ARCH in (:aarch64, :riscv64) && !Sys.isapple() && !Sys.iswindows() ? 113 :
    Sys.iswindows() || Sys.isapple() ? 53 : 0

const LONG_DOUBLE_MIN_EXPONENT = -16382
const LONG_DOUBLE_MAX_EXPONENT = 16383

"""
    LongDouble <: AbstractFloat

A `long double` of C, 16 bytes. `BigFloat(x)` has exactly its value, and `LongDouble(b)` is the nearest one
to a number (ties to even), so that it gives back what came from a `LongDouble`. Arithmetic is
BigFloat's, and so are its results.
"""
struct LongDouble <: AbstractFloat
    low::UInt64
    high::UInt64
    # Not for numbers: the bits.
    LongDouble(::Val{:bits}, low::UInt64, high::UInt64) = new(low, high)
end

Base.signbit(x::LongDouble) = longbits(x)[1]

# (negative, biased exponent, significand): what both formats consist of. Padding does not count.
function longbits(x::LongDouble)
    if LONG_DOUBLE_BITS == 113
        bits = UInt128(x.high) << 64 | x.low
        return bits >> 127 == 1, Int(bits >> 112 & 0x7fff), bits & (UInt128(1) << 112 - 1)
    end
    return x.high >> 15 & 1 == 1, Int(x.high & 0x7fff), UInt128(x.low)
end

function fromlongbits(negative::Bool, exponent::Integer, significand::UInt128)
    top = UInt64(negative) << 15 | UInt64(exponent)
    if LONG_DOUBLE_BITS == 113
        bits = UInt128(top) << 112 | significand & (UInt128(1) << 112 - 1)
        return LongDouble(Val(:bits), bits % UInt64, (bits >> 64) % UInt64)
    end
    return LongDouble(Val(:bits), significand % UInt64, top)
end

# The significand without x87's leading one, which tells infinity from NaN.
longfraction(significand) = LONG_DOUBLE_BITS == 113 ? significand : significand & (UInt128(1) << 63 - 1)

Base.isnan(x::LongDouble) = ((_, e, m) = longbits(x); e == 0x7fff && longfraction(m) != 0)
Base.isinf(x::LongDouble) = ((_, e, m) = longbits(x); e == 0x7fff && longfraction(m) == 0)
Base.isfinite(x::LongDouble) = longbits(x)[2] != 0x7fff
Base.iszero(x::LongDouble) = ((_, e, m) = longbits(x); m == 0 && e == 0)

# Precision enough for any step here, whatever precision the user has set.
exactly(f) = setprecision(f, BigFloat, 256)

function Base.BigFloat(x::LongDouble)
    negative, e, m = longbits(x)
    e == 0x7fff && return exactly(() -> BigFloat(isnan(x) ? NaN : negative ? -Inf : Inf))
    LONG_DOUBLE_BITS == 113 && e != 0 && (m |= UInt128(1) << 112)
    exponent = max(e, 1) - LONG_DOUBLE_MAX_EXPONENT - (LONG_DOUBLE_BITS - 1)
    return setprecision(BigFloat, max(precision(BigFloat), LONG_DOUBLE_BITS)) do
        v = ldexp(BigFloat(m), exponent)
        negative ? -v : v
    end
end

LongDouble(x::LongDouble) = x
LongDouble(x::Real) = exactly(() -> LongDouble(BigFloat(x)))
LongDouble(x::Rational{<:Integer}) = exactly(() -> LongDouble(BigFloat(x)))

function LongDouble(b::BigFloat)
    negative = signbit(b)
    if !isfinite(b)
        fraction = UInt128(isnan(b)) << (LONG_DOUBLE_BITS - 2)
        return fromlongbits(negative, 0x7fff, UInt128(1) << 63 | fraction)
    end
    iszero(b) && return fromlongbits(negative, 0, UInt128(0))
    e = max(exponent(b), LONG_DOUBLE_MIN_EXPONENT)
    # Multiplying by a power of two is exact, so this rounds once, in the subnormal range too.
    m = setprecision(() -> round(BigInt, ldexp(abs(b), LONG_DOUBLE_BITS - 1 - e)), BigFloat, precision(b))
    if m == big(2)^LONG_DOUBLE_BITS
        m >>= 1
        e += 1
    end
    e > LONG_DOUBLE_MAX_EXPONENT && return LongDouble(BigFloat(negative ? -Inf : Inf))
    subnormal = m < big(2)^(LONG_DOUBLE_BITS - 1)
    return fromlongbits(negative, subnormal ? 0 : e + LONG_DOUBLE_MAX_EXPONENT, UInt128(m))
end

for T in (Float16, Float32, Float64)
    @eval Base.$(nameof(T))(x::LongDouble) = $T(BigFloat(x))
end
(::Type{T})(x::LongDouble) where {T<:Integer} = T(BigFloat(x))
Base.Bool(x::LongDouble) = Bool(BigFloat(x))
Base.Rational{T}(x::LongDouble) where {T<:Integer} = Rational{T}(BigFloat(x))
Base.Rational{BigInt}(x::LongDouble) = Rational{BigInt}(BigFloat(x))

Base.promote_rule(::Type{LongDouble}, ::Type{<:Real}) = BigFloat
Base.promote_rule(::Type{LongDouble}, ::Type{BigFloat}) = BigFloat
Base.promote_rule(::Type{BigFloat}, ::Type{LongDouble}) = BigFloat
for f in (:+, :-, :*, :/, :^, :rem, :mod, :div)
    @eval Base.$f(x::LongDouble, y::LongDouble) = $f(BigFloat(x), BigFloat(y))
end
for f in (:(==), :<, :<=)
    @eval Base.$f(x::LongDouble, y::LongDouble) = $f(BigFloat(x), BigFloat(y))
end
for f in (:sqrt, :exp, :log, :sin, :cos, :tan)
    @eval Base.$f(x::LongDouble) = $f(BigFloat(x))
end
Base.:-(x::LongDouble) = ((n, e, m) = longbits(x); fromlongbits(!n, e, m))
Base.abs(x::LongDouble) = ((_, e, m) = longbits(x); fromlongbits(false, e, m))
for mode in (:Nearest, :ToZero, :Up, :Down)
    @eval Base.round(x::LongDouble, r::RoundingMode{$(QuoteNode(mode))}) = LongDouble(round(BigFloat(x), r))
end
Base.trunc(::Type{T}, x::LongDouble) where {T<:Union{Signed,Unsigned}} = trunc(T, BigFloat(x))
Base.hash(x::LongDouble, h::UInt) = hash(BigFloat(x), h)
Base.zero(::Type{LongDouble}) = fromlongbits(false, 0, UInt128(0))
Base.one(::Type{LongDouble}) = LongDouble(1)
Base.precision(::Type{LongDouble}) = LONG_DOUBLE_BITS
Base.big(x::LongDouble) = BigFloat(x)
Base.big(::Type{LongDouble}) = BigFloat

# As many digits as tell neighbours apart.
Base.show(io::IO, x::LongDouble) =
    setprecision(() -> print(io, "LongDouble(", BigFloat(x), ")"), BigFloat, LONG_DOUBLE_BITS)
Base.print(io::IO, x::LongDouble) = setprecision(() -> print(io, BigFloat(x)), BigFloat, LONG_DOUBLE_BITS)
