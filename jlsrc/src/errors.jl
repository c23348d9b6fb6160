# Julia exceptions to Python. The Python classes, by number, are in bufferbridge/_errors.py.

const KIND_ERROR = 0
const KIND_INDEX = 1
const KIND_KEY = 2
const KIND_VALUE = 3
const KIND_TYPE = 4
const KIND_ATTRIBUTE = 5
const KIND_NAME = 6
const KIND_ZERO_DIVISION = 7
const KIND_MEMORY = 8
const KIND_INTERRUPT = 9
const KIND_EOF = 10
const KIND_OS = 11
const KIND_RECURSION = 12
const KIND_SYNTAX = 13
const KIND_OVERFLOW = 14
const KIND_ASSERTION = 15
const KIND_BUFFER = 16
const KIND_UNSUPPORTED = 17
const KIND_STOP_ITERATION = 18

"An attribute that is not there. `cause` is Julia's exception, if there was one."
struct NoAttribute <: Exception
    cause::Any
    message::String
end
Base.showerror(io::IO, e::NoAttribute) = print(io, e.message)

"The end of an iteration from Python."
struct StopIteration <: Exception end

"A view that reaches beyond its Vector, which was resized."
struct Resized <: Exception end
Base.showerror(io::IO, ::Resized) = print(io, "the Julia Vector that this array is a view of was " *
    "resized, and the view reaches beyond its end now")

"What a stream can't do."
struct UnsupportedOperation <: Exception
    message::String
end
Base.showerror(io::IO, e::UnsupportedOperation) = print(io, e.message)

"Code that does not parse, with the place in it."
struct SyntaxError <: Exception
    cause::Any
    message::String
end
Base.showerror(io::IO, e::SyntaxError) = print(io, e.message)

"""
    errorkind(e) -> Int

Which Python exception is natural for `e`. Packages may add methods.
"""
errorkind(@nospecialize(e)) = KIND_ERROR
errorkind(e::ErrorException) = startswith(e.msg, "syntax: ") ? KIND_SYNTAX : KIND_ERROR # found after parsing
errorkind(::BoundsError) = KIND_INDEX
errorkind(::StringIndexError) = KIND_INDEX
errorkind(::KeyError) = KIND_KEY
errorkind(::Union{ArgumentError,DomainError,DimensionMismatch,InexactError,FormatError}) = KIND_VALUE
errorkind(::Union{MethodError,TypeError,UndefKeywordError,PyTypeError}) = KIND_TYPE
errorkind(::Union{NoAttribute,FieldErrors}) = KIND_ATTRIBUTE
errorkind(::UndefVarError) = KIND_NAME
errorkind(::DivideError) = KIND_ZERO_DIVISION
errorkind(::OutOfMemoryError) = KIND_MEMORY
errorkind(::InterruptException) = KIND_INTERRUPT
errorkind(::EOFError) = KIND_EOF
errorkind(::Union{SystemError,Base.IOError}) = KIND_OS
errorkind(::StackOverflowError) = KIND_RECURSION
errorkind(::SyntaxError) = KIND_SYNTAX
errorkind(::OverflowError) = KIND_OVERFLOW
errorkind(::AssertionError) = KIND_ASSERTION
errorkind(::Union{Resized,BufferReleased}) = KIND_BUFFER
errorkind(::UnsupportedOperation) = KIND_UNSUPPORTED
errorkind(::StopIteration) = KIND_STOP_ITERATION
errorkind(e::LoadError) = errorkind(e.error)

"The exception a Python user should see as `.exception`."
causeof(@nospecialize(e)) = e
causeof(e::Union{NoAttribute,SyntaxError}) = e.cause === nothing ? e : e.cause

"The Python exception that `e` is or wraps: the one that a task ended with, for instance."
pythonexception(e::PyException) = e
pythonexception(e::Union{LoadError,InitError}) = pythonexception(e.error)
pythonexception(e::TaskFailedException) = pythonexception(e.task.exception)
pythonexception(e::CapturedException) = pythonexception(e.ex)
pythonexception(e::CompositeException) = isempty(e) ? nothing : pythonexception(first(e.exceptions))
pythonexception(@nospecialize(e)) = nothing

"""
The Python exception, a JuliaError, that `e` is part of: one that came from Julia through a callback, and goes on. It
was handled when `e` was thrown (`throwpython`), so it is below it in the stack of exceptions.
"""
passing(e::TaskFailedException) = passing(e.task.exception, exceptionstack(e.task))
function passing(@nospecialize(e), stack = exceptionstack())
    e = loaded(e)
    for k in length(stack):-1:2
        below = stack[k-1]
        below isa PyException && loaded(stack[k]) === e || continue
        julia = juliaexception(below)
        julia !== nothing && something(julia) === e && return below
    end
    return nothing
end

# What went wrong in a file, without the place in the file.
loaded(@nospecialize(e)) = e
loaded(e::Union{LoadError,InitError}) = loaded(e.error)

"Whether `e` must come out whatever was being tried: it says nothing about that."
isforeign(@nospecialize(e)) =
    e isa Union{InterruptException,OutOfMemoryError,StackOverflowError} || pythonexception(e) !== nothing

# What packages' methods of errorkind say, if that is a kind.
function kindof(@nospecialize(e))
    kind = try
        errorkind(e)
    catch
        KIND_ERROR
    end
    return kind isa Integer && KIND_ERROR <= kind <= KIND_STOP_ITERATION ? Int64(kind) : KIND_ERROR
end

"""
    raise(e, getbacktrace)

Sets the Python exception for a Julia exception. Never throws. In a deep recursion to get a backtrace takes most of the time:
it is got where it is needed.
"""
function raise(@nospecialize(e), getbacktrace)
    exception = trace = C_NULL
    try
        python = pythonexception(e)
        python === nothing && (python = passing(e))
        if python !== nothing
            restore(python, wantsframes(python) ? newjulia(CLASS_VALUE, getbacktrace()) : C_NULL)
            return nothing
        end
        backtrace = getbacktrace()
        isoverflow(e, backtrace) && (e = StackOverflowError())
        inner = e
        while inner isa LoadError # include's wrapping, for the file and line
            inner = inner.error
        end
        message = describe(e)
        exception = newjulia(CLASS_VALUE, causeof(inner))
        trace = newjulia(CLASS_VALUE, backtrace)
        raise(kindof(inner), message, exception, trace)
    catch nested
        exception == C_NULL || @api decref(exception::Ptr{Cvoid})::Cvoid
        raiseplainly(nested)
    end
    return nothing
end

# Julia does not know where the stack of a thread ends that it did not start, and takes the guard page there for memory that
# is read-only.
isoverflow(@nospecialize(e), backtrace) = e isa ReadOnlyMemoryError && !onmainthread() && length(backtrace) > 1000

# Takes the references.
raise(kind::Int64, message::String, exception::Ptr{Cvoid}, trace::Ptr{Cvoid}) =
    GC.@preserve message @api raise(kind::Int64, pointer(message)::Ptr{UInt8}, sizeof(message)::Int64, exception::Ptr{Cvoid}, trace::Ptr{Cvoid})::Cvoid

# Whether not all frames that an exception passes are noted already.
wantsframes(e::PyException) = GC.@preserve e @api(wants_frames(pointerof(e.exception)::Ptr{Cvoid})::Cint) != 0

# Takes the reference.
function restore(e::PyException, trace::Ptr{Cvoid} = C_NULL)
    o = e.exception
    p = try
        pointerof(o)
    catch # it was finalized
        trace == C_NULL || @api decref(trace::Ptr{Cvoid})::Cvoid
        rethrow()
    end
    GC.@preserve o @api restore(p::Ptr{Cvoid}, trace::Ptr{Cvoid})::Cvoid
end

# An exception could not be told because of another one: no memory, most likely.
function raiseplainly(@nospecialize(nested))
    if nested isa PyException
        try
            return restore(nested)
        catch # it was finalized
        end
    end
    kind = nested isa OutOfMemoryError ? KIND_MEMORY : KIND_ERROR
    raise(kind, "a Julia exception could not be described", C_NULL, C_NULL)
end

function describe(@nospecialize(e))
    try
        text = sprint(showerror, e)
        return e isa MethodError ? text * methodhint(e) : text
    catch
        return "$(typeof(e)) (showing it failed)"
    end
end

# A method that wants an Array, and memory that can't be one: say which argument and what to do.
function methodhint(e::MethodError)
    lines = String[]
    for (i, x) in enumerate(positional(e))
        why = arrayhint(x)
        why === nothing ||
            push!(lines, "\nArgument $i is no Array: $why, or declare the argument as AbstractArray.")
        x isa PyObject || continue
        why = objecthint(x)
        why === nothing || push!(lines, "\nArgument $i stays a Python object: $why.")
    end
    isempty(lines) && append!(lines, kindhints(e))
    return join(lines)
end

"""
Arguments that are of the right kind for a method but of another type: Python's list became a `Vector{Int64}`, its float a
`Float64`. Methods of Julia's own are not looked at, which take all kinds of things.
"""
function kindhints(e::MethodError)
    args = positional(e)
    f = length(args) == length(e.args) ? e.f : e.args[2]
    for m in methods(f)
        m.module in (Base, Core) && continue
        types = Base.unwrap_unionall(m.sig).parameters[2:end]
        length(types) == length(args) && !m.isva || continue
        wrong = [i for i in eachindex(args) if !matches(types[i], args[i])]
        all(i -> islike(types[i], args[i]), wrong) || continue
        return ["\nArgument $i is $(article(string(typeof(args[i])))), and the method wants $(article(string(types[i]))): pass bufferbridge." *
                "convert(bufferbridge.eval(\"$(types[i])\"), x)" * remedy(types[i]) for i in wrong]
    end
    return String[]
end

matches(@nospecialize(T), @nospecialize(x)) = !(T isa Type) || x isa T
article(name) = (first(name) in "AEIOU" ? "an " : "a ") * name

# Whether x can be converted to T, perhaps, and T says what to.
islike(@nospecialize(T), @nospecialize(x)) = false
islike(T::DataType, @nospecialize(x)) =
    x isa Number ? T <: Number :
    x isa AbstractString ? T <: Union{Symbol,AbstractChar} :
    x isa Array ? T <: Array && ndims(T) == ndims(x) :
    x isa AbstractDict ? T <: AbstractDict : x isa AbstractSet && T <: AbstractSet

remedy(@nospecialize(T)) = T <: Vector ? ", or declare the argument as AbstractVector" :
    T <: AbstractDict ? ", or declare the argument as AbstractDict" : ""

# A call with keywords fails in a function of the compiler's, whose first two arguments are the
# keywords and the function itself.
function positional(e::MethodError)
    args = e.args isa Tuple ? e.args : ()
    length(args) >= 2 && args[1] isa NamedTuple && iskeywordcall(e.f, args[2]) && return args[3:end]
    return args
end

arrayhint(@nospecialize(x)) = nothing

"Why an object has no Julia type, where that is not to be expected, and what to do."
function objecthint(o::PyObject)
    return withgil() do
        hint = owned(construct(:hint, o))
        GC.@preserve hint unbox(pointerof(hint))
    end
end

arrayhint(x::PyArray) = isreadonly(x) ?
    "it is read-only memory of Python. Pass a copy (x.copy(), np.array(x))" :
    "it was wrapped as a PyArray. Pass the Python object itself"

arrayhint(x::PyBorrowedArray) = isreadonly(x) ?
    "it is read-only memory of Python, borrowed for a block. Pass a copy (np.array(x))" :
    "it was borrowed from Python for a block. Pass the Python object itself, or a copy (np.array(x))"

function arrayhint(x::PyStridedArray{T,N,S,A}) where {T,N,S,A}
    contiguous = N == 1 ? "np.ascontiguousarray(x)" : "np.asfortranarray(x)"
    S <: Swapped && return "its bytes are in the order of another machine. Pass x.astype(x.dtype.newbyteorder(\"=\"))"
    S <: ObjectReference && return "its items are references to Python objects. Pass a list (x.tolist())"
    isplain(S) || return "its records are not laid out as Julia's are. Pass a copy with C's layout " *
                         "(x.astype(np.dtype(..., align=True)))"
    A <: Union{Vector{T},PyBorrowedArray{T,1}} || return "it is memory of Python that is not aligned. Pass a copy (x.copy())"
    isreadonly(x) && return "it is read-only memory of Python. Pass a copy (np.array(x, order=\"F\"))"
    return "it is memory of Python whose items do not follow each other in column-major order. Pass $contiguous"
end

arrayhint(x::PyIndirectArray) =
    "it is memory of Python that is reached through pointers (suboffsets). Pass a copy (np.array(x))"
arrayhint(x::Union{PermutedDimsArray{T,N,P,I,<:Array},Transpose{T,<:Array}}) where {T,N,P,I} =
    "it is row-major, as NumPy's arrays are by default. Pass np.asfortranarray(x)"

"""
The text of a backtrace that `raise` was given, up to where Python called. Frames are looked up one by
one: those of Python itself are not asked for, since reading foreign debug information is slow and, on
some systems, noisy.
"""
function backtracetext(backtrace)
    frames = StackTraces.StackFrame[]
    for ip in backtrace, f in StackTraces.lookup(ip) # of what is inlined there, the innermost first
        isentry(f) && return showframes(frames)
        f.from_c || push!(frames, f)
    end
    return showframes(frames)
end

# Without what the bridge does to throw an exception that came from Python.
function showframes(frames)
    any(f -> f.func === :throwfetched && isours(f), frames[1:min(3, length(frames))]) &&
        (frames = frames[something(findfirst(!isours, frames), end):end])
    return sprint(Base.show_backtrace, frames)
end
isours(f::StackTraces.StackFrame) = dirname(String(f.file)) == @__DIR__

# Code of the bridge's, below which is Python.
isentry(f::StackTraces.StackFrame) = String(f.file) in ENTRY_FILES
const ENTRY_FILES = Tuple(joinpath(@__DIR__, file) for file in ("start.jl", "compiled.jl", "cells.jl"))
