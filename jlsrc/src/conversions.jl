# Values for which Python has a type of its own, besides the plain ones of topython.jl: dates and times, fractions, enums;
# results that are not to be converted; and conversions that users add.
#
# A value that Python's type can't hold exactly (a year 10000, a nanosecond) stays a Julia object. The other way is the same
# (bufferbridge/_conversions.py): a datetime with microseconds, or with a time zone, stays a Python object.

# A new reference to what a function of bufferbridge._conversions makes of the values.
function construct(name::Symbol, args...)
    s = String(name)
    f = checked(GC.@preserve s @api conversion(pointer(s)::Ptr{UInt8}, sizeof(s)::Int64)::Ptr{Cvoid})
    try
        return applied(f, args)
    finally
        @api decref(f::Ptr{Cvoid})::Cvoid
    end
end

applied(f::Ptr{Cvoid}, args) = checked(@api apply(f::Ptr{Cvoid}, pytuple(args)::Ptr{Cvoid})::Ptr{Cvoid})

# ------------------------------------------------------------- unconverted

"A result that goes to Python as a Julia object, whatever it is."
struct Unconverted
    value::Any
end

topython(x::Unconverted) = wrapped(x.value)

"`f(args...; kwargs...)`, not converted: what `f.raw(...)` is in Python."
callraw(@nospecialize(f), @nospecialize(args...); kwargs...) = Unconverted(f(args...; kwargs...))

# --------------------------------------------------------- dates and times

const MAX_YEAR = 9999 # datetime.MAXYEAR

isdate(x) = 1 <= Dates.year(x) <= MAX_YEAR

topython(x::Dates.Date) = customized(x) do x
    isdate(x) || return wrapped(x)
    return construct(:make_date, Dates.yearmonthday(x)...)
end

topython(x::Dates.DateTime) = customized(x) do x
    isdate(x) || return wrapped(x)
    return construct(:make_datetime, Dates.yearmonthday(x)..., Dates.hour(x), Dates.minute(x), Dates.second(x),
                     1000 * Dates.millisecond(x))
end

topython(x::Dates.Time) = customized(x) do x
    Dates.nanosecond(x) == 0 || return wrapped(x)
    return construct(:make_time, Dates.hour(x), Dates.minute(x), Dates.second(x),
                     1000 * Dates.millisecond(x) + Dates.microsecond(x))
end

const FixedPeriod = Union{Dates.Week,Dates.Day,Dates.Hour,Dates.Minute,Dates.Second,Dates.Millisecond,Dates.Microsecond,
                          Dates.Nanosecond}

topython(x::FixedPeriod) = customized(x -> timedelta(x, nanoseconds(x)), x)
topython(x::Dates.CompoundPeriod) = customized(x) do x
    all(p -> p isa FixedPeriod, x.periods) || return wrapped(x)
    return timedelta(x, mapreduce(nanoseconds, +, x.periods; init = Int128(0)))
end

nanoseconds(x::P) where {P<:FixedPeriod} = Int128(Dates.value(x)) * Dates.value(convert(Dates.Nanosecond, P(1)))

# datetime.timedelta has less than 10^9 days, and microseconds.
function timedelta(x, ns::Int128)
    days, rest = fldmod(ns, Int128(86_400_000_000_000))
    abs(days) < 10^9 && rest % 1000 == 0 || return wrapped(x)
    return construct(:make_timedelta, Int64(days), Int64(rest ÷ 1000))
end

topython(x::Time64) = customized(x) do x
    made = owned(construct(:make_time64, typestr(typeof(x), NATIVE_IS_LITTLE ? '<' : '>'), x.value))
    return pyisnone(made) ? wrapped(x) : topython(made)
end

"Of NumPy's scalar: its typestr without byte order, such as M8[ns]."
function maketime64(typestr::String, count::Int64)
    unit = length(typestr) == 2 ? "generic" : typestr[4:end-1]
    return something(timetype(typestr[1], unit))(count)
end

# From Python, whose values fit.
makedate(year, month, day) = Dates.Date(year, month, day)
makedatetime(year, month, day, hour, minute, second, ms) = Dates.DateTime(year, month, day, hour, minute, second, ms)
maketime(hour, minute, second, microsecond) =
    Dates.Time(hour, minute, second, microsecond ÷ 1000, microsecond % 1000)
makeperiod(microseconds) = Dates.Microsecond(microseconds)

# --------------------------------------------------------------- fractions

topython(x::Rational) = customized(x) do x
    iszero(denominator(x)) && return wrapped(x) # 1//0
    return construct(:make_fraction, numerator(x), denominator(x))
end

makefraction(numerator, denominator) = numerator // denominator

"The value of a decimal fraction, given as text, or of a Julia number, as a number of type `T`."
fromdecimal(T::Type, text::String) = T <: Rational ? T(decimalratio(text)) : T <: AbstractFloat ? parse(T, text) :
    T <: Integer ? T(decimalratio(text)) : throw(ArgumentError("a decimal fraction can't be a $T"))

# Digits, a point and an exponent: Python's str(Decimal).
function decimalratio(text)
    m = match(r"^([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$", text)
    m === nothing && throw(ArgumentError("$text is no number that is finite"))
    n = parse(BigInt, m[2] * m[3])
    e = (m[4] === nothing ? 0 : parse(Int, m[4])) - length(m[3])
    r = e < 0 ? n // big(10)^-e : n * big(10)^e // 1
    return m[1] == "-" ? -r : r
end

# -------------------------------------------------------------------- enums

# Of each type its instances as members of a class of Python's, or nothing where there can't be one.
const ENUMS = IdDict{Any,Any}()

topython(x::Base.Enum) = customized(x) do x
    members = get!(() -> Base.invokelatest(enummembers, typeof(x)), ENUMS, typeof(x)) # it may have come with this call
    member = members === nothing ? nothing : get(members, Integer(x), nothing)
    return member === nothing ? wrapped(x) : topython(member)
end

function enummembers(@nospecialize(T))
    xs = collect(instances(T))
    made = owned(construct(:make_enum, string(nameof(T)), string(parentmodule(T)), Tuple(String(Symbol(x)) for x in xs),
                           Tuple(Integer(x) for x in xs), Tuple(Unconverted(x) for x in xs)))
    n = GC.@preserve made @api length(pointerof(made)::Ptr{Cvoid})::Int64
    n < 0 && throwpython()
    n == length(xs) || return nothing
    return Dict{Integer,PyObject}(Integer(x) => GC.@preserve made owned(@api object_item(pointerof(made)::Ptr{Cvoid}, (i - 1)::Int64)::Ptr{Cvoid})
                              for (i, x) in enumerate(xs))
end

# -------------------------------------------------- conversions that users add

# Types whose conversion is the contract of the package.
const FixedTypes = Union{Bool,SmallInt,UInt64,Int128,UInt128,BigInt,SmallFloat,Complex{<:Union{SmallInt,SmallFloat}},String,
                         SubString{String},Char,Nothing,Missing,Tuple,NamedTuple,Array,Module,PyObject,PyFunction,
                         PyException,Unconverted}

"""
    convertresults(T, f)

From now on values of type `T` go to Python as what the Python function `f` makes of them; it gets them as they are.
"""
function convertresults(@nospecialize(T), @nospecialize(f))
    T isa Type || throw(PyTypeError("a conversion is for a Julia type or a Python class, not for a value of type $(typeof(T))"))
    (T === Any || T <: FixedTypes) &&
        throw(ArgumentError("how values of type $T go to Python can't be changed: use f.raw(...) to get them unconverted"))
    @eval pyvalue(x::$T) = replaced($f, x)
    return nothing
end

"Ends what `convertresults` began."
function keepresults(@nospecialize(T))
    for m in methods(pyvalue)
        m.sig == Tuple{typeof(pyvalue),T} && (Base.delete_method(m); return true)
    end
    return false
end

replaced(@nospecialize(f), x) = f(x)

function replaced(f::PyFunction, x)
    o = withgil() do
        function_ = getfield(f, :object)
        GC.@preserve function_ owned(applied(pointerof(function_), (Unconverted(x),)))
    end
    return isnotimplemented(o) ? x : o
end

function isnotimplemented(o::PyObject)
    p = @api not_implemented()::Ptr{Cvoid}
    @api decref(p::Ptr{Cvoid})::Cvoid
    return GC.@preserve o pointerof(o) == p
end

"""
    pyconversion!(f, class)

From now on objects of a Python class (and of its subclasses) come to Julia as what `f` makes of them; it gets a `PyObject`. Packages
call it in their `__init__`.

```julia
pyconversion!(o -> UUID(string(o)), pyimport("uuid").UUID)
```
"""
function pyconversion!(f, class::PyAny)
    withgil(() -> owned(construct(:add_julia_function, class, Unconverted(f))))
    return nothing
end

# ---------------------------------------------------------------- on request

# By Julia's own convert, or where that knows nothing (text to a Symbol, a tuple to a Vector) as objects of Python are converted.
function convertto(@nospecialize(T), @nospecialize(x), o::PyAny)
    T isa Type || throw(PyTypeError("convert wants a class or a Julia type, not a value of type $(typeof(T))"))
    try
        return convert(T, x)
    catch e
        e isa MethodError && e.f === convert && !(x isa PyAny) || rethrow()
    end
    return fromobject(T, o)
end

"A Julia object as any result is converted."
converted(@nospecialize(x)) = x

"The digits of a Julia number for Python's Decimal; nothing for what is no real number."
decimaltext(@nospecialize(x)) = nothing
decimaltext(@nospecialize(x::Real)) = decimaltext(BigFloat(x))
decimaltext(x::Integer) = string(BigInt(x))
decimaltext(x::AbstractFloat) = replace(replace(string(x), "Inf" => "Infinity"), r"[fF]" => "e")
decimaltext(x::BigFloat) = replace(string(x), "Inf" => "Infinity")

"Numerator and denominator of a number, exactly."
function ratio(@nospecialize(x::Real))
    x isa BigFloat && isfinite(x) && checksize(x)
    r = Rational{BigInt}(x)
    return numerator(r), denominator(r)
end
ratio(@nospecialize(x)) = throw(PyTypeError("'$(typeof(x))' of Julia is no real number"))
