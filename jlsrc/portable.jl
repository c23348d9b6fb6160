# What takes the place of the C layer where there is none (PyPy, bufferbridge/_portable/), as far as it has to be
# native code: functions that finalizers call, on any thread, and that ask where they run. Included in the module
# BufferBridge before it is connected to Python; on CPython never.
#
# Python's code runs on the main thread, in the task that started Julia, and on its stack: PyPy takes any other
# for one that has overflowed. So "to have the GIL" means to be that task.

const PYTHON_TASK = Ref{Task}()
"1 while Python may be called; 0 from the end on. Python writes it."
const PYTHON_RUNS = Ref{Int64}(0)
"The list of what finalizers have let go (bb_node): any thread pushes, Python takes all of it."
const RELEASED = Threads.Atomic{UInt}(0)
"The address of Python's `call`."
const PYTHON_CALL = Ref{Ptr{Cvoid}}(C_NULL)

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

takereleased()::UInt = Threads.atomic_xchg!(RELEASED, UInt(0))

guardedcall(f::Ptr{Cvoid}, args::Ptr{Value}, n::Int64, names::Ptr{Cvoid}, result::Ptr{Value})::Cint =
    ispython() == 0 ? Cint(CALL_NEEDS_GIL) :
    ccall(PYTHON_CALL[], Cint, (Ptr{Cvoid}, Ptr{Value}, Int64, Ptr{Cvoid}, Ptr{Value}), f, args, n, names, result)

"""
    portable(place)

The first word at `place` is the address of Python's `call`. Writes there the addresses of the functions above, in the
order of `_NATIVE` in bufferbridge/_portable/_boot.py, and of the two words that are shared.
"""
function portable(place::Ptr{Cvoid})
    words = Ptr{Ptr{Cvoid}}(place)
    PYTHON_CALL[] = unsafe_load(words)
    PYTHON_TASK[] = current_task()
    PYTHON_RUNS[] = 1
    addresses = (
        @cfunction(guardedcall, Cint, (Ptr{Cvoid}, Ptr{Value}, Int64, Ptr{Cvoid}, Ptr{Value})),
        @cfunction(ispython, Int64, ()),
        @cfunction(ensurepython, Int64, ()),
        @cfunction(releasepython, Cvoid, (Int64,)),
        @cfunction(givepythonup, Int64, ()),
        @cfunction(regainpython, Cvoid, ()),
        @cfunction(stackends, Int64, ()),
        @cfunction(releaselater, Cvoid, (Ptr{Cvoid},)),
        @cfunction(takereleased, UInt, ()),
        pointer_from_objref(RELEASED),
        Base.unsafe_convert(Ptr{Cvoid}, Base.unsafe_convert(Ptr{Int64}, PYTHON_RUNS)),
    )
    for (i, address) in enumerate(addresses)
        unsafe_store!(words, address, i)
    end
    return nothing
end
