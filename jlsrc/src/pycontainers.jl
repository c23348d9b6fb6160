# Python's lists, dicts and sets as Julia's, by request: the object itself, of which nothing is copied. Each operation
# is one on the Python object, and it goes back to Python as that object.

"""
    PyList(o)
    PyList{T}(o)

A Python list, or another mutable sequence, as an `AbstractVector` that shares it: `push!` and assignments are seen in
Python at once. Indices count from one, as those of all vectors. Items are converted as results of calls are, or
strictly to `T`, as `convert` does. Of a Julia vector (or of nothing) it makes a new list.

Throws what is a TypeError in Python if `o` is no sequence, and a BoundsError for an index that is not there.
"""
struct PyList{T} <: AbstractVector{T}
    object::PyObject
    PyList{T}(o::PyAny) where {T} = new{T}(having(o, :__getitem__, "a sequence"))
end
PyList{T}(xs = ()) where {T} = PyList{T}(newcontainer(xs, 0))
PyList(xs = ()) = PyList{Any}(xs)

"""
    PyDict(o)
    PyDict{K,V}(o)

A Python dict, or another mutable mapping, as an `AbstractDict` that shares it. Keys and values are converted as results of
calls are, or strictly to `K` and `V`, as `convert` does. Of a Julia dictionary (or of nothing) it makes a new dict.

Throws what is a TypeError in Python if `o` is no mapping, and a KeyError for a key that is not there.
"""
struct PyDict{K,V} <: AbstractDict{K,V}
    object::PyObject
    PyDict{K,V}(o::PyAny) where {K,V} = new{K,V}(having(o, :keys, "a mapping"))
end
PyDict{K,V}(xs = ()) where {K,V} = PyDict{K,V}(newcontainer(xs, 2))
PyDict(xs = ()) = PyDict{Any,Any}(xs)

"""
    PySet(o)
    PySet{T}(o)

A Python set as an `AbstractSet` that shares it, with items as those of a [`PyList`](@ref). Of a Julia set or vector (or of
nothing) it makes a new set. Throws what is a TypeError in Python if `o` is no set.
"""
struct PySet{T} <: AbstractSet{T}
    object::PyObject
    PySet{T}(o::PyAny) where {T} = new{T}(having(o, :isdisjoint, "a set"))
end
PySet{T}(xs = ()) where {T} = PySet{T}(newcontainer(xs, 3))
PySet(xs = ()) = PySet{Any}(xs)

const PyContainer = Union{PyList,PyDict,PySet}

function having(o::PyAny, attribute::Symbol, what)
    hasproperty(o, attribute) || throw(PyTypeError("a Python '$(pytypename(o))' is not $what"))
    return asobject(o)
end

# A new Python container with the items of a Julia one; kind as `container` in csrc/operations.c has it.
newcontainer(x::PyContainer, kind) = x.object
newcontainer(xs, kind) = withgil() do
    list = pylist(xs isa AbstractDict ? [Tuple(p) for p in xs] : collect(xs))
    try
        owned(@api container(list::Ptr{Cvoid}, kind::Int64)::Ptr{Cvoid})
    finally
        @api decref(list::Ptr{Cvoid})::Cvoid
    end
end

topython(x::PyList) = topython(x.object)
topython(x::PyDict) = topython(x.object)
topython(x::PySet) = topython(x.object)
Base.convert(::Type{PyObject}, x::PyContainer) = x.object

Base.length(x::PyContainer) = length(x.object)
Base.isempty(x::PyContainer) = length(x) == 0
Base.empty!(x::PyContainer) = (x.object.clear(); x)

# The item of a type, from a new reference.
itemas(::Type{Any}, p::Ptr{Cvoid}) = fromnew(p)
itemas(::Type{T}, p::Ptr{Cvoid}) where {T} = fromobject(T, owned(p))::T

iterateas(f, iterator) = (next = nextitem(f, iterator); next === nothing ? nothing : (something(next), iterator))

# ------------------------------------------------------------------ lists

Base.size(x::PyList) = (length(x),)
Base.IndexStyle(::Type{<:PyList}) = IndexLinear()

@inline function Base.getindex(x::PyList{T}, i::Int) where {T}
    checkbounds(x, i)
    return withgil(() -> itemas(T, item(x.object, i - 1)))
end

@inline function Base.setindex!(x::PyList{T}, v, i::Int) where {T}
    checkbounds(x, i)
    x.object[i-1] = convert(T, v)
    return x
end

Base.iterate(x::PyList{T}, iterator::PyObject = pyiterator(x.object)) where {T} = iterateas(p -> itemas(T, p), iterator)

Base.push!(x::PyList{T}, vs...) where {T} = (foreach(v -> x.object.append(convert(T, v)), vs); x)
Base.append!(x::PyList, vs) = (push!(x, vs...); x)
Base.append!(x::PyList, vs::AbstractVector) = (foreach(v -> push!(x, v), vs === x ? collect(x) : vs); x)
Base.pushfirst!(x::PyList, vs...) = (foreach(v -> insert!(x, 1, v), reverse(vs)); x)

function Base.insert!(x::PyList{T}, i::Integer, v) where {T}
    1 <= i <= length(x) + 1 || throw(BoundsError(x, i))
    x.object.insert(i - 1, convert(T, v))
    return x
end

function Base.deleteat!(x::PyList, i::Integer)
    checkbounds(x, i)
    delete!(x.object, i - 1)
    return x
end
Base.deleteat!(x::PyList, is) = (foreach(i -> deleteat!(x, i), reverse(collect(is))); x)

popat(x::PyList{T}, i) where {T} = fromobject(T, callobject(pygetattr(x.object, :pop), (i - 1,)))::T
Base.pop!(x::PyList) = (isempty(x) && throw(ArgumentError("the list must be non-empty")); popat(x, length(x)))
Base.popfirst!(x::PyList) = (isempty(x) && throw(ArgumentError("the list must be non-empty")); popat(x, 1))
Base.splice!(x::PyList, i::Integer) = (checkbounds(x, i); popat(x, i))

# ------------------------------------------------------------------ dicts

function found(x::PyDict{K,V}, key) where {K,V}
    withgil() do
        p = lookup(x.object, convert(K, key))
        p == C_NULL ? nothing : Some(itemas(V, p))
    end
end

function Base.getindex(x::PyDict, key)
    v = found(x, key)
    v === nothing && throw(KeyError(key))
    return something(v)
end
Base.get(x::PyDict, key, default) = (v = found(x, key); v === nothing ? default : something(v))
Base.get(f::Union{Function,Type}, x::PyDict, key) = (v = found(x, key); v === nothing ? f() : something(v))
Base.get!(x::PyDict, key, default) = get!(() -> default, x, key)
function Base.get!(f::Union{Function,Type}, x::PyDict, key)
    v = found(x, key)
    v === nothing || return something(v)
    x[key] = f()
    return x[key]
end
Base.haskey(x::PyDict{K}, key) where {K} = pycontains(x.object, key)
Base.in(key, ks::Base.KeySet{<:Any,<:PyDict}) = haskey(ks.dict, key)
Base.setindex!(x::PyDict{K,V}, v, key) where {K,V} = (x.object[convert(K, key)] = convert(V, v); x)
Base.delete!(x::PyDict, key) = (haskey(x, key) && delete!(x.object, key); x)
Base.pop!(x::PyDict, key) = (v = x[key]; delete!(x, key); v)
Base.pop!(x::PyDict, key, default) = haskey(x, key) ? pop!(x, key) : default

function Base.iterate(x::PyDict{K,V}, iterator::PyObject = pyiterator(pycall(pygetattr(x.object, :items), PyObject))) where {K,V}
    return iterateas(iterator) do p
        pair = owned(p)
        withgil(() -> Pair{K,V}(itemas(K, item(pair, 0)), itemas(V, item(pair, 1))))
    end
end

# ------------------------------------------------------------------- sets

Base.in(v, x::PySet) = pycontains(x.object, v)
Base.push!(x::PySet{T}, v) where {T} = (x.object.add(convert(T, v)); x)
Base.delete!(x::PySet, v) = (x.object.discard(v); x)
Base.pop!(x::PySet, v) = v in x ? (delete!(x, v); v) : throw(KeyError(v))
Base.pop!(x::PySet, v, default) = v in x ? pop!(x, v) : default
function Base.pop!(x::PySet{T}) where {T}
    isempty(x) && throw(ArgumentError("the set must be non-empty"))
    return fromobject(T, callobject(pygetattr(x.object, :pop), ()))::T
end
Base.iterate(x::PySet{T}, iterator::PyObject = pyiterator(x.object)) where {T} = iterateas(p -> itemas(T, p), iterator)
Base.show(io::IO, x::PySet) = print(io, "PySet(", pytext(x.object, 0), ")")
# Sets that Julia makes of it (union, filter, ...) are its own.
Base.empty(::PySet, ::Type{T} = Any) where {T} = Set{T}()
Base.copy(x::PySet{T}) where {T} = Set{T}(x)
Base.empty(::PyDict, ::Type{K}, ::Type{V}) where {K,V} = Dict{K,V}()
Base.copy(x::PyDict{K,V}) where {K,V} = Dict{K,V}(x)
