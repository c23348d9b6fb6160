# Python's modules, builtins and code from Julia, calls with results as they are, and context managers.

"""
    pyimport(name)
    pyimport(name => attribute)
    pyimport(name => (attribute, ...))

The Python module of that name ("os.path": the submodule), or attributes of it. Throws Python's ModuleNotFoundError, which says
how to install it, if there is none.
"""
function pyimport(name::AbstractString)
    s = String(name)
    withgil() do
        try
            fromnew(GC.@preserve s @api import_module(pointer(s)::Ptr{UInt8}, sizeof(s)::Int64)::Ptr{Cvoid})
        catch e
            e isa PyException && hintatpip(e.exception, s)
            rethrow()
        end
    end
end
function pyimport((name, attribute)::Pair{<:AbstractString})
    o = pyimport(name)
    return attribute isa Tuple ? map(a -> getproperty(o, Symbol(a)), attribute) : getproperty(o, Symbol(attribute))
end

# A package that is not there at all, and not something that is missing in it.
function hintatpip(error::PyObject, name)
    pyisinstance(error, pybuiltin("ModuleNotFoundError")) || return nothing
    package = first(split(name, '.'))
    error.name == package || return nothing
    error.msg = "$(error.msg) ($(pyimport("sys").executable) -m pip install $package installs a package of that name, if there is one)"
    return nothing
end

"""
    pybuiltin(name)

One of Python's builtins: `pybuiltin("len")(o)`. Throws Python's AttributeError if there is none of that name.
"""
pybuiltin(name::Union{AbstractString,Symbol}) = getproperty(pyimport("builtins"), Symbol(name))

"""
    pycall(f, T, args...; kwargs...)

Calls a Python object and converts the result to `T`, strictly, as `convert` does; with `PyObject` it is what Python gave,
unconverted. Throws an error that names `f` if the result is of another kind.
"""
pycall(f::PyAny, ::Type{T}, args...; kwargs...) where {T} = typedresult(T, f, callobject(asobject(f), args, kwargs))
pycall(f::PyAny, ::Type{PyObject}, args...; kwargs...) = callobject(asobject(f), args, kwargs)

function typedresult(::Type{T}, f, o::PyObject)::T where {T}
    try
        return fromobject(T, o)
    catch e
        e isa Union{PyTypeError,InexactError,MethodError} || rethrow()
        throwresult(T, f, o, e)
    end
end
# A result of the wrong kind: say whose.
@noinline throwresult(@nospecialize(T), f, @nospecialize(o), e) =
    throw(PyTypeError("the Python function $(pytext(f, 0)) returned $(short(o)), where $T is wanted" *
                      (e isa InexactError ? " ($(sprint(showerror, e)))" : "")))

function short(o)
    text = o isa PyAny ? pytext(o, 0) : repr(o)
    return length(text) <= 80 ? text : first(text, 77) * "..."
end

# --------------------------------------------------------- Python code

"""
    pyeval([T,] code, names = (;))

The value of a Python expression, converted as a call's result is (or to `T`, as [`pycall`](@ref) does). `names` are the variables that
it sees: a NamedTuple, a Dict, or a [`PyDict`](@ref), which is used itself: [`pyexec`](@ref) gives one.

Throws what the code raises, Python's SyntaxError too.
"""
pyeval(code::AbstractString, names = NamedTuple()) = pybuiltin("eval")(compiled(code, "eval"), namespace(names))
pyeval(::Type{T}, code::AbstractString, names = NamedTuple()) where {T} =
    pycall(pybuiltin("eval"), T, compiled(code, "eval"), namespace(names))

"""
    pyexec(code, names = (;)) -> PyDict{String,Any}

Runs Python code in a namespace of its own, with the variables `names`, or in the one that is given as a [`PyDict`](@ref), and gives the
namespace: `pyexec("def f(x): return 2 * x")["f"](3)`. Throws what the code raises, Python's SyntaxError too.
"""
function pyexec(code::AbstractString, names = NamedTuple())
    space = namespace(names)
    pybuiltin("exec")(compiled(code, "exec"), space)
    return PyDict{String,Any}(asobject(space))
end

compiled(code, mode) = pycall(pybuiltin("compile"), PyObject, String(code), "<Julia: py$mode>", mode)

# A dict for code to run in.
namespace(d::PyDict) = d.object
namespace(o::PyAny) = o
function namespace(names)
    o = pycall(pybuiltin("dict"), PyObject)
    o["__name__"] = "<Julia>"
    for (name, x) in pairs(names)
        o[String(name)] = x
    end
    return o
end

# ----------------------------------------------------- context managers

"""
    pywith(f, manager)

Python's `with manager as x: f(x)`:

    pywith(pybuiltin("open")("data.txt")) do file
        file.read()
    end

An exception in `f`, Python's or Julia's, goes to the manager's `__exit__`, which sees a Julia exception as a JuliaError. If that gives
true the exception is over, and the result `nothing`.
"""
function pywith(f, manager::PyAny)
    leave = pygetattr(manager, "__exit__")
    x = manager.__enter__()
    result = try
        f(x)
    catch e
        error = pyexception(e)
        pytruth(pycall(leave, PyObject, pygetattr(error, "__class__"), error, pygetattr(error, "__traceback__"))) || rethrow()
        return nothing
    end
    leave(nothing, nothing, nothing)
    return result
end
pywith(f, manager) = pywith(f, PyObject(manager))

"The Python exception that Python would get for `e`, which is being handled."
pyexception(@nospecialize(e)) = withgil() do
    raise(e, catch_backtrace)
    owned(@api fetch()::Ptr{Cvoid})
end
