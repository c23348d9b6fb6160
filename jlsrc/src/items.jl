# x[...] of a JuliaArray, where C can't do it alone: slices, elements that are no plain numbers, and
# assignment. C has parsed the index (csrc/juliaarray.c): per axis a start, a step and a count, from
# zero; the count is -1 for a single index.

function indices(x::AbstractArray, axes::Ptr{Int64}, n::Int)
    return ntuple(n) do d
        start, step, count = (unsafe_load(axes, 3 * (d - 1) + k) for k in 1:3)
        first = Base.first(Base.axes(x, d)) + start
        if count < 0
            first
        elseif start == 0 && step == 1 && count == size(x, d)
            Colon()
        elseif step == 1
            first:first+count-1
        else
            range(first; step = step, length = count)
        end
    end
end

"`x[...]` in Python: an element where `item` says that all axes have one index, otherwise a view."
function arrayget(@nospecialize(x::AbstractArray), axes::Int64, item::Bool)
    I = indices(x, Ptr{Int64}(axes), ndims(x))
    return item ? x[I...] : view(x, I...)
end

"`x[...] = value` in Python, where arrays broadcast as in NumPy."
function arrayset(@nospecialize(x::AbstractArray), axes::Int64, item::Bool, @nospecialize(value))
    isreadonly(memoryof(x)) && throwreadonly()
    I = indices(x, Ptr{Int64}(axes), ndims(x))
    # None is what a missing element was in Python.
    value === nothing && !(Nothing <: eltype(x)) && Missing <: eltype(x) && (value = missing)
    if item
        x[I...] = value isa AbstractArray{<:Any,0} ? value[] : value
    else
        assign!(view(x, I...), value)
    end
    return nothing
end

memoryof(x::AbstractArray) = isderived(x) ? memoryof(parent(x)) : x

assign!(x::AbstractArray, @nospecialize(value)) = fill!(x, value)

function assign!(x::AbstractArray{T,N}, value::AbstractArray) where {T,N}
    # NumPy aligns shapes at the last axis, Julia at the first one.
    extra = ndims(value) - N
    sizes = extra >= 0 ? size(value)[extra+1:end] : (ntuple(_ -> 1, -extra)..., size(value)...)
    all(isequal(1), size(value)[1:max(extra, 0)]) && all((sizes .== 1) .| (sizes .== size(x))) ||
        throw(DimensionMismatch(
            "could not broadcast an array of shape $(size(value)) into shape $(size(x))"))
    source = extra == 0 ? value : reshape(value, sizes)
    x .= overlap(x, source) ? copy(source) : source
    return nothing
end

# Python may hand us two arrays of the same memory that Julia believes to be unrelated.
function overlap(a::AbstractArray, b::AbstractArray)
    la, lb = layout(a), layout(b)
    (la isa NotShared || lb isa NotShared) && return true
    loa, hia = extent(la, sizeof(eltype(a)))
    lob, hib = extent(lb, sizeof(eltype(b)))
    return loa < hib && lob < hia
end

function extent(l::Layout, itemsize)
    ends = [(n - 1) * s for (n, s) in zip(l.size, l.strides)]
    p = Int(l.ptr)
    return p + reduce(+, min.(0, ends); init = 0), p + reduce(+, max.(0, ends); init = 0) + itemsize
end

"The layout of a Vector that was resized, or of a view of one, to a `bb_layout`; see csrc/juliaarray.c."
function arrayrefresh(@nospecialize(x::AbstractArray), place::Int64)
    fits(x) || throw(Resized())
    l = layout(x)
    writelayout!(Ptr{UInt8}(place), x, l, memoryslot!(l))
    return nothing
end

# A Vector with room to spare is cut to its length before its memory is first exported. Up to Julia
# 1.10 sizehint! would do that later, and move the memory, even if the Vector must not be resized.
arraytrim(@nospecialize(x::AbstractArray)) = (sizehint!(layout(x).owner, 0); nothing)

"Why the memory of `x` can't be shared, for BufferError."
function whynotshared(@nospecialize(x::AbstractArray))
    l = layout(x)
    reason = l isa NotShared ? l.reason : "it can be; ask again"
    return "the memory of this $(shortname(x)) can't be shared: $reason; numpy.asarray(x) makes a copy"
end

shortname(x) = string(nameof(typeof(x)), "{", eltype(x), "}")

"An array that can be shared and is a copy of `x`, or its elements as a Vector of anything else."
function sharedcopy(x::AbstractArray)
    y = collect(x)
    return layout(y) isa NotShared ? nothing : y
end

"A Python list of the elements in column-major order."
elements(x::AbstractArray) = owned(pylist(x))
