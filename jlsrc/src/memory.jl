# How an element lies in memory.
#
# An isbits type that lies in memory as Julia has it is its own memory type. For all else there are the
# types below: no value ever has them, they only say how to read and write. So an array of Python's knows
# two types, its elements' (`valuetype`) and its memory's, and loops over it are compiled for both.

"How an element lies in memory, where not as a Julia value of its type does."
abstract type MemoryType end

"A number or string whose bytes are in the order that this machine doesn't use."
struct Swapped{T} <: MemoryType end

"`N` items, one after the other: a sub-array of what is no Julia type in memory itself, or without items."
struct Repeated{N,S} <: MemoryType end

"A pointer to a Python object, of which the memory owns a reference; NULL stands for None."
struct ObjectReference <: MemoryType end

"""
A record of `size` bytes with fields of the memory types in `Ss`, each at its offset. Fields may overlap,
be unaligned, and come in any order.
"""
struct Packed{names,Ss<:Tuple,offsets,size} <: MemoryType end

"""
    valuetype(S)

The type of an element that lies in memory as an `S`.
"""
valuetype(::Type{S}) where {S} = S
valuetype(::Type{Swapped{T}}) where {T} = T
valuetype(::Type{Repeated{N,S}}) where {N,S} = NTuple{N,valuetype(S)}
valuetype(::Type{ObjectReference}) = PyObject
@generated valuetype(::Type{Packed{names,Ss,offsets,size}}) where {names,Ss,offsets,size} =
    PyRecord{names,Tuple{map(valuetype, Tuple(Ss.parameters))...}}

"Bytes of an element that lies in memory as an `S`."
memorysize(::Type{S}) where {S} = sizeof(S)
memorysize(::Type{Swapped{T}}) where {T} = sizeof(T)
memorysize(::Type{Repeated{N,S}}) where {N,S} = N * memorysize(S)
memorysize(::Type{ObjectReference}) = sizeof(Ptr{Cvoid})
memorysize(::Type{Packed{names,Ss,offsets,size}}) where {names,Ss,offsets,size} = size

"Whether elements lie in memory as Julia has them, so that an Array can hold them."
isplain(::Type{S}) where {S} = !(S <: MemoryType)

"Whether there are references to Python objects in the memory."
hasobjects(::Type{S}) where {S} = false
hasobjects(::Type{ObjectReference}) = true
hasobjects(::Type{Repeated{N,S}}) where {N,S} = hasobjects(S)
hasobjects(::Type{<:Packed{names,Ss}}) where {names,Ss} = any(hasobjects, Ss.parameters)

"Whether a Julia type has bytes between or after its fields that belong to none."
function haspadding(::Type{S}) where {S}
    (isprimitivetype(S) || fieldcount(S) == 0) && return false
    return any(haspadding, unique(fieldtypes(S))) || sizeof(S) != sum(sizeof, fieldtypes(S))
end

swapbytes(x) = bswap(x)
swapbytes(x::Complex) = Complex(swapbytes(real(x)), swapbytes(imag(x)))
swapbytes(x::Bool) = x
swapbytes(x::Ptr{T}) where {T} = Ptr{T}(bswap(UInt(x)))
swapbytes(x::LongDouble) = LongDouble(Val(:bits), bswap(x.high), bswap(x.low))
swapbytes(x::FixedString{C,N,U}) where {C,N,U} = FixedString{C,N,U}(map(bswap, x.units))

"""
    load(S, p::Ptr{UInt8})

The element that lies at `p` as an `S`; any alignment will do. The caller keeps the memory alive meanwhile
(GC.@preserve of what owns it), here and in [`store!`](@ref).
"""
@inline load(::Type{S}, p::Ptr{UInt8}) where {S} = unsafe_load(Ptr{S}(p))
@inline load(::Type{Bool}, p::Ptr{UInt8}) = unsafe_load(p) != 0x00 # as C has it: any other byte is true
@inline load(::Type{Swapped{T}}, p::Ptr{UInt8}) where {T} = swapbytes(unsafe_load(Ptr{T}(p)))
@inline function load(::Type{Repeated{N,S}}, p::Ptr{UInt8}) where {N,S}
    N <= 16 && return ntuple(i -> load(S, p + (i - 1) * memorysize(S)), Val(N))
    V = valuetype(S)
    items = V[load(S, p + (i - 1) * memorysize(S)) for i in 1:N]
    isbitstype(V) || return NTuple{N,V}(items)
    return GC.@preserve items unsafe_load(Ptr{NTuple{N,V}}(pointer(items))) # nothing is compiled item by item
end
# With the GIL, so that nobody frees the object before it is ours.
load(::Type{ObjectReference}, p::Ptr{UInt8}) = withgil() do
    o = unsafe_load(Ptr{Ptr{Cvoid}}(p))
    return o == C_NULL ? convert(PyObject, nothing) : PyObject(o)
end
@generated function load(::Type{Packed{names,Ss,offsets,size}}, p::Ptr{UInt8}) where {names,Ss,offsets,size}
    R = valuetype(Packed{names,Ss,offsets,size})
    parts = [:(load($S, p + $o)) for (S, o) in zip(Ss.parameters, offsets)]
    return quote
        $(Expr(:meta, :inline))
        $R(($(parts...),))
    end
end

"""
    store!(S, p::Ptr{UInt8}, v)

Writes `v`, a `valuetype(S)`, to `p` as an `S`: the fields of records, and not what lies between them.
"""
@inline store!(::Type{S}, p::Ptr{UInt8}, v) where {S} = unsafe_store!(Ptr{S}(p), v)
@generated function store!(::Type{S}, p::Ptr{UInt8}, v) where {S<:Union{NamedTuple,Tuple}}
    parts = haspadding(S) ? [:(store!($(fieldtype(S, i)), p + $(Int(fieldoffset(S, i))), getfield(v, $i)))
                             for i in 1:fieldcount(S)] : [:(unsafe_store!(Ptr{S}(p), v))]
    return Expr(:block, Expr(:meta, :inline), parts..., :(return nothing))
end
@inline store!(::Type{Swapped{T}}, p::Ptr{UInt8}, v) where {T} = unsafe_store!(Ptr{T}(p), swapbytes(v))
@inline function store!(::Type{Repeated{N,S}}, p::Ptr{UInt8}, v) where {N,S}
    for i in 1:N
        store!(S, p + (i - 1) * memorysize(S), v[i])
    end
end
store!(::Type{ObjectReference}, p::Ptr{UInt8}, v) = withgil() do
    place = Ptr{Ptr{Cvoid}}(p)
    new = topython(v)
    old = unsafe_load(place)
    unsafe_store!(place, new)
    old == C_NULL || @api decref(old::Ptr{Cvoid})::Cvoid # last: it may run Python code
    return nothing
end
@generated function store!(::Type{Packed{names,Ss,offsets,size}}, p::Ptr{UInt8}, v) where {names,Ss,offsets,size}
    parts = [:(store!($S, p + $o, getfield(fields(v), $i)))
             for (i, (S, o)) in enumerate(zip(Ss.parameters, offsets))]
    return Expr(:block, Expr(:meta, :inline), parts..., :(return nothing))
end
