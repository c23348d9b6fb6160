# The memory of a Julia array, as the buffer protocol describes it: address, sizes, strides in bytes.
#
# `layout(x)` follows wrappers (views, reshapes, permutations, ...) down to the array that has the
# memory, and gives NotShared, with the reason, where elements have no memory of their own or not one
# that strides can describe. Nothing is copied and nothing is read.

"""
Strided memory of items of the memory type `S` (memory.jl). `owner` is the Vector whose resizing would move
it, if there is one.
"""
struct Layout{N,S}
    ptr::Ptr{UInt8}
    size::NTuple{N,Int}
    strides::NTuple{N,Int}   # bytes
    readonly::Bool
    owner::Union{Nothing,Vector}
end

Layout(l::Layout{<:Any,S}, ptr, size, strides) where {S} = Layout(S, l, ptr, size, strides)
Layout(::Type{S}, l::Layout, ptr::Ptr{UInt8}, size::NTuple{N,Int}, strides::NTuple{N,Int}) where {S,N} =
    Layout{N,S}(ptr, size, strides, l.readonly, l.owner)

memorytype(::Layout{N,S}) where {N,S} = S

"""
    layout(x::AbstractArray) -> Layout or NotShared
"""
function layout(x::AbstractArray)
    fits(x) || return NotShared("it is a view of a Vector that was resized since")
    l = stridesof(x)
    l isa NotShared && return l
    format = elementformat(memorytype(l))
    return format isa NotShared ? format : l
end

"The format of an array's items. Some isbits types have one only as fields."
function elementformat(::Type{S}) where {S}
    kindof(S) != 0 && return formatof(S)
    S <: AbstractChar && return NotShared("Julia keeps a Char as bytes of UTF-8, which has no format")
    # As records of one number NumPy would take them for any time it is asked for: 2020 for 3989.
    S <: DatesTime && return NotShared("its elements are times of Julia's Dates, for which the buffer protocol has no format")
    S <: Union{MemoryType,Record,FixedString,RawBytes} || !isbitstype(S) || sizeof(S) > 0 ||
        return NotShared("its elements (of type $S) have no bytes")
    return formatof(S)
end

# Why elements that are no plain memory can't be shared.
elementreason(::Type{T}) where {T} = (f = formatof(T); f isa NotShared ? f.reason : "its memory has no strides")

# ------------------------------------------------------------- with memory

function stridesof(x::Array{T,N}) where {T,N}
    isbitstype(T) || return NotShared(elementreason(T))
    # Items of some primitive types (of 24 bits, say) are further apart than their size.
    return Layout{N,T}(pointer(x), size(x), densestrides(size(x), Base.elsize(x)), false,
                     N == 1 ? x : nothing)
end

# Other dense arrays (Memory, SharedArray, those of packages) keep the DenseArray contract.
function stridesof(x::DenseArray{T,N}) where {T,N}
    isbitstype(T) || return NotShared(elementreason(T))
    try
        return Layout{N,T}(pointer(x), size(x), strides(x) .* Base.elsize(x), false, nothing)
    catch # of the contract's functions one is missing
        return NotShared("a $(nameof(typeof(x))) doesn't tell the address of its memory")
    end
end

# The code units of a String are its bytes, and a String never changes.
stridesof(x::Base.CodeUnits{UInt8,<:Union{String,SubString{String}}}) =
    Layout{1,UInt8}(pointer(x.s), size(x), (1,), true, nothing)
stridesof(::Base.CodeUnits) = NotShared("its string may not be in memory")
isreadonly(::Base.CodeUnits) = true

stridesof(x::PyArray{T,N}) where {T,N} =
    Layout{N,T}(pointer(data(x)), size(x), densestrides(size(x), sizeof(T)), isreadonly(x), nothing)

# Throws where the block has ended: there is no address any more.
stridesof(x::PyBorrowedArray{T,N}) where {T,N} =
    Layout{N,T}(Ptr{UInt8}(pointer(x)), size(x), densestrides(size(x), sizeof(T)), isreadonly(x), nothing)

stridesof(x::PyStridedArray{T,N,S}) where {T,N,S} =
    Layout{N,S}(address(x), size(x), bytestrides(x), isreadonly(x), ownerof(flat(x)))

# A column of a Vector: what resizes that one moves this.
ownerof(::Vector) = nothing
ownerof(x::AbstractVector) = (l = stridesof(x); l isa NotShared ? nothing : l.owner)

# ------------------------------------------------------------- of a parent

# Where the parent has no layout, its reason is the answer. Of its elements only their memory counts,
# which a reinterpretation above may read as others.
ofparent(f, x) = (l = stridesof(parent(x)); l isa NotShared ? l : f(l))

function stridesof(x::SubArray{T,N}) where {T,N}
    ofparent(x) do l
        I = parentindices(x)
        length(I) == length(l.size) ||
            return NotShared("it indexes its parent in another shape than the parent has")
        all(i -> i isa Union{Integer,AbstractRange}, I) ||
            return NotShared("its indices are listed one by one, so that no stride leads through them")
        ptr = l.ptr
        strides = Int[]
        isempty(x) || for (i, s, axis) in zip(I, l.strides, axes(parent(x)))
            ptr += (Int(first(i)) - Int(first(axis))) * s
        end
        for (i, s) in zip(I, l.strides)
            i isa AbstractRange && push!(strides, length(i) > 1 ? Int(step(i)) * s : s)
        end
        return Layout(l, ptr, size(x), ntuple(d -> strides[d], Val(N)))
    end
end

function stridesof(x::PermutedDimsArray{T,N,perm}) where {T,N,perm}
    ofparent(x) do l
        Layout(l, l.ptr, size(x), ntuple(d -> l.strides[perm[d]], Val(N)))
    end
end

function stridesof(x::Transpose{T,<:AbstractVecOrMat}) where {T<:Number}
    ofparent(l -> transposed(l), x)
end

function stridesof(x::Adjoint{T,<:AbstractVecOrMat}) where {T<:Number}
    T <: Real || return NotShared("an adjoint of complex numbers conjugates them; transpose(x) shares")
    ofparent(l -> transposed(l), x)
end

transposed(l::Layout{1}) = Layout(l, l.ptr, (1, l.size[1]), (l.strides[1], l.strides[1]))
transposed(l::Layout{2}) = Layout(l, l.ptr, reverse(l.size), reverse(l.strides))

function stridesof(x::Base.ReshapedArray{T,N}) where {T,N}
    ofparent(x) do l
        strides = reshapestrides(l.size, l.strides, size(x), sizeof(T))
        strides === nothing &&
            return NotShared("it reshapes memory with gaps, so that no strides lead through it")
        return Layout(l, l.ptr, size(x), ntuple(d -> strides[d], Val(N)))
    end
end

# Strides of the same memory under other sizes, or nothing: both shapes are cut into groups of axes
# with equally many items, and the old axes of each group must follow each other without a gap.
function reshapestrides(oldsize, oldstrides, newsize, itemsize)
    any(iszero, newsize) && return densestrides(newsize, itemsize)
    kept = [d for d in eachindex(oldsize) if oldsize[d] != 1]
    old, olds = [oldsize[d] for d in kept], [oldstrides[d] for d in kept]
    strides = fill(itemsize, length(newsize))
    i = j = 1
    while i <= length(old) && j <= length(newsize)
        ilast, jlast = i, j
        nold, nnew = old[i], newsize[j]
        while nold != nnew
            if nnew < nold
                jlast += 1
                nnew *= newsize[jlast]
            else
                ilast += 1
                nold *= old[ilast]
            end
        end
        for k in i:ilast-1
            olds[k + 1] == old[k] * olds[k] || return nothing
        end
        s = olds[i]
        for k in j:jlast
            strides[k] = s
            s *= newsize[k]
        end
        i, j = ilast + 1, jlast + 1
    end
    return strides
end

function stridesof(x::Base.ReinterpretArray{T,N,S}) where {T,N,S}
    l = stridesof(parent(x))
    l isa NotShared && return l
    memorytype(l) === S || return NotShared("it reinterprets memory that doesn't lie there as Julia has it")
    s, t = sizeof(S), sizeof(T)
    strides = if s == t
        l.strides
    elseif isreshaping(x) && s > t
        (t, l.strides...)
    elseif l.size[1] > 1 && l.strides[1] != s
        return NotShared("it reinterprets memory with gaps, so that no strides lead through it")
    elseif isreshaping(x)
        Base.tail(l.strides)
    else
        (t, Base.tail(l.strides)...)
    end
    return Layout(T, l, l.ptr, size(x), strides)
end

# ---------------------------------------------------------- without memory

stridesof(::BitArray) = NotShared("a BitArray packs eight elements into a byte")
stridesof(::AbstractRange) = NotShared("a range computes its elements")
stridesof(x::PyIndirectArray) =
    NotShared("its memory is reached through pointers (suboffsets); use the Python object it came from")
stridesof(x::AbstractArray) = NotShared("a $(nameof(typeof(x))) has no strided memory of its own")

# -------------------------------------------------------------------- to C

# Offsets in bb_layout
const LAYOUT_PTR = 0
const LAYOUT_ITEMSIZE = 8
const LAYOUT_NDIM = 16
const LAYOUT_KIND = 24
const LAYOUT_READONLY = 32
const LAYOUT_DERIVED = 40
const LAYOUT_FORMAT = 48
const LAYOUT_OWNER = 56
const LAYOUT_MEMORY_SLOT = 64
const LAYOUT_OBJECTS = 72
const LAYOUT_LOAN = 80
const LAYOUT_SHAPE = 88
const LAYOUT_STRIDES = LAYOUT_SHAPE + 8 * MAX_DIMS

"The scratch struct of the C layer, from which the next JuliaArray is made."
scratchlayout() = statefield(UInt8, STATE_LAYOUT)

"""
    writelayout!(place::Ptr{UInt8}, x::AbstractArray, l, sizes, memoryslot) -> nothing

Writes the layout `l` of `x` to `place`, a `bb_layout`. Where that is the scratch struct, nothing may run
until the JuliaArray is made that could make another one: so all that allocates is done before, as is
all that may throw. `sizes` are [`sizesof`](@ref), and `memoryslot` is the root slot of what
[`memoryroot`](@ref) names, or -1.
"""
function writelayout!(place::Ptr{UInt8}, x::AbstractArray{T,N}, l::Union{Layout,NotShared}, sizes::Dims{N},
                      memoryslot::Int) where {T,N}
    put!(offset, v) = unsafe_store!(Ptr{typeof(v)}(place + offset), v)
    shared = l isa Layout
    loan = loanof(x)
    format = shared ? pointer(formatof(memorytype(l))::String) : Ptr{UInt8}(C_NULL)
    put!(LAYOUT_NDIM, Int64(N))
    put!(LAYOUT_MEMORY_SLOT, Int64(memoryslot))
    put!(LAYOUT_PTR, shared ? l.ptr : Ptr{UInt8}(C_NULL))
    put!(LAYOUT_ITEMSIZE, Int64(shared ? memorysize(memorytype(l)) : 0))
    put!(LAYOUT_KIND, Int64(shared ? itemkind(memorytype(l)) : 0))
    put!(LAYOUT_READONLY, Int64(!shared || l.readonly))
    put!(LAYOUT_DERIVED, Int64(isderived(x)))
    put!(LAYOUT_OBJECTS, Int64(holdsobjects(x)))
    put!(LAYOUT_FORMAT, format)
    put!(LAYOUT_LOAN, loan === nothing || loan.open == 0 ? C_NULL : loan.place)
    put!(LAYOUT_OWNER, shared && l.owner !== nothing ? pointer_from_objref(l.owner) : C_NULL)
    for d in 1:N
        put!(LAYOUT_SHAPE + 8 * (d - 1), Int64(sizes[d]))
        put!(LAYOUT_STRIDES + 8 * (d - 1), Int64(shared ? l.strides[d] : 0))
    end
    return nothing
end

# The elements that C reads and writes by itself: those of KINDS, and Python objects.
itemkind(::Type{S}) where {S} = kindof(S)
itemkind(::Type{ObjectReference}) = length(KINDS) + 1

"Whether there are references to Python objects in the memory of an array."
function holdsobjects(x::AbstractArray)
    S = memorytype(memoryof(x))
    return S <: MemoryType && S !== Union{} && hasobjects(S)
end

# Whether the array is a view of another one, which may have been resized.
isderived(x::AbstractArray) = false
isderived(x::Union{SubArray,Base.ReshapedArray,PermutedDimsArray,Transpose,Adjoint,Base.ReinterpretArray}) = true
isderived(::PyStridedArray{T,N,S,<:Base.ReinterpretArray}) where {T,N,S} = true # a column

"Whether a view still fits into the array it looks at; Julia itself checks that only once."
fits(x::AbstractArray) = !isderived(x) || fits(parent(x))
fits(x::SubArray) = fits(parent(x)) && checkbounds(Bool, parent(x), parentindices(x)...)
fits(x::Base.ReshapedArray) = fits(parent(x)) && length(parent(x)) == length(x)
fits(x::PyStridedArray{T,N,S}) where {T,N,S} = isempty(x) || !isderived(x) ||
    getfield(x, :offset) + reach(size(x), bytestrides(x))[2] + memorysize(S) <= length(flat(x))

"The array's size. To ask for it may run anybody's code."
sizesof(::AbstractArray, l::Layout) = l.size
sizesof(x::AbstractArray{T,N}, ::NotShared) where {T,N} = convert(Dims{N}, size(x))

# The slot for what has to live besides x for the memory to live.
function memoryslot!(l::Layout)
    root = l.owner === nothing ? nothing : memoryroot(l.owner)
    return root === nothing ? -1 : root!(root)
end
memoryslot!(::NotShared) = -1
