# What differs between Julia's versions, 1.5 to 1.12. Nowhere else is VERSION looked at.

# A thread that Julia did not start is adopted when it enters a @cfunction.
const ADOPTS_THREADS = VERSION >= v"1.9.0-DEV"

# The package's image has native code: what is precompiled need not be compiled in each process.
const CACHES_CODE = VERSION >= v"1.9.0-DEV"

# From 1.11 on an Array refers to a Memory, and a Vector that is resized leaves its old Memory as it
# was. Before, the memory moves or is freed, so that exported Vectors must not be resized.
const RESIZE_KEEPS_MEMORY = VERSION >= v"1.11.0-DEV"

@static if RESIZE_KEEPS_MEMORY
    # The object that owns an Array's memory: a finalizer that releases the memory belongs on it. A
    # reshaped array shares the Memory, and not the Array.
    memoryowner(a::Array) = getfield(a, :ref).mem
    # The object besides the Vector itself that has to live for its present memory to live.
    memoryroot(v::Vector) = memoryowner(v)
    # The addresses of the words in a Vector's header that say how long it is.
    lengthwords(v::Vector) = (Ptr{Int64}(pointer_from_objref(v) + fieldoffset(typeof(v), 2)),)
else
    # A reshaped array refers to the first Array.
    memoryowner(a::Array) = a
    # An alias made by reshape or vec gets memory of its own when it is resized, and then no longer
    # refers to the Array it was made of.
    memoryroot(v::Vector) = isalias(v) ? header(Any, v, ALIAS_OWNER[]) : nothing

    isalias(v::Vector) = header(UInt16, v, FLAGS_OFFSET) & HOW_MASK == HOW_ALIAS
    # The length, and the first dimension.
    lengthwords(v::Vector) = Tuple(Ptr{Int64}(pointer_from_objref(v) + offset)
        for offset in (sizeof(Ptr), 3 * sizeof(Ptr)) if header(Int, v, offset) == length(v))

    header(::Type{T}, v::Array, offset) where {T} =
        GC.@preserve v unsafe_load(Ptr{T}(pointer_from_objref(v) + offset))
    const ALIAS_OWNER = Ref(0)
end

# jl_array_t, up to 1.10: data, length, flags (of which the first two bits say how the memory was
# allocated, 3 for an alias), ...; the rest is looked for.
const FLAGS_OFFSET = 2 * sizeof(Ptr)
const HOW_MASK = 0x0003
const HOW_ALIAS = 0x0003

"What the C layer has to know of a Vector's header: offsets in bytes, and a mask."
struct VectorHeader
    length::Int     # offset of the length
    flags::Int      # offset of the 16 bits that have
    shared::Int     # this bit, which forbids resizing; 0 where a resized Vector keeps its old memory
    capacity::Int   # offset of the number of items there is room for
end

"""
    vectorheader() -> VectorHeader

Finds the places in a Vector's header by looking at what `reshape` and `sizehint!` change, and throws
rather than guess.
"""
function vectorheader()
    RESIZE_KEEPS_MEMORY && return VectorHeader(Int(fieldoffset(Vector{Int}, 2)), 0, 0, 0)
    unknown() = error("BufferBridge doesn't know the layout of Array in Julia $VERSION")
    word(x, k) = header(Int, x, k * sizeof(Ptr))

    a = zeros(Int, 2, 2)
    before = header(UInt16, a, FLAGS_OFFSET)
    v = vec(a)
    shared = before ⊻ header(UInt16, a, FLAGS_OFFSET)
    count_ones(shared) == 1 && isalias(v) && word(v, 1) == 4 || unknown()
    owner = findfirst(k -> word(v, k) == Int(pointer_from_objref(a)), 3:7)
    owner === nothing && unknown()
    ALIAS_OWNER[] = (owner + 2) * sizeof(Ptr)

    grown = sizehint!(zeros(Int, 4), 1000)
    capacity = findfirst(k -> word(grown, k) >= 1000, 3:5)
    capacity === nothing && unknown()
    return VectorHeader(sizeof(Ptr), FLAGS_OFFSET, Int(shared), (capacity + 2) * sizeof(Ptr))
end

"""
    forbidresizing!(v::Vector)

Makes sure that the present memory of `v` stays where it is as long as `memoryowner(v)` and `memoryroot(v)`
live: up to Julia 1.10 `push!` and `resize!` throw from then on.
"""
function forbidresizing!(v::Vector)
    RESIZE_KEEPS_MEMORY && return nothing
    h = vectorheader()
    header(UInt16, v, h.flags) & h.shared % UInt16 == 0 || return nothing
    sizehint!(v, 0) # gives back spare room, which it would do later too; see getbuffer.c
    GC.@preserve v begin
        p = Ptr{UInt16}(pointer_from_objref(v) + h.flags)
        unsafe_store!(p, unsafe_load(p) | h.shared % UInt16)
    end
    return nothing
end

@static if VERSION >= v"1.6.0-DEV"
    parseall(code, filename) = Meta.parseall(code; filename = filename)
    isreshaping(::Base.ReinterpretArray{T,N,S,A,R}) where {T,N,S,A,R} = R
else
    parseall(code, filename) = Base.parse_input_line(code; filename = filename)
    isreshaping(::Base.ReinterpretArray) = false
end

# Base.stdin, Base.stdout and Base.stderr are globals that redirect_stdout and its kin assign; so do we.
@static if VERSION >= v"1.7.0-DEV"
    setstream!(io::IO, fd::Int) = Base._redirect_io_global(io, fd)
    # redirect_stdin, redirect_stdout and redirect_stderr for streams of type S: f(redirect, fd, s)
    defineredirect(f, S) = @eval (r::Base.RedirectStdStream)(s::$S) = $f(r, r.unix_fd, s)
else
    setstream!(io::IO, fd::Int) =
        (Core.eval(Base, Expr(:(=), (:stdin, :stdout, :stderr)[fd+1], io)); io)
    defineredirect(f, S) = @eval begin
        Base.redirect_stdin(s::$S) = $f(redirect_stdin, 0, s)
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

@static if isdefined(Base, :ismutabletype)
    ismutabletype(@nospecialize(T)) = Base.ismutabletype(T)
else
    ismutabletype(@nospecialize(T)) = T isa DataType && T.mutable
end

# A task that is not sticky may go on on another thread whenever it has waited. Gives back what it was.
@static if VERSION >= v"1.7.0-DEV"
    function stick!(sticky::Bool)
        t = current_task()
        was = t.sticky
        was == sticky || (t.sticky = sticky)
        return was
    end
else
    stick!(sticky::Bool) = sticky
end

# The queue of the main thread's tasks that may run.
@static if isdefined(Base, :workqueue_for)
    mainworkqueue() = Base.workqueue_for(1).queue
else
    mainworkqueue() = Base.Workqueues[1].queue
end

# The exceptions that a task is handling, or has ended with, from the first to the current one.
@static if isdefined(Base, :current_exceptions)
    exceptionstack(t::Task = current_task()) = Any[e.exception for e in Base.current_exceptions(t; backtrace = false)]
else
    exceptionstack(t::Task = current_task()) = Any[e isa Tuple ? e[1] : e for e in Base.catch_stack(t; include_bt = false)]
end

# Exceptions that older versions have not.
@static if isdefined(Base, :FieldError)
    const FieldErrors = Base.FieldError
else
    const FieldErrors = Union{}
end

# Numbers and characters that one element may consist of, and a tuple in it. Before 1.10 (tried: 1.5) a tuple
# of many items is compiled item by item, and too many crash the compiler; later it is compiled as memory.
const MAX_TUPLE = VERSION >= v"1.10.0-DEV" ? 1 << 13 : 1 << 10
const MAX_LEAVES = VERSION >= v"1.10.0-DEV" ? 1 << 20 : 1 << 10

# The methods of a type of functions, of which there need be no instance.
@static if VERSION >= v"1.7.0-DEV"
    methodsof(T::DataType) = Method[m.method for m in something(Base._methods_by_ftype(Tuple{T,Vararg{Any}}, -1, Base.get_world_counter()), ())]
else
    methodsof(T::DataType) = Method[m for m in Base.MethodList(T.name.mt) if m isa Method]
end
