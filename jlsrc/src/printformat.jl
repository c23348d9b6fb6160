# Writing formats: from a memory type to its format of PEP 3118, as NumPy and other consumers read it.
# parseformat.jl is the way back.
#
# A format is written so that all readings of it agree: padding is written out, at the end of records
# too. Where every item is aligned as C aligns it, native mode is kept, which is how NumPy writes the
# formats of its own aligned dtypes; elsewhere '^' (native sizes, no alignment) stands before native
# items, and '<' or '>' before swapped ones.

"Why an array's memory can't be shared."
struct NotShared
    reason::String
end

# Position in KINDS, which is the number C knows the type by; 0: not an element C knows.
kindof(::Type) = 0
for (i, T) in enumerate(KINDS)
    @eval kindof(::Type{$T}) = $i
end

"Codes that Python's consumers (NumPy in the first place) use for the types of KINDS."
const KIND_CODES = ("?", "b", "B", "h", "H", "i", "I", sizeof(Clong) == 8 ? "l" : "q",
                    sizeof(Culong) == 8 ? "L" : "Q", "e", "f", "d", "Zf", "Zd")

# With byte order the standard sizes hold, in which l has 4 bytes.
standardcode(code) = code == "l" ? "q" : code == "L" ? "Q" : code

const SWAPPED_MARK = NATIVE_IS_LITTLE ? '>' : '<'

"""
    formatof(S) -> String or NotShared

The format of a memory type, the inverse of [`memorytype`](@ref). The string lives for ever.
"""
formatof(::Type{S}) where {S} = kindof(S) != 0 ? KIND_CODES[kindof(S)] : cachedformat(S)

@noinline cachedformat(@nospecialize(S)) = get!(() -> writeformat(S), FORMATS, S)::Union{String,NotShared}

"Formats that were written. Who looks here has the GIL."
const FORMATS = IdDict{Any,Any}()

function writeformat(@nospecialize(S))
    try
        w = FormatWriter(IOBuffer(), isnaturallyaligned(S, 0), '@')
        writeitem(w, S, "its elements")
        return String(Base.take!(w.io))
    catch e
        e isa NotShared || rethrow()
        return e
    end
end

mutable struct FormatWriter
    io::IOBuffer
    aligned::Bool   # native mode holds throughout
    mode::Char
end

# A code in its mode, which is marked where it changes.
function writecode(w, mode, code)
    w.mode == mode || print(w.io, mode)
    w.mode = mode
    print(w.io, code)
end

# ------------------------------------------------------------------- items

"What a memory type consists of, for the format; see `describe`."
abstract type Description end
struct Plain <: Description      # one code
    code::String
    alignment::Int               # C's
end
struct Swap <: Description
    code::String
end
struct Items <: Description      # a sub-array
    n::Int
    S::Type
end
struct Fields <: Description     # a record
    names::Vector{String}
    Ss::Vector{Any}
    offsets::Vector{Int}
    size::Int
end

"""
    describe(S, where) -> Description

`where` says what has this type, for the `NotShared` that is thrown if there is no format.
"""
function describe(@nospecialize(S), place)
    kindof(S) == 0 || return Plain(KIND_CODES[kindof(S)], S <: Complex ? sizeof(S) ÷ 2 : sizeof(S))
    S === Union{} && throw(NotShared("$place can have no values"))
    S <: MemoryType && return describememory(S, place)
    isbitstype(S) || throw(NotShared(notbits(S, place)))
    S === LongDouble && return Plain("g", C_LONG_DOUBLE_ALIGNMENT)
    S === Complex{LongDouble} && return Plain("Zg", C_LONG_DOUBLE_ALIGNMENT)
    S <: Time64 && return Plain(timecode(S), sizeof(S))
    S <: FixedString && return Plain(textcode(S), sizeof(codeunit(S)))
    S <: RawBytes && return Plain("$(sizeof(S))x", 1)
    S <: PyRecord && return describe(fieldtype(S, 1), place)
    S <: Ptr && return describe(UInt, place) # NumPy doesn't know P
    S <: Enum && return describe(Base.Enums.basetype(S), place)
    isprimitivetype(S) && return Plain("$(sizeof(S))x", 1)
    S <: Tuple && ishomogeneous(S) && return Items(fieldcount(S), fieldtype(S, 1))
    isarraywrapper(S) && return describearray(S)
    names = String[S <: Tuple ? "f$(i - 1)" : String(fieldname(S, i)) for i in 1:fieldcount(S)]
    return Fields(names, Any[fieldtypes(S)...], Int[fieldoffset(S, i) for i in 1:fieldcount(S)], sizeof(S))
end

describememory(::Type{Swapped{Complex{LongDouble}}}, place) = Swap("Zg")
describememory(::Type{Swapped{LongDouble}}, place) = Swap("g")
describememory(::Type{Swapped{T}}, place) where {T<:FixedString} = Swap(textcode(T))
describememory(::Type{Swapped{T}}, place) where {T<:Time64} = Swap(timecode(T))
describememory(::Type{Swapped{Complex{Float16}}}, place) = Swap("Ze")
describememory(::Type{Swapped{T}}, place) where {T} = Swap(standardcode(KIND_CODES[kindof(T)]))
describememory(::Type{Repeated{N,S}}, place) where {N,S} = Items(N, S)
describememory(::Type{ObjectReference}, place) = Plain("O", sizeof(Ptr{Cvoid}))
describememory(::Type{Packed{names,Ss,offsets,size}}, place) where {names,Ss,offsets,size} =
    Fields(String[String(n) for n in names], Any[Ss.parameters...], Int[offsets...], size)

textcode(::Type{FixedString{C,N,U}}) where {C,N,U} = "$N$C"

# Without gaps, that is: those that alignment makes are no part of an item.
ishomogeneous(S) = fieldcount(S) > 0 && all(isequal(fieldtype(S, 1)), fieldtypes(S)) &&
                   sizeof(S) == fieldcount(S) * sizeof(fieldtype(S, 1))

# StaticArrays' arrays and the like: an array type whose only field is a tuple of its elements.
isarraywrapper(S) = S <: AbstractArray && fieldcount(S) == 1 && fieldtype(S, 1) <: Tuple &&
    ishomogeneous(fieldtype(S, 1)) && fieldtype(S, 1).parameters[1] === eltype(S)

# A value of an isbits type, to ask its size.
function ofzeros(@nospecialize(S))
    bytes = zeros(UInt8, sizeof(S))
    return GC.@preserve bytes unsafe_load(Ptr{S}(pointer(bytes)))
end

# Julia's arrays are column-major and sub-arrays row-major: the dimensions come in reverse.
function describearray(S)
    n = fieldcount(fieldtype(S, 1))
    dims = try
        hasmethod(size, Tuple{Type{S}}) ? size(S) : size(ofzeros(S))
    catch # not an array after all
        (n,)
    end
    dims isa Tuple{Vararg{Int}} && prod(dims) == n && length(dims) > 1 || (dims = (n,))
    T = eltype(S)
    for d in dims[1:end-1]
        T = NTuple{d,T}
    end
    return Items(dims[end], T)
end

notbits(S, place) =
    S <: AbstractString ? "$place are strings, which are objects in Julia and not memory of a fixed size" :
    Missing <: S && S !== Any ? "$place may be missing, which the buffer protocol can't say" *
        (place == "its elements" ? "; bufferbridge.to_masked(x) shares the values" : "") :
    fieldpath(S, place)

# Names the first field that is no plain memory.
function fieldpath(@nospecialize(S), place)
    if isconcretetype(S) && isstructtype(S) && !ismutabletype(S)
        for (name, T) in zip(fieldnames(S), fieldtypes(S))
            isbitstype(T) || return fieldpath(T, "the field '$name' of $(nameof(S)) in $place")
        end
    end
    verb = startswith(place, "the field") ? "is" : "are"
    what = verb == "is" ? "a reference to a Julia object" : "references to Julia objects"
    return "$place (of type $S) $verb $what"
end

# --------------------------------------------------------------- to text

"Whether all items of an `S` at `offset` lie as C aligns them, none is swapped, and none is out of order."
function isnaturallyaligned(@nospecialize(S), offset)
    isbitstype(S) || S <: MemoryType && S !== Union{} || return false
    d = describe(S, "its elements")
    d isa Plain && return offset % d.alignment == 0
    d isa Swap && return false
    d isa Items && return isnaturallyaligned(d.S, offset) && (d.n < 2 || memorysize(d.S) % alignmentof(d.S) == 0)
    return d.size % alignmentof(S) == 0 &&
           all(k -> isnaturallyaligned(d.Ss[k], offset + d.offsets[k]), eachindex(d.Ss))
end

"C's alignment."
function alignmentof(@nospecialize(S))
    d = describe(S, "its elements")
    d isa Plain && return d.alignment
    d isa Swap && return 1
    d isa Items && return alignmentof(d.S)
    return mapreduce(alignmentof, max, d.Ss; init = 1)
end

function writeitem(w, @nospecialize(S), place)
    d = describe(S, place)
    d isa Union{Plain,Swap} && occursin('[', d.code) && throw(NotShared(
        "$place are NumPy's datetime64 or timedelta64, for which the buffer protocol has no format"))
    if d isa Plain
        writecode(w, w.aligned ? '@' : '^', d.code)
    elseif d isa Swap
        occursin('g', d.code) && throw(NotShared("$place are long doubles with swapped bytes, which has no format"))
        writecode(w, SWAPPED_MARK, d.code)
    elseif d isa Fields
        writefields(w, d, place)
    else
        shape, inner = subarray(d, place)
        print(w.io, '(', join(shape, ','), ')')
        writeitem(w, inner, place)
    end
end

"The dimensions of a sub-array and the memory type of its items: sub-arrays of sub-arrays are one."
function subarray(d::Items, place)
    shape = [d.n]
    inner = d.S
    while (next = describe(inner, place)) isa Items
        push!(shape, next.n)
        inner = next.S
    end
    return shape, inner
end

function writefields(w, d::Fields, place)
    print(w.io, "T{")
    offset = 0
    for (name, S, o) in zip(d.names, d.Ss, d.offsets)
        o >= offset || throw(NotShared("fields of $place overlap or are out of order, which no format can say"))
        ':' in name && throw(NotShared("the name of the field '$name' has a ':', which no format can say"))
        pad(w, o - offset)
        writeitem(w, S, "the field '$name' of $place")
        print(w.io, ':', name, ':')
        offset = o + memorysize(S)
    end
    pad(w, d.size - offset)
    print(w.io, '}')
end

pad(w, n) = n == 0 || print(w.io, n == 1 ? "" : n, 'x')
