# The memory of a Julia array, as the buffer protocol describes it: address, sizes, strides in bytes.
#
# `layout(x)` follows wrappers (views, reshapes, permutations, ...) down to the array that has the
# memory, and gives NotShared, with the reason, where elements have no memory of their own or not one
# that strides can describe. Nothing is copied and nothing is read.

"Strided memory. `owner` is the Vector whose resizing would move it, if there is one."
struct Layout{N}
    ptr::Ptr{UInt8}
    size::NTuple{N,Int}
    strides::NTuple{N,Int}   # bytes
    readonly::Bool
    swapped::Bool
    owner::Union{Nothing,Vector}
end

"Why an array's memory can't be shared."
struct NotShared
    reason::String
end

Layout(l::Layout, ptr::Ptr{UInt8}, size::NTuple{N,Int}, strides::NTuple{N,Int}) where {N} =
    Layout{N}(ptr, size, strides, l.readonly, l.swapped, l.owner)

function densestrides(size::NTuple{N,Int}, itemsize::Int) where {N}
    n = itemsize
    return ntuple(Val(N)) do d
        s = n
        n *= size[d]
        s
    end
end

"""
    layout(x::AbstractArray) -> Layout or NotShared
"""
function layout(x::AbstractArray)
    T = eltype(x)
    kindof(T) == 0 && return NotShared(elementreason(T))
    fits(x) || return NotShared("it is a view of a Vector that was resized since")
    return stridesof(x)
end

function elementreason(::Type{T}) where {T}
    T <: AbstractString && return "strings are objects in Julia, not memory of a fixed size"
    Missing <: T && T !== Any && return "elements may be missing, which has no format in the buffer protocol"
    isbitstype(T) || return "its elements (of type $T) are references to Julia objects"
    return "there is no buffer format for its elements (of type $T) yet"
end

# ------------------------------------------------------------- with memory

function stridesof(x::Array{T,N}) where {T,N}
    isbitstype(T) || return NotShared(elementreason(T))
    return Layout{N}(pointer(x), size(x), densestrides(size(x), sizeof(T)), false, false,
                     N == 1 ? x : nothing)
end

# Other dense arrays (Memory, SharedArray, those of packages) keep the DenseArray contract.
function stridesof(x::DenseArray{T,N}) where {T,N}
    isbitstype(T) || return NotShared(elementreason(T))
    try
        return Layout{N}(pointer(x), size(x), strides(x) .* sizeof(T), false, false, nothing)
    catch # of the contract's functions one is missing
        return NotShared("a $(nameof(typeof(x))) doesn't tell the address of its memory")
    end
end

# The code units of a String are its bytes, and a String never changes.
stridesof(x::Base.CodeUnits{UInt8,<:Union{String,SubString{String}}}) =
    Layout{1}(pointer(x.s), size(x), (1,), true, false, nothing)
stridesof(::Base.CodeUnits) = NotShared("its string may not be in memory")
isreadonly(::Base.CodeUnits) = true

stridesof(x::PyArray{T,N}) where {T,N} =
    Layout{N}(pointer(x.data), size(x), densestrides(size(x), sizeof(T)), x.readonly, false, nothing)

stridesof(x::PyStridedArray{T,N}) where {T,N} =
    Layout{N}(Ptr{UInt8}(pointer(x)), size(x), bytestrides(x), x.readonly, x.swapped, nothing)

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
    l.swapped && return NotShared("it reinterprets memory with swapped bytes")
    s, t = sizeof(S), sizeof(T)
    if s == t
        return Layout(l, l.ptr, size(x), l.strides)
    elseif isreshaping(x) && s > t
        return Layout(l, l.ptr, size(x), (t, l.strides...))
    elseif l.size[1] > 1 && l.strides[1] != s
        return NotShared("it reinterprets memory with gaps, so that no strides lead through it")
    elseif isreshaping(x)
        return Layout(l, l.ptr, size(x), Base.tail(l.strides))
    end
    return Layout(l, l.ptr, size(x), (t, Base.tail(l.strides)...))
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
const LAYOUT_SHAPE = 72
const MAX_DIMS = 64 # PyBUF_MAX_NDIM
const LAYOUT_STRIDES = LAYOUT_SHAPE + 8 * MAX_DIMS

"The scratch struct of the C layer, from which the next JuliaArray is made."
scratchlayout() = statefield(UInt8, STATE_LAYOUT)

"""
    writelayout!(place::Ptr{UInt8}, x::AbstractArray, l, memoryslot) -> nothing

Writes the layout `l` of `x` to `place`, a `bb_layout`. Where that is the scratch struct, nothing may run
until the JuliaArray is made that could make another one: so all that allocates is done before, and
`memoryslot` is the root slot of what [`memoryroot`](@ref) names, or -1.
"""
function writelayout!(place::Ptr{UInt8}, x::AbstractArray{T,N}, l::Union{Layout,NotShared},
                      memoryslot::Int) where {T,N}
    put!(offset, v) = unsafe_store!(Ptr{typeof(v)}(place + offset), v)
    shared = l isa Layout
    sizes = shared ? l.size : size(x) # may run code of anybody's, so before the rest
    put!(LAYOUT_NDIM, Int64(N))
    put!(LAYOUT_MEMORY_SLOT, Int64(memoryslot))
    put!(LAYOUT_PTR, shared ? l.ptr : Ptr{UInt8}(C_NULL))
    put!(LAYOUT_ITEMSIZE, Int64(shared ? sizeof(T) : 0))
    put!(LAYOUT_KIND, Int64(shared && !l.swapped ? kindof(T) : 0))
    put!(LAYOUT_READONLY, Int64(!shared || l.readonly))
    put!(LAYOUT_DERIVED, Int64(isderived(x)))
    put!(LAYOUT_FORMAT, shared ? formatpointer(T, l.swapped) : Ptr{UInt8}(C_NULL))
    put!(LAYOUT_OWNER, shared && l.owner !== nothing ? pointer_from_objref(l.owner) : C_NULL)
    for d in 1:N
        put!(LAYOUT_SHAPE + 8 * (d - 1), Int64(sizes[d]))
        put!(LAYOUT_STRIDES + 8 * (d - 1), Int64(shared ? l.strides[d] : 0))
    end
    return nothing
end

# Whether the array is a view of another one, which may have been resized.
isderived(x::AbstractArray) = false
isderived(x::Union{SubArray,Base.ReshapedArray,PermutedDimsArray,Transpose,Adjoint,Base.ReinterpretArray}) = true

"Whether a view still fits into the array it looks at; Julia itself checks that only once."
fits(x::AbstractArray) = !isderived(x) || fits(parent(x))
fits(x::SubArray) = fits(parent(x)) && checkbounds(Bool, parent(x), parentindices(x)...)
fits(x::Base.ReshapedArray) = fits(parent(x)) && length(parent(x)) == length(x)

formatpointer(::Type{T}, swapped) where {T} = pointer(formatof(T, swapped)) # a constant of format.jl

# The slot for what has to live besides x for the memory to live.
function memoryslot!(l::Layout)
    root = l.owner === nothing ? nothing : memoryroot(l.owner)
    return root === nothing ? -1 : root!(root)
end
memoryslot!(::NotShared) = -1
