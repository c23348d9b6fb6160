# The fields of records as arrays, and records as structs of the user's.

"Names, memory types and offsets (bytes) of the fields of a memory type that has fields; see describe."
fieldsof(::Type{Packed{names,Ss,offsets,size}}) where {names,Ss,offsets,size} =
    (names, Tuple(Ss.parameters), offsets)
fieldsof(::Type{R}) where {R<:PyRecord} = fieldsof(fieldtype(R, 1))
fieldsof(::Type{S}) where {S} =
    (fieldnames(S), fieldtypes(S), ntuple(i -> Int(fieldoffset(S, i)), fieldcount(S)))

"Whether the items have fields with names."
hasfields(::Type{S}) where {S} = S <: Packed ||
    !(S <: MemoryType) && isbitstype(S) && !isprimitivetype(S) && !(S <: Union{Tuple,FixedString,RawBytes})

"""
    column(a::AbstractArray, name::Symbol)

The field `name` of every element, as an array that shares the memory of `a`: writing to it sets that
field in place. `a` is an array of records from Python, for which `a.name` is the same, or an Array of
NamedTuples or other isbits structs.

Throws an ArgumentError where there is no such field.
"""
column(a::AbstractArray, name::Symbol) = column(a, Val(name))

@generated function fieldplace(::Type{S}, ::Val{name}) where {S,name}
    hasfields(S) || return :(throw(ArgumentError("elements of this array (" * string(valuetype(S)) * ") have no fields")))
    names, Ss, offsets = fieldsof(S)
    i = findfirst(isequal(name), collect(Any, names))
    i === nothing && return :(throw(ArgumentError("this array's records have no field " * $(repr(String(name))) *
                                                  ", but " * $(join(names, ", ", " and ")))))
    return :($(Ss[i]), $(Int(offsets[i])))
end

@inline function column(a::PyStridedArray{T,N,S}, name::Val) where {T,N,S}
    F, offset = fieldplace(S, name)
    return PyStridedArray{valuetype(F),N,F}(bytesof(flat(a)), getfield(a, :offset) * sizeof(eltype(flat(a))) + offset,
                                            bytestrides(a), size(a), isreadonly(a))
end
@inline function column(a::Union{Array{T,N},PyArray{T,N}}, name::Val) where {T,N}
    F, offset = fieldplace(T, name)
    return PyStridedArray{F,N,F}(bytesof(vec(data(a))), offset, densestrides(size(a), Base.elsize(data(a))), size(a), isreadonly(a))
end
@inline function column(a::PyBorrowedArray{T,N}, name::Val) where {T,N}
    F, offset = fieldplace(T, name)
    return PyStridedArray{F,N,F}(bytesof(flatitems(a)), offset, densestrides(size(a), sizeof(T)), size(a), isreadonly(a))
end
@inline function column(a::PyIndirectArray{T,N,S}, name::Val) where {T,N,S}
    F, offset = fieldplace(S, name)
    return PyIndirectArray{valuetype(F),N,F}(getfield(a, :owner), getfield(a, :ptr), getfield(a, :strides),
        getfield(a, :suboffsets), getfield(a, :offset) + offset, size(a), isreadonly(a))
end
column(a::PermutedDimsArray{T,N,perm}, name::Val) where {T,N,perm} = PermutedDimsArray(column(parent(a), name), perm)
column(a::SubArray, name::Val) = view(column(parent(a), name), parentindices(a)...)
column(a::Base.ReshapedArray, name::Val) = reshape(column(parent(a), name), size(a))
column(a::AbstractArray, ::Val) = throw(ArgumentError("a $(nameof(typeof(a))) has no columns that share its memory"))

data(x::Array) = x
# The same memory under one axis. (The Vector's own length may have gone.)
flatitems(a::PyBorrowedArray) = PyBorrowedArray(flat(a), (length(a),), isreadonly(a), loanof(a))
bytesof(v::DenseVector{UInt8}) = v
bytesof(v::AbstractVector) = reinterpret(UInt8, v)

# Only arrays of Python's memory have columns as properties: Array's properties are Julia's.
const PyRecords = Union{PyArray{<:Record},PyBorrowedArray{<:Record},PyStridedArray{<:Record},PyIndirectArray{<:Record}}

@inline Base.getproperty(a::PyRecords, name::Symbol) = column(a, Val(name))
# What `a.x .= ...` calls, where the compiler would not see the name.
@static if isdefined(Base, :dotgetproperty)
    @inline Base.dotgetproperty(a::PyRecords, name::Symbol) = column(a, Val(name))
end
Base.propertynames(a::PyRecords, private::Bool = false) = fieldsof(memorytype(a))[1]
Base.setproperty!(a::PyRecords, name::Symbol, x) = (column(a, Val(name)) .= x)

# ------------------------------------------------------------- user's structs

"""
    recordarray(T, a)

The memory of `a`, an array of records or a Python object that exports one, as an array of `T`s, the user's
own isbits struct: an `Array{T}` where `a` is an Array, otherwise a `PyArray` or `PyStridedArray`.

`T` must be laid out as the records are: the same names in the same order, and for each field the same
offset and a type that has the same format in Python (a nested struct for a nested record, an Enum for
its integer, `NTuple{N,T}` for a sub-array, `FixedString` for a string). Throws an ArgumentError that shows
both layouts where it is not.
"""
recordarray(::Type{T}, o::PyObject) where {T} = recordarray(T, PyArray(o))

function recordarray(::Type{T}, a::AbstractArray) where {T}
    S = memorytype(a)
    samelayout(T, S) || throw(ArgumentError(
        "$T is not laid out as these records are.\n\n" * sprint(showlayouts, T, S)))
    Base.elsize(Vector{T}) == sizeof(T) || throw(ArgumentError(
        "items of $T, of $(sizeof(T)) bytes, are $(Base.elsize(Vector{T})) bytes apart in Julia, and these are not"))
    return retyped(T, a)
end

function samelayout(@nospecialize(T), @nospecialize(S))
    T === S && return isbitstype(T)
    isbitstype(T) && memorysize(T) == memorysize(S) || return false
    d, e = describe(T, "T"), describe(S, "S")
    typeof(d) === typeof(e) || return false
    d isa Plain && return d.code == e.code
    d isa Items && return d.n == e.n && samelayout(d.S, e.S)
    d isa Fields || return false
    return d.names == e.names && d.offsets == e.offsets && all(((A, B),) -> samelayout(A, B), zip(d.Ss, e.Ss))
end

function showlayouts(io::IO, @nospecialize(T), @nospecialize(S))
    rows = Any[("", "offset", string(T), "offset", "the records")]
    (a, b) = map(X -> (d = isbitstype(X) || X <: MemoryType ? describe(X, "") : nothing; d isa Fields ? d : nothing), (T, S))
    a === nothing && return print(io, T, isbitstype(T) ? " has no fields" :
                                  " is no isbits struct: its values are references to Julia objects")
    b === nothing && return print(io, "The elements are no records but ", valuetype(S))
    cell(d, i) = i > length(d.names) ? ("", "") : (string(d.offsets[i]), string(d.names[i], "::", shownmemory(d.Ss[i])))
    for i in 1:max(length(a.names), length(b.names))
        same = i <= min(length(a.names), length(b.names)) && a.names[i] == b.names[i] &&
               a.offsets[i] == b.offsets[i] && samelayout(a.Ss[i], b.Ss[i])
        push!(rows, (same ? " " : ">", cell(a, i)..., cell(b, i)...))
    end
    push!(rows, ("", string(a.size), "bytes in all", string(b.size), "bytes in all"))
    widths = [maximum(length(r[k]) for r in rows) for k in 1:5]
    for r in rows
        println(io, rstrip(string("  ", rpad(r[1], 2), lpad(r[2], widths[2]), "  ", rpad(r[3], widths[3]), "   ",
                                  lpad(r[4], widths[4]), "  ", r[5])))
    end
end

shownmemory(@nospecialize(S)) = string(valuetype(S)) * (S <: Swapped ? " with swapped bytes" : "")

# The old array lives as long as the new one. The memory of a Vector of Julia's
# own may not be resized any more, as after an export.
function retyped(::Type{T}, a::Array{S,N}) where {T,S,N}
    N == 1 && forbidresizing!(a)
    b = isempty(a) ? Array{T,N}(undef, size(a)) : unsafe_wrap(Array, Ptr{T}(pointer(a)), size(a))
    keepwith!(memoryowner(b), (memoryowner(a), N == 1 ? memoryroot(a) : nothing))
    return b
end
retyped(::Type{T}, a::PyArray) where {T} = PyArray(retyped(T, data(a)), isreadonly(a))
# No second Vector over memory that is lent: the end of the block would not cut that one's length to 0.
retyped(::Type{T}, a::PyBorrowedArray{S,N}) where {T,S,N} =
    PyStridedArray{T,N,T}(bytesof(flatitems(a)), 0, densestrides(size(a), sizeof(T)), size(a), isreadonly(a))
retyped(::Type{T}, a::PermutedDimsArray{S,N,perm}) where {T,S,N,perm} = PermutedDimsArray(retyped(T, parent(a)), perm)
function retyped(::Type{T}, a::PyStridedArray{S,N}) where {T,S,N}
    unit = sizeof(eltype(flat(a)))
    return PyStridedArray{T,N,T}(bytesof(flat(a)), getfield(a, :offset) * unit, bytestrides(a), size(a), isreadonly(a))
end
retyped(::Type{T}, a::AbstractArray) where {T} = throw(ArgumentError(
    "recordarray takes an array of records from Python, or an Array; for a $(nameof(typeof(a))) take its parent"))
