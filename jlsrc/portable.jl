# What takes the place of the C layer where there is none (PyPy, bufferbridge/_portable/), as far as it has to be
# native code: functions that finalizers call, on any thread, and that ask where they run. Included in the module
# BufferBridge before it is connected to Python; on CPython never.
#
# Python's code runs on the main thread, in the task that started Julia, and on its stack: PyPy takes any other
# for one that has overflowed. So "to have the GIL" means to be that task.
#
# And what has to be done at one go: between any two steps of Python code a finalizer (`__del__`) or a signal handler
# may run, which may call Julia. So the table of roots with its free slots, the list of what is released and the
# scratch layout are worked on here, where no Python runs, each by one call.

const PYTHON_TASK = Ref{Task}()
"1 while Python may be called; 0 from the end on. Python writes it."
const PYTHON_RUNS = Ref{Int64}(0)
"The list of what finalizers have let go (bb_node): any thread pushes, Python takes all of it."
const RELEASED = Threads.Atomic{UInt}(0)
"The length of the table of roots. Python reads it."
const ROOT_COUNT = Ref{Int64}(0)
"The addresses of Python's `call` and `new_julia`."
const PYTHON_CALL = Ref{Ptr{Cvoid}}(C_NULL)
const PYTHON_NEW = Ref{Ptr{Cvoid}}(C_NULL)
"The offset of the length in a Vector's header."
const LENGTH_OFFSET = Ref{Int}(0)

ispython()::Int64 = PYTHON_RUNS[] != 0 && onmainthread() && current_task() === PYTHON_TASK[]
ensurepython()::Int64 = ispython() != 0 ? 0 : PYTHON_RUNS[] != 0 ? GIL_ELSEWHERE : -1
releasepython(::Int64)::Cvoid = nothing
givepythonup()::Int64 = 0 # cffi lets other threads run during every call
regainpython()::Cvoid = nothing
stackends()::Int64 = 0 # PyPy looks at the stack whenever it is called

function releaselater(node::Ptr{Cvoid})::Cvoid
    while true
        head = RELEASED[]
        unsafe_store!(Ptr{UInt}(node), head)
        Threads.atomic_cas!(RELEASED, head, UInt(node)) === head && return nothing
    end
end

"One node of the list, or 0. Only the main thread takes, so that the node after the first can't change meanwhile."
function takereleased()::UInt
    while true
        head = RELEASED[]
        head == 0 && return head
        Threads.atomic_cas!(RELEASED, head, unsafe_load(Ptr{UInt}(head))) === head && return head
    end
end

rootplace(slot::Int64) = Ptr{Ptr{Cvoid}}(pointer(ROOTS[])) + slot * sizeof(Ptr)

"Gives a root slot back whose Python object has died, as `bb_free_slot`."
function freeslot(slot::Int64)::Cvoid
    unsafe_store!(rootplace(slot), C_NULL) # needs no write barrier; the collector skips it
    free = statefield(Int64, STATE_NFREE)
    n = unsafe_load(free)
    unsafe_store!(unsafe_load(statefield(Ptr{Int64}, STATE_FREE_SLOTS)), slot, n + 1)
    unsafe_store!(free, n + 1)
    return nothing
end

# Allocates by C, since Julia's own could run finalizers, which may need a slot.
function growslots(::Ptr{Cvoid}, count::Int64)::Cint
    place = statefield(Ptr{Int64}, STATE_FREE_SLOTS)
    slots = Ptr{Int64}(Libc.realloc(Ptr{Cvoid}(unsafe_load(place)), count * sizeof(Int64)))
    slots == C_NULL && throw(OutOfMemoryError())
    unsafe_store!(place, slots)
    free = statefield(Int64, STATE_NFREE)
    n = unsafe_load(free)
    for slot in count-1:-1:ROOT_COUNT[]
        unsafe_store!(slots, slot, n += 1)
    end
    unsafe_store!(free, n)
    ROOT_COUNT[] = count
    return 0
end

const LAYOUT_SIZE = LAYOUT_STRIDES + 8 * MAX_DIMS

"""
The Python object for a slot. For an array with a copy of the scratch layout, and with what the Vector that owns
the memory (if any) looks like now: its data pointer and its length.
"""
function newobject(class::Int64, slot::Int64)::Ptr{Cvoid}
    jl = unsafe_load(rootplace(slot))
    class == CLASS_ARRAY || return callnew(class, slot, jl, C_NULL, 0, 0)
    layout = Ptr{UInt8}(Libc.malloc(LAYOUT_SIZE))
    layout == C_NULL && throw(OutOfMemoryError())
    unsafe_copyto!(layout, scratchlayout(), LAYOUT_SIZE)
    owner = unsafe_load(Ptr{Ptr{Int64}}(layout + LAYOUT_OWNER))
    data, length = owner == C_NULL ? (0, 0) : (unsafe_load(owner), unsafe_load(owner + LENGTH_OFFSET[]))
    object = callnew(class, slot, jl, layout, data, length)
    Libc.free(layout)
    return object
end

callnew(class::Int64, slot::Int64, jl::Ptr{Cvoid}, layout, data::Int64, length::Int64) =
    ccall(PYTHON_NEW[], Ptr{Cvoid}, (Int64, Int64, Ptr{Cvoid}, Ptr{Cvoid}, Int64, Int64), class, slot, jl, layout, data, length)

"The memory of a JuliaArray's Vector keeps its place from now on, as in getbuffer.c."
pinmemory(@nospecialize(x::AbstractArray)) = forbidresizing!(layout(x).owner)

guardedcall(f::Ptr{Cvoid}, args::Ptr{Value}, n::Int64, names::Ptr{Cvoid}, result::Ptr{Value})::Cint =
    ispython() == 0 ? Cint(CALL_NEEDS_GIL) :
    ccall(PYTHON_CALL[], Cint, (Ptr{Cvoid}, Ptr{Value}, Int64, Ptr{Cvoid}, Ptr{Value}), f, args, n, names, result)

"""
    portable(place)

The first two words at `place` are the addresses of Python's `call` and `new_julia`. Writes there the addresses of the
functions above, in the order of `_NATIVE` in bufferbridge/_portable/_boot.py, and of the three words that are shared.
"""
function portable(place::Ptr{Cvoid})
    words = Ptr{Ptr{Cvoid}}(place)
    PYTHON_CALL[] = unsafe_load(words)
    PYTHON_NEW[] = unsafe_load(words, 2)
    LENGTH_OFFSET[] = vectorheader().length
    PYTHON_TASK[] = current_task()
    PYTHON_RUNS[] = 1
    addresses = (
        @cfunction(guardedcall, Cint, (Ptr{Cvoid}, Ptr{Value}, Int64, Ptr{Cvoid}, Ptr{Value})),
        @cfunction(newobject, Ptr{Cvoid}, (Int64, Int64)),
        @cfunction(growslots, Cint, (Ptr{Cvoid}, Int64)),
        @cfunction(ispython, Int64, ()),
        @cfunction(ensurepython, Int64, ()),
        @cfunction(releasepython, Cvoid, (Int64,)),
        @cfunction(givepythonup, Int64, ()),
        @cfunction(regainpython, Cvoid, ()),
        @cfunction(stackends, Int64, ()),
        @cfunction(releaselater, Cvoid, (Ptr{Cvoid},)),
        @cfunction(takereleased, UInt, ()),
        @cfunction(freeslot, Cvoid, (Int64,)),
        pointer_from_objref(RELEASED),
        pointer_from_objref(PYTHON_RUNS),
        pointer_from_objref(ROOT_COUNT),
    )
    for (i, address) in enumerate(addresses)
        unsafe_store!(words, address, i)
    end
    return nothing
end
