# What differs between Julia's versions, 1.5 to 1.12. Nowhere else is VERSION looked at.

# The object that owns an Array's memory. From 1.11 on it is the Memory, which a reshaped array
# shares; before, it is the first Array itself, which a reshaped array refers to. A finalizer that
# releases the memory belongs on this object.
@static if VERSION >= v"1.11.0-DEV"
    memoryowner(a::Array) = getfield(a, :ref).mem
    const VECTOR_LENGTH_OFFSET = Int(fieldoffset(Vector{Int}, 2))
else
    memoryowner(a::Array) = a
    const VECTOR_LENGTH_OFFSET = sizeof(Ptr)
end

# From 1.11 on a Vector that is resized leaves its old Memory as it was; before, the memory moves or
# is freed, so that exported Vectors must not be resized.
const RESIZE_KEEPS_MEMORY = VERSION >= v"1.11.0-DEV"

# A thread that Julia did not start is adopted when it enters a @cfunction.
const ADOPTS_THREADS = VERSION >= v"1.9.0-DEV"

# Offset and mask of the flag that forbids resizing an Array, found by looking at what reshape does
# to one. (0, 0) where there is none.
function sharedflag()
    RESIZE_KEEPS_MEMORY && return (0, 0)
    v = zeros(Int, 4)
    offset = 2 * sizeof(Ptr) # jl_array_t: data, length, flags
    flags() = GC.@preserve v unsafe_load(Ptr{UInt16}(pointer_from_objref(v) + offset))
    before = flags()
    alias = reshape(v, 2, 2)
    mask = before ⊻ flags()
    count_ones(mask) == 1 && length(alias) == 4 ||
        error("BufferBridge doesn't know the layout of Array in Julia $VERSION")
    return (offset, Int(mask))
end

@static if VERSION >= v"1.6.0-DEV"
    parseall(code, filename) = Meta.parseall(code; filename = filename)
    isreshaping(::Base.ReinterpretArray{T,N,S,A,R}) where {T,N,S,A,R} = R
else
    parseall(code, filename) = Base.parse_input_line(code; filename = filename)
    isreshaping(::Base.ReinterpretArray) = false
end

# Base.stdout and Base.stderr are globals that redirect_stdout assigns; so do we.
@static if VERSION >= v"1.7.0-DEV"
    setstream!(io::IO, fd::Int) = Base._redirect_io_global(io, fd)
    # redirect_stdout and redirect_stderr for streams of type S: f(redirect, fd, s)
    defineredirect(f, S) = @eval (r::Base.RedirectStdStream)(s::$S) = $f(r, r.unix_fd, s)
else
    setstream!(io::IO, fd::Int) = (Core.eval(Base, Expr(:(=), fd == 1 ? :stdout : :stderr, io)); io)
    defineredirect(f, S) = @eval begin
        Base.redirect_stdout(s::$S) = $f(redirect_stdout, 1, s)
        Base.redirect_stderr(s::$S) = $f(redirect_stderr, 2, s)
    end
end

# Whether f is the function through which g is called with keywords.
@static if isdefined(Core, :kwcall)
    iskeywordcall(@nospecialize(f), @nospecialize(g)) = f === Core.kwcall
else
    iskeywordcall(@nospecialize(f), @nospecialize(g)) = f === Core.kwfunc(g)
end

# Exceptions that older versions have not.
@static if isdefined(Base, :FieldError)
    const FieldErrors = Base.FieldError
else
    const FieldErrors = Union{}
end
