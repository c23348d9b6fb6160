# Values and a mask that says which of them are missing, in two arrays: what NumPy's masked arrays, pandas' masked
# columns and Arrow's validity bits have in common. The two are shared, not copied, and looked at element by element.
#
# Julia's own Array{Union{T,Missing}} keeps its values in the same way, contiguous, with a byte for each after them. The
# values can be shared with Python (`values_` below), and the bytes can't: they have other meanings than a mask, and NumPy
# wants the mask in an array of its own.

"""
    MaskedArray{T,N} <: AbstractArray{Union{T,Missing},N}
    MaskedArray(data, mask; hard = false)

NumPy's masked array (`numpy.ma`) in Julia: the elements of `data`, and `missing` where `mask`, an array of Bool of the same axes, is true. Both are shared: `x.data` and
`x.mask` are the very arrays. To write `missing` sets the mask and leaves the data; to write anything else clears it. With
`hard` that is left undone where the mask is set, as in NumPy: only `x.mask` itself can be cleared then.

`similar(x)`, `copy(x)` and what broadcasting makes are `Array{Union{T,Missing},N}`.

Throws a DimensionMismatch where the axes differ, and an ArgumentError where elements of `data` may be missing themselves.
"""
struct MaskedArray{T,N,D<:AbstractArray{T,N},M<:AbstractArray{Bool,N}} <: AbstractArray{Union{T,Missing},N}
    data::D
    mask::M
    hard::Bool
    fill::Any                # NumPy's fill_value, a PyObject, or nothing; for the way back only

    function MaskedArray(data::D, mask::M, hard::Bool, fill) where {T,N,D<:AbstractArray{T,N},M<:AbstractArray{Bool,N}}
        axes(data) == axes(mask) || throw(DimensionMismatch(
            "a mask has the axes of its data: these have the sizes $(size(mask)) and $(size(data))"))
        Missing <: T && throw(ArgumentError("the data of a MaskedArray can't be missing themselves: these are of type $T"))
        return new{T,N,D,M}(data, mask, hard, fill)
    end
end
MaskedArray(data::AbstractArray{<:Any,N}, mask::AbstractArray{Bool,N}; hard::Bool = false) where {N} =
    MaskedArray(data, mask, hard, nothing)
MaskedArray(data::AbstractArray, mask::AbstractArray{Bool}; hard::Bool = false) = throw(DimensionMismatch(
    "a mask has the axes of its data: these have the sizes $(size(mask)) and $(size(data))"))

"A mask with nothing in it, as of a masked array that never had one (`numpy.ma.nomask`)."
struct Unmasked{N} <: AbstractArray{Bool,N}
    size::NTuple{N,Int}
end
Base.size(m::Unmasked) = m.size
Base.IndexStyle(::Type{<:Unmasked}) = IndexLinear()
@inline function Base.getindex(m::Unmasked, i::Int)
    @boundscheck checkbounds(m, i)
    return false
end
Base.setindex!(::Unmasked, v, ::Int) = v ? throw(ArgumentError(
    "this masked array has no mask that could be set: give it one before, in Python x.mask = False")) : false
Base.dataids(::Unmasked) = ()
Base.unaliascopy(m::Unmasked) = m

Base.size(x::MaskedArray) = size(x.data)
Base.axes(x::MaskedArray) = axes(x.data)
Base.IndexStyle(::Type{<:MaskedArray{T,N,D,M}}) where {T,N,D,M} = IndexStyle(IndexStyle(D), IndexStyle(M))
Base.dataids(x::MaskedArray) = (Base.dataids(x.data)..., Base.dataids(x.mask)...)
Base.unaliascopy(x::MaskedArray) =
    MaskedArray(Base.unaliascopy(x.data), Base.unaliascopy(x.mask), x.hard, x.fill)
isreadonly(x::MaskedArray) = isreadonly(memoryof(x.data))

# Each of the two checks the bounds: they may be Vectors, one of which was resized. Values that are plain memory are read whether they
# are missing or not, so that loops have no branch there.
Base.@propagate_inbounds function maskedget(x::MaskedArray{T}, I...) where {T}
    if isbitstype(T)
        ismasked = x.mask[I...]
        value = x.data[I...]
        return ismasked ? missing : value
    end
    return x.mask[I...] ? missing : x.data[I...]
end

Base.@propagate_inbounds function maskedset!(x::MaskedArray, ::Missing, I...)
    x.mask[I...] || (x.mask[I...] = true)
    return x
end
# Nothing is written before all that can fail has been tried.
Base.@propagate_inbounds function maskedset!(x::MaskedArray{T}, v, I...) where {T}
    value = convert(T, v)::T
    isreadonly(x) && throwreadonly()
    if x.mask[I...]
        x.hard && return x
        x.mask[I...] = false
    end
    x.data[I...] = value
    return x
end

# (The first is also there so that the other two are not ambiguous.)
for (x, i, parameters, I) in ((:(x::MaskedArray{T,1}), :(i::Int), (:T,), :i), (:(x::MaskedArray{T}), :(i::Int), (:T,), :i),
                              (:(x::MaskedArray{T,N}), :(I::Vararg{Int,N}), (:T, :N), :(I...)))
    @eval Base.@propagate_inbounds Base.getindex($x, $i) where {$(parameters...)} = maskedget(x, $I)
    @eval Base.@propagate_inbounds Base.setindex!($x, v, $i) where {$(parameters...)} = maskedset!(x, v, $I)
end

# ---------------------------------------------------------------- from and to Python

"What bufferbridge/_masked.py makes of NumPy's masked array."
maskedfrom(data::AbstractArray{<:Any,N}, mask::AbstractArray{Bool,N}, hard::Bool, fill) where {N} = MaskedArray(data, mask, hard, fill)
maskedfrom(data::AbstractArray, ::Nothing, hard::Bool, fill) = MaskedArray(data, Unmasked(size(data)), hard, fill)
maskedfrom(@nospecialize(data), @nospecialize(mask), hard::Bool, fill) = throw(ArgumentError(
    "a masked array's data and mask must be arrays of the same shape that Julia can share, and the mask's elements Bool; these are " *
    "a $(typeof(data)) and a $(typeof(mask)). Pass x.filled(), or x.data and x.mask"))

"numpy.ma.masked"
missingvalue() = missing

"""
    maskedparts(x) -> data, mask, hard, fill

What `numpy.ma.MaskedArray` is made of, for bufferbridge/_masked.py: `data` shares the memory of `x`; `mask` does if `x` is a
MaskedArray, or a view of one, and is a copy otherwise, or nothing if no element can be missing.
"""
function maskedparts(@nospecialize(x::AbstractArray))
    fits(x) || throw(Resized())
    Missing <: eltype(x) || return x, nothing, false, nothing
    root = memoryof(x)
    data = valuesof(x)
    root isa MaskedArray || return data, mapped(ismissing, x), false, nothing
    root.mask isa Unmasked && return data, nothing, root.hard, root.fill
    mask = maskof(x)
    return data, layout(mask) isa NotShared ? mapped(identity, mask) : mask, root.hard, root.fill
end

mapped(f, x) = Bool[f(v) for v in x]

maskof(x::MaskedArray) = x.mask
maskof(x::AbstractArray) = seenlike(x, maskof(parent(x)))

"The values of an array whose elements may be missing, where they lie; what lies under a missing one is anything."
valuesof(x::MaskedArray) = x.data
valuesof(x::AbstractArray) = isderived(x) ? seenlike(x, valuesof(parent(x))) : throw(ArgumentError(
    "the values of a $(shortname(x)) can't be shared: $(elementreason(eltype(x)))"))
# Julia's manual, "isbits Union Arrays": the values are stored contiguously, one for each element, as in an Array{T}.
function valuesof(x::Array)
    T = nonmissingtype(eltype(x))
    isbitstype(T) && Base.elsize(x) == sizeof(T) || throw(ArgumentError(
        "the values of a $(shortname(x)) can't be shared: $(elementreason(T)); numpy.asarray(x) makes a copy"))
    return retyped(T, x)
end

# The same view, of another array of the same axes.
seenlike(x::SubArray, a) = view(a, parentindices(x)...)
seenlike(x::PermutedDimsArray{T,N,perm}, a) where {T,N,perm} = PermutedDimsArray(a, perm)
seenlike(x::Base.ReshapedArray, a) = reshape(a, size(x))
seenlike(x::Transpose, a::AbstractVecOrMat{<:Number}) = transpose(a)
seenlike(x::Adjoint, a::AbstractVecOrMat{<:Real}) = transpose(a)
seenlike(x::AbstractArray, a) = throw(ArgumentError(
    "the values of this $(nameof(typeof(x))) of elements that may be missing can't be shared: those of copy(x) can"))

stridesof(::MaskedArray) =
    NotShared("its elements may be missing, which the buffer protocol can't say; bufferbridge.to_masked(x) shares data and mask")
