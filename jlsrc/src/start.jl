# The way in from Python, and the start.

"""
    entry(f, args, nargs, kwnames, result, level) -> 0 or -1

Calls the Julia object at `f` for Python, with the GIL held. This, and what compiled.jl makes for single
functions, is all that Python calls (bb_entry in csrc/bufferbridge.h); no Julia exception passes it.
"""
function entry(f::Ptr{Cvoid}, args::Ptr{Value}, nargs::Int64, kwnames::Ptr{Cvoid}, result::Ptr{Value}, level::Int64)::Cint
    goin(level)
    try
        x = kwnames == C_NULL ? callpositional(unsafe_pointer_to_objref(f), args, nargs, level) :
            callkeywords(unsafe_pointer_to_objref(f), args, nargs, kwnames, level)
        goout(level)
        level = 0
        flushstreams()
        setresult!(result, x) # last: nothing may fail once the result is a new reference
        return Cint(0)
    catch e
        return failed(e, level, result)
    end
end

# In the catch block of an entry.
@noinline function failed(@nospecialize(e), level::Int64, result::Ptr{Value})
    stoprunning(level)
    @api gil_regain()::Cvoid # an interrupt may have come at the end of a call without the GIL
    goout(level)
    fail(e, result)
    return Cint(-1)
end

# Python's frames are a stack for each thread, but Julia may switch tasks while it is called from
# Python: of two tasks that are both called from Python, the one that came first must not go back
# before the other one has. The state's field `depth` counts the calls that the main thread is in, and C says
# with each call its `level` among them; on other threads (those that Julia adopted) only one task runs, and the
# level is -1.

@inline goin(level::Int64) = level < 0 ? goinelsewhere() : nothing

# Outside of a "threaded region" only the main thread runs Julia's event loop, and it may be in Python: a
# call that waits for a timer or for input would wait for ever.
@noinline function goinelsewhere()
    p = statefield(Int64, STATE_ELSEWHERE)
    unsafe_store!(p, unsafe_load(p) + 1)
    ccall(:jl_enter_threaded_region, Cvoid, ())
    return nothing
end

# level: that of the call, or 0 if this was done already.
@inline function goout(level)
    level == 0 && return nothing
    level < 0 && return gooutelsewhere()
    depth = statefield(Int64, STATE_DEPTH)
    unsafe_load(depth) == level || waitturn(level)
    unsafe_store!(depth, level - 1)
    return nothing
end

@noinline function gooutelsewhere()
    ccall(:jl_exit_threaded_region, Cvoid, ())
    p = statefield(Int64, STATE_ELSEWHERE)
    unsafe_store!(p, unsafe_load(p) - 1)
    takeover()
    return nothing
end

# Of the threads that wait, one runs the event loop, and the others sleep. When that one leaves Julia, or has
# something to compute, nobody would run it: so those that sleep look whether they have to. Called by who leaves,
# and, as long as other threads than the main one are in calls, now and then by the thread that watches (signals.c).
takeover()::Cvoid = ccall(:jl_wakeup_thread, Cvoid, (Int16,), -1)

# Likewise for Julia's own threads while the main thread has been in Python for a while: called by a thread of
# the C layer's (signals.c), which takes it back with the next call.
function idle()::Cvoid
    ccall(:jl_enter_threaded_region, Cvoid, ())
    for thread in 2:Threads.nthreads()
        ccall(:jl_wakeup_thread, Cvoid, (Int16,), thread - 1)
    end
    return nothing
end

# Around the user's function: it may be interrupted.
@inline function startrunning(level)
    level > 0 || return nothing
    CALLER[] = current_task()
    setinterruptible!(1)
    checksignals() # of the time since Python code ran last
    return nothing
end

@inline stoprunning(level) = level > 0 ? setinterruptible!(0) : nothing

macro running(level, call)
    return quote
        startrunning($(esc(level)))
        x = $(esc(call))
        stoprunning($(esc(level)))
        x
    end
end

@noinline function waitturn(level)
    while unsafe_load(statefield(Int64, STATE_DEPTH)) != level
        sleep(0.001)
    end
end

@inline function callpositional(@nospecialize(f), args::Ptr{Value}, n::Int64, level)
    if n == 1
        a = fromvalue(args)
        return @running level f(a)
    elseif n > 1 && runspython(args, n)
        all = usable(arguments(args, n))
        return @running level f(all...)
    elseif n == 2
        a, b = fromvalue(args), fromvalue(args + sizeof(Value))
        return @running level f(a, b)
    elseif n == 3
        a, b, c = fromvalue(args), fromvalue(args + sizeof(Value)), fromvalue(args + 2sizeof(Value))
        return @running level f(a, b, c)
    elseif n == 0
        return @running level f()
    end
    all = arguments(args, n)
    return @running level f(all...)
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

@noinline function callkeywords(@nospecialize(f), args::Ptr{Value}, n::Int64, kwnames::Ptr{Cvoid}, level)
    names = items(kwnames)
    all = usable(arguments(args, n))
    positional = n - length(names)
    keywords = Pair{Symbol,Any}[Symbol(names[i]) => all[positional+i] for i in eachindex(names)]
    return @running level f(all[1:positional]...; keywords...)
end

@noinline function fail(@nospecialize(e), result::Ptr{Value})
    settag!(result, TAG_NONE)
    try
        flushstreams() # before, since Python must not be called while an exception is set
    catch # a broken sys.stdout must not hide the exception
    end
    raise(e, catch_backtrace)
    return nothing
end

const ENTRY_TYPES = (Ptr{Cvoid}, Ptr{Value}, Int64, Ptr{Cvoid}, Ptr{Value}, Int64)

"""
A C function, a `bb_entry`, that calls `f`; compiled now, which takes some 20 ms. One that comes from a system or package
image is there at once, but boxes its arguments and looks up the method of `f` with each call.
"""
cfunction(f) = Core.eval(@__MODULE__, :(@cfunction($f, Cint, $(Expr(:tuple, ENTRY_TYPES...)))))::Ptr{Cvoid}

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

# cglobal takes nothing but literals.
@eval function setruntime!()
    for (name, p) in ($([:(($(String(name)), cglobal($(QuoteNode(name))))) for name in RUNTIME]...),)
        GC.@preserve name @api(set_runtime(pointer(name)::Ptr{UInt8}, p::Ptr{Cvoid})::Cint) == 0 ||
            error("bufferbridge's C layer does not know '$name': reinstall bufferbridge")
    end
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
    setruntime!()
    @api set_facts(ADOPTS_THREADS::Int64, Threads.nthreads()::Int64, h.length::Int64, h.flags::Int64, h.shared::Int64, h.capacity::Int64)::Cvoid
    growroots!()
    append!(HELPER_OBJECTS, (getfield(@__MODULE__, name) for name in HELPERS))
    for i in eachindex(HELPER_OBJECTS)
        f = GC.@preserve HELPER_OBJECTS unsafe_load(Ptr{Ptr{Cvoid}}(pointer(HELPER_OBJECTS)), i)
        @api(set_helper((i - 1)::Int64, f::Ptr{Cvoid})::Cint) == 0 ||
            error("bufferbridge's C layer has another number of helpers: reinstall bufferbridge")
    end
    empty!(ARGS) # Debian's Julia 1.5 has some from when it was built
    takestreams!()
    atexit(deliverall)
    CALLER[] = current_task()
    watchinterrupts()
    ADOPTS_THREADS && @api set_take_over(@cfunction(takeover, Cvoid, ())::Ptr{Cvoid})::Cvoid
    if ADOPTS_THREADS && Threads.nthreads() > 1
        @api set_idle(@cfunction(idle, Cvoid, ())::Ptr{Cvoid})::Cvoid
    end
    general = @cfunction(entry, Cint, (Ptr{Cvoid}, Ptr{Value}, Int64, Ptr{Cvoid}, Ptr{Value}, Int64))
    @api set_entry(general::Ptr{Cvoid})::Cvoid
    return nothing
end
