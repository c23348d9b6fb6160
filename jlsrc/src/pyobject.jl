# Python objects that Julia holds, what can be done with them, and Python's exceptions.
#
# A handle is a strong reference that C allocated together with a list node. Its finalizer, which may
# run on any thread and without the GIL, only puts the node on a list; C lets go of the object when it
# next has the GIL (csrc/acquire.c). All else here needs the GIL and takes it where it is missing.

# bb_handle: node (next, is_buffer), object
const HANDLE_OBJECT = 16

struct ReleaseNode
    node::Ptr{Cvoid}
end
(r::ReleaseNode)(_) = @api release_later(r.node::Ptr{Cvoid})::Cvoid

"""
    PyObject
    PyObject(x)

A Python object; that of a Julia value `x` as Python would get it. (A `Ptr{Cvoid}` is taken for the address of a
Python object, whose reference the caller has.)

It can be called, its attributes are properties, `o[key]` are its items, `for` iterates over it, operators and
comparison are Python's, `string(o)` and `repr(o)` too. What comes out of all that is converted as results of calls are;
[`pycall`](@ref), [`pygetattr`](@ref) and [`pygetitem`](@ref) give it as it is. It goes back to Python as the very
same object.
"""
mutable struct PyObject
    handle::Ptr{Cvoid}

    # Takes a new reference to a borrowed object.
    function PyObject(borrowed::Ptr{Cvoid})
        handle = @api hold(borrowed::Ptr{Cvoid})::Ptr{Cvoid}
        # Not a Python exception, for which another handle would be needed.
        handle == C_NULL && throw(OutOfMemoryError())
        o = new(handle)
        finalizer(letgo, o)
        return o
    end
end

function letgo(o::PyObject)
    handle = getfield(o, :handle)
    setfield!(o, :handle, C_NULL)
    handle == C_NULL || @api release_later(handle::Ptr{Cvoid})::Cvoid
    return nothing
end

"The `PyObject *` of a handle; valid while the handle is."
function pointerof(o::PyObject)
    handle = getfield(o, :handle)
    handle == C_NULL && throw(ArgumentError("this Python object was finalized, or is a copy from another process"))
    return unsafe_load(Ptr{Ptr{Cvoid}}(handle + HANDLE_OBJECT))
end

# A copy is the same Python object: two handles for one reference would release it twice.
Base.deepcopy_internal(o::PyObject, ::IdDict) = o

# A handle for a new reference, which it takes. C_NULL: throws the exception that is set.
function owned(p::Ptr{Cvoid})
    p == C_NULL && throwpython()
    try
        return PyObject(p)
    finally
        @api decref(p::Ptr{Cvoid})::Cvoid
    end
end

# A value of Julia's as a Python object.
Base.convert(::Type{PyObject}, o::PyObject) = o
Base.convert(::Type{PyObject}, @nospecialize(x)) = withgil(() -> owned(topython(x)))
PyObject(@nospecialize(x)) = convert(PyObject, x)

"""
    PyException <: Exception

A Python exception on its way through Julia; `.exception` is the object. Where it reaches Python again
it is that object, with its traceback.
"""
struct PyException <: Exception
    exception::PyObject
end

"""
Throws the Python exception that is set, which is cleared. If that is a JuliaError it is Julia's exception that is
thrown, so that Julia code can catch it as what it is. It is thrown while the `PyException` is handled: Julia's stack
of exceptions then has both, shows both, and tells `passing` (errors.jl) which Python object belongs to it.
"""
@noinline function throwpython()
    p = @api fetch()::Ptr{Cvoid}
    p == C_NULL && error("Python reported an error but set no exception")
    throwfetched(p)
end

@noinline function throwfetched(p::Ptr{Cvoid})
    e = PyException(owned(p))
    julia = juliaexception(e)
    julia === nothing && throw(e)
    try
        throw(e)
    catch
        throw(something(julia))
    end
end

"The Julia exception of a JuliaError, as a `Some`; nothing for all other exceptions."
function juliaexception(e::PyException)
    o = e.exception
    p = GC.@preserve o @api julia_exception(pointerof(o)::Ptr{Cvoid})::Ptr{Cvoid}
    return p == C_NULL ? nothing : Some(fromnew(p))
end

"What `gil_ensure` gives where Python can't run (portable.jl); -1 is its end."
const GIL_ELSEWHERE = -2

"Runs `f()` with the GIL held by this thread, whether it was or not; nothing interrupts it."
function withgil(f)
    connected() || error("there is no Python in this process: BufferBridge was not started by bufferbridge")
    @api(stack_ends()::Int64) == 0 || throw(StackOverflowError())
    was = pause!()
    state = @api gil_ensure()::Int64
    if state < 0
        resume!(was)
        error(state == GIL_ELSEWHERE ? "on PyPy, Python can be called only from the Julia task that Python called" :
              "Python is ending: it can't be called any more")
    end
    sticky = stick!(true) # the GIL is this thread's
    try
        r = f()
        was == 0 || checksignals()
        return r
    finally
        @api gil_release(state::Int64)::Cvoid
        stick!(sticky)
        resume!(was)
    end
end

"""
    PyFunction <: Function

A Python callable as a Julia function. Arguments and result are converted as in calls from Python. All that can be
done with a [`PyObject`](@ref) can be done with it: a class has attributes, for one.
"""
struct PyFunction <: Function
    object::PyObject
end

"What Julia code has of Python: methods for both are written for this."
const PyAny = Union{PyObject,PyFunction}

asobject(o::PyObject) = o
asobject(f::PyFunction) = getfield(f, :object)
pointerof(f::PyFunction) = pointerof(asobject(f))
Base.convert(::Type{PyObject}, f::PyFunction) = asobject(f)

(f::PyFunction)(args...; kwargs...) = callpython(asobject(f), args, kwargs)
(o::PyObject)(args...; kwargs...) = callpython(o, args, kwargs)

# The common way: plain arguments, on a thread that was called from Python and has the GIL. Nothing is allocated
# for the call, and there is no `try` in it, since nothing can throw before the call is over.
@inline function callpython(o::PyObject, args::Tuple{Vararg{Lendable}}, kwargs)
    isempty(kwargs) && connected() && !PENDING[] || return callwith(o, args, kwargs)
    cell = Ref(ntuple(_ -> NO_VALUE, Val(length(args) + 1)))
    GC.@preserve o args cell begin
        v = Ptr{Value}(pointer_from_objref(cell))
        lendall!(v, args...)
        result = v + length(args) * sizeof(Value)
        was = pause!()
        sticky = stick!(true) # while it is in Python, a task is its thread's
        status = @api call(pointerof(o)::Ptr{Cvoid}, v::Ptr{Value}, length(args)::Int64, C_NULL::Ptr{Cvoid}, result::Ptr{Value})::Cint
        sticky || stick!(false)
        if status == 0 && !signalled(was)
            x = fromvalue(result)
            resume!(was)
            return x
        end
        status == CALL_NEEDS_GIL || return finishcall(result, status, was)
        resume!(was)
    end
    return callwith(o, args, kwargs)
end

# What api.c's call gives back, besides 0 for a plain result and -1 for an exception.
const CALL_MUST_CLEAR = 1
const CALL_NEEDS_GIL = -2

@inline lendall!(v::Ptr{Value}, x, others...) = (lend!(v, x); lendall!(v + sizeof(Value), others...))
lendall!(::Ptr{Value}) = nothing

@noinline function finishcall(result::Ptr{Value}, status::Cint, was::Int64)
    try
        x = callresult(result, status)
        was == 0 || checksignals()
        return x
    finally
        resume!(was)
    end
end

function callresult(result::Ptr{Value}, status::Cint)
    status < 0 && throwpython()
    status == CALL_MUST_CLEAR || return fromvalue(result)
    try
        return fromvalue(result)
    finally
        @api clear(result::Ptr{Value})::Cvoid
    end
end

callpython(o::PyObject, @nospecialize(args::Tuple), kwargs) = callwith(o, args, kwargs)

# Any arguments, from any thread.
@noinline callwith(o::PyObject, @nospecialize(args::Tuple), kwargs) =
    withlent(args, kwargs) do v, n, names
        result = v + n * sizeof(Value)
        status = GC.@preserve o @api call(pointerof(o)::Ptr{Cvoid}, v::Ptr{Value}, n::Int64, names::Ptr{Cvoid}, result::Ptr{Value})::Cint
        return callresult(result, status)
    end

# The same, with the result as it is.
@noinline callobject(o::PyObject, @nospecialize(args::Tuple), kwargs = ()) =
    withlent(args, kwargs) do v, n, names
        return owned(GC.@preserve o @api call_object(pointerof(o)::Ptr{Cvoid}, v::Ptr{Value}, n::Int64, names::Ptr{Cvoid})::Ptr{Cvoid})
    end

# Runs f with the arguments' n values (and room for one more), and the tuple of the keywords' names.
function withlent(f, @nospecialize(args::Tuple), kwargs)
    withgil() do
        flushstreams()
        n = length(args) + length(kwargs)
        cells = fill(NO_VALUE, n + 1)
        GC.@preserve args kwargs cells begin
            v = pointer(cells)
            names = C_NULL
            try
                isempty(kwargs) || (names = topython(Tuple(string(k) for k in keys(kwargs))))
                place = v
                for x in args
                    lend!(place, x)
                    place += sizeof(Value)
                end
                for x in values(kwargs)
                    lend!(place, x)
                    place += sizeof(Value)
                end
            catch
                for i in 1:n
                    cells[i].tag == TAG_OBJECT && @api decref(geta(Ptr{Cvoid}, v + (i - 1) * sizeof(Value))::Ptr{Cvoid})::Cvoid
                end
                names == C_NULL || @api decref(names::Ptr{Cvoid})::Cvoid
                rethrow()
            end
            try
                return f(v, n, names)
            finally
                names == C_NULL || @api decref(names::Ptr{Cvoid})::Cvoid
            end
        end
    end
end

# The Julia value of a new reference, which is dropped.
function fromnew(p::Ptr{Cvoid})
    p == C_NULL && throwpython()
    try
        return unbox(p)
    finally
        @api decref(p::Ptr{Cvoid})::Cvoid
    end
end

attribute(o::PyAny, s::String) =
    GC.@preserve o s @api getattr(pointerof(o)::Ptr{Cvoid}, pointer(s)::Ptr{UInt8}, sizeof(s)::Int64)::Ptr{Cvoid}

Base.getproperty(o::PyAny, name::Symbol) = withgil(() -> fromnew(attribute(o, String(name))))

"""
    pygetattr(o, name) -> PyObject

The attribute of a Python object as it is; `o.name` converts it. Throws Python's AttributeError if there is none.
"""
pygetattr(o::PyAny, name::Union{AbstractString,Symbol}) = withgil(() -> owned(attribute(o, String(name))))

function Base.hasproperty(o::PyAny, name::Symbol)
    s = String(name)
    withgil() do
        r = GC.@preserve o s @api hasattr(pointerof(o)::Ptr{Cvoid}, pointer(s)::Ptr{UInt8}, sizeof(s)::Int64)::Cint
        return r < 0 ? throwpython() : r == 1
    end
end

function Base.setproperty!(o::PyAny, name::Symbol, @nospecialize(x))
    s = String(name)
    withgil() do
        p = topython(x)
        r = GC.@preserve o s @api setattr(pointerof(o)::Ptr{Cvoid}, pointer(s)::Ptr{UInt8}, sizeof(s)::Int64, p::Ptr{Cvoid})::Cint
        @api decref(p::Ptr{Cvoid})::Cvoid
        r == 0 || throwpython()
    end
    return x
end

function Base.propertynames(o::PyAny, private::Bool = false)
    names = withgil() do
        GC.@preserve o fromnew(@api dir(pointerof(o)::Ptr{Cvoid})::Ptr{Cvoid})
    end
    return Symbol[Symbol(n) for n in names]
end

pytext(o::PyAny, plain) = withgil() do
    GC.@preserve o fromnew(@api repr(pointerof(o)::Ptr{Cvoid}, plain::Int64)::Ptr{Cvoid})::String
end

Base.show(io::IO, o::PyObject) = print(io, "PyObject(", pytext(o, 0), ")")
Base.show(io::IO, f::PyFunction) = print(io, "PyFunction(", pytext(f, 0), ")")
Base.print(io::IO, o::PyAny) = print(io, pytext(o, 1))
Base.string(o::PyAny) = pytext(o, 1)
Base.show(io::IO, ::MIME"text/plain", f::PyFunction) = show(io, f)

function Base.showerror(io::IO, e::PyException)
    text = withgil() do
        o = e.exception
        GC.@preserve o fromnew(@api format_exception(pointerof(o)::Ptr{Cvoid})::Ptr{Cvoid})::String
    end
    print(io, "Python exception: ", chomp(text))
end
