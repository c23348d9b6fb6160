# Python memory as arrays: PyArray (contiguous, column-major, items as Julia has them), PyStridedArray
# (anything else with strides) and PyIndirectArray (with suboffsets).
#
# Each refers to a Julia object that owns the memory (an Array made by unsafe_wrap, or its Memory),
# whose finalizer gives the buffer back to Python: see frombuffer.jl. So Julia's collector sees who
# uses the memory, and loops over it are compiled like loops over an Array.
#
# Arrays of records have their fields as properties (columns.jl), so the arrays' own fields are read with
# getfield here.

# The readable message for every kind of write into memory that Python lent for reading.
@noinline throwreadonly() = throw(ArgumentError(
    "this array's memory is read-only; copy it (copy(x) in Julia, np.array(x) in Python) to change it"))

"""
    PyArray{T,N} <: DenseArray{T,N}

Contiguous column-major memory of a Python object, shared. It keeps the DenseArray contract, `pointer`
and BLAS included. `isreadonly(x)` tells whether writing throws an ArgumentError; what is written
through `pointer(x)` can't be checked.

    PyArray(o::PyObject)

The memory of any Python object that exports one (the buffer protocol, PEP 3118, NumPy's
`__array_interface__`, or DLPack), whatever its layout: memory that is not contiguous and column-major comes as a
[`PyStridedArray`](@ref) or [`PyIndirectArray`](@ref). Throws what is a TypeError in Python where there is none,
and a BufferError that the object raises.
"""
struct PyArray{T,N} <: DenseArray{T,N}
    data::Array{T,N}
    readonly::Bool
end

@inline data(x::PyArray) = getfield(x, :data)

"Whether writing to the array throws, since its memory was lent for reading only."
isreadonly(x::PyArray) = getfield(x, :readonly)
isreadonly(::AbstractArray) = false

"The memory type of an array's items; see memory.jl."
memorytype(x::AbstractArray) = eltype(x)

Base.size(x::PyArray) = size(data(x))
Base.length(x::PyArray) = length(data(x))
Base.IndexStyle(::Type{<:PyArray}) = IndexLinear()
Base.strides(x::PyArray) = strides(data(x))
Base.elsize(::Type{<:PyArray{T}}) where {T} = sizeof(T)
Base.unsafe_convert(::Type{Ptr{T}}, x::PyArray{T}) where {T} = Base.unsafe_convert(Ptr{T}, data(x))
Base.dataids(x::PyArray) = Base.dataids(data(x))
Base.unaliascopy(x::PyArray) = PyArray(copy(data(x)), false)

Base.@propagate_inbounds Base.getindex(x::PyArray, i::Int) = data(x)[i]
Base.@propagate_inbounds function Base.setindex!(x::PyArray, v, i::Int)
    isreadonly(x) && throwreadonly()
    @boundscheck checkbounds(x, i)
    put!(data(x), convert(eltype(x), v)::eltype(x), i)
    return x
end

# Into an Array; of records the fields alone, and not what lies between them.
@generated function put!(a::Array{T}, v::T, i::Int) where {T}
    T <: NamedTuple && haspadding(T) || return :($(Expr(:meta, :inline)); @inbounds a[i] = v)
    return quote
        $(Expr(:meta, :inline))
        GC.@preserve a store!(T, Ptr{UInt8}(pointer(a, i)), v)
    end
end

# ------------------------------------------------------------------ strided

"""
    PyStridedArray{T,N,S,A} <: AbstractArray{T,N}

Memory of a Python object with any strides (negative and zero ones too), alignment, byte order and layout
of records: items lie in memory as `S`s, and are `T`s when they are read. It does not claim
to be a `DenseArray`. `A` is the type of the flat array that has the memory.

`strides(x)` are in items, and an ArgumentError where the bytes between items are no multiple of an item's size.
Writing to read-only memory throws an ArgumentError too.
"""
struct PyStridedArray{T,N,S,A<:AbstractVector} <: AbstractArray{T,N}
    parent::A                # Vector{T}: items that can be indexed, S === T; otherwise bytes
    offset::Int              # of the first element in parent, from zero
    strides::NTuple{N,Int}   # in items of parent, as is the offset
    size::NTuple{N,Int}
    readonly::Bool
end

PyStridedArray{T,N,S}(parent::A, offset, strides, size, readonly) where {T,N,S,A} =
    PyStridedArray{T,N,S,A}(parent, offset, strides, size, readonly)

memorytype(::PyStridedArray{T,N,S}) where {T,N,S} = S
isreadonly(x::PyStridedArray) = getfield(x, :readonly)
# So that eachindex of a column gives integers, as for a Vector.
Base.IndexStyle(::Type{<:PyStridedArray{T,1}}) where {T} = IndexLinear()
Base.size(x::PyStridedArray) = getfield(x, :size)
Base.elsize(::Type{<:PyStridedArray{T,N,S}}) where {T,N,S} = memorysize(S)
Base.dataids(x::PyStridedArray) = Base.dataids(flat(x))

@inline flat(x::PyStridedArray) = getfield(x, :parent)

# Items, as PyArrays's are; bytes otherwise. (A DenseVector has items that are borrowed: borrowed.jl.)
const PyStridedItems{T,N} = PyStridedArray{T,N,T,<:DenseVector{T}}

# Place of an element in the flat array, from zero.
@inline place(x::PyStridedArray{T,N}, I::NTuple{N,Int}) where {T,N} =
    getfield(x, :offset) + sum(ntuple(d -> (I[d] - 1) * getfield(x, :strides)[d], Val(N)))
@inline place(x::PyStridedArray{T,0}, ::Tuple{}) where {T} = getfield(x, :offset)

@inline loadat(x::PyStridedItems, k) = @inbounds flat(x)[k + 1]
@inline function loadat(x::PyStridedArray{T,N,S}, k) where {T,N,S}
    memory = flat(x)
    return GC.@preserve memory load(S, Ptr{UInt8}(pointer(memory)) + k)
end

@inline storeat!(x::PyStridedItems{T}, v::T, k) where {T} = put!(flat(x), v, k + 1)
@inline function storeat!(x::PyStridedArray{T,N,S}, v::T, k) where {T,N,S}
    memory = flat(x)
    hasobjects(S) && return holding(() -> storeobjects!(S, memory, k, v), loanof(memory))
    GC.@preserve memory store!(S, Ptr{UInt8}(pointer(memory)) + k, v)
end
@noinline storeobjects!(::Type{S}, memory, k, v) where {S} =
    GC.@preserve memory store!(S, Ptr{UInt8}(pointer(memory)) + k, v)

# The memory of an Array may have been resized under a column of it.
@inline checkmemory(x::PyStridedArray{T,N,S,<:Vector}, k) where {T,N,S} = nothing
@inline checkmemory(x::PyStridedArray{T,N,S}, k) where {T,N,S} =
    k + memorysize(S) <= length(flat(x)) || throw(Resized())

@inline function Base.getindex(x::PyStridedArray{T,N}, I::Vararg{Int,N}) where {T,N}
    @boundscheck checkbounds(x, I...)
    k = place(x, I)
    @boundscheck checkmemory(x, k)
    return loadat(x, k)
end

@inline function Base.setindex!(x::PyStridedArray{T,N}, v, I::Vararg{Int,N}) where {T,N}
    isreadonly(x) && throwreadonly()
    @boundscheck checkbounds(x, I...)
    t = convert(T, v)::T
    k = place(x, I)
    @boundscheck checkmemory(x, k)
    storeat!(x, t, k)
    return x
end

"Strides in bytes."
bytestrides(x::PyStridedArray) = getfield(x, :strides) .* sizeof(eltype(flat(x)))

function Base.strides(x::PyStridedArray{T,N,S}) where {T,N,S}
    b = bytestrides(x)
    n = max(memorysize(S), 1)
    all(s -> s % n == 0, b) ||
        throw(ArgumentError("the strides of this array, $b bytes, are no multiples of its element size"))
    return b .÷ n
end

"The address of the first item, whatever lies there."
address(x::PyStridedArray) =
    Ptr{UInt8}(pointer(flat(x))) + getfield(x, :offset) * sizeof(eltype(flat(x)))

function Base.pointer(x::PyStridedArray{T,N,S}) where {T,N,S}
    S === T || S <: Swapped || throw(ArgumentError(
        "the items of this array don't lie in memory as Julia has them: copy it to get a pointer"))
    return Ptr{T}(address(x))
end
function Base.unsafe_convert(::Type{Ptr{T}}, x::PyStridedArray{T,N,S}) where {T,N,S}
    S <: Swapped && throw(ArgumentError("memory with swapped bytes can't be used through a pointer"))
    return pointer(x)
end

# Columns of the same records lie between each other: their items never share a byte.
function Base.mightalias(x::PyStridedArray, y::PyStridedArray)
    any(id -> id in Base.dataids(y), Base.dataids(x)) || return false
    period = reduce(gcd, (bytestrides(x)..., bytestrides(y)...); init = 0)
    d = period == 0 ? 0 : mod(Int(address(y)) - Int(address(x)), period)
    return !(d >= memorysize(memorytype(x)) && d + memorysize(memorytype(y)) <= period)
end

# The same type with memory of its own, for broadcasting to read from while x is written.
function Base.unaliascopy(x::PyStridedArray{T,N,S}) where {T,N,S}
    if hasobjects(S)
        memory = copyof(flat(x))
        # The copied pointers are borrowed: the handles own the references.
        keepwith!(memoryowner(memory), collect(x))
        return typeof(x)(memory, getfield(x, :offset), getfield(x, :strides), size(x), false)
    end
    unit = sizeof(eltype(flat(x)))
    y = typeof(x)(memorylike(flat(x), memorysize(S) * length(x)), 0,
                  densestrides(size(x), memorysize(S)) .÷ max(unit, 1), size(x), false)
    return copyto!(y, x)
end
copyof(v::Vector) = copy(v)
copyof(v::Base.ReinterpretArray) = reinterpret(UInt8, copy(parent(v)))
# A flat array of the same type with at least `n` bytes.
memorylike(v::Vector{U}, n) where {U} = Vector{U}(undef, cld(n, max(sizeof(U), 1)))
memorylike(v::Base.ReinterpretArray, n) = reinterpret(UInt8, memorylike(parent(v), n))

@noinline throwobjects() = throw(ArgumentError(
    "memory with references to Python objects can't be copied as it is; copy(x) makes an Array of them"))

function Base.deepcopy_internal(x::PyStridedArray{T,N,S}, seen::IdDict) where {T,N,S}
    hasobjects(S) && throwobjects()
    return get!(seen, x) do
        typeof(x)(Base.deepcopy_internal(flat(x), seen), getfield(x, :offset), getfield(x, :strides), size(x),
                  isreadonly(x))
    end
end

# What is made of an array of records keeps the records' layout (copy, filter, sort, a[mask], ...), unless
# Python's objects are in them, which only Python's memory may own.
function Base.similar(x::PyStridedArray{T,N,S}, ::Type{T}, dims::Dims{M}) where {T,N,S<:Packed,M}
    hasobjects(S) && return Array{T,M}(undef, dims)
    n = memorysize(S)
    return PyStridedArray{T,M,S}(zeros(UInt8, checkedbytes(n, dims)), 0, densestrides(dims, n), dims, false)
end

"Bytes of so many items; an ArgumentError if that is no number of bytes."
function checkedbytes(itemsize, dims)
    all(n -> n >= 0, dims) || throw(ArgumentError("an array can't have the dimensions $dims"))
    any(iszero, dims) && return 0
    bytes, overflow = itemsize, false
    for n in dims
        bytes, o = Base.mul_with_overflow(bytes, n)
        overflow |= o
    end
    overflow && throw(ArgumentError("an array of dimensions $dims is too large"))
    return bytes
end

"From the first item to the lowest and to the highest one, in the unit of the strides."
function reach(size, strides)
    ends = (size .- 1) .* strides
    return reduce(+, min.(0, ends); init = 0), reduce(+, max.(0, ends); init = 0)
end

"Strides of contiguous column-major items, in bytes."
densestrides(size::NTuple{N,Int}, itemsize::Int) where {N} = (itemsize, densestrides(Base.tail(size), itemsize * size[1])...)
densestrides(::Tuple{}, ::Int) = ()

# ---------------------------------------------------------------- suboffsets

"""
    PyIndirectArray{T,N} <: AbstractArray{T,N}

Memory of a Python object that is reached through pointers (suboffsets in PEP 3118), as image
libraries keep rows. It has no `strides` and no `pointer`, and does not go back to Python as memory.
"""
struct PyIndirectArray{T,N,S,O<:AbstractVector{UInt8}} <: AbstractArray{T,N}
    owner::O                 # keeps the buffer, or knows whether it is there
    ptr::Ptr{UInt8}
    strides::NTuple{N,Int}   # bytes
    suboffsets::NTuple{N,Int}
    offset::Int              # bytes, from where all indices lead to
    size::NTuple{N,Int}
    readonly::Bool
end

PyIndirectArray{T,N,S}(owner::O, ptr, strides, suboffsets, offset, size, readonly) where {T,N,S,O} =
    PyIndirectArray{T,N,S,O}(owner, ptr, strides, suboffsets, offset, size, readonly)

checkowner(::Vector) = nothing
ownlike(::Vector, memory::Vector) = memory

memorytype(::PyIndirectArray{T,N,S}) where {T,N,S} = S
isreadonly(x::PyIndirectArray) = getfield(x, :readonly)
Base.IndexStyle(::Type{<:PyIndirectArray{T,1}}) where {T} = IndexLinear()
Base.size(x::PyIndirectArray) = getfield(x, :size)
Base.dataids(x::PyIndirectArray) = (UInt(getfield(x, :ptr)),)
Base.unaliascopy(x::PyIndirectArray) = deepcopy(x)

# A deep copy has memory of its own, without pointers in it.
function Base.deepcopy_internal(x::PyIndirectArray{T,N,S}, seen::IdDict) where {T,N,S}
    hasobjects(S) && throwobjects()
    return get!(seen, x) do
        memory = zeros(UInt8, memorysize(S) * length(x))
        y = PyIndirectArray{T,N,S}(ownlike(getfield(x, :owner), memory), pointer(memory), densestrides(size(x), memorysize(S)),
                                   map(_ -> -1, size(x)), 0, size(x), false)
        # Not copyto!, which calls unaliascopy and so this function: Julia 1.10 takes such a cycle for free of
        # effects, and leaves it out.
        for I in CartesianIndices(size(x))
            y[I] = x[I]
        end
        y
    end
end

@inline function address(x::PyIndirectArray{T,N}, I::NTuple{N,Int}) where {T,N}
    checkowner(getfield(x, :owner))
    p = getfield(x, :ptr)
    for d in 1:N
        p += (I[d] - 1) * getfield(x, :strides)[d]
        if getfield(x, :suboffsets)[d] >= 0
            p = unsafe_load(Ptr{Ptr{UInt8}}(p)) + getfield(x, :suboffsets)[d]
        end
    end
    return p + getfield(x, :offset)
end

@inline function Base.getindex(x::PyIndirectArray{T,N,S}, I::Vararg{Int,N}) where {T,N,S}
    @boundscheck checkbounds(x, I...)
    owner = getfield(x, :owner)
    return GC.@preserve owner load(S, address(x, I))
end

@inline function Base.setindex!(x::PyIndirectArray{T,N,S}, v, I::Vararg{Int,N}) where {T,N,S}
    isreadonly(x) && throwreadonly()
    @boundscheck checkbounds(x, I...)
    t = convert(T, v)::T
    owner = getfield(x, :owner)
    if hasobjects(S)
        holding(() -> GC.@preserve(owner, store!(S, address(x, I), t)), loanof(owner))
    else
        GC.@preserve owner store!(S, address(x, I), t)
    end
    return x
end
