# NumPy's description of memory that no format describes: records whose fields overlap or are out of order,
# long doubles with swapped bytes. bufferbridge/_numpy.py makes dtypes of it.

"""
    numpyview(x)

What NumPy needs for a view of memory that no format describes (overlapping fields and the like):
(description of the dtype, address, read-only, shape, strides), or nothing if the memory can't be shared.

The JuliaArray of `x`, which bufferbridge/_numpy.py keeps beside the address, keeps the memory. It can't be
resized: only Python's memory, and what `similar` made like it, has items of a `MemoryType`.

Of periods, and of Julia types with times of NumPy's in them, it is (description of the dtype, an array of the same memory as numbers
or bytes), which is exported as any other array is.
"""
function numpyview(@nospecialize(x::AbstractArray))
    fits(x) || return nothing
    l = stridesof(x)
    l isa NotShared && return nothing
    S = memorytype(l)
    if S <: MemoryType
        return hasobjects(S) ? nothing : (dtype(S), Int(l.ptr), l.readonly, l.size, l.strides)
    end
    S <: UnitPeriod && return (dtype(timetype(S)), reinterpret(Int64, x))
    isbitstype(S) && hastimes(S) && formatof(S) isa NotShared || return nothing
    return (dtype(S), reinterpret(S <: Time64 ? Int64 : RawBytes{sizeof(S)}, x))
end

"Whether there are times of NumPy's in the items."
hastimes(@nospecialize(S)) = S <: Time64 || !isprimitivetype(S) && any(hastimes, unique(fieldtypes(S)))

# A dtype: a typestr, (dtype, shape), or (names, dtypes, offsets, itemsize).
dtype(@nospecialize(S)) = dtype(describe(S, "its elements"), S)
dtype(d::Union{Plain,Swap}, S) =
    S <: ObjectReference ? "O" : typestr(valuetype(S), d isa Swap ? SWAPPED_MARK : NATIVE_IS_LITTLE ? '<' : '>')
function dtype(d::Items, S)
    shape, inner = subarray(d, "its elements")
    return (dtype(inner), Tuple(shape))
end
dtype(d::Fields, S) = (Tuple(d.names), Tuple(Any[dtype(T) for T in d.Ss]), Tuple(d.offsets), d.size)

typestr(::Type{FixedString{'s',N,U}}, order) where {N,U} = "S$N"
typestr(::Type{FixedString{'w',N,U}}, order) where {N,U} = "$(order)U$N"
typestr(::Type{Bool}, order) = "?"
typestr(::Type{T}, order) where {T<:Time64} = string(order, T <: DateTime64 ? "M8" : "m8", unitof(T) === :generic ? "" : "[$(unittext(unitof(T)))]")
typestr(::Type{T}, order) where {T} = (kind = T <: Enum ? typekind(Base.Enums.basetype(T)) : typekind(T);
    kind == 'V' ? "V$(sizeof(T))" : "$order$kind$(sizeof(T))")
typekind(::Type) = 'V'
typekind(::Type{<:Union{Int8,Int16,Int32,Int64}}) = 'i'
typekind(::Type{<:Union{UInt8,UInt16,UInt32,UInt64,Ptr}}) = 'u'
typekind(::Type{<:Union{SmallFloat,LongDouble}}) = 'f'
typekind(::Type{<:Complex{<:Union{Float32,Float64,LongDouble}}}) = 'c'
