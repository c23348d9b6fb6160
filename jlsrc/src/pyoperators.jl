# Python's items, iteration, comparison and operators, for Python objects in Julia code. What Python says is what
# counts: indices count from zero, `%` has the sign of the divisor, `/` of ints is a float. Results are converted.

# Runs `f(p, q, ...)` with references to the Python objects of Julia values, and lets go of them.
withobjects(f) = f()
function withobjects(f, @nospecialize(x), @nospecialize(others...))
    p = topython(x)::Ptr{Cvoid}
    try
        return withobjects((q...) -> f(p, q...), others...)
    finally
        @api decref(p::Ptr{Cvoid})::Cvoid
    end
end

succeeded(status::Cint) = status < 0 ? throwpython() : status

# ----------------------------------------------------------------- items

# `o[:, "name"]` is Python's `o[:, "name"]`.
itemkey(k) = k
itemkey(::Colon) = pybuiltin("slice")(nothing)
itemkey(k, others...) = (itemkey(k), map(itemkey, others)...)

item(o::PyAny, @nospecialize(key)) = withobjects(key) do k
    GC.@preserve o @api getitem(pointerof(o)::Ptr{Cvoid}, k::Ptr{Cvoid})::Ptr{Cvoid}
end

Base.getindex(o::PyAny, key, keys...) = withgil(() -> fromnew(item(o, itemkey(key, keys...))))

"""
    pygetitem(o, key...) -> PyObject

The item of a Python object as it is; `o[key]` converts it. Keys are Python's: indices count from zero. Throws what Python
raises, a KeyError or IndexError.
"""
pygetitem(o::PyAny, key, keys...) = withgil(() -> owned(item(o, itemkey(key, keys...))))

function Base.setindex!(o::PyAny, @nospecialize(x), key, keys...)
    k = itemkey(key, keys...)
    withgil() do
        withobjects(k, x) do k, x
            succeeded(GC.@preserve o @api setitem(pointerof(o)::Ptr{Cvoid}, k::Ptr{Cvoid}, x::Ptr{Cvoid})::Cint)
        end
    end
    return o
end

function Base.delete!(o::PyAny, key)
    withgil() do
        withobjects(itemkey(key)) do k
            succeeded(GC.@preserve o @api delitem(pointerof(o)::Ptr{Cvoid}, k::Ptr{Cvoid})::Cint)
        end
    end
    return o
end

pycontains(o::PyAny, @nospecialize(x)) = withgil() do
    withobjects(x) do x
        succeeded(GC.@preserve o @api contains(pointerof(o)::Ptr{Cvoid}, x::Ptr{Cvoid})::Cint) == 1
    end
end

Base.in(x, o::PyObject) = pycontains(o, x)
Base.haskey(o::PyObject, key) = pycontains(o, key)

# The item of a key as a new reference; C_NULL if there is none.
lookup(o::PyAny, @nospecialize(key)) = withobjects(key) do k
    p = GC.@preserve o @api lookup(pointerof(o)::Ptr{Cvoid}, k::Ptr{Cvoid})::Ptr{Cvoid}
    p == C_NULL && checkpython()
    return p
end

# Some functions of C return NULL without an exception for "there is none".
function checkpython()
    p = @api fetch()::Ptr{Cvoid}
    p == C_NULL || throwfetched(p)
    return nothing
end

Base.get(o::PyObject, key, default) = withgil() do
    p = lookup(o, key)
    p == C_NULL ? default : fromnew(p)
end

Base.length(o::PyObject) = withgil() do
    n = GC.@preserve o @api length(pointerof(o)::Ptr{Cvoid})::Int64
    n < 0 ? throwpython() : Int(n)
end
Base.isempty(o::PyObject) = hasproperty(o, :__len__) ? length(o) == 0 : iterate(o) === nothing
Base.firstindex(::PyObject) = 0
Base.lastindex(o::PyObject) = length(o) - 1

# ------------------------------------------------------------- iteration

"A Python iterator over the items of an object."
pyiterator(o::PyAny) = withgil(() -> owned(GC.@preserve o @api iter(pointerof(o)::Ptr{Cvoid})::Ptr{Cvoid}))

# `convert(p)` of the next item's new reference, as a `Some`; nothing at the end.
function nextitem(convert, iterator::PyObject)
    withgil() do
        p = GC.@preserve iterator @api next(pointerof(iterator)::Ptr{Cvoid})::Ptr{Cvoid}
        p == C_NULL || return Some(convert(p))
        checkpython()
        return nothing
    end
end

Base.IteratorSize(::Type{PyObject}) = Base.SizeUnknown()
Base.IteratorEltype(::Type{PyObject}) = Base.EltypeUnknown()

# A class that is iterable (an Enum) arrives as a PyFunction.
function Base.iterate(o::PyAny, iterator::PyObject = pyiterator(o))
    next = nextitem(fromnew, iterator)
    return next === nothing ? nothing : (something(next), iterator)
end
Base.IteratorSize(::Type{PyFunction}) = Base.SizeUnknown()

Base.broadcastable(o::PyObject) = Ref(o)

# ------------------------------------------------------------ comparison

# In the order of CPython's Py_LT, Py_LE, ...
const COMPARISONS = (:<, :<=, :(==), :!=, :>, :>=)
"What is compared and calculated with as it would be in Python."
const Operand = Union{Number,AbstractString,AbstractChar}

pycompare(@nospecialize(a), @nospecialize(b), operator) = withgil() do
    withobjects(a, b) do a, b
        fromnew(@api compare(a::Ptr{Cvoid}, b::Ptr{Cvoid}, operator::Int64)::Ptr{Cvoid})
    end
end

for (i, f) in enumerate(COMPARISONS)
    @eval begin
        Base.$f(a::PyAny, b::PyAny) = pycompare(a, b, $(i - 1))
        Base.$f(a::PyAny, b::Operand) = pycompare(a, b, $(i - 1))
        Base.$f(a::Operand, b::PyAny) = pycompare(a, b, $(i - 1))
    end
end

pyless(@nospecialize(a), @nospecialize(b)) = pytruth(PyObject(pycompare(a, b, 0)))
Base.isless(a::PyAny, b::PyAny) = pyless(a, b)
Base.isless(a::PyAny, b::Operand) = pyless(a, b)
Base.isless(a::Operand, b::PyAny) = pyless(a, b)

# What Dict and Set go by, consistent with `hash`: so nothing of Julia's is equal in this sense.
function Base.isequal(a::PyAny, b::PyAny)
    pyis(a, b) && return true
    r = a == b
    return r isa Bool && r
end
Base.isequal(::PyAny, ::Operand) = false
Base.isequal(::Operand, ::PyAny) = false

Base.hash(o::PyAny, h::UInt) = hash(pyhash(o), h)

"Python's `hash(o)`."
function pyhash(o::PyAny)
    r = Ref{Int64}()
    withgil() do
        succeeded(GC.@preserve o r @api hash(pointerof(o)::Ptr{Cvoid}, Base.unsafe_convert(Ptr{Int64}, r)::Ptr{Int64})::Cint)
    end
    return r[]
end

"""
    pyis(a, b)

Whether these are the same Python object, Python's `a is b`.
"""
pyis(a::PyAny, b::PyAny) = pointerof(a) == pointerof(b)
pyis(@nospecialize(a), @nospecialize(b)) = pyis(PyObject(a), PyObject(b))

"""
    pyisnone(o)

Whether `o` is Python's None (as a `PyObject`, which it is only where nothing converted it) or `nothing`.
"""
pyisnone(o::PyAny) = pyis(o, PyObject(nothing))
pyisnone(o) = o === nothing

"""
    pytruth(o)

What `if o:` goes by in Python, a Bool: false for zero, None and what is empty.
"""
pytruth(o::PyAny) = withgil(() -> succeeded(GC.@preserve o @api truth(pointerof(o)::Ptr{Cvoid})::Cint) == 1)
pytruth(x) = pytruth(PyObject(x))

"""
    pyisinstance(o, class)

Python's `isinstance(o, class)`, a Bool; `class` may be a tuple of classes. Throws Python's TypeError if it is neither.
"""
pyisinstance(@nospecialize(o), @nospecialize(class)) = withgil() do
    withobjects(o, class) do o, class
        succeeded(@api isinstance(o::Ptr{Cvoid}, class::Ptr{Cvoid})::Cint) == 1
    end
end

# ------------------------------------------------------------- operators

pybinary(operator, @nospecialize(a), @nospecialize(b)) = withgil() do
    withobjects(a, b) do a, b
        fromnew(@api binary(operator::Int64, a::Ptr{Cvoid}, b::Ptr{Cvoid})::Ptr{Cvoid})
    end
end

pyunary(operator, o::PyAny) =
    withgil(() -> fromnew(GC.@preserve o @api unary(operator::Int64, pointerof(o)::Ptr{Cvoid})::Ptr{Cvoid}))

# In the order of csrc/operations.c.
for (i, fs) in enumerate(((:+,), (:-,), (:*,), (:/,), (:div, :fld), (:rem, :mod), (:^,), (:<<,), (:>>,), (:&,), (:|,), (:xor,))), f in fs
    @eval begin
        Base.$f(a::PyAny, b::PyAny) = pybinary($(i - 1), a, b)
        Base.$f(a::PyAny, b::Operand) = pybinary($(i - 1), a, b)
        Base.$f(a::Operand, b::PyAny) = pybinary($(i - 1), a, b)
    end
end
const MATMUL = 12

"""
    pymatmul(a, b)

Python's `a @ b`, converted as any result. Throws Python's TypeError where neither has that operator.
"""
pymatmul(a, b) = pybinary(MATMUL, a, b)

for (i, f) in enumerate((:-, :+, :~, :abs))
    @eval Base.$f(o::PyAny) = pyunary($(i - 1), o)
end
