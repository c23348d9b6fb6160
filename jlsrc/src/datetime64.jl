# NumPy's datetime64 and timedelta64: a count of units in 64 bits. The elements of such arrays are these types, in place.
#
# The unit is a type parameter, spelled as NumPy spells it: DateTime64{:ns}, and of a multiple (M8[25s]) DateTime64{(25, :s)}.
# What depends on units alone is computed when a method is compiled; counts are converted exactly, or not at all.

# Seconds of a unit as a fraction. Years and months have no fixed length; a unit that NumPy calls generic has none at all.
const UNITS = Dict{Symbol,Tuple{Int128,Int128}}(
    :W => (604_800, 1), :D => (86_400, 1), :h => (3_600, 1), :m => (60, 1), :s => (1, 1),
    (u => (1, Int128(10)^e) for (u, e) in ((:ms, 3), (:us, 6), (:ns, 9), (:ps, 12), (:fs, 15), (:as, 18)))...)
const UNIT_MONTHS = Dict{Symbol,Int128}(:Y => 12, :M => 1)
const UNIT_ORDER = (:generic, :Y, :M, :W, :D, :h, :m, :s, :ms, :us, :ns, :ps, :fs, :as)

"""
    DateTime64{unit} <: Dates.TimeType
    DateTime64{unit}(count::Integer)

NumPy's `datetime64[unit]` (its manual: "Datetimes and timedeltas"), 8 bytes: `count` units since 1970-01-01, or NaT, "not a time"
([`isnat`](@ref)). The unit is `:Y`, `:M`, `:W`, `:D`,
`:h`, `:m`, `:s`, `:ms`, `:us`, `:ns`, `:ps`, `:fs`, `:as` or `:generic`, or a tuple of a number and one of these: `(25, :s)`.

    DateTime64{unit}(x), DateTime64(x)
    DateTime(x), Date(x), Time(x)

of a `Date`, a `DateTime` or another `DateTime64`, and back: the same time (`Time`: of the day), or an InexactError; `floor(DateTime64{:s}, x)` rounds.
`Dates.value(x)` is the count, and `year(x)`, `hour(x)`, ... are parts of it. NaT throws an ArgumentError in all of these but
between `DateTime64`s.

Differences of two are [`TimeDelta64`](@ref)s, which can be added, as can periods of Dates. As in NumPy the result has the finer
unit, NaT with anything is NaT, and comparisons with it are false (but it is `isequal` to itself, and sorted last). What does not
fit into 64 bits throws an OverflowError or InexactError.
"""
struct DateTime64{U} <: Dates.TimeType
    value::Int64
    DateTime64{U}(count::Integer) where {U} = (checkunit(Val(U)); new{U}(count))
end

"""
    TimeDelta64{unit} <: Dates.AbstractTime
    TimeDelta64{unit}(count::Integer)

NumPy's `timedelta64[unit]`: a time of so many units, or NaT; see [`DateTime64`](@ref).

    TimeDelta64{unit}(x), TimeDelta64(x)
    Nanosecond(t), Day(t), ...

of a period of Dates or another `TimeDelta64`, and back: the same time, or an InexactError. Of `+`, `-`, `*`, `/`, `div`, `fld`, `rem`, `mod`,
`abs` and `sign` there is what NumPy has. Years and months have no fixed length: they don't mix with other units.
"""
struct TimeDelta64{U} <: Dates.AbstractTime
    value::Int64
    TimeDelta64{U}(count::Integer) where {U} = (checkunit(Val(U)); new{U}(count))
end

const Time64 = Union{DateTime64,TimeDelta64}

@generated function checkunit(::Val{U}) where {U}
    n, unit = U isa Symbol ? (2, U) : U isa Tuple{Int,Symbol} ? U : (0, :generic)
    n > 1 && n <= typemax(Int32) && (haskey(UNITS, unit) || haskey(UNIT_MONTHS, unit) || U === :generic) && return nothing
    message = "$(repr(U)) is no unit of time: :ns is, and (25, :s)"
    return :(throw(ArgumentError($message)))
end

# How many of which unit.
unitparts(U::Symbol) = (Int128(1), U)
unitparts(U::Tuple{Int,Symbol}) = (Int128(U[1]), U[2])
unitof(n, unit::Symbol) = n == 1 ? unit : (Int(n), unit)
unitof(::Type{<:DateTime64{U}}) where {U} = U
unitof(::Type{<:TimeDelta64{U}}) where {U} = U

const NAT = typemin(Int64)

"""
    isnat(x)

Whether a DateTime64 or TimeDelta64 is NaT, "not a time". `nat(T)` is that of a type.
"""
isnat(x::Time64) = x.value == NAT

"""
    nat(T)

NaT, "not a time", of a type `DateTime64{unit}` or `TimeDelta64{unit}`.
"""
nat(::Type{T}) where {T<:Time64} = T(NAT)

Dates.value(x::Time64) = x.value
Base.isfinite(x::DateTime64) = !isnat(x)
Base.isfinite(x::TimeDelta64) = !isnat(x)
Base.typemin(::Type{T}) where {T<:DateTime64} = T(NAT + 1)
Base.typemax(::Type{T}) where {T<:DateTime64} = T(typemax(Int64))
Base.typemin(::Type{T}) where {T<:TimeDelta64} = T(NAT + 1)
Base.typemax(::Type{T}) where {T<:TimeDelta64} = T(typemax(Int64))
Base.zero(::Type{T}) where {T<:TimeDelta64} = T(0)
Base.zero(x::TimeDelta64) = zero(typeof(x))
Base.broadcastable(x::TimeDelta64) = Ref(x)

# ------------------------------------------------------------ days and months

# Days since 1970-01-01 of the first day of a month, counted from January 1970. Of any: hence Int128.
function daysofmonth(months::Int128)
    y, m = fldmod(months, Int128(12))
    y += 1970 - (m < 2) # a year from March on
    return 365y + fld(y, 4) - fld(y, 100) + fld(y, 400) + (153 * mod(m - 2, 12) + 2) ÷ 5 - 719_468
end

"Year, month and day of a day since 1970-01-01."
function civil(days::Int128)
    z = days + 719_468
    era, doe = fldmod(z, Int128(146_097))
    yoe = (doe - doe ÷ 1460 + doe ÷ 36_524 - doe ÷ 146_096) ÷ 365
    doy = doe - (365yoe + yoe ÷ 4 - yoe ÷ 100)
    mp = (5doy + 2) ÷ 153
    m = mp < 10 ? mp + 3 : mp - 9
    return yoe + 400era + (m <= 2), m, doy - (153mp + 2) ÷ 5 + 1
end

# ------------------------------------------------------------------- counts

# `v` units A as units B, towards minus infinity unless `exact`; nothing where that is not exact, or does not fit. `dates`: counted from 1970.
@generated function recount(v::Int64, ::Val{A}, ::Val{B}, ::Val{dates}, ::Val{exact}) where {A,B,dates,exact}
    (n, a), (k, b) = unitparts(A), unitparts(B)
    (a == :generic || A == B) && return :v
    b == :generic && return :(throw(ArgumentError("a time without a unit can't be made of one with a unit")))
    if haskey(UNITS, a) && haskey(UNITS, b)
        p, q = n * UNITS[a][1] * UNITS[b][2], k * UNITS[b][1] * UNITS[a][2]
        p, q = p ÷ gcd(p, q), q ÷ gcd(p, q)
        # 64 bits will do for most.
        q == 1 && return p <= typemax(Int64) ? :(scaled(v, $(Int64(p)))) : :(iszero(v) ? v : nothing)
        p == 1 && return q <= typemax(Int64) ? :(divided(v, $(Int64(q)), $exact)) : :(tocount(divided(Int128(v), $q, $exact)))
        return :(tocount(divided(scaled(Int128(v), $p), $q, $exact)))
    elseif haskey(UNIT_MONTHS, a) && haskey(UNIT_MONTHS, b)
        return :(tocount(divided(Int128(v) * $(n * UNIT_MONTHS[a]), $(k * UNIT_MONTHS[b]), $exact)))
    elseif !dates
        return :(throw(ArgumentError("years and months have no fixed length: a time of them has no other units")))
    elseif haskey(UNIT_MONTHS, a)
        p, q = UNITS[:D][1] * UNITS[b][2], k * UNITS[b][1]
        return :(tocount(divided(scaled(daysofmonth(Int128(v) * $(n * UNIT_MONTHS[a])), $p), $q, $exact)))
    end
    p, q = n * UNITS[a][1], UNITS[:D][1] * UNITS[a][2]
    return :(tocount(divided(monthof(divided(scaled(Int128(v), $p), $q, $exact), $exact), $(k * UNIT_MONTHS[b]), $exact)))
end

scaled(v::T, n::T) where {T<:Signed} = ((r, o) = Base.mul_with_overflow(v, n); o ? nothing : r)
scaled(::Nothing, n) = nothing
divided(v::T, n::T, exact) where {T<:Signed} = ((d, r) = fldmod(v, n); exact && r != 0 ? nothing : d)
divided(::Nothing, n, exact) = nothing
tocount(v::Int128) = typemin(Int64) < v <= typemax(Int64) ? Int64(v) : nothing
tocount(::Nothing) = nothing
function monthof(days::Int128, exact)
    y, m, d = civil(days)
    return exact && d != 1 ? nothing : 12 * (y - 1970) + m - 1
end
monthof(::Nothing, exact) = nothing

# `R` is what the caller wants, for the error.
function rescaled(::Type{T}, x::Time64, exact::Val, ::Type{R} = T) where {T<:Time64,R}
    isnat(x) && return T(NAT)
    v = recount(x.value, Val(unitof(typeof(x))), Val(unitof(T)), Val(T <: DateTime64), exact)
    v === nothing && throw(InexactError(:convert, R, x))
    return T(v)
end

for D in (:DateTime64, :TimeDelta64)
    @eval begin
        Base.convert(::Type{$D{U}}, x::$D{U}) where {U} = x
        Base.convert(::Type{$D{U}}, x::$D) where {U} = rescaled($D{U}, x, Val(true))
        $D{U}(x::$D) where {U} = convert($D{U}, x)
        $D(x::$D) = x
        Base.floor(::Type{$D{U}}, x::$D) where {U} = rescaled($D{U}, x, Val(false))
        # Of two arrays of them one; `==` and the like don't need it.
        Base.promote_rule(::Type{$D{U}}, ::Type{$D{V}}) where {U,V} =
            (W = commonunit(U, V, $(D == :TimeDelta64), $(D == :TimeDelta64)); W === nothing ? $D : $D{W})
    end
end

# ------------------------------------------------------------- Dates' types

const DATE_EPOCH = Dates.value(Dates.Date(1970))
const DATETIME_EPOCH = Dates.value(Dates.DateTime(1970))

@noinline thrownat(T) = throw(ArgumentError("NaT, a date or time that is none, can't be a $T; isnat(x) tells"))

DateTime64(x::Dates.Date) = DateTime64{:D}(Dates.value(x) - DATE_EPOCH)
DateTime64(x::Dates.DateTime) = DateTime64{:ms}(Dates.value(x) - DATETIME_EPOCH)
Base.convert(::Type{DateTime64{U}}, x::Union{Dates.Date,Dates.DateTime}) where {U} = convert(DateTime64{U}, DateTime64(x))
DateTime64{U}(x::Union{Dates.Date,Dates.DateTime}) where {U} = convert(DateTime64{U}, x)
Base.floor(::Type{DateTime64{U}}, x::Union{Dates.Date,Dates.DateTime}) where {U} = floor(DateTime64{U}, DateTime64(x))

function Base.convert(::Type{Dates.Date}, x::DateTime64)
    isnat(x) && thrownat(Dates.Date)
    return Dates.Date(Dates.UTD(datesday(rescaled(DateTime64{:D}, x, Val(true), Dates.Date), x)))
end
# A day as Dates counts them. Beyond the first and the last Date its years, months and days are nonsense.
function datesday(day::DateTime64{:D}, x)
    v, overflow = Base.add_with_overflow(day.value, DATE_EPOCH)
    !overflow && Dates.value(typemin(Dates.Date)) <= v <= Dates.value(typemax(Dates.Date)) ||
        throw(InexactError(:convert, Dates.Date, x))
    return v
end
function Base.convert(::Type{Dates.DateTime}, x::DateTime64)
    isnat(x) && thrownat(Dates.DateTime)
    v, overflow = Base.add_with_overflow(rescaled(DateTime64{:ms}, x, Val(true), Dates.DateTime).value, DATETIME_EPOCH)
    overflow && throw(InexactError(:convert, Dates.DateTime, x))
    return Dates.DateTime(Dates.UTM(v))
end
# The time of the day.
function Base.convert(::Type{Dates.Time}, x::DateTime64)
    isnat(x) && thrownat(Dates.Time)
    sec, sub = instant(x)
    ns, rest = divrem(sub, Int128(10)^9)
    rest == 0 || throw(InexactError(:convert, Dates.Time, x))
    return Dates.Time(Dates.Nanosecond(mod(sec, 86_400) * 10^9 + ns))
end
for T in (:Date, :DateTime, :Time)
    @eval Dates.$T(x::DateTime64) = convert(Dates.$T, x)
end

const PERIOD_UNITS = ((:Year, :Y), (:Month, :M), (:Week, :W), (:Day, :D), (:Hour, :h), (:Minute, :m), (:Second, :s),
                      (:Millisecond, :ms), (:Microsecond, :us), (:Nanosecond, :ns))
for (P, unit) in PERIOD_UNITS
    u = QuoteNode(unit)
    @eval begin
        TimeDelta64(x::Dates.$P) = TimeDelta64{$u}(Dates.value(x))
        function Base.convert(::Type{Dates.$P}, t::TimeDelta64)
            isnat(t) && thrownat(Dates.$P)
            return Dates.$P(rescaled(TimeDelta64{$u}, t, Val(true), Dates.$P).value)
        end
        Dates.$P(t::TimeDelta64) = convert(Dates.$P, t)
    end
end
const UnitPeriod = Union{(getfield(Dates, P) for (P, _) in PERIOD_UNITS)...}
Base.convert(::Type{TimeDelta64{U}}, x::UnitPeriod) where {U} = convert(TimeDelta64{U}, TimeDelta64(x))
TimeDelta64{U}(x::UnitPeriod) where {U} = convert(TimeDelta64{U}, x)

# Parts, as those of a DateTime: year, month, day and what follows of these come from the day.
function Dates.days(x::DateTime64)
    isnat(x) && thrownat("day")
    return datesday(floor(DateTime64{:D}, x), x)
end
for (part, code) in ((:hour, :(mod(fld(sec, 3600), 24))), (:minute, :(mod(fld(sec, 60), 60))), (:second, :(mod(sec, 60))),
                     (:millisecond, :(sub ÷ 10^15)), (:microsecond, :(sub ÷ 10^12 % 1000)), (:nanosecond, :(sub ÷ 10^9 % 1000)))
    @eval function Dates.$part(x::DateTime64)
        isnat(x) && thrownat($(String(part)))
        sec, sub = instant(x)
        return Int64($code)
    end
end

# --------------------------------------------------------------- comparison

# Whole seconds, and attoseconds: of any time in any unit.
function instant(x::Time64)
    n, unit = unitparts(unitof(typeof(x)))
    v = x.value * n
    x isa DateTime64 && haskey(UNIT_MONTHS, unit) && return daysofmonth(v * UNIT_MONTHS[unit]) * 86_400, Int128(0)
    num, den = get(UNITS, unit, (Int128(1), Int128(1)))
    sec, rest = fldmod(v * num, den)
    return sec, rest * (Int128(10)^18 ÷ den)
end

# Times of months, of seconds, and without a unit are not to be compared.
@generated timekind(::Val{U}, ::Val{dates}) where {U,dates} = (unit = unitparts(U)[2]; unit == :generic ? 0 : haskey(UNIT_MONTHS, unit) && !dates ? 1 : 2)
function comparable(x::T, y::S) where {T<:Time64,S<:Time64}
    dates = Val(T <: DateTime64)
    a, b = timekind(Val(unitof(T)), dates), timekind(Val(unitof(S)), dates)
    return a == b || a == 0 || b == 0
end
# Which is first, of two that are no NaT.
function timeorder(x::T, y::S) where {T<:Time64,S<:Time64}
    comparable(x, y) || throw(ArgumentError("times of years or months can't be compared with others: they have no fixed length"))
    (n, a), (k, b) = unitparts(unitof(T)), unitparts(unitof(S))
    a == :generic && return cmp(x.value, y.value)
    b == :generic && return cmp(x.value, y.value)
    !(T <: DateTime64) && haskey(UNIT_MONTHS, a) && return cmp(x.value * n * UNIT_MONTHS[a], y.value * k * UNIT_MONTHS[b])
    return cmp(instant(x), instant(y))
end

for D in (:DateTime64, :TimeDelta64)
    @eval begin
        Base.:(==)(x::$D{U}, y::$D{U}) where {U} = (x.value == y.value) & !isnat(x)
        Base.:(==)(x::$D, y::$D) = !isnat(x) && !isnat(y) && comparable(x, y) && timeorder(x, y) == 0
        Base.isequal(x::$D{U}, y::$D{U}) where {U} = x.value == y.value
        Base.isequal(x::$D, y::$D) = isnat(x) ? isnat(y) : x == y
        Base.:<(x::$D{U}, y::$D{U}) where {U} = (x.value < y.value) & !isnat(x) & !isnat(y)
        Base.:<(x::$D, y::$D) = !isnat(x) && !isnat(y) && timeorder(x, y) < 0
        # NaT is the last one.
        Base.isless(x::$D{U}, y::$D{U}) where {U} = isnat(x) ? false : isnat(y) ? true : x.value < y.value
        Base.isless(x::$D, y::$D) = isnat(x) ? false : isnat(y) ? true : timeorder(x, y) < 0
        Base.min(x::T, y::T) where {T<:$D} = isnat(x) ? x : isnat(y) ? y : ifelse(y.value < x.value, y, x)
        Base.max(x::T, y::T) where {T<:$D} = isnat(x) ? x : isnat(y) ? y : ifelse(y.value < x.value, x, y)
    end
end
for op in (:(==), :isequal, :<, :isless)
    @eval begin
        Base.$op(x::DateTime64, y::Union{Dates.Date,Dates.DateTime}) = $op(x, DateTime64(y))
        Base.$op(x::Union{Dates.Date,Dates.DateTime}, y::DateTime64) = $op(DateTime64(x), y)
        Base.$op(x::TimeDelta64, y::UnitPeriod) = $op(x, TimeDelta64(y))
        Base.$op(x::UnitPeriod, y::TimeDelta64) = $op(TimeDelta64(x), y)
    end
end

# What is equal has the same hash: also the times of Dates.
function Base.hash(x::DateTime64, h::UInt)
    isnat(x) && return hash(:NaT, h)
    v = recount(x.value, Val(unitof(typeof(x))), Val(:ms), Val(true), Val(true))
    v === nothing && return hash(instant(x), h)
    v, overflow = Base.add_with_overflow(v, DATETIME_EPOCH)
    return overflow ? hash(instant(x), h) : hash(Dates.DateTime(Dates.UTM(v)), h)
end
function Base.hash(x::TimeDelta64{U}, h::UInt) where {U}
    isnat(x) && return hash(:NaT, h)
    n, unit = unitparts(U)
    haskey(UNIT_MONTHS, unit) && return hash(x.value * n * UNIT_MONTHS[unit], hash(:months, h))
    unit == :generic && return hash(x.value, h)
    v = recount(x.value, Val(U), Val(:ns), Val(false), Val(true))
    return v === nothing ? hash(instant(x), h) : hash(Dates.Nanosecond(v), h)
end

# --------------------------------------------------------------- arithmetic

# The unit of a sum, as NumPy finds it; nothing where there is none. strict: of a time that is no date, whose years
# and months have no fixed length.
function commonunit(A, B, stricta::Bool, strictb::Bool)
    (n, a), (k, b) = unitparts(A), unitparts(B)
    a == :generic && return B
    b == :generic && return A
    a == b && return unitof(gcd(n, k), a)
    placeof(unit) = findfirst(isequal(unit), UNIT_ORDER)
    placeof(a) > placeof(b) && return commonunit(B, A, strictb, stricta)
    if haskey(UNIT_MONTHS, a)
        b == :M && return unitof(gcd(12n, k), b)
        stricta && return nothing
    else
        n *= UNITS[a][1] * UNITS[b][2] ÷ (UNITS[b][1] * UNITS[a][2])
    end
    return unitof(gcd(n, k), b)
end

function overflowed(r, o)
    (o || r == NAT) && throw(OverflowError("the time does not fit into 64 bits"))
    return r
end
sumof(T, x, y) = isnat(x) || isnat(y) ? T(NAT) : T(overflowed(Base.add_with_overflow(x.value, y.value)...))
differenceof(T, x, y) = isnat(x) || isnat(y) ? T(NAT) : T(overflowed(Base.sub_with_overflow(x.value, y.value)...))

# The code of f(R{unit}, x, y) with x and y, an X and a Y, in their common unit.
function incommon(f, R, X, Y, U, V)
    W = commonunit(U, V, X === TimeDelta64, Y === TimeDelta64)
    W === nothing && return :(throw(ArgumentError("years and months have no fixed length: a time of them can be combined with " *
        "dates in years or months only, such as floor(DateTime64{:M}, x)")))
    w = QuoteNode(W)
    return :($f($R{$w}, convert($X{$w}, x), convert($Y{$w}, y)))
end

@generated Base.:+(x::DateTime64{U}, y::TimeDelta64{V}) where {U,V} = incommon(sumof, DateTime64, DateTime64, TimeDelta64, U, V)
@generated Base.:-(x::DateTime64{U}, y::TimeDelta64{V}) where {U,V} = incommon(differenceof, DateTime64, DateTime64, TimeDelta64, U, V)
@generated Base.:-(x::DateTime64{U}, y::DateTime64{V}) where {U,V} = incommon(differenceof, TimeDelta64, DateTime64, DateTime64, U, V)
@generated Base.:+(x::TimeDelta64{U}, y::TimeDelta64{V}) where {U,V} = incommon(sumof, TimeDelta64, TimeDelta64, TimeDelta64, U, V)
@generated Base.:-(x::TimeDelta64{U}, y::TimeDelta64{V}) where {U,V} = incommon(differenceof, TimeDelta64, TimeDelta64, TimeDelta64, U, V)
# Also there because Dates has it for all its times.
Base.:-(x::DateTime64{U}, y::DateTime64{U}) where {U} = differenceof(TimeDelta64{U}, x, y)
Base.:+(x::TimeDelta64, y::DateTime64) = y + x

for op in (:+, :-)
    @eval begin
        Base.$op(x::DateTime64, y::UnitPeriod) = $op(x, TimeDelta64(y))
        Base.$op(x::Union{Dates.Date,Dates.DateTime}, y::TimeDelta64) = $op(DateTime64(x), y)
    end
end
for op in (:+, :-, :/, :div, :fld, :rem, :mod)
    @eval begin
        Base.$op(x::TimeDelta64, y::UnitPeriod) = $op(x, TimeDelta64(y))
        Base.$op(x::UnitPeriod, y::TimeDelta64) = $op(TimeDelta64(x), y)
    end
end
Base.:+(x::UnitPeriod, y::DateTime64) = y + x
Base.:+(x::TimeDelta64, y::Union{Dates.Date,Dates.DateTime}) = y + x
Base.:-(x::DateTime64, y::Union{Dates.Date,Dates.DateTime}) = x - DateTime64(y)
Base.:-(x::Union{Dates.Date,Dates.DateTime}, y::DateTime64) = DateTime64(x) - y

Base.:+(x::TimeDelta64) = x
Base.:-(x::T) where {T<:TimeDelta64} = isnat(x) ? x : T(-x.value)
Base.abs(x::T) where {T<:TimeDelta64} = isnat(x) ? x : T(abs(x.value))
Base.sign(x::T) where {T<:TimeDelta64} = isnat(x) ? x : T(sign(x.value))
Base.signbit(x::TimeDelta64) = !isnat(x) && signbit(x.value)

Base.:*(x::T, n::Integer) where {T<:TimeDelta64} =
    isnat(x) ? x : T(overflowed(Base.mul_with_overflow(x.value, Int64(n))...))
Base.:*(x::T, n::AbstractFloat) where {T<:TimeDelta64} = isnat(x) || !isfinite(n) ? nat(T) : T(overflowed(trunc(Int64, x.value * n), false))
Base.:*(n::Union{Integer,AbstractFloat}, x::TimeDelta64) = x * n
Base.:/(x::T, n::Integer) where {T<:TimeDelta64} = isnat(x) ? x : T(div(x.value, n))
Base.:/(x::T, n::AbstractFloat) where {T<:TimeDelta64} = isnat(x) || isnan(n) || iszero(n) ? nat(T) : T(overflowed(trunc(Int64, x.value / n), false))
Base.div(x::T, n::Integer) where {T<:TimeDelta64} = isnat(x) ? x : T(div(x.value, n))
Base.fld(x::T, n::Integer) where {T<:TimeDelta64} = isnat(x) ? x : T(fld(x.value, n))

quotient(T, x, y) = isnat(x) || isnat(y) ? NaN : x.value / y.value
@generated Base.:/(x::TimeDelta64{U}, y::TimeDelta64{V}) where {U,V} = incommon(quotient, TimeDelta64, TimeDelta64, TimeDelta64, U, V)
for f in (:div, :fld)
    of = Symbol(f, :of)
    @eval $of(T, x, y) = isnat(x) || isnat(y) ? thrownat("quotient") : $f(x.value, y.value)
    @eval @generated Base.$f(x::TimeDelta64{U}, y::TimeDelta64{V}) where {U,V} = incommon($of, TimeDelta64, TimeDelta64, TimeDelta64, U, V)
end
for f in (:rem, :mod)
    of = Symbol(f, :of)
    @eval $of(T, x, y) = isnat(x) || isnat(y) ? T(NAT) : T($f(x.value, y.value))
    @eval @generated Base.$f(x::TimeDelta64{U}, y::TimeDelta64{V}) where {U,V} = incommon($of, TimeDelta64, TimeDelta64, TimeDelta64, U, V)
end

# Ranges are those of Dates, which counts their steps from a guess that is not too high.
isdefined(Dates, :guess) && (Dates.guess(a::DateTime64, b::DateTime64, step) = div(b - a, TimeDelta64(step)))

# --------------------------------------------------------------------- text

unittext(U) = ((n, unit) = unitparts(U); n == 1 ? String(unit) : string(n, unit))

# As NumPy has it: ISO 8601, as far as the unit goes.
function Base.print(io::IO, x::DateTime64{U}) where {U}
    isnat(x) && return print(io, "NaT")
    unit = unitparts(U)[2]
    unit == :generic && return print(io, x.value)
    sec, sub = instant(x)
    days, rest = fldmod(sec, Int128(86_400))
    y, m, d = civil(days)
    y < 0 && print(io, '-')
    print(io, lpad(abs(y), 4, '0'))
    depth = findfirst(isequal(unit), UNIT_ORDER)
    depth >= 3 && print(io, '-', lpad(m, 2, '0'))
    depth >= 4 && print(io, '-', lpad(d, 2, '0'))
    depth >= 6 && print(io, 'T', lpad(rest ÷ 3600, 2, '0'))
    depth >= 7 && print(io, ':', lpad(rest ÷ 60 % 60, 2, '0'))
    depth >= 8 && print(io, ':', lpad(rest % 60, 2, '0'))
    depth >= 9 && print(io, '.', first(lpad(sub, 18, '0'), 3 * (depth - 8)))
    return nothing
end
function Base.print(io::IO, x::TimeDelta64{U}) where {U}
    isnat(x) && return print(io, "NaT")
    n, unit = unitparts(U)
    unit == :generic ? print(io, x.value) : print(io, x.value * n, ' ', unit)
end
Base.string(x::Time64) = sprint(print, x)

# In an array the type is said once.
Base.show(io::IO, x::DateTime64) = showtime(io, x)
Base.show(io::IO, x::TimeDelta64) = showtime(io, x)
function showtime(io, x::T) where {T}
    info = get(io, :typeinfo, Any)
    info isa Type && T <: info && info <: Union{T,Missing} ? print(io, x) : (show(io, T); print(io, '(', x, ')'))
    return nothing
end

# ---------------------------------------------------------- formats and dtypes

# The buffer protocol has no code for these, and NumPy exports none of them: they come by its array interface, and go by a view
# of their numbers (dtypes.jl). In formats of our own they are M[ns] and m[25s].
timecode(::Type{DateTime64{U}}) where {U} = string("M[", unittext(U), ']')
timecode(::Type{TimeDelta64{U}}) where {U} = string("m[", unittext(U), ']')

"The type of such a code, or nothing; that of a period."
function timetype(code::Char, text::AbstractString)
    m = match(r"^(\d*)([A-Za-z]+)$", text)
    m === nothing && return nothing
    unit = Symbol(m[2])
    (unit in UNIT_ORDER && length(m[1]) <= 10) || return nothing
    n = isempty(m[1]) ? 1 : parse(Int, m[1])
    (unit == :generic ? n == 1 : 1 <= n <= typemax(Int32)) || return nothing
    return code == 'M' ? DateTime64{unitof(n, unit)} : TimeDelta64{unitof(n, unit)}
end

"Types of Dates that have no format either. Those of periods lie in memory as NumPy's do; dates count from another day."
const DatesTime = Union{Dates.Date,Dates.DateTime,Dates.Time,UnitPeriod}

timetype(::Type{P}) where {P<:UnitPeriod} = typeof(TimeDelta64(zero(P)))

"""
    numpytimes(x)

The times of Dates in `x` as NumPy's, a new array; nothing if these are others, or of several types.
"""
function numpytimes(x::AbstractArray{T}) where {T}
    T <: DatesTime && isconcretetype(T) || return nothing
    T === Dates.Time && return map(t -> TimeDelta64{:ns}(Dates.value(t)), x) # since midnight
    return map(T <: UnitPeriod ? TimeDelta64 : DateTime64, x)
end

swapbytes(x::T) where {T<:Time64} = T(bswap(x.value))

# Swapped bytes come as these types do.
Base.bswap(x::Time64) = swapbytes(x)
