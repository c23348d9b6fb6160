# Ctrl-C while Julia code runs. How it gets here is told in csrc/signals.c.
#
# An InterruptException may be thrown anywhere in code that runs on the main thread while the state's
# field `interruptible` is set: `entry` sets it around the user's function, and nothing of the bridge's own
# is done meanwhile. On the way into Python it is taken back.

# The task that was called from Python last, on the main thread.
const CALLER = Ref{Task}()

onmainthread() = Threads.threadid() == 1

@inline setinterruptible!(x::Int64) = unsafe_store!(statefield(Int64, STATE_INTERRUPTIBLE), x)

"Forbids interrupts until `resume!` gets what this gives. For what must not be left half done."
@inline function pause!()
    connected() && onmainthread() || return 0
    was = unsafe_load(statefield(Int64, STATE_INTERRUPTIBLE))
    setinterruptible!(0)
    return was
end

@inline resume!(was::Int64) = was == 0 ? nothing : setinterruptible!(was)

"Runs `f()`, which must not be left half done, without interrupts."
@inline function uninterrupted(f)
    was = pause!()
    try
        return f()
    finally
        resume!(was)
    end
end

"Runs Python's handlers if a SIGINT came that they have not seen, and throws what they raise. With the GIL."
@inline checksignals() = unsafe_load(statefield(Int64, STATE_NOTICED)) == 0 ? nothing : runhandlers()

"Whether `checksignals` has something to do, on a thread whose interrupts were on before (`was`)."
@inline signalled(was::Int64) = was != 0 && unsafe_load(statefield(Int64, STATE_NOTICED)) != 0

@noinline runhandlers() = @api(check_signals()::Cint) == 0 ? nothing : throwpython()

# C has its address, this keeps it.
const WAKER = Ref{Base.AsyncCondition}()

# Wakes with each Ctrl-C that concerns Julia.
function watchinterrupts()
    async = WAKER[] = Base.AsyncCondition()
    @api set_waker(async.handle::Ptr{Cvoid})::Cvoid
    @async while isopen(async)
        try
            wait(async)
            interruptwaiting()
        catch e # an interrupt may find this task running as well as any other
            e isa InterruptException || rethrow()
        end
    end
    return nothing
end

# A task in no queue is not waiting, and one in the queue of those that may run only waits for its turn.
iswaiting(t::Task) = t.queue !== nothing && t.queue !== mainworkqueue()

function interruptwaiting()
    unsafe_load(statefield(Int64, STATE_REQUESTED)) != 0 || return nothing
    unsafe_load(statefield(Int64, STATE_INTERRUPTIBLE)) != 0 || return nothing
    unsafe_load(statefield(Int64, STATE_THREW)) == 0 || return nothing
    t = CALLER[]
    t !== current_task() && iswaiting(t) || return nothing
    unsafe_store!(statefield(Int64, STATE_THREW), 1)
    schedule(t, InterruptException(); error = true)
    return nothing
end

"""
    NoGil(f)

`f`, called without the GIL: other Python threads run meanwhile. `bb.nogil` in Python.
"""
struct NoGil <: Function
    f::Any
end

function (n::NoGil)(args...; kwargs...)
    # Only the task that came from Python may: another one might wait, and the first go back to Python.
    onmainthread() && CALLER[] !== current_task() && return n.f(args...; kwargs...)
    was = pause!()
    depth = unsafe_load(statefield(Int64, STATE_DEPTH))
    @api(gil_give_up()::Int64) == 0 && (resume!(was); return n.f(args...; kwargs...))
    try
        resume!(was)
        r = n.f(args...; kwargs...)
        pause!()
        return r
    finally
        pause!()
        onmainthread() && unsafe_load(statefield(Int64, STATE_DEPTH)) != depth && waitturn(depth)
        @api gil_regain()::Cvoid
        resume!(was)
    end
end

nogil(f) = NoGil(f)
