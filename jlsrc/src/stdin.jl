# Julia's stdin as Python's sys.stdin, on request (bb.use_stdin): whatever that is at the moment.
#
# Python gives a line at a time, when there is nothing left of the one before. A thread that has not the GIL takes it
# for that. While Python reads no lock is held, so that other tasks can go on using the stream; if several
# read at once, the lines go to them in the order in which Python gives them.

mutable struct PythonInput <: IO
    lock::ReentrantLock
    pending::Vector{UInt8}
    taken::Int      # bytes of pending that were read already
    nextline::Any   # of Python's: a str, which is empty at the end
end

const STDIN = PythonInput(ReentrantLock(), UInt8[], 0, nothing)

# Julia's own, while ours is in its place.
const JULIA_STDIN = Ref{IO}(devnull)

"Makes `stdin` Python's: `nextline()`, a Python function, gives its lines."
function takestdin!(nextline)
    STDIN.nextline = nextline
    stdin === STDIN && return nothing
    JULIA_STDIN[] = stdin
    setstream!(STDIN, 0)
    return nothing
end

"Makes `stdin` Julia's own again. What of a line has not been read is dropped."
function givestdin!()
    stdin === STDIN && setstream!(JULIA_STDIN[], 0)
    locked(STDIN) do
        STDIN.taken = length(STDIN.pending)
    end
    return nothing
end

# For what takes no time: an interrupt must not leave the lock taken.
locked(f, s::PythonInput) = uninterrupted(() -> lock(f, s.lock))

function Base.bytesavailable(s::PythonInput)
    locked(s) do
        length(s.pending) - s.taken
    end
end

# Asks Python for a line if there is nothing; whether there is something now. Python's end is not the end for ever:
# a terminal's goes on after Ctrl-D, and sys.stdin may be another one later.
function filled(s::PythonInput)
    bytesavailable(s) > 0 && return true
    line = s.nextline()
    line isa AbstractString || throw(PyTypeError("Julia's stdin wants lines of text"))
    isempty(line) && return false
    locked(s) do
        deleteat!(s.pending, 1:s.taken)
        s.taken = 0
        append!(s.pending, codeunits(line))
    end
    return true
end

# At most n bytes of what is there, up to and with `delimiter` if there is one in it.
function take(s::PythonInput, n::Int, delimiter::Union{UInt8,Nothing} = nothing)
    locked(s) do
        first, last = s.taken + 1, s.taken + min(n, length(s.pending) - s.taken)
        if delimiter !== nothing
            at = findnext(isequal(delimiter), s.pending, first)
            at === nothing || (last = min(last, at))
        end
        s.taken = last
        return s.pending[first:last]
    end
end

Base.eof(s::PythonInput) = !filled(s)
Base.isopen(::PythonInput) = true
Base.close(::PythonInput) = nothing
Base.isreadable(::PythonInput) = true
Base.iswritable(::PythonInput) = false
Base.lock(s::PythonInput) = lock(s.lock)
Base.unlock(s::PythonInput) = unlock(s.lock)
Base.show(io::IO, ::PythonInput) = print(io, "PythonInput()")

function Base.read(s::PythonInput, ::Type{UInt8})
    while filled(s)
        bytes = take(s, 1) # another task may have been faster
        isempty(bytes) || return bytes[1]
    end
    throw(EOFError())
end

function Base.peek(s::PythonInput, ::Type{UInt8})
    while filled(s)
        b = locked(() -> s.taken < length(s.pending) ? s.pending[s.taken+1] : nothing, s)
        b === nothing || return b
    end
    throw(EOFError())
end

Base.readavailable(s::PythonInput) = filled(s) ? take(s, typemax(Int)) : UInt8[]

function Base.unsafe_read(s::PythonInput, p::Ptr{UInt8}, n::UInt)
    done = 0
    while done < n
        filled(s) || throw(EOFError())
        bytes = take(s, Int(n) - done)
        GC.@preserve bytes unsafe_copyto!(p + done, pointer(bytes), length(bytes))
        done += length(bytes)
    end
    return nothing
end

function Base.readbytes!(s::PythonInput, b::AbstractVector{UInt8}, nb = length(b))
    done = 0
    while done < nb && filled(s)
        bytes = take(s, Int(min(nb - done, typemax(Int))))
        length(b) < done + length(bytes) && resize!(b, done + length(bytes))
        copyto!(b, firstindex(b) + done, bytes, 1, length(bytes))
        done += length(bytes)
    end
    return done
end

function Base.readuntil(s::PythonInput, delimiter::UInt8; keep::Bool = false)
    line = UInt8[]
    while filled(s)
        append!(line, take(s, typemax(Int), delimiter))
        isempty(line) || line[end] != delimiter || return keep ? line : resize!(line, length(line) - 1)
    end
    return line
end

# Processes that Julia starts have the descriptor, as those have that Python starts.
Base.rawhandle(::PythonInput) = Base.rawhandle(RawFD(0))
Base.setup_stdio(::PythonInput, ::Bool) = (RawFD(0), false)

# redirect_stdin(f, ...) puts this one back: see restorestream.
function restorestream(redirect, fd, s::PythonInput)
    fd == 0 || throw(ArgumentError("Python's stdin can only be Julia's stdin"))
    redirect(JULIA_STDIN[])
    setstream!(s, 0)
    return s
end
defineredirect(restorestream, PythonInput)
