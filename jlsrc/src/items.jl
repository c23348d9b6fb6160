# x[...] of a JuliaArray, where C can't do it alone: slices, elements that are no plain numbers, and
# assignment (of what, is in assign.jl). C has parsed the index (csrc/juliaarray.c): per axis a start, a
# step and a count, from zero; the count is -1 for a single index.

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
    fits(x) || throw(Resized()) # an index may be any Python object, and have run any code
    I = indices(x, Ptr{Int64}(axes), ndims(x))
    return item ? x[I...] : view(x, I...)
end

"`x[...] = value` in Python, where arrays broadcast as in NumPy."
function arrayset(@nospecialize(x::AbstractArray), axes::Int64, item::Bool, @nospecialize(value))
    isreadonly(memoryof(x)) && throwreadonly()
    value isa PyObject && !holdsobjects(x) && (value = unboxed(value))
    fits(x) || throw(Resized()) # an index or the value may be any Python object, and have run any code
    I = indices(x, Ptr{Int64}(axes), ndims(x))
    if value isa PyObject
        item ? (x[I...] = elementof(eltype(x), value)) : assign!(view(x, I...), value)
        return nothing
    end
    # None is what a missing element was in Python.
    value === nothing && !(Nothing <: eltype(x)) && Missing <: eltype(x) && (value = missing)
    if item
        value isa AbstractArray{<:Any,0} && !(value isa eltype(x)) && (value = value[])
        x[I...] = element(eltype(x), value)
    else
        assign!(view(x, I...), value)
    end
    return nothing
end

memoryof(x::PyStridedArray) = x
memoryof(x::AbstractArray) = isderived(x) ? memoryof(parent(x)) : x

"The layout of a Vector that was resized, or of a view of one, to a `bb_layout`; see csrc/juliaarray.c."
function arrayrefresh(@nospecialize(x::AbstractArray), place::Int64)
    fits(x) || throw(Resized())
    l = layout(x)
    writelayout!(Ptr{UInt8}(place), x, l, sizesof(x, l), memoryslot!(l))
    return nothing
end

# A Vector with room to spare is cut to its length before its memory is first exported. Up to Julia
# 1.10 sizehint! would do that later, and move the memory, even if the Vector must not be resized.
arraytrim(@nospecialize(x::AbstractArray)) = (sizehint!(layout(x).owner, 0); nothing)

"Why the memory of `x` can't be shared, for BufferError."
function whynotshared(@nospecialize(x::AbstractArray))
    l = layout(x)
    reason = l isa NotShared ? l.reason : "it can be; ask again"
    remedy = numpyview(x) === nothing ? "makes a copy" : "gives a view"
    return "the memory of this $(shortname(x)) can't be shared: $reason; numpy.asarray(x) $remedy"
end

shortname(x) = string(nameof(typeof(x)), "{", eltype(x), "}")

"An array that can be shared and is a copy of `x`, or its elements as a Vector of anything else."
function sharedcopy(x::AbstractArray)
    times = numpytimes(x)
    times === nothing || return times
    y = collect(x)
    return layout(y) isa NotShared ? nothing : y
end

"A Python list of the elements in column-major order."
elements(x::AbstractArray) = owned(pylist(x))
