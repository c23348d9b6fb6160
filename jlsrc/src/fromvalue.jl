# Python values to Julia: the second table of docs/conversion.md. C has sorted the objects into tags;
# containers come as objects whose items are asked for one by one.

"""
    fromvalue(v::Ptr{Value})

The Julia value of `v`. Takes over a buffer in it; borrows everything else.
"""
@inline function fromvalue(v::Ptr{Value})
    tag = gettag(v)
    if tag == TAG_INT
        return geta(Int64, v)
    elseif tag == TAG_FLOAT
        return geta(Float64, v)
    elseif tag == TAG_JULIA
        return unsafe_pointer_to_objref(geta(Ptr{Cvoid}, v))
    elseif tag == TAG_BUFFER
        return frombuffer(v)
    end
    return fromother(v, tag)
end

@noinline function fromother(v::Ptr{Value}, tag::Int64)
    if tag == TAG_STR
        return unsafe_string(geta(Ptr{UInt8}, v), getb(Int64, v))
    elseif tag == TAG_NONE
        return nothing
    elseif tag == TAG_BOOL
        return geta(Int64, v) != 0
    elseif tag == TAG_COMPLEX
        return Complex(geta(Float64, v), getb(Float64, v))
    elseif tag == TAG_TUPLE
        return Tuple(items(v))
    elseif tag == TAG_LIST
        return narrow(items(v))
    elseif tag == TAG_DICT
        return narrowdict(itemlist(v))
    elseif tag == TAG_SET
        xs = narrow(itemlist(v))
        return Set{eltype(xs)}(xs)
    elseif tag == TAG_CALLABLE
        return PyFunction(PyObject(geta(Ptr{Cvoid}, v)))
    elseif tag == TAG_OBJECT
        return PyObject(geta(Ptr{Cvoid}, v))
    elseif tag == TAG_BIGINT
        return parse(BigInt, unsafe_string(geta(Ptr{UInt8}, v), getb(Int64, v)))
    elseif tag == TAG_SCALAR
        return fromscalar(v, getb(Int64, v))
    elseif tag == TAG_ITEM
        return itemof(v)
    elseif tag == TAG_NAMEDTUPLE
        return fromnamedtuple(v)
    elseif tag == TAG_RANGE
        return fromrange(PyObject(geta(Ptr{Cvoid}, v)))
    end
    error("a value of unknown kind ", tag, " came from Python")
end

# A NumPy scalar: the same width and kind.
@eval function fromscalar(v::Ptr{Value}, kind::Int64)
    $([:(kind == $i && return geta($T, v)) for (i, T) in enumerate(KINDS) if sizeof(T) <= 8]...)
    error("unknown kind of scalar ", kind)
end

"The value of a borrowed Python object."
unbox(o::Ptr{Cvoid}) = withvalue() do v
    @api(unbox(o::Ptr{Cvoid}, v::Ptr{Value})::Cint) == 0 || throwpython()
    return fromvalue(v)
end

# The items of a tuple or list. Its length is asked for again, since converting an item may run Python
# code that changes it.
function items(o::Ptr{Cvoid})
    xs = Any[]
    i = 0
    while true
        n = @api length(o::Ptr{Cvoid})::Int64
        n < 0 && throwpython()
        i < n || break
        x = withvalue() do v
            @api(item(o::Ptr{Cvoid}, i::Int64, v::Ptr{Value})::Cint) == 0 || throwpython()
            return fromvalue(v)
        end
        push!(xs, x)
        i += 1
    end
    return usable(xs)
end

function guarded(f)
    # Lists that contain themselves end as RecursionError in Python, not as a stack overflow here.
    @api(enter_recursion()::Cint) == 0 || throwpython()
    try
        return f()
    finally
        @api leave_recursion()::Cvoid
    end
end

items(v::Ptr{Value}) = guarded(() -> items(geta(Ptr{Cvoid}, v)))

# The elements of any iterable, through a list of them.
function itemlist(v::Ptr{Value})
    list = @api items(geta(Ptr{Cvoid}, v)::Ptr{Cvoid})::Ptr{Cvoid}
    list == C_NULL && throwpython()
    try
        return guarded(() -> items(list))
    finally
        @api decref(list::Ptr{Cvoid})::Cvoid
    end
end

"""
A Vector of the narrowest element type that holds the elements, as `map(identity, xs)` has it; of Any where
that would nest types deeper than MAX_NESTING. To compile for a type takes longer the deeper it is: minutes
where lists are nested some hundred deep.
"""
narrow(xs::Vector{Any}) = isempty(xs) || isdeep(xs) ? xs : map(identity, xs)

const MAX_NESTING = 8

function isdeep(xs::Vector{Any})
    T = Any
    for x in xs
        typeof(x) === T && continue
        T = typeof(x)
        nesting(T) >= MAX_NESTING && return true
    end
    return false
end

nesting(@nospecialize(T)) = T isa DataType && !isempty(T.parameters) ? 1 + maximum(nesting, T.parameters) : 0

function narrowdict(pairs::Vector{Any})
    isempty(pairs) && return Dict{Any,Any}()
    ks = narrow(Any[p[1] for p in pairs])
    vs = narrow(Any[p[2] for p in pairs])
    return Dict{eltype(ks),eltype(vs)}(zip(ks, vs))
end

function fromnamedtuple(v::Ptr{Value})
    names = Tuple(Symbol(n) for n in itemlist(v))
    return NamedTuple{names}(Tuple(items(v)))
end

function fromrange(o::PyObject)
    start, stop, step = o.start, o.stop, o.step
    if step > 0 ? start >= stop : start <= stop
        return step == 1 ? (1:0) : step > 0 ? (1:step:0) : (0:step:1)
    end
    last = stop - sign(step) # Python's ranges end before stop
    return step == 1 ? (start:last) : (start:step:last)
end
