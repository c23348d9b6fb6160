# Which array a Python buffer becomes: the most natural type that shares its memory.
#
# Ownership: C acquired the buffer and hands over a BufferInfo. `adopt` ties its release to the Julia
# object that owns the wrapped memory (compat.jl, memoryowner): from then on the buffer lives as long
# as anything in Julia can reach that memory. If anything throws before, C releases the buffer, since
# the value's tag still says that it holds one (csrc/values.c, bb_value_clear).

"Collections are made when Julia holds more of Python's memory than this, in bytes."
const PIN_LIMIT = Ref{Int}(0)
const MIN_PIN_LIMIT = 256 << 20

# Julia's collector knows nothing of the size of Python's buffers, so that it would let them pile up.
# A young collection finds most of them; after a full one the limit follows what is in real use.
@noinline function collectpinned()
    GC.gc(false)
    @api drain()::Cvoid
    if heldbytes() > PIN_LIMIT[] ÷ 2
        GC.gc(true)
        @api drain()::Cvoid
    end
    PIN_LIMIT[] = max(MIN_PIN_LIMIT, 2 * heldbytes())
    return nothing
end

# Gives back what has the memory: `a` itself, unless it is borrowed (borrowed.jl).
function adopt(v::Ptr{Value}, a::Array, ::Nothing = nothing)
    finalizer(ReleaseNode(geta(Ptr{Cvoid}, v)), memoryowner(a))
    settag!(v, TAG_NONE)
    heldbytes() > PIN_LIMIT[] && collectpinned()
    return a
end

dims(p::Ptr{Int64}, ::Val{N}) where {N} = ntuple(d -> unsafe_load(p, d), Val(N))

# The items as an Array. Memory without items may have no address at all.
function wraparray(::Type{T}, b::BufferInfo, size::NTuple{N,Int}) where {T,N}
    b.ptr == C_NULL && return Array{T,N}(undef, size)
    return unsafe_wrap(Array, Ptr{T}(b.ptr), size)
end

isnatural(b::BufferInfo) =
    b.kind != 0 && (b.flags & (ALIGNED | SWAPPED)) == ALIGNED && b.suboffsets == C_NULL

elements(b::BufferInfo) = elements(unsafe_string(b.format), b.itemsize)

"""
    frombuffer(v::Ptr{Value}) -> AbstractArray

The buffer in `v` as the natural Julia array: an `Array` where the memory is writable, aligned, native
and column-major; its transpose or permutation where it is row-major; a `PyArray` where it is
read-only and column-major; otherwise a `PyStridedArray` or `PyIndirectArray`.
"""
function frombuffer(v::Ptr{Value})
    b = unsafe_load(geta(Ptr{BufferInfo}, v))
    if isnatural(b) && b.readonly == 0
        if b.flags & F_CONTIGUOUS != 0
            return naturalarray(b, v)
        elseif b.flags & C_CONTIGUOUS != 0
            return rowmajor(b, v)
        end
    end
    e = elements(b)
    return b.kind == 0 ? natural(e, DIMENSIONS[b.ndim+1], b, v) : wrapbuffer(e, DIMENSIONS[b.ndim+1], b, v)
end

# Made once: to make a Val of a number takes longer than dispatch on it.
const DIMENSIONS = Tuple(Val(n) for n in 0:MAX_DIMS)

# As frombuffer, for elements that C doesn't know.
function natural(e::Elements{S}, N::Val, b::BufferInfo, v::Ptr{Value}) where {S}
    if isplain(S) && b.readonly == 0 && b.suboffsets == C_NULL && isaligned(S, b)
        if b.flags & F_CONTIGUOUS != 0
            return columnmajor(S, b, v, N)
        elseif b.flags & C_CONTIGUOUS != 0
            return S <: Number && b.ndim == 2 ? rowmajor(S, b, v) : rowmajor(S, b, v, N)
        end
    end
    return wrapbuffer(e, N, b, v)
end

# Of contiguous memory the first item tells.
isaligned(::Type{S}, b::BufferInfo) where {S} = UInt(b.ptr) % Base.datatype_alignment(S) == 0

# One branch for each type C knows, so that common arrays are made without dynamic dispatch.
@eval function naturalarray(b::BufferInfo, v::Ptr{Value})
    kind = b.kind
    $([:(kind == $i && return columnmajor($T, b, v)) for (i, T) in enumerate(KINDS)]...)
    error("unknown kind of element ", kind)
end

function columnmajor(::Type{T}, b::BufferInfo, v::Ptr{Value}) where {T}
    if b.ndim == 1
        a1 = wraparray(T, b, (unsafe_load(b.shape),))
        adopt(v, a1)
        return a1
    elseif b.ndim == 2
        a2 = wraparray(T, b, (unsafe_load(b.shape, 1), unsafe_load(b.shape, 2)))
        adopt(v, a2)
        return a2
    end
    return columnmajor(T, b, v, Val(b.ndim))
end

function columnmajor(::Type{T}, b::BufferInfo, v::Ptr{Value}, N::Val) where {T}
    a = wraparray(T, b, dims(b.shape, N))
    adopt(v, a)
    return a
end

@eval function rowmajor(b::BufferInfo, v::Ptr{Value})
    kind = b.kind
    $([:(kind == $i && return rowmajor($T, b, v)) for (i, T) in enumerate(KINDS)]...)
    error("unknown kind of element ", kind)
end

function rowmajor(::Type{T}, b::BufferInfo, v::Ptr{Value}) where {T}
    if b.ndim == 2
        a = wraparray(T, b, (unsafe_load(b.shape, 2), unsafe_load(b.shape, 1)))
        adopt(v, a)
        return transpose(a) # which BLAS knows
    end
    return rowmajor(T, b, v, Val(b.ndim))
end

function rowmajor(::Type{T}, b::BufferInfo, v::Ptr{Value}, N::Val) where {T}
    a = wraparray(T, b, reverse(dims(b.shape, N)))
    adopt(v, a)
    return PermutedDimsArray(a, reverse(ntuple(identity, N)))
end

"""
    wrapbuffer(v::Ptr{Value}, loan = nothing) -> PyArray, PyStridedArray or PyIndirectArray

The buffer in `v` as a wrapper around its memory, whatever the layout. With a `Loan` the memory is borrowed,
and contiguous memory a PyBorrowedArray.
"""
function wrapbuffer(v::Ptr{Value}, loan = nothing)
    b = unsafe_load(geta(Ptr{BufferInfo}, v))
    return wrapbuffer(elements(b), DIMENSIONS[b.ndim+1], b, v, loan)
end

function wrapbuffer(::Elements{S}, N::Val, b::BufferInfo, v::Ptr{Value}, loan = nothing) where {S}
    T = valuetype(S)
    size = dims(b.shape, N)
    readonly = b.readonly != 0
    if b.suboffsets != C_NULL
        owner = Vector{UInt8}(undef, 0)
        return PyIndirectArray{T,ndimsof(N),S}(adopt(v, owner, loan), b.ptr, dims(b.strides, N), dims(b.suboffsets, N),
                                               0, size, readonly)
    end
    plain = isplain(S) && isaligned(S, b)
    if plain && b.flags & F_CONTIGUOUS != 0
        loan === nothing && return PyArray(adopt(v, wraparray(S, b, size)), readonly)
        items = adopt(v, wraparray(S, b, (prod(size),)), loan)
        return PyBorrowedArray(flat(items), size, readonly, loan)
    end
    strides = dims(b.strides, N)
    # Bytes from the first element to the lowest and to the highest one.
    if any(iszero, size)
        low = high = 0
        strides = map(zero, strides)
        span = 0
    else
        low, high = reach(size, strides)
        span = high - low + memorysize(S)
    end
    items = plain && memorysize(S) > 0 && all(s -> s % memorysize(S) == 0, strides)
    return items ? wrapstrided(S, S, b, v, b.ptr + low, span, -low, strides, size, readonly, loan) :
           wrapstrided(S, UInt8, b, v, b.ptr + low, span, -low, strides, size, readonly, loan)
end

ndimsof(::Val{N}) where {N} = N

function wrapstrided(::Type{S}, ::Type{U}, b, v, start, span, offset, strides::NTuple{N,Int}, size,
                     readonly, loan) where {S,U,N}
    parent = b.ptr == C_NULL ? U[] : unsafe_wrap(Array, Ptr{U}(start), span ÷ sizeof(U))
    return PyStridedArray{valuetype(S),N,S}(adopt(v, parent, loan), offset ÷ sizeof(U), strides .÷ sizeof(U), size, readonly)
end

"bb.wrap in Python: `value` is the address of a `Value` with a buffer."
wrap(value::Int64) = wrapbuffer(Ptr{Value}(value))

function PyArray(o::PyObject)
    withgil() do
        withvalue() do v
            r = GC.@preserve o @api acquire(pointerof(o)::Ptr{Cvoid}, v::Ptr{Value})::Cint
            r < 0 && throwpython()
            r == 0 && throw(PyTypeError("this Python object has no memory to share: it exports no " *
                                        "buffer (PEP 3118) and has no __array_interface__, __array_struct__ or __dlpack__; " *
                                        "bufferbridge.wrap(x) in Python also takes Arrow arrays and Series"))
            return wrapbuffer(v)
        end
    end
end

# Memory of Python's that is an Array already, or any array of Julia's whose memory Python can see.
PyArray(a::AbstractArray) = PyArray(PyObject(a))

"The one item in the buffer of `v`: a NumPy scalar."
function itemof(v::Ptr{Value})
    b = unsafe_load(geta(Ptr{BufferInfo}, v))
    return itemof(elements(b), b.ptr)
end
itemof(::Elements{S}, p::Ptr{UInt8}) where {S} = load(S, p)

"A TypeError for Python, from Julia code of the bridge."
struct PyTypeError <: Exception
    message::String
end
Base.showerror(io::IO, e::PyTypeError) = print(io, e.message)

"Runs `f(v)` with a value of its own, and drops afterwards what the value still holds."
function withvalue(f)
    cell = Ref(Value(TAG_NONE, 0, 0, C_NULL))
    GC.@preserve cell begin
        v = Base.unsafe_convert(Ptr{Value}, cell)
        try
            return f(v)
        finally
            @api clear(v::Ptr{Value})::Cvoid
        end
    end
end
