# Julia values to Python: the first table of docs/conversion.md.

"""
    topython(x) -> Ptr{Cvoid}

A new reference to the Python object for `x`. Needs the GIL. Throws a [`PyException`](@ref) if Python
can't make it.
"""
function topython end

"""
    pyvalue(x)

What goes to Python in the place of `x`: `x` itself, unless there is a method for its type. Packages add methods to have their
values converted, `BufferBridge.pyvalue(p::Point) = (p.x, p.y)`. Plain numbers, text, tuples and `Array`s are not asked about.
"""
pyvalue(x) = x

# What the type of x becomes (default(x)), unless there is a pyvalue for it: costs nothing if not.
@inline function customized(default, x)
    y = pyvalue(x)
    return y === x ? default(x) : topython(y)::Ptr{Cvoid}
end

checked(p::Ptr{Cvoid}) = p == C_NULL ? throwpython() : p

"""
    setvalue!(v::Ptr{Value}, x)

Puts `x` into `v`: plain values as they are, all else as a new reference to the Python object for it.
"""
setvalue!(v::Ptr{Value}, ::Union{Nothing,Missing}) = settag!(v, TAG_NONE)
setvalue!(v::Ptr{Value}, x::Bool) = setword!(v, TAG_BOOL, Int64(x))
setvalue!(v::Ptr{Value}, x::SmallInt) = setword!(v, TAG_INT, Int64(x))
setvalue!(v::Ptr{Value}, x::UInt64) = setword!(v, TAG_UINT, x)
setvalue!(v::Ptr{Value}, x::SmallFloat) = setword!(v, TAG_FLOAT, Float64(x))
function setvalue!(v::Ptr{Value}, x::Complex{<:Union{SmallInt,SmallFloat}})
    setb!(v, Float64(imag(x)))
    return setword!(v, TAG_COMPLEX, Float64(real(x)))
end
setvalue!(v::Ptr{Value}, @nospecialize(x)) = setword!(v, TAG_OBJECT, topython(x)::Ptr{Cvoid})

"As `setvalue!`, for what stays alive and unchanged until C has looked at it: text needs no object then."
lend!(v::Ptr{Value}, @nospecialize(x)) = setvalue!(v, x)
lend!(v::Ptr{Value}, x::PlainWords) = setvalue!(v, x)
function lend!(v::Ptr{Value}, x::Union{String,SubString{String}})
    setb!(v, Int64(sizeof(x)))
    return setword!(v, TAG_STR, pointer(x))
end

@inline function setword!(v::Ptr{Value}, tag, word)
    settag!(v, tag)
    return seta!(v, word)
end

function topython(x::PlainWords)
    cell = Ref(NO_VALUE)
    return GC.@preserve cell begin
        v = Base.unsafe_convert(Ptr{Value}, cell)
        setvalue!(v, x)
        checked(@api box(v::Ptr{Value})::Ptr{Cvoid})
    end
end
topython(x::Complex{<:Integer}) = topython(ComplexF64(x))

topython(x::Integer) = customized(bigint, x)
function bigint(x::Integer)
    digits = string(BigInt(x); base = 16)
    return checked(GC.@preserve digits @api bigint(pointer(digits)::Ptr{UInt8})::Ptr{Cvoid})
end

function topython(x::Union{String,SubString{String}})
    return checked(GC.@preserve x @api str(pointer(x)::Ptr{UInt8}, sizeof(x)::Int64)::Ptr{Cvoid})
end
topython(x::AbstractString) = customized(x -> topython(String(x)), x)
topython(x::AbstractChar) = topython(string(x))

# What is compiled for each type of long tuples takes minutes for a thousand items: they go as a Vector.
topython(x::Tuple) = sizeof(x) <= 64 ? pytuple(x) : pytuple(listed(x))

@noinline function listed(@nospecialize(x))
    xs = Any[]
    for i in 1:nfields(x)
        push!(xs, getfield(x, i))
    end
    return xs
end

pytuple(xs) =
    filled(@api(tuple_new(length(xs)::Int64)::Ptr{Cvoid}), xs) do t, i, item
        @api tuple_set(t::Ptr{Cvoid}, i::Int64, item::Ptr{Cvoid})::Cvoid
    end

"A new Python list of the items."
pylist(xs) =
    filled(@api(list_new(length(xs)::Int64)::Ptr{Cvoid}), xs) do t, i, item
        @api list_set(t::Ptr{Cvoid}, i::Int64, item::Ptr{Cvoid})::Cvoid
    end

# Puts the items into a new tuple or list, which is dropped if one can't be made.
function filled(put!, t::Ptr{Cvoid}, xs)
    checked(t)
    try
        for (i, x) in enumerate(xs)
            put!(t, i - 1, topython(x))
        end
    catch
        @api decref(t::Ptr{Cvoid})::Cvoid
        rethrow()
    end
    return t
end

function topython(x::NamedTuple)
    names = topython(map(String, keys(x)))
    values = try
        sizeof(x) <= 64 ? pytuple(Tuple(x)) : pytuple(listed(x))
    catch
        @api decref(names::Ptr{Cvoid})::Cvoid
        rethrow()
    end
    return checked(@api namedtuple(names::Ptr{Cvoid}, values::Ptr{Cvoid})::Ptr{Cvoid})
end

topython(r::PyRecord) = topython(fields(r))

topython(o::PyObject) = GC.@preserve o @api incref(pointerof(o)::Ptr{Cvoid})::Ptr{Cvoid}
topython(f::PyFunction) = topython(asobject(f))
topython(x::PyException) = topython(x.exception)

topython(x::AbstractArray) = customized(wrapped, x)
topython(x::Function) = customized(wrapped, x)
topython(@nospecialize(x)) = customized(wrapped, x)

"""
    wrapped(x) -> Ptr{Cvoid}

A new reference to the Python object that holds `x`, whatever `x` is. Needs the GIL.
"""
function wrapped end

function wrapped(x::AbstractArray)
    ndims(x) <= MAX_DIMS ||
        throw(ArgumentError("arrays of more than $MAX_DIMS dimensions can't go to Python"))
    l = layout(x)
    sizes = sizesof(x, l)
    reserveroots!(2) # from here on nothing can fail that would leave a slot behind
    memoryslot = memoryslot!(l)
    slot = root!(x)
    writelayout!(scratchlayout(), x, l, sizes, memoryslot)
    return checked(@api new_julia(CLASS_ARRAY::Int64, slot::Int64)::Ptr{Cvoid})
end

wrapped(@nospecialize(x::Function)) = newjulia(CLASS_FUNCTION, x)
wrapped(x::Module) = newjulia(CLASS_MODULE, x)
wrapped(@nospecialize(x::AbstractDict)) = newjulia(CLASS_DICT, x)
wrapped(@nospecialize(x::AbstractSet)) = newjulia(CLASS_SET, x)
wrapped(@nospecialize(x::IO)) = newjulia(CLASS_IO, x)
wrapped(@nospecialize(x)) = newjulia(CLASS_VALUE, x)

newjulia(class, @nospecialize(x)) =
    checked(@api new_julia(class::Int64, root!(x)::Int64)::Ptr{Cvoid})

# As setvalue!, for what comes from a call whose type is not known: the common types first.
@inline function setresult!(v::Ptr{Value}, @nospecialize(x))
    if x isa Int64
        setvalue!(v, x)
    elseif x isa Float64
        setvalue!(v, x)
    elseif x === nothing
        setvalue!(v, x)
    elseif x isa Bool
        setvalue!(v, x)
    elseif x isa ComplexF64
        setvalue!(v, x)
    elseif x isa String
        setword!(v, TAG_OBJECT, topython(x))
    elseif ccall(:jl_get_tls_world_age, UInt, ()) == ccall(:jl_get_world_counter, UInt, ())
        setword!(v, TAG_OBJECT, topython(x)::Ptr{Cvoid})
    else # the call has defined something, of which the result may be: a package's array, with its size
        setword!(v, TAG_OBJECT, Base.invokelatest(topython, x)::Ptr{Cvoid})
    end
    return nothing
end
