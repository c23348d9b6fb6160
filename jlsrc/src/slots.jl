# What Python's operations on Julia objects do, apart from calls: one function for each slot of
# csrc/juliavalue.c, called like any other Julia function.

# Python has no names with "!": they are written with "_b".
function bang(name::String)
    return endswith(name, "_b") ? Symbol(name[1:prevind(name, end, 2)], "!") : nothing
end

# Names with NULs are none of Julia's.
tosymbol(name) = '\0' in name ? throw(NoAttribute(nothing, "Julia has no name with a NUL in it")) : Symbol(name)

function getattr(m::Module, name::String)
    s = tosymbol(name)
    hasname(m, s) && return namein(m, s)
    b = bang(name)
    b === nothing || !hasname(m, b) || return namein(m, b)
    hint = isloadable(name) ? "; to load the package of that name, evaluate \"using $name\" first" : ""
    throw(NoAttribute(UndefVarError(s), "Julia's module $m has no name '$name'$hint"))
end

# What a name is in Python: the builtin function, if it is a typed export.
hasname(m::Module, name::Symbol) = isdefined(m, name) || findexport(m, name) !== nothing
function namein(m::Module, name::Symbol)
    e = findexport(m, name)
    return e === nothing ? getfield(m, name) : builtin(e)
end

isloadable(name) = Base.identify_package(name) !== nothing

function getattr(@nospecialize(x), name::String)
    s = tosymbol(name)
    try
        return getproperty(x, s)
    catch e
        isforeign(e) && rethrow()
        b = bang(name)
        b === nothing || !hasproperty(x, b) || return getproperty(x, b)
        hasproperty(x, s) && rethrow()
        throw(noproperty(e, x, name))
    end
end

noproperty(cause, @nospecialize(x), name) =
    NoAttribute(cause, "Julia's $(typeof(x)) has no property '$name'")

function setattr(m::Module, name::String, @nospecialize(value))
    s = tosymbol(name)
    b = bang(name)
    (b === nothing || isdefined(m, s) || !isdefined(m, b)) || (s = b)
    Core.eval(m, Expr(:(=), s, QuoteNode(value)))
    return nothing
end

function setattr(@nospecialize(x), name::String, @nospecialize(value))
    s = tosymbol(name)
    b = bang(name)
    (b === nothing || hasproperty(x, s) || !hasproperty(x, b)) || (s = b)
    try
        setproperty!(x, s, value)
    catch e
        (isforeign(e) || hasproperty(x, s)) && rethrow()
        throw(noproperty(e, x, name))
    end
    return nothing
end

pyname(s::Symbol) = (n = String(s); endswith(n, "!") ? chop(n) * "_b" : n)

function dirof(m::Module)
    found = union(names(m; all = true, imported = true), keys(something(exportsof(m), Dict())))
    return pylisting(pyname(s) for s in found if Base.isidentifier(s) && hasname(m, s))
end
dirof(@nospecialize(x)) = pylisting(pyname(s) for s in propertynames(x) if s isa Symbol)

pylisting(texts) = owned(pylist(sort!(collect(String, texts))))

"Julia's own display, shortened as in the REPL."
function reprof(@nospecialize(x))
    return sprint() do io
        show(IOContext(io, :limit => true, :displaysize => (24, 80)), MIME("text/plain"), x)
    end
end

strof(@nospecialize(x)) = string(x)
strof(@nospecialize(x::AbstractArray)) = reprof(x)

function compare(@nospecialize(x), op::String, @nospecialize(y))
    y isa Union{PyObject,PyFunction} && !(x isa Union{PyObject,PyFunction}) && return NOT_IMPLEMENTED
    return op == "==" ? x == y : op == "!=" ? x != y : op == "<" ? x < y : op == "<=" ? x <= y :
           op == ">" ? x > y : x >= y
end

lengthof(@nospecialize(x)) = length(x)
getitem(@nospecialize(x), @nospecialize(key)) = key isa Tuple ? x[map(colon, key)...] : x[colon(key)]
# What Julia writes with braces, Vector{Int}: no type that has parameters makes arrays of types by itself.
function getitem(@nospecialize(T::UnionAll), @nospecialize(key))
    parameters = key isa Tuple ? key : (key,)
    all(p -> p isa Union{Type,TypeVar,Integer,Symbol}, parameters) && return T{parameters...}
    return T[map(colon, parameters)...]
end
getitem(@nospecialize(x::AbstractDict), @nospecialize(key)) = x[keyof(keytype(x), key)]

# Indices are Julia's own; of Python's slices only `:` is one.
colon(@nospecialize(key)) = key
function colon(o::PyObject)
    isslice = withgil(() -> GC.@preserve o @api(is_slice(pointerof(o)::Ptr{Cvoid})::Int64))
    isslice == 0 && return o
    isslice == 2 && return Colon()
    throw(PyTypeError("Julia's own objects are indexed by Julia's rules: of slices ':' is known; pass a Julia range, " *
                      "such as bufferbridge.eval(\"2:3\")"))
end

# Keys that went to Python as something else come back: what is text there may have been a Symbol or a Char.
keyof(::Type, @nospecialize(key)) = key
keyof(::Type{Symbol}, key::AbstractString) = Symbol(key)
keyof(::Type{K}, key::AbstractString) where {K<:AbstractChar} = length(key) == 1 ? convert(K, first(key)) : key
keyof(::Type{Missing}, ::Nothing) = missing
keyof(::Type{Any}, @nospecialize(key)) = key

# A field of an array's records, as NumPy has it.
getitem(@nospecialize(x::AbstractArray), name::String) = namedcolumn(x, name)
function setitem(@nospecialize(x::AbstractArray), name::String, @nospecialize(value))
    isreadonly(memoryof(x)) && throwreadonly()
    value isa PyObject && !holdsobjects(x) && (value = unboxed(value))
    assign!(namedcolumn(x, name), value)
    return nothing
end

function namedcolumn(x::AbstractArray, name)
    fits(x) || throw(Resized())
    S = memorytype(memoryof(x))
    hasfields(S) && !isempty(fieldsof(S)[1]) || throw(PyTypeError(
        "the elements of this array (of type $(eltype(x))) have no fields; its indices are integers, slices and '...'"))
    return column(x, Symbol(name))
end

function setitem(@nospecialize(x), @nospecialize(key), @nospecialize(value))
    key isa Tuple ? setindex!(x, value, map(colon, key)...) : setindex!(x, value, colon(key))
    return nothing
end

function setitem(@nospecialize(x::AbstractDict), @nospecialize(key), @nospecialize(value))
    setindex!(x, value, keyof(keytype(x), key))
    return nothing
end

function deleteitem(@nospecialize(x::AbstractDict), @nospecialize(key))
    k = keyof(keytype(x), key)
    haskey(x, k) || throw(KeyError(k))
    delete!(x, k)
    return nothing
end
deleteitem(@nospecialize(x), @nospecialize(key)) = throw(PyTypeError(
    "items of '$(typeof(x))' of Julia can't be deleted with del: see bufferbridge.Base.deleteat_b and delete_b"))

contains(@nospecialize(x), @nospecialize(item)) = item in x
contains(@nospecialize(x::AbstractSet), @nospecialize(item)) = keyof(eltype(x), item) in x
contains(@nospecialize(x::AbstractDict), @nospecialize(item)) = haskey(x, keyof(keytype(x), item))
contains(@nospecialize(x::AbstractArray), @nospecialize(item)) = any(y -> isequalto(y, item), x)
isequalto(@nospecialize(a), @nospecialize(b)) = (r = a == b; r isa Bool && r)

truth(@nospecialize(x)) = true
truth(@nospecialize(x::Union{AbstractDict,AbstractSet,AbstractArray,AbstractString,Tuple,NamedTuple})) = !isempty(x)::Bool
truth(@nospecialize(x::Number)) = !iszero(x)::Bool
truth(::Union{Nothing,Missing}) = false

addto!(x::AbstractSet, @nospecialize(item)) = (push!(x, keyof(eltype(x), item)); nothing)
discard(x::AbstractSet, @nospecialize(item)) = (delete!(x, keyof(eltype(x), item)); nothing)

"The pairs of a dictionary as tuples."
dictitems(x::AbstractDict) = ((k, v) for (k, v) in x)

"One pass over an iterable, for Python: calling it gives the next element."
mutable struct Iteration
    iterable::Any
    next::Any
    started::Bool
end

function iteration(@nospecialize(x))
    applicable(iterate, x) || throw(PyTypeError("'$(typeof(x))' of Julia is not iterable"))
    return Iteration(x, nothing, false)
end
iteration(@nospecialize(x::AbstractDict)) = Iteration(keys(x), nothing, false)

function (it::Iteration)()
    it.started && it.next === nothing && throw(StopIteration())
    it.next = it.started ? iterate(it.iterable, it.next[2]) : iterate(it.iterable)
    it.started = true
    it.next === nothing && throw(StopIteration())
    return it.next[1]
end
