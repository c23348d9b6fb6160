# The way in from Python, and the start.

"""
    entry(f, args, nargs, kwnames, result) -> 0 or -1

Calls the Julia object at `f` for Python, with the GIL held. This is the only function that Python
calls (bb_entry in csrc/bufferbridge.h); no Julia exception passes it.
"""
function entry(f::Ptr{Cvoid}, args::Ptr{Value}, nargs::Int64, kwnames::Ptr{Cvoid}, result::Ptr{Value})::Cint
    level = goin()
    try
        x = kwnames == C_NULL ? callpositional(unsafe_pointer_to_objref(f), args, nargs) :
            callkeywords(unsafe_pointer_to_objref(f), args, nargs, kwnames)
        goout(level)
        level = 0
        flushstreams()
        setresult!(result, x) # last: nothing may fail once the result is a new reference
        return Cint(0)
    catch e
        goout(level)
        fail(e, result)
        return Cint(-1)
    end
end

# Python's frames are a stack for each thread, but Julia may switch tasks while it is called from
# Python: of two tasks that are both called from Python, the one that came first must not go back
# before the other one has. DEPTH counts the calls that the main thread is in; on other threads (those
# that Julia adopted) only one task runs.
const DEPTH = Ref(0)

@inline goin() = Threads.threadid() == 1 ? (DEPTH[] += 1) : 0

@inline function goout(level)
    level == 0 && return nothing
    DEPTH[] == level || waitturn(level)
    DEPTH[] = level - 1
    return nothing
end

@noinline function waitturn(level)
    while DEPTH[] != level
        sleep(0.001)
    end
end

@inline function callpositional(@nospecialize(f), args::Ptr{Value}, n::Int64)
    n == 1 && return f(fromvalue(args))
    n > 1 && runspython(args, n) && return f(usable(arguments(args, n))...)
    n == 2 && return f(fromvalue(args), fromvalue(args + sizeof(Value)))
    n == 3 && return f(fromvalue(args), fromvalue(args + sizeof(Value)), fromvalue(args + 2sizeof(Value)))
    n == 0 && return f()
    return f(arguments(args, n)...)
end

# Whether making Julia values of the arguments may run Python code: containers' items may be anything.
@inline function runspython(args::Ptr{Value}, n)
    for i in 0:n-1
        TAG_TUPLE <= gettag(args + i * sizeof(Value)) <= TAG_RANGE && return true
    end
    return false
end

# Such code may have resized a Vector of which another argument is a view.
function usable(values::Vector{Any})
    for x in values
        x isa AbstractArray && isderived(x) && !fits(x) && throw(Resized())
    end
    return values
end

arguments(args::Ptr{Value}, n) = Any[fromvalue(args + (i - 1) * sizeof(Value)) for i in 1:n]

@noinline function callkeywords(@nospecialize(f), args::Ptr{Value}, n::Int64, kwnames::Ptr{Cvoid})
    names = items(kwnames)
    all = usable(arguments(args, n))
    positional = n - length(names)
    keywords = Pair{Symbol,Any}[Symbol(names[i]) => all[positional+i] for i in eachindex(names)]
    return f(all[1:positional]...; keywords...)
end

@noinline function fail(@nospecialize(e), result::Ptr{Value})
    settag!(result, TAG_NONE)
    raise(e, catch_backtrace())
    try
        flushstreams()
    catch # a broken sys.stdout must not hide the exception
    end
    return nothing
end

function connect!(lookup::Ptr{Cvoid})
    for name in API_NAMES
        p = GC.@preserve name ccall(lookup, Ptr{Cvoid}, (Cstring,), String(name))
        p == C_NULL && error("bufferbridge's C layer has no function '$name': reinstall bufferbridge")
        setfield!(API, name, p)
    end
    STATE[] = @api state()::Ptr{UInt8}
    PIN_LIMIT[] = MIN_PIN_LIMIT
    return nothing
end

"The functions of HELPERS: C has their addresses, this keeps them."
const HELPER_OBJECTS = Any[]

"""
    start(lookup)

Connects this module to the C layer of the Python process it runs in: `lookup` finds the functions of
csrc/api.c by name. Called once, by bufferbridge/_start.py.
"""
function start(lookup::Ptr{Cvoid})
    connect!(lookup)
    h = vectorheader()
    @api set_facts(ADOPTS_THREADS::Int64, h.length::Int64, h.flags::Int64, h.shared::Int64, h.capacity::Int64)::Cvoid
    growroots!()
    append!(HELPER_OBJECTS, (getfield(@__MODULE__, name) for name in HELPERS))
    for i in eachindex(HELPER_OBJECTS)
        f = GC.@preserve HELPER_OBJECTS unsafe_load(Ptr{Ptr{Cvoid}}(pointer(HELPER_OBJECTS)), i)
        @api(set_helper((i - 1)::Int64, f::Ptr{Cvoid})::Cint) == 0 ||
            error("bufferbridge's C layer has another number of helpers: reinstall bufferbridge")
    end
    takestreams!()
    atexit(deliverall)
    compiled = @cfunction(entry, Cint, (Ptr{Cvoid}, Ptr{Value}, Int64, Ptr{Cvoid}, Ptr{Value}))
    @api set_entry(compiled::Ptr{Cvoid})::Cvoid
    return nothing
end
