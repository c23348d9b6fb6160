# Records: the value of an element whose memory is laid out otherwise than Julia would do it. What lies in
# memory is memory.jl's concern; here are only names and values.

"""
    PyRecord{names,T<:Tuple}

A record with named fields, as a NamedTuple is. It is the element type of record arrays whose layout is not
that of a Julia struct: packed, padded, with explicit offsets, overlapping fields or swapped bytes.

`r.x`, `r[:x]` and `r[1]` read a field, `keys`, `values`, `pairs`, `length`, iteration, `==`, `hash` and
ordering are those of the NamedTuple with the same fields, and `NamedTuple(r)` is that. A record is a value:
it is changed through its array, field by field (`a.x[i] = v`) or as a whole (`a[i] = r`).

    PyRecord(nt::NamedTuple)
"""
struct PyRecord{names,T<:Tuple}
    fields::NamedTuple{names,T}
end

fields(r::PyRecord) = getfield(r, :fields)
fields(nt::NamedTuple) = nt

PyRecord{names,T}(values::Tuple) where {names,T<:Tuple} = PyRecord{names,T}(NamedTuple{names,T}(values))
PyRecord{names,T}(r::PyRecord{names}) where {names,T<:Tuple} = PyRecord{names,T}(fields(r))

Base.NamedTuple(r::PyRecord) = fields(r)
Base.convert(::Type{NamedTuple}, r::PyRecord) = fields(r)
Base.convert(::Type{NT}, r::PyRecord{names}) where {names,NT<:NamedTuple{names}} = convert(NT, fields(r))
Base.convert(::Type{R}, r::R) where {R<:PyRecord} = r
Base.convert(::Type{PyRecord{names,T}}, r::PyRecord{names}) where {names,T<:Tuple} = PyRecord{names,T}(r)
Base.convert(::Type{PyRecord{names,T}}, nt::NamedTuple{names}) where {names,T<:Tuple} = PyRecord{names,T}(nt)
Base.Tuple(r::PyRecord) = Tuple(fields(r))

@inline Base.getproperty(r::PyRecord, name::Symbol) = getfield(fields(r), name)
Base.propertynames(::PyRecord{names}, private::Bool = false) where {names} = names
Base.setproperty!(::PyRecord, name::Symbol, x) = throw(ArgumentError(
    "a record is a value and can't be changed; set the field through its array: a.$name[i] = value"))

Base.getindex(r::PyRecord, key::Union{Integer,Symbol}) = fields(r)[key]
Base.keys(::PyRecord{names}) where {names} = names
Base.values(r::PyRecord) = values(fields(r))
Base.pairs(r::PyRecord) = pairs(fields(r))
Base.haskey(r::PyRecord, key) = haskey(fields(r), key)
Base.get(r::PyRecord, key::Union{Integer,Symbol}, default) = get(fields(r), key, default)
Base.length(r::PyRecord) = length(fields(r))
Base.iterate(r::PyRecord, state...) = iterate(fields(r), state...)
Base.firstindex(::PyRecord) = 1
Base.lastindex(r::PyRecord) = length(r)
Base.merge(r::PyRecord, others::Union{NamedTuple,PyRecord}...) = merge(fields(r), map(fields, others)...)

for f in (:(==), :isequal, :isless)
    @eval Base.$f(a::PyRecord, b::PyRecord) = $f(fields(a), fields(b))
    @eval Base.$f(a::PyRecord, b::NamedTuple) = $f(fields(a), b)
    @eval Base.$f(a::NamedTuple, b::PyRecord) = $f(a, fields(b))
end
Base.hash(r::PyRecord, h::UInt) = hash(fields(r), h)

Base.show(io::IO, r::PyRecord) = print(io, "PyRecord", isempty(keys(r)) ? "()" : fields(r))

# Arrays of these have columns.
const Record = Union{NamedTuple,PyRecord}
