# Assignment from Python: what a value becomes as an element, and arrays that broadcast as in NumPy. Nothing
# is written before everything is converted, so that a bad value leaves memory as it was.

# What Python assigns to an element, where convert does not do it: records from tuples, field by field, and
# tuples (sub-arrays) from lists and arrays.
element(::Type{T}, value) where {T} =
    value isa Tuple && !(value isa T) && isbitstype(T) && hasfields(T) ?
    T(map(element, fieldtypes(T), value)...) : value # the user's structs, by their constructors

function element(::Type{T}, value::Union{Tuple,NamedTuple,PyRecord}) where {T<:Record}
    names = fieldnames(recordfields(T))
    length(value) == length(names) || throw(ArgumentError(
        "a record of this array has $(length(names)) fields ($(join(names, ", "))), not $(length(value))"))
    value isa Tuple || keys(value) == names || throw(ArgumentError(
        "a record of this array has the fields $(join(names, ", ")), not $(join(keys(value), ", "))"))
    return T(map(element, fieldtypes(recordfields(T)), Tuple(value)))
end
element(::Type{T}, value) where {T<:Record} = value isa T ? value : throw(PyTypeError(
    "a record of this array is assigned from a tuple of $(fieldcount(recordfields(T))) values, not from a $(typeof(value))"))
recordfields(::Type{NT}) where {NT<:NamedTuple} = NT
recordfields(::Type{PyRecord{names,T}}) where {names,T} = NamedTuple{names,T}

function element(::Type{T}, value::Union{Tuple,AbstractArray}) where {T<:Tuple}
    # Sub-arrays are row-major: an array's first axis is the outer tuple.
    items = value isa AbstractArray && ndims(value) > 1 ?
        [view(value, i, ntuple(_ -> Colon(), ndims(value) - 1)...) for i in axes(value, 1)] : value
    length(items) == fieldcount(T) || throw(DimensionMismatch(
        "a sub-array of this array has $(fieldcount(T)) items, not $(length(items))"))
    return convert(T, Tuple(element(fieldtype(T, i), v) for (i, v) in enumerate(items)))
end

element(::Type{T}, value::Integer) where {T<:Enum} = T(value)

assign!(x::AbstractArray, @nospecialize(value)) = fill!(x, element(eltype(x), value))

# Where there are references to Python objects in memory, C gives the object that is assigned as it is, so that
# what becomes an element is that very object and not what it would be in Julia.
elementof(::Type{PyObject}, o::PyObject) = o
elementof(::Type{T}, o::PyObject) where {T} = element(T, unboxed(o))
elementof(::Type{T}, o::PyObject) where {T<:Record} = pychecks(o, API.is_tuple) ?
    element(T, Tuple(objectfields(o, fieldtypes(recordfields(T))))) : element(T, unboxed(o))
elementof(::Type{T}, o::PyObject) where {T<:Tuple} = pychecks(o, API.is_tuple) || pychecks(o, API.is_list) ?
    element(T, Tuple(objectfields(o, fieldtypes(T)))) : element(T, unboxed(o))

function unboxed(o::PyObject)
    value = GC.@preserve o unbox(pointerof(o))
    return value isa AbstractArray{<:Any,0} ? value[] : value
end
pychecks(o::PyObject, f) = GC.@preserve o ccall(f, Int64, (Ptr{Cvoid},), pointerof(o)) != 0
pylength(o::PyObject) = GC.@preserve o @api length(pointerof(o)::Ptr{Cvoid})::Int64
pyitem(o::PyObject, i) = GC.@preserve o owned(@api object_item(pointerof(o)::Ptr{Cvoid}, (i - 1)::Int64)::Ptr{Cvoid})

# Fields too few or too many are left for `element` to refuse.
objectfields(o::PyObject, types) = Any[i <= length(types) ? elementof(types[i], pyitem(o, i)) : nothing for i in 1:pylength(o)]

function assign!(x::AbstractArray, o::PyObject)
    T = eltype(x)
    if pychecks(o, API.is_list) || pychecks(o, API.is_tuple) && !(T <: Union{Record,Tuple})
        assign!(x, T[elementof(T, pyitem(o, i)) for i in 1:pylength(o)])
    else
        value = T <: Record && pychecks(o, API.is_tuple) ? o : unboxed(o)
        value isa AbstractArray ? assign!(x, value) : fill!(x, elementof(T, o))
    end
    return nothing
end

# NumPy's axes of sub-arrays, the last ones, are the tuples' here.
function assignsubarrays!(x::AbstractArray{T}, value::AbstractArray) where {T<:Tuple}
    k = ndims(value) - tupledepth(T)
    k >= 0 || throw(DimensionMismatch("a sub-array of this array has $(tupledepth(T)) axes, not $(ndims(value))"))
    rest = ntuple(_ -> Colon(), tupledepth(T))
    items = [element(T, view(value, Tuple(I)..., rest...)) for I in CartesianIndices(size(value)[1:k])]
    k == 0 ? fill!(x, items[]) : assign!(x, items)
    return nothing
end
tupledepth(::Type) = 0
tupledepth(::Type{T}) where {T<:Tuple} = fieldcount(T) == 0 ? 1 : 1 + tupledepth(fieldtype(T, 1))

# Text is one element, and so are the bytes of one.
assign!(x::AbstractArray{<:Union{FixedString,RawBytes}}, value::AbstractVector{UInt8}) = fill!(x, convert(eltype(x), value))

function assign!(x::AbstractArray{T,N}, value::AbstractArray) where {T,N}
    T <: Tuple && !(Tuple <: eltype(value)) && !(eltype(value) <: Union{Tuple,AbstractArray}) &&
        return assignsubarrays!(x, value)
    # NumPy aligns shapes at the last axis, Julia at the first one.
    extra = ndims(value) - N
    sizes = extra >= 0 ? size(value)[extra+1:end] : (ntuple(_ -> 1, -extra)..., size(value)...)
    all(isequal(1), size(value)[1:max(extra, 0)]) && all((sizes .== 1) .| (sizes .== size(x))) ||
        throw(DimensionMismatch(
            "could not broadcast an array of shape $(size(value)) into shape $(size(x))"))
    source = extra == 0 ? value : reshape(value, sizes)
    if convertible(eltype(source), eltype(x))
        x .= overlap(x, source) ? copy(source) : source
    else # first all, so that nothing is written if one can't be converted
        x .= [convert(T, element(T, v)) for v in source]
    end
    return nothing
end

# Whether every value of the one type converts to the other.
convertible(::Type{S}, ::Type{T}) where {S,T} = S <: T || S <: Real && T <: AbstractFloat

# Python may hand us two arrays of the same memory that Julia believes to be unrelated.
function overlap(a::AbstractArray, b::AbstractArray)
    la, lb = layout(a), layout(b)
    (la isa NotShared || lb isa NotShared) && return true
    loa, hia = extent(la)
    lob, hib = extent(lb)
    return loa < hib && lob < hia
end

function extent(l::Layout)
    low, high = reach(l.size, l.strides)
    return Int(l.ptr) + low, Int(l.ptr) + high + memorysize(memorytype(l))
end
