# Julia values to Python: the first table of docs/conversion.md.

"""
    topython(x) -> Ptr{Cvoid}

A new reference to the Python object for `x`. Needs the GIL. Throws a [`PyException`](@ref) if Python
can't make it.
"""
function topython end

# What C makes of a plain value.
function box(tag, a, b = 0)
    p = withvalue() do v
        settag!(v, tag)
        seta!(v, a)
        setb!(v, b)
        r = @api box(v::Ptr{Value})::Ptr{Cvoid}
        settag!(v, TAG_NONE)
        return r
    end
    return checked(p)
end

checked(p::Ptr{Cvoid}) = p == C_NULL ? throwpython() : p

const SmallInt = Union{Int8,Int16,Int32,Int64,UInt8,UInt16,UInt32}
const SmallFloat = Union{Float16,Float32,Float64}

topython(::Union{Nothing,Missing}) = box(TAG_NONE, 0)
topython(x::Bool) = box(TAG_BOOL, Int64(x))
topython(x::SmallInt) = box(TAG_INT, Int64(x))
topython(x::UInt64) = box(TAG_UINT, x)
topython(x::SmallFloat) = box(TAG_FLOAT, Float64(x))
topython(x::Complex{<:Union{Integer,SmallFloat}}) = box(TAG_COMPLEX, Float64(real(x)), Float64(imag(x)))

function topython(x::Integer)
    digits = string(BigInt(x); base = 16)
    return checked(GC.@preserve digits @api bigint(pointer(digits)::Ptr{UInt8})::Ptr{Cvoid})
end

function topython(x::Union{String,SubString{String}})
    return checked(GC.@preserve x @api str(pointer(x)::Ptr{UInt8}, sizeof(x)::Int64)::Ptr{Cvoid})
end
topython(x::AbstractString) = topython(String(x))
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
topython(f::PyFunction) = topython(f.object)
topython(x::PyException) = topython(x.exception)

function topython(x::AbstractArray)
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

topython(x::Function) = newjulia(CLASS_FUNCTION, x)
topython(x::Module) = newjulia(CLASS_MODULE, x)
topython(@nospecialize(x)) = newjulia(CLASS_VALUE, x)

"A Python object of the given class that holds `x`, whatever `x` is."
newjulia(class, @nospecialize(x)) =
    checked(@api new_julia(class::Int64, root!(x)::Int64)::Ptr{Cvoid})

"""
    setresult!(v::Ptr{Value}, x)

Puts the result of a call into `v`: plain numbers as they are, for C to make objects of; all else as a
new reference.
"""
@inline function setresult!(v::Ptr{Value}, @nospecialize(x))
    if x isa Int64
        settag!(v, TAG_INT)
        seta!(v, x)
    elseif x isa Float64
        settag!(v, TAG_FLOAT)
        seta!(v, x)
    elseif x === nothing
        settag!(v, TAG_NONE)
    elseif x isa Bool
        settag!(v, TAG_BOOL)
        seta!(v, Int64(x))
    elseif x isa ComplexF64
        settag!(v, TAG_COMPLEX)
        seta!(v, real(x))
        setb!(v, imag(x))
    else
        settag!(v, TAG_OBJECT)
        seta!(v, topython(x)::Ptr{Cvoid})
    end
    return nothing
end
