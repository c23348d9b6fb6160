# From a Python object to the Julia type that is asked for. Strict: `convert(T, o)` takes what is of that kind in Python,
# and nothing else; it goes by the types of the object, not by its methods. Lenient: `pyconvert(T, o)` does what Python's
# int(o), float(o), str(o), list(o), ... do.
#
# `fromobject` and `lenient` have the methods; those of `convert` lead to the first, for kinds of types, since one for all
# types would be ambiguous with half of Julia's own.

"""
    convert(T, o::PyObject)

The Julia value of a Python object, which has to be of `T`'s kind: an int is an Integer (and throws InexactError where it
does not fit), int and float are an AbstractFloat, a bool is a Bool and no number, a str is text or a Symbol, None is
`nothing`; a list or tuple is a Vector, Tuple or NamedTuple, a dict a Dict, NamedTuple or Pair-wise, a set a Set, each with
items that convert likewise; memory is an Array, the same memory if `T` fits it. Throws an error that becomes a TypeError
in Python for all else. (For a `Union` with `Nothing` use [`pyconvert`](@ref), which is as strict there.)
"""
function fromobject end

"What can be told from a Python object alone: its type's name."
pytypename(o::PyAny) = pygetattr(pygetattr(o, "__class__"), "__name__")

@noinline function refuse(@nospecialize(T), o::PyAny, more = "")
    hint = pyisnone(o) ? "; pyconvert(Union{Nothing,$T}, o) gives nothing" : ""
    throw(PyTypeError("a Python '$(pytypename(o))' can't be converted to $T$more$hint"))
end

naturalvalue(o::PyAny) = withgil(() -> GC.@preserve o unbox(pointerof(o)))

isnumber(@nospecialize(x)) = x isa Number && !(x isa Bool)
kindfits(::Type{<:Integer}, @nospecialize(x)) = x isa Integer && !(x isa Bool)
kindfits(::Type{Bool}, @nospecialize(x)) = x isa Bool
kindfits(::Type{<:AbstractFloat}, @nospecialize(x)) = x isa Real && !(x isa Bool)
kindfits(::Type{<:Number}, @nospecialize(x)) = isnumber(x)
kindfits(::Type{<:AbstractString}, @nospecialize(x)) = x isa AbstractString
kindfits(::Type{<:AbstractChar}, @nospecialize(x)) = x isa AbstractString && length(x) == 1
kindfits(::Type{Symbol}, @nospecialize(x)) = x isa AbstractString
kindfits(::Type{<:Union{Nothing,Missing}}, @nospecialize(x)) = x === nothing
kindfits(::Type, @nospecialize(x)) = false

fromkind(::Type{T}, x) where {T} = convert(T, x)
fromkind(::Type{<:AbstractChar}, x) = only(x)
fromkind(::Type{Symbol}, x) = Symbol(x)
fromkind(::Type{Missing}, x) = missing

# Everything that has no items.
function fromobject(::Type{T}, o::PyAny) where {T}
    T isa Union && return strictunion(T, o)
    x = naturalvalue(o)
    x isa T && return x
    kindfits(T, x) || refuse(T, o)
    return fromkind(T, x)
end
fromobject(::Type{Any}, o::PyAny) = naturalvalue(o)
fromobject(::Type{PyObject}, o::PyAny) = asobject(o)
fromobject(::Type{T}, o::PyAny) where {T<:Function} = strictfunction(T, o)
strictfunction(@nospecialize(T), o::PyAny) = (x = naturalvalue(o); x isa T ? x : x isa PyObject && PyFunction <: T && pycallable(x) ? PyFunction(x) : refuse(T, o))
pycallable(o::PyAny) = GC.@preserve o @api(callable(pointerof(o)::Ptr{Cvoid})::Cint) != 0

# The parts of a Union in turn; None first, which is what they are mostly made for.
function strictunion(@nospecialize(T), o::PyAny)
    x = naturalvalue(o)
    x isa T && return x
    for P in Base.uniontypes(T)
        try
            return fromobject(P, o)
        catch e
            e isa Union{PyTypeError,InexactError} || rethrow()
        end
    end
    refuse(T, o)
end

islist(o::PyAny) = GC.@preserve o @api(is_list(pointerof(o)::Ptr{Cvoid})::Int64) != 0
istuple(o::PyAny) = GC.@preserve o @api(is_tuple(pointerof(o)::Ptr{Cvoid})::Int64) != 0
isdict(o::PyAny) = pyisinstance(o, pybuiltin("dict"))
isset(o::PyAny) = pyisinstance(o, (pybuiltin("set"), pybuiltin("frozenset")))

"The items of an iterable as they are; `f` of each."
function eachitem(f, o::PyAny)
    iterator = pyiterator(o)
    while true
        next = nextitem(owned, iterator)
        next === nothing && return nothing
        f(something(next))
    end
end

# convert1 is what converts the items: strict, or lenient.
function vectorof(convert1, ::Type{T}, o::PyAny) where {T}
    v = T[]
    eachitem(x -> push!(v, convert1(T, x)), o)
    return v
end

function setof(convert1, ::Type{T}, o::PyAny) where {T}
    s = Set{T}()
    eachitem(x -> push!(s, convert1(T, x)), o)
    return s
end

function dictof(convert1, ::Type{K}, ::Type{V}, o::PyAny) where {K,V}
    d = Dict{K,V}()
    eachitem(x -> d[convert1(K, pygetitem(x, 0))] = convert1(V, pygetitem(x, 1)), callobject(pygetattr(o, "items"), ()))
    return d
end

function tupleof(convert1, ::Type{T}, o::PyAny) where {T<:Tuple}
    items = PyObject[]
    eachitem(x -> push!(items, x), o)
    isva = Base.isvatuple(T)
    n = length(T.parameters)
    (isva ? length(items) >= n - 1 : length(items) == n) ||
        refuse(T, o, ": it has $(length(items)) items")
    at(i) = isva && i >= n ? Base.unwrapva(T.parameters[n]) : fieldtype(T, i)
    return T === Tuple ? Tuple(map(naturalvaluevalue, items)) : Tuple(convert1(at(i), x) for (i, x) in enumerate(items))
end

function namedtupleof(convert1, ::Type{NamedTuple{names,T}}, o::PyAny) where {names,T}
    items = isdict(o) ? map(n -> callobject(pygetattr(o, "__getitem__"), (String(n),)), names) :
            hasproperty(o, :_fields) ? map(n -> pygetattr(o, n), names) : Tuple(vectorof(fromobject, PyObject, o))
    length(o) == length(names) == length(items) || refuse(NamedTuple{names,T}, o, ": it has $(length(o)) items")
    return NamedTuple{names,T}(Tuple(convert1(fieldtype(T, i), x) for (i, x) in enumerate(items)))
end

# Arrays: memory as it is shared if the type fits, copied if the elements have to be converted; lists and tuples.
function fromobject(::Type{T}, o::PyAny) where {T<:AbstractArray}
    x = (islist(o) || istuple(o)) && T !== AbstractArray && elementtype(T) !== nothing ?
        vectorof(fromobject, elementtype(T), o) : naturalvalue(o)
    x isa T && return x
    x isa AbstractArray || refuse(T, o)
    return convert(T, x)
end

# The element type that a type of arrays asks for; nothing if it asks for none.
elementtype(::Type{<:AbstractArray{T}}) where {T} = T
elementtype(::Type{<:AbstractArray}) = nothing

fromobject(::Type{T}, o::PyAny) where {T<:Tuple} = istuple(o) || islist(o) ? tupleof(fromobject, T, o) : strictother(T, o)
fromobject(::Type{NamedTuple{names,T}}, o::PyAny) where {names,T} =
    istuple(o) || isdict(o) ? namedtupleof(fromobject, NamedTuple{names,T}, o) : strictother(NamedTuple{names,T}, o)
fromobject(::Type{Dict{K,V}}, o::PyAny) where {K,V} = isdict(o) ? dictof(fromobject, K, V, o) : strictother(Dict{K,V}, o)
fromobject(::Type{Set{T}}, o::PyAny) where {T} = isset(o) ? setof(fromobject, T, o) : strictother(Set{T}, o)

# What was a Julia object in Python.
function strictother(@nospecialize(T), o::PyAny)
    x = naturalvalue(o)
    return x isa T ? x : refuse(T, o)
end

for T in (Number, AbstractString, AbstractChar, Symbol, AbstractArray, NamedTuple, AbstractDict, AbstractSet)
    @eval Base.convert(::Type{T}, o::PyObject) where {T<:$T} = fromobject(T, o)
end
Base.convert(::Type{T}, o::PyObject) where {T<:Tuple} = fromobject(T, o)
Base.convert(::Type{T}, o::PyObject) where {T<:Function} = fromobject(T, o)
# There is none for Nothing and what has it in it: so much of Julia's own code converts to that, that each process would compile
# it anew, for half a second. `pyconvert` does it.

"""
    pyconvert(T, o)

The Julia value of a Python object, by Python's own conversions: `int(o)` for an Integer, `float(o)`, `complex(o)`, `str(o)` for
text, truth for Bool, the items of any iterable for a Vector, Set or Tuple, `dict(o)` for a Dict. The items are
converted likewise. For other types it is what `convert` does. Throws what Python throws.
"""
pyconvert(::Type{T}, o::PyAny) where {T} = lenient(T, o)::T
pyconvert(::Type{T}, x) where {T} = x isa T ? x : pyconvert(T, PyObject(x))

byclass(name, o) = callobject(asobject(pybuiltin(name)), (o,))
lenient(::Type{Bool}, o::PyAny) = pytruth(o)
lenient(::Type{T}, o::PyAny) where {T<:Integer} = fromobject(T, byclass("int", o))
lenient(::Type{T}, o::PyAny) where {T<:AbstractFloat} = fromobject(T, byclass("float", o))
lenient(::Type{T}, o::PyAny) where {T<:Complex} = fromobject(T, byclass("complex", o))
lenient(::Type{T}, o::PyAny) where {T<:Union{AbstractString,Symbol,AbstractChar}} = fromobject(T, byclass("str", o))
lenient(::Type{Any}, o::PyAny) = naturalvalue(o)
lenient(::Type{Vector{T}}, o::PyAny) where {T} = (x = naturalvalue(o); x isa Vector{T} ? x : vectorof(lenient, T, o))
lenient(::Type{Set{T}}, o::PyAny) where {T} = setof(lenient, T, o)
lenient(::Type{Dict{K,V}}, o::PyAny) where {K,V} = dictof(lenient, K, V, byclass("dict", o))
lenient(::Type{T}, o::PyAny) where {T<:Tuple} = tupleof(lenient, T, o)
lenient(::Type{NamedTuple{names,T}}, o::PyAny) where {names,T} = namedtupleof(lenient, NamedTuple{names,T}, o)
lenient(::Type{Vector}, o::PyAny) = narrow(vectorof(lenient, Any, o))
lenient(::Type{Set}, o::PyAny) = Set(lenient(Vector, o))
lenient(::Type{Dict}, o::PyAny) = Dict(dictof(lenient, Any, Any, byclass("dict", o)))
lenient(::Type{T}, o::PyAny) where {T} = fromobject(T, o)
