# Arrow's memory as arrays of Julia's, and Julia's vectors as Arrow's memory.
#
# An Arrow array is a few buffers (https://arrow.apache.org/docs/format/Columnar.html). Each comes as Python memory that is
# read-only (csrc/arrow.c), and so as a PyArray, which keeps it; what is here puts them together and reads elements when they
# are asked for. Nothing is copied, and every offset that is found in memory is checked before it is used.
#
# The way back, `arrowparts`, gives buffers: those of the vector itself wherever Arrow has the same layout, else new ones.

"""
    ArrowBits <: AbstractVector{Bool}

Arrow's booleans, packed into bits: read-only memory of Python, shared. With `inverted` they are the opposite of what is in memory,
as a mask is of validity.
"""
struct ArrowBits{B<:AbstractVector{UInt8}} <: AbstractVector{Bool}
    bytes::B
    offset::Int  # bits before the first one, 0 to 7
    length::Int
    inverted::Bool

    function ArrowBits(bytes::B, offset, length, inverted) where {B<:AbstractVector{UInt8}}
        0 <= offset && 0 <= length && offset + length <= 8 * Base.length(bytes) || throw(ArgumentError("there are not as many bits in memory"))
        return new{B}(bytes, offset, length, inverted)
    end
end

Base.size(x::ArrowBits) = (x.length,)
Base.IndexStyle(::Type{<:ArrowBits}) = IndexLinear()
Base.dataids(x::ArrowBits) = Base.dataids(x.bytes)
isreadonly(::ArrowBits) = true
Base.@propagate_inbounds function Base.getindex(x::ArrowBits, i::Int)
    @boundscheck checkbounds(x, i)
    k = x.offset + i - 1
    return (@inbounds(x.bytes[k>>3+1]) >> (k & 7) & 0x01 != 0) ⊻ x.inverted
end

"""
    ArrowStrings{T} <: AbstractVector{T}

Arrow's strings (`T` is String) or binary values (`Vector{UInt8}`): offsets into bytes, read-only memory of Python, shared. An element is
made when it is read.
"""
struct ArrowStrings{T,O<:AbstractVector{<:Integer},B<:AbstractVector{UInt8}} <: AbstractVector{T}
    offsets::O   # one more than elements, from zero; none if there are no elements
    bytes::B
end
ArrowStrings{T}(offsets::O, bytes::B) where {T,O,B} = ArrowStrings{T,O,B}(offsets, bytes)

Base.size(x::ArrowStrings) = (max(length(x.offsets) - 1, 0),)
Base.@propagate_inbounds function Base.getindex(x::ArrowStrings{T}, i::Int) where {T}
    @boundscheck checkbounds(x, i)
    a, b = Int(x.offsets[i]), Int(x.offsets[i+1])
    return arrowelement(T, x.bytes, a, b - a)
end

"""
    ArrowViews{T} <: AbstractVector{T}

As [`ArrowStrings`](@ref), in Arrow's other layout ("string view"): 16 bytes for each element, with the place of a long one in one of
some buffers.
"""
struct ArrowViews{T,B<:AbstractVector{UInt8}} <: AbstractVector{T}
    views::B
    buffers::Vector{B}
end
ArrowViews{T}(views::B, buffers) where {T,B} = ArrowViews{T,B}(views, collect(B, buffers))

Base.size(x::ArrowViews) = (length(x.views) ÷ 16,)
Base.@propagate_inbounds function Base.getindex(x::ArrowViews{T}, i::Int) where {T}
    @boundscheck checkbounds(x, i)
    views = x.views
    word(k) = GC.@preserve views unsafe_load(Ptr{Int32}(pointer(views) + 16 * (i - 1)), k)
    n = Int(word(1))
    n <= 12 && return arrowelement(T, views, 16 * (i - 1) + 4, n)
    b = Int(word(3)) + 1
    1 <= b <= length(x.buffers) || throwarrow()
    return arrowelement(T, x.buffers[b], Int(word(4)), n)
end

const ArrowTexts{T} = Union{ArrowStrings{T},ArrowViews{T}}
Base.IndexStyle(::Type{<:ArrowTexts}) = IndexLinear()
isreadonly(::ArrowTexts) = true
Base.setindex!(::Union{ArrowBits,ArrowTexts}, v, ::Int) = throwreadonly()

@noinline throwarrow() = throw(ArgumentError("this Arrow array is not valid: its offsets lead out of its memory"))

@inline function arrowelement(::Type{T}, bytes::AbstractVector{UInt8}, start::Int, n::Int) where {T}
    start >= 0 && n >= 0 && start <= length(bytes) && n <= length(bytes) - start || throwarrow()
    return GC.@preserve bytes arrowvalue(T, pointer(bytes) + start, n)
end
arrowvalue(::Type{String}, p::Ptr{UInt8}, n::Int) = unsafe_string(p, n)
arrowvalue(::Type{Vector{UInt8}}, p::Ptr{UInt8}, n::Int) = (v = Vector{UInt8}(undef, n); GC.@preserve(v, unsafe_copyto!(pointer(v), p, n)); v)

"""
    ArrowTimes{T} <: AbstractVector{T}

Arrow's dates or times of the day (`T` is Date or Time): numbers of days or of other units, read-only memory of Python, shared.
"""
struct ArrowTimes{T,V<:AbstractVector{<:Integer}} <: AbstractVector{T}
    values::V
    unit::Int    # how many are a day; of times, nanoseconds of each
end
ArrowTimes{T}(values::V, unit) where {T,V} = ArrowTimes{T,V}(values, unit)

Base.size(x::ArrowTimes) = size(x.values)
Base.IndexStyle(::Type{<:ArrowTimes}) = IndexLinear()
Base.dataids(x::ArrowTimes) = Base.dataids(x.values)
isreadonly(::ArrowTimes) = true
Base.setindex!(::ArrowTimes, v, ::Int) = throwreadonly()
Base.@propagate_inbounds Base.getindex(x::ArrowTimes{Dates.Date}, i::Int) =
    Dates.Date(Dates.UTD(EPOCH_DAY + fld(Int64(x.values[i]), x.unit)))
Base.@propagate_inbounds Base.getindex(x::ArrowTimes{Dates.Time}, i::Int) = Dates.Time(Dates.Nanosecond(x.values[i] * x.unit))

const EPOCH = Dates.value(Dates.DateTime(1970)) # in milliseconds, of Julia's own
const EPOCH_DAY = Dates.value(Dates.Date(1970))

# ------------------------------------------------------------- from Python

"""
    arrowcolumn(format, n, offset, validity, buffers...)

The `n` elements of an Arrow array: `format` as in its C data interface, `validity` its bitmap or nothing, then its other buffers. Bits
begin at the bit `offset`. Called by bufferbridge/_arrow.py, with what csrc/arrow.c has checked.
"""
function arrowcolumn(format::String, n::Int64, offset::Int64, @nospecialize(validity = nothing), @nospecialize(buffers...))
    format == "n" && return fill(missing, n)
    data = arrowdata(format, offset, n, buffers)
    validity === nothing && return data
    return MaskedArray(data, ArrowBits(validity, offset, n, true))
end

function arrowdata(format::String, offset::Int64, n::Int64, @nospecialize(buffers))
    format == "b" && return ArrowBits(buffers[1], offset, n, false)
    format in ("u", "U") && return ArrowStrings{String}(buffers[1], buffers[2])
    format in ("z", "Z") && return ArrowStrings{Vector{UInt8}}(buffers[1], buffers[2])
    format == "vu" && return ArrowViews{String}(buffers[1], buffers[2:end])
    format == "vz" && return ArrowViews{Vector{UInt8}}(buffers[1], buffers[2:end])
    temporal = arrowtemporal(format)
    return temporal === nothing ? buffers[1] : temporal(buffers[1])
end

"What makes dates and times of the numbers of a format; nothing for other formats."
function arrowtemporal(format::String)
    format == "tdD" && return x -> ArrowTimes{Dates.Date}(x, 1)
    format == "tdm" && return x -> ArrowTimes{Dates.Date}(x, 86_400_000)
    startswith(format, "ts") && return x -> retyped(DateTime64{NUMPY_UNITS[format[3]]}, x)
    startswith(format, "tD") && return x -> retyped(TimeDelta64{NUMPY_UNITS[format[3]]}, x)
    startswith(format, "tt") && return x -> ArrowTimes{Dates.Time}(x, 10^9 ÷ UNITS_IN_SECOND[Symbol(format[3])])
    return nothing
end
const NUMPY_UNITS = Dict('s' => :s, 'm' => :ms, 'u' => :us, 'n' => :ns)
const UNITS_IN_SECOND = (s = 1, m = 10^3, u = 10^6, n = 10^9)

"All chunks of a column in one Vector of Julia's own."
joined(@nospecialize(chunks...)) = reduce(vcat, Any[owncopy(c) for c in chunks])
owncopy(x::AbstractArray) = copyto!(similar(Array{eltype(x)}, axes(x)), x)

# --------------------------------------------------------------- to Python

const ARROW_FORMATS = (Int8 => "c", UInt8 => "C", Int16 => "s", UInt16 => "S", Int32 => "i", UInt32 => "I", Int64 => "l",
                       UInt64 => "L", Float16 => "e", Float32 => "f", Float64 => "g")
const ArrowNumber = Union{map(first, ARROW_FORMATS)...}
for (T, format) in ARROW_FORMATS
    @eval arrowformat(::Type{$T}) = $format
end

"""
    arrowparts(x::AbstractVector) -> (format, length, nulls, offset, buffers)

What Arrow's C data interface wants of an array: the buffers are arrays, or nothing for the validity of one without nulls. Those that are
as Arrow has them are the vector's own memory. Throws an ArgumentError for elements that Arrow has no type for.
"""
function arrowparts(x::AbstractVector)
    T = eltype(x)
    (T === Missing || T === Any && isempty(x)) && return ("n", length(x), length(x), 0, ())
    Nothing <: T && any(isnothing, x) && return arrowparts(replace(x, nothing => missing)) # both are None in Python
    if !isconcretetype(nonmissingtype(T))
        y = map(identity, x) # what is in a vector of wider elements
        eltype(y) === T || return arrowparts(y)
    end
    Missing <: T && T !== Any && return arrowmasked(x)
    format, offset, buffers = arrowbuffers(x)
    return (format, length(x), 0, offset, (nothing, buffers...))
end
arrowparts(@nospecialize(x)) = throw(PyTypeError(
    x isa AbstractArray ? "an Arrow array has one axis, and this array has $(ndims(x)): take its columns" :
    "a Julia vector is needed, not $(article(string(typeof(x))))"))

# NaT, too, is a null in Arrow.
function arrowparts(x::AbstractVector{<:Time64})
    format, offset, buffers = arrowbuffers(x)
    nulls = count(isnat, x)
    return (format, length(x), nulls, offset, (nulls == 0 ? nothing : BitVector(map(!isnat, x)).chunks, buffers...))
end

# Bits of the data and of their validity begin at the same place.
function arrowmasked(x::AbstractVector)
    mask = arrowmask(x)
    values = arrowvalues(x, mask)
    eltype(values) <: Time64 && (mask = BitVector(map((m, v) -> m || isnat(v), mask, values)))
    nulls = count(mask)
    format, offset, buffers = arrowbuffers(values)
    nulls == 0 && return (format, length(x), 0, offset, (nothing, buffers...))
    mask isa ArrowBits && mask.inverted && mask.offset == offset &&
        return (format, length(x), nulls, offset, (mask.bytes, buffers...))
    offset == 0 || (buffers = (BitVector(values).chunks,)) # only bits have an offset
    return (format, length(x), nulls, 0, (BitVector(map(!, mask)).chunks, buffers...))
end

arrowmask(x::MaskedArray) = x.mask
arrowmask(x::AbstractVector) = BitVector(map(ismissing, x))

# The elements, with anything where one is missing.
arrowvalues(x::MaskedArray, mask) = x.data
arrowvalues(x::Vector, mask) = isbitstype(nonmissingtype(eltype(x))) ? valuesof(x) : filledvalues(x, mask, nonmissingtype(eltype(x)))
arrowvalues(x::AbstractVector, mask) = filledvalues(x, mask, nonmissingtype(eltype(x)))
function filledvalues(x::AbstractVector, mask, ::Type{T}) where {T}
    filler = blank(T)
    return T[m ? filler : v for (v, m) in zip(x, mask)]
end
blank(::Type{T}) where {T} = isbitstype(T) ? reinterpret(T, zeros(UInt8, sizeof(T)))[1] : throwelements(T)
blank(::Type{<:AbstractString}) = ""
blank(::Type{Symbol}) = Symbol("")
blank(::Type{T}) where {T<:AbstractVector{UInt8}} = T(UInt8[])

# Format, offset (of bits) and buffers of a vector of which nothing is missing.
arrowbuffers(x::AbstractVector{T}) where {T<:ArrowNumber} = (arrowformat(T), 0, (inmemory(x),))

# On machines of this byte order the bits of a BitVector are Arrow's.
arrowbuffers(x::BitVector) = ("b", 0, (x.chunks,))
arrowbuffers(x::AbstractVector{Bool}) = arrowbuffers(BitVector(x))
arrowbuffers(x::ArrowBits) = x.inverted ? arrowbuffers(BitVector(x)) : ("b", x.offset, (x.bytes,))

arrowbuffers(x::ArrowStrings{T,<:AbstractVector{O}}) where {T,O} =
    (T === String ? (O === Int32 ? "u" : "U") : (O === Int32 ? "z" : "Z"), 0,
     (isempty(x) ? zeros(O, 1) : x.offsets, x.bytes)) # one offset there must be
arrowbuffers(x::ArrowViews{T}) where {T} =
    (T === String ? "vu" : "vz", 0, (x.views, x.buffers..., Int64[length(b) for b in x.buffers]))
arrowbuffers(x::AbstractVector{<:AbstractString}) = ("U", 0, packedtext(x, codeunits ∘ checkedtext))
arrowbuffers(x::AbstractVector{<:Union{Symbol,AbstractChar}}) = arrowbuffers(map(string, x))
arrowbuffers(x::AbstractVector{<:AbstractVector{UInt8}}) = ("Z", 0, packedtext(x, identity))

function checkedtext(s::AbstractString)
    t = String(s)
    isvalid(t) || throw(ArgumentError("Arrow has Unicode text only, and there is a string with other bytes: $(repr(t))"))
    return t
end

# Offsets and bytes.
function packedtext(x::AbstractVector, bytesof)
    offsets = zeros(Int64, length(x) + 1)
    bytes = UInt8[]
    for (i, v) in enumerate(x)
        append!(bytes, bytesof(v))
        offsets[i+1] = length(bytes)
    end
    return offsets, bytes
end

const ArrowPeriod = Union{Dates.Second,Dates.Millisecond,Dates.Microsecond,Dates.Nanosecond}
arrowunit(::Type{Dates.Second}) = "s"
arrowunit(::Type{Dates.Millisecond}) = "m"
arrowunit(::Type{Dates.Microsecond}) = "u"
arrowunit(::Type{Dates.Nanosecond}) = "n"

arrowbuffers(x::AbstractVector{Dates.Date}) = ("tdD", 0, (Int32[Dates.value(d) - EPOCH_DAY for d in x],))
arrowbuffers(x::AbstractVector{Dates.DateTime}) = ("tsm:", 0, (Int64[Dates.value(d) - EPOCH for d in x],))
arrowbuffers(x::AbstractVector{Dates.Time}) = ("ttn", 0, (inmemory(reinterpret(Int64, x)),))
arrowbuffers(x::AbstractVector{P}) where {P<:ArrowPeriod} = ("tD" * arrowunit(P), 0, (inmemory(reinterpret(Int64, x)),))
arrowbuffers(x::AbstractVector{<:Union{Dates.Minute,Dates.Hour,Dates.Day,Dates.Week}}) = arrowbuffers(map(Dates.Second, x))

const ARROW_UNITS = Dict(:s => "s", :ms => "m", :us => "u", :ns => "n") # of NumPy's
arrowbuffers(x::AbstractVector{DateTime64{U}}) where {U} = U === :D ? arrowbuffers(ArrowTimes{Dates.Date}(numbers(x), 1)) :
    haskey(ARROW_UNITS, U) ? ("ts$(ARROW_UNITS[U]):", 0, (inmemory(numbers(x)),)) : arrowbuffers(inarrowunits(DateTime64, x))
arrowbuffers(x::AbstractVector{TimeDelta64{U}}) where {U} =
    haskey(ARROW_UNITS, U) ? ("tD$(ARROW_UNITS[U])", 0, (inmemory(numbers(x)),)) : arrowbuffers(inarrowunits(TimeDelta64, x))
numbers(x::AbstractVector{<:Time64}) = reinterpret(Int64, x)
# Of longer units seconds, as of Dates' hours and days. Multiples of a unit are that unit.
function inarrowunits(D, x::AbstractVector{T}) where {T<:Time64}
    unit = unitparts(unitof(T))[2]
    unit === :generic && throwelements(T)
    D === TimeDelta64 && haskey(UNIT_MONTHS, unit) && throwelements(T)
    haskey(ARROW_UNITS, unit) || (unit = findfirst(isequal(unit), UNIT_ORDER) < findfirst(isequal(:s), UNIT_ORDER) ? :s : throwelements(T))
    return map(v -> convert(D{unit}, v), x)
end

arrowbuffers(x::AbstractVector) = throwelements(eltype(x))
@noinline throwelements(@nospecialize(T)) = throw(ArgumentError(
    "Arrow has no type for elements of type $T: convert them to numbers, Bool, String, Date or DateTime first"))

# The vector itself if its memory is as Arrow wants it, else a copy.
function inmemory(x::AbstractVector{T}) where {T}
    l = layout(x)
    shared = l isa Layout && memorytype(l) === T && (length(x) <= 1 || l.strides[1] == sizeof(T)) &&
             UInt(l.ptr) % Base.datatype_alignment(T) == 0
    return shared ? x : collect(T, x)
end

"No elements, of the type of an Arrow format: a stream may have no arrays."
function noelements(format::String)
    format == "b" && return Bool[]
    format in ("u", "U", "vu") && return String[]
    format in ("z", "Z", "vz") && return Vector{UInt8}[]
    startswith(format, "ts") && return DateTime64{NUMPY_UNITS[format[3]]}[]
    startswith(format, "tD") && return TimeDelta64{NUMPY_UNITS[format[3]]}[]
    startswith(format, "td") && return Dates.Date[]
    startswith(format, "tt") && return Dates.Time[]
    i = findfirst(p -> p.second == format, collect(Any, ARROW_FORMATS))
    return ARROW_FORMATS[i].first[]
end
