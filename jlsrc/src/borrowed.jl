# Python memory that Julia has for a block of Python's only (bb.borrow in Python): PyBorrowedArray, and what
# PyStridedArray and PyIndirectArray need in order to lie over one.
#
# The block ends in C (csrc/borrow.c) while Julia code may still hold arrays of the memory, so that each of
# them asks its Loan before it touches memory. That is a load and a branch, which the compiler takes out of
# loops. Taken out of a loop it can't see that the block ends meanwhile: nothing else can run in the middle of
# such a loop on the same thread, but a task on another thread must have ended before the block does.
#
# What is not asked for: sizes and strides, which are no memory; and the fields of the structs, which are
# internal. (Whoever goes through those all the same, as Serialization does, finds a Vector without items.)

"""
    BufferReleased <: Exception

Thrown by what reads or writes an array of memory that Python lent for a block (`with bb.borrow(obj) as x`) after the end
of the block. In Python it is a BufferError.
"""
struct BufferReleased <: Exception end
Base.showerror(io::IO, ::BufferReleased) = print(io, "this array was borrowed from Python for a block that has " *
    "ended: copy it inside the block (copy(x)), or pass the object itself to let Julia keep its memory")

@noinline throwreleased() = throw(BufferReleased())

"""
Whether Python still lends the memory. `place` is the bb_loan of the C layer, for as long as it does; C_NULL
where the memory is a copy that nobody takes back.
"""
mutable struct Loan
    open::Int64
    place::Ptr{Cvoid}
    memory::Any      # what has the memory: C writes to it when the loan ends
end

# Of memory of Julia's own: what an array's copy has that is to be of the same type.
Loan() = Loan(1, C_NULL, nothing)

@inline checkopen(loan::Loan) = (loan.open == 0 && throwreleased(); nothing)

# A copy of a loan could not be told that it has ended.
Base.deepcopy_internal(loan::Loan, ::IdDict) = loan

# Offsets in bb_loan
const LOAN_SLOT = 0
const LOAN_WORDS = 8

"Tells the C layer where the words are that say that Julia may use the memory, and keeps them for it."
function register!(loan::Loan)
    words = (Ptr{Int64}(pointer_from_objref(loan)), lengthwords(loan.memory::Vector)...)
    for (i, word) in enumerate(words)
        unsafe_store!(Ptr{Ptr{Int64}}(loan.place + LOAN_WORDS), word, i)
    end
    unsafe_store!(Ptr{Int64}(loan.place + LOAN_SLOT), root!(loan))
    return nothing
end

"""
    PyBorrowedArray{T,N} <: DenseArray{T,N}

Contiguous column-major memory that Python lent for a block: `with bb.borrow(obj) as x`. It is used as a
[`PyArray`](@ref), `pointer` and BLAS included. After the block whatever would read or write the memory,
through views and reshapes of it as well, throws a [`BufferReleased`](@ref). `copy(x)` is an Array, and stays.

Memory of other layouts is borrowed as a [`PyStridedArray`](@ref) or [`PyIndirectArray`](@ref), which then
obey the same rule.

A pointer that was taken inside the block is not guarded, nor is a loop that another thread is in while the
block ends: wait for tasks inside the block.
"""
struct PyBorrowedArray{T,N} <: DenseArray{T,N}
    data::Vector{T}
    size::NTuple{N,Int}
    readonly::Bool
    loan::Loan
end

PyBorrowedArray(v::Vector, loan::Loan = Loan()) = PyBorrowedArray(v, size(v), false, loan)

@inline flat(x::PyBorrowedArray) = getfield(x, :data)
@inline checkopen(x::PyBorrowedArray) = checkopen(getfield(x, :loan))

isreadonly(x::PyBorrowedArray) = getfield(x, :readonly)
Base.size(x::PyBorrowedArray) = getfield(x, :size)
Base.IndexStyle(::Type{<:PyBorrowedArray}) = IndexLinear()
Base.strides(x::PyBorrowedArray) = Base.size_to_strides(1, size(x)...)
Base.elsize(::Type{<:PyBorrowedArray{T}}) where {T} = sizeof(T)
Base.dataids(x::PyBorrowedArray) = Base.dataids(flat(x))

function Base.unsafe_convert(::Type{Ptr{T}}, x::PyBorrowedArray{T}) where {T}
    checkopen(x)
    return Base.unsafe_convert(Ptr{T}, flat(x))
end

# With @inbounds as well: that speaks of indices.
Base.@propagate_inbounds function Base.getindex(x::PyBorrowedArray, i::Int)
    checkopen(x)
    @boundscheck checkbounds(x, i)
    return @inbounds flat(x)[i]
end

Base.@propagate_inbounds function Base.setindex!(x::PyBorrowedArray, v, i::Int)
    t = convert(eltype(x), v)::eltype(x) # first: it may run any code, which may end the block
    checkopen(x)
    isreadonly(x) && throwreadonly()
    @boundscheck checkbounds(x, i)
    put!(flat(x), t, i)
    return x
end

@inline put!(x::PyBorrowedArray{T}, v::T, i::Int) where {T} = (checkopen(x); put!(flat(x), v, i))

function Base.unaliascopy(x::PyBorrowedArray)
    checkopen(x)
    return PyBorrowedArray(copy(flat(x)), size(x), false, Loan())
end

function Base.deepcopy_internal(x::PyBorrowedArray, seen::IdDict)
    checkopen(x)
    return get!(() -> PyBorrowedArray(copy(flat(x)), size(x), isreadonly(x), Loan()), seen, x)
end

# ------------------------------------------------- as the memory of other arrays

"The loan of the memory that an array lies in, or nothing."
loanof(x::AbstractArray) = isderived(x) ? loanof(parent(x)) : nothing
loanof(x::Union{Array,PyArray}) = nothing
loanof(x::PyBorrowedArray) = getfield(x, :loan)
loanof(x::PyStridedArray) = loanof(flat(x))
loanof(x::PyIndirectArray) = loanof(getfield(x, :owner))

# Dense arrays of packages, of which C uses the address, may wrap another one. Anybody's `parent` may do anything.
function loanof(x::DenseArray)
    try
        p = parent(x)
        return p === x || !(p isa AbstractArray) ? nothing : loanof(p)
    catch
        return nothing
    end
end

# The pieces of pyarray.jl for memory of this kind.
checkowner(owner::PyBorrowedArray) = checkopen(owner)
checkmemory(::PyStridedArray{T,N,S,<:PyBorrowedArray}, k) where {T,N,S} = nothing
memorylike(v::PyBorrowedArray{U}, n) where {U} = PyBorrowedArray(memorylike(flat(v), n))
copyof(v::PyBorrowedArray) = (checkopen(v); PyBorrowedArray(copy(flat(v))))
memoryowner(v::PyBorrowedArray) = memoryowner(flat(v))
ownlike(::PyBorrowedArray, memory::Vector) = PyBorrowedArray(memory)

"""
Runs `f()`, which writes references to Python objects to memory: the old ones that it lets go of may run any
Python code, which may end the block. The memory is then given back afterwards, as with a view in Python.
"""
@noinline function holding(f, loan::Loan)
    withgil() do
        checkopen(loan)
        place = loan.place
        place == C_NULL && return f()
        @api loan_hold(place::Ptr{Cvoid})::Cvoid
        try
            return f()
        finally
            @api loan_release(place::Ptr{Cvoid})::Cvoid
        end
    end
end
holding(f, ::Nothing) = f()

# ---------------------------------------------------------------- from Python

# In place of the release by Julia's collector: the memory stays Python's.
adopt(::Ptr{Value}, a::Vector, loan::Loan) = (loan.memory = a; PyBorrowedArray(a, loan))

"bb.borrow in Python: `value` is the address of a `Value` with a buffer, `place` of its `bb_loan`."
function borrow(value::Int64, place::Int64)
    loan = Loan(1, Ptr{Cvoid}(place), nothing)
    x = wrapbuffer(Ptr{Value}(value), loan)
    register!(loan)
    return x
end

# --------------------------------------------------------------------- display

isreleased(x::AbstractArray) = (loan = loanof(x); loan !== nothing && loan.open == 0)

# To show what is there no more must not throw: it's how one finds out.
const PyMemory = Union{PyArray,PyStridedArray,PyIndirectArray,PyBorrowedArray}

Base.show(io::IO, mime::MIME"text/plain", x::PyMemory) =
    isreleased(x) ? summary(io, x) : invoke(show, Tuple{IO,MIME"text/plain",AbstractArray}, io, mime, x)
Base.show(io::IO, x::PyMemory) =
    isreleased(x) ? summary(io, x) : invoke(show, Tuple{IO,AbstractArray}, io, x)

# An exporter's arrays print without their storage in the type: it tells the reader nothing.
function Base.showarg(io::IO, x::PyMemory, toplevel)
    T = typeof(x)
    print(io, nameof(T), "{", eltype(T), ",", ndims(T), "}")
    toplevel || return nothing
    isreadonly(x) && print(io, ", read-only")
    loanof(x) === nothing || print(io, isreleased(x) ? ", released" : ", borrowed")
    return nothing
end
