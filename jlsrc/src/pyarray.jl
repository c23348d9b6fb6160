# Python memory as arrays: PyArray (contiguous, column-major), PyStridedArray (any strides, alignment
# and byte order) and PyIndirectArray (with suboffsets).
#
# Each refers to a Julia object that owns the memory (an Array made by unsafe_wrap, or its Memory),
# whose finalizer gives the buffer back to Python: see frombuffer.jl. So Julia's collector sees who
# uses the memory, and loops over it are compiled like loops over an Array.

# The readable message for every kind of write into memory that Python lent for reading.
@noinline throwreadonly() = throw(ArgumentError(
    "this array's memory is read-only; copy it (copy(x) in Julia, np.array(x) in Python) to change it"))

"""
    PyArray{T,N} <: DenseArray{T,N}

Contiguous column-major memory of a Python object, shared. It keeps the DenseArray contract, `pointer`
and BLAS included. `isreadonly(x)` tells whether writing throws an ArgumentError; what is written
through `pointer(x)` can't be checked.

    PyArray(o::PyObject)

The memory of any Python object that exports one (the buffer protocol, PEP 3118, or NumPy's
`__array_interface__`), whatever its layout: memory that is not contiguous and column-major comes as a
[`PyStridedArray`](@ref) or [`PyIndirectArray`](@ref).
"""
struct PyArray{T,N} <: DenseArray{T,N}
    data::Array{T,N}
    readonly::Bool
end

"Whether writing to the array throws, since its memory was lent for reading only."
isreadonly(x::PyArray) = x.readonly
isreadonly(::AbstractArray) = false

Base.size(x::PyArray) = size(x.data)
Base.length(x::PyArray) = length(x.data)
Base.IndexStyle(::Type{<:PyArray}) = IndexLinear()
Base.strides(x::PyArray) = strides(x.data)
Base.elsize(::Type{<:PyArray{T}}) where {T} = sizeof(T)
Base.unsafe_convert(::Type{Ptr{T}}, x::PyArray{T}) where {T} = Base.unsafe_convert(Ptr{T}, x.data)
Base.dataids(x::PyArray) = Base.dataids(x.data)
Base.unaliascopy(x::PyArray) = PyArray(copy(x.data), false)

Base.@propagate_inbounds Base.getindex(x::PyArray, i::Int) = x.data[i]
Base.@propagate_inbounds function Base.setindex!(x::PyArray, v, i::Int)
    x.readonly && throwreadonly()
    x.data[i] = v
    return x
end

# ------------------------------------------------------------------ strided

"""
    PyStridedArray{T,N} <: AbstractArray{T,N}

Memory of a Python object with any strides (negative and zero ones too), alignment and byte order. It
does not claim to be a `DenseArray`. Elements are native `T`s; bytes are swapped on access where the
memory has the other order.
"""
struct PyStridedArray{T,N,S} <: AbstractArray{T,N}
    parent::Vector{S}        # S === T: items that can be indexed; S === UInt8: bytes
    offset::Int              # of the first element in parent, in items of S, from zero
    strides::NTuple{N,Int}   # in items of S
    size::NTuple{N,Int}
    readonly::Bool
    swapped::Bool
end

isreadonly(x::PyStridedArray) = x.readonly
# So that eachindex of a column gives integers, as for a Vector.
Base.IndexStyle(::Type{<:PyStridedArray{T,1}}) where {T} = IndexLinear()
Base.size(x::PyStridedArray) = x.size
Base.elsize(::Type{<:PyStridedArray{T}}) where {T} = sizeof(T)
Base.dataids(x::PyStridedArray) = Base.dataids(x.parent)
Base.unaliascopy(x::PyStridedArray{T,N,S}) where {T,N,S} =
    PyStridedArray{T,N,S}(copy(x.parent), x.offset, x.strides, x.size, false, x.swapped)

swapbytes(x) = bswap(x)
swapbytes(x::Complex) = Complex(bswap(real(x)), bswap(imag(x)))
swapbytes(x::Bool) = x

# Place of an element in parent, from zero.
@inline place(x::PyStridedArray{T,N}, I::NTuple{N,Int}) where {T,N} =
    x.offset + sum(ntuple(d -> (I[d] - 1) * x.strides[d], Val(N)))
@inline place(x::PyStridedArray{T,0}, ::Tuple{}) where {T} = x.offset

@inline load(x::PyStridedArray{T,N,T}, k) where {T,N} = @inbounds x.parent[k + 1]
@inline function load(x::PyStridedArray{T,N,UInt8}, k) where {T,N}
    p = x.parent
    return GC.@preserve p unsafe_load(Ptr{T}(pointer(p) + k))
end
@inline load(x::PyStridedArray{UInt8,N,UInt8}, k) where {N} = @inbounds x.parent[k + 1]

@inline store!(x::PyStridedArray{T,N,T}, v::T, k) where {T,N} = @inbounds x.parent[k + 1] = v
@inline function store!(x::PyStridedArray{T,N,UInt8}, v::T, k) where {T,N}
    p = x.parent
    GC.@preserve p unsafe_store!(Ptr{T}(pointer(p) + k), v)
end
@inline store!(x::PyStridedArray{UInt8,N,UInt8}, v::UInt8, k) where {N} = @inbounds x.parent[k + 1] = v

@inline function Base.getindex(x::PyStridedArray{T,N}, I::Vararg{Int,N}) where {T,N}
    @boundscheck checkbounds(x, I...)
    v = load(x, place(x, I))
    return x.swapped ? swapbytes(v) : v
end

@inline function Base.setindex!(x::PyStridedArray{T,N}, v, I::Vararg{Int,N}) where {T,N}
    x.readonly && throwreadonly()
    @boundscheck checkbounds(x, I...)
    t = convert(T, v)::T
    store!(x, x.swapped ? swapbytes(t) : t, place(x, I))
    return x
end

"Strides in bytes."
bytestrides(x::PyStridedArray{T,N,S}) where {T,N,S} = x.strides .* sizeof(S)

function Base.strides(x::PyStridedArray{T}) where {T}
    b = bytestrides(x)
    all(s -> s % sizeof(T) == 0, b) ||
        throw(ArgumentError("the strides of this array, $b bytes, are no multiples of its element size"))
    return b .÷ sizeof(T)
end

Base.pointer(x::PyStridedArray{T}) where {T} =
    Ptr{T}(pointer(x.parent)) + x.offset * sizeof(eltype(x.parent))

function Base.unsafe_convert(::Type{Ptr{T}}, x::PyStridedArray{T}) where {T}
    x.swapped && throw(ArgumentError("memory with swapped bytes can't be used through a pointer"))
    return pointer(x)
end

# ---------------------------------------------------------------- suboffsets

"""
    PyIndirectArray{T,N} <: AbstractArray{T,N}

Memory of a Python object that is reached through pointers (suboffsets in PEP 3118), as image
libraries keep rows.
"""
struct PyIndirectArray{T,N} <: AbstractArray{T,N}
    owner::Vector{UInt8}     # keeps the buffer
    ptr::Ptr{UInt8}
    strides::NTuple{N,Int}   # bytes
    suboffsets::NTuple{N,Int}
    size::NTuple{N,Int}
    readonly::Bool
    swapped::Bool
end

isreadonly(x::PyIndirectArray) = x.readonly
Base.IndexStyle(::Type{<:PyIndirectArray{T,1}}) where {T} = IndexLinear()
Base.size(x::PyIndirectArray) = x.size
Base.dataids(x::PyIndirectArray) = (UInt(x.ptr),)
Base.unaliascopy(x::PyIndirectArray) = deepcopy(x)

# A copy has memory of its own, without pointers in it.
function Base.deepcopy_internal(x::PyIndirectArray{T,N}, seen::IdDict) where {T,N}
    return get!(seen, x) do
        strides = ntuple(d -> sizeof(T) * prod(x.size[1:d-1]), Val(N))
        memory = Vector{UInt8}(undef, sizeof(T) * length(x))
        y = PyIndirectArray{T,N}(memory, pointer(memory), strides, map(_ -> -1, x.size), x.size, false, false)
        copyto!(y, x)
        y
    end
end

@inline function address(x::PyIndirectArray{T,N}, I::NTuple{N,Int}) where {T,N}
    p = x.ptr
    for d in 1:N
        p += (I[d] - 1) * x.strides[d]
        if x.suboffsets[d] >= 0
            p = unsafe_load(Ptr{Ptr{UInt8}}(p)) + x.suboffsets[d]
        end
    end
    return Ptr{T}(p)
end

@inline function Base.getindex(x::PyIndirectArray{T,N}, I::Vararg{Int,N}) where {T,N}
    @boundscheck checkbounds(x, I...)
    owner = x.owner
    v = GC.@preserve owner unsafe_load(address(x, I))
    return x.swapped ? swapbytes(v) : v
end

@inline function Base.setindex!(x::PyIndirectArray{T,N}, v, I::Vararg{Int,N}) where {T,N}
    x.readonly && throwreadonly()
    @boundscheck checkbounds(x, I...)
    t = convert(T, v)::T
    owner = x.owner
    GC.@preserve owner unsafe_store!(address(x, I), x.swapped ? swapbytes(t) : t)
    return x
end

# An exporter's arrays print without their storage in the type: it tells the reader nothing.
function Base.showarg(io::IO, x::Union{PyArray,PyStridedArray,PyIndirectArray}, toplevel)
    T = typeof(x)
    print(io, nameof(T), "{", eltype(T), ",", ndims(T), "}")
    toplevel && isreadonly(x) && print(io, ", read-only")
end
