# Julia's stdout and stderr are Python's sys.stdout and sys.stderr, whatever these are at the moment:
# so the output of both languages is in order, is captured where Python's is (notebooks, pytest), and
# nothing is lost at the end.
#
# Bytes collect in the stream and go to Python at line ends, at flush, and whenever control goes back
# to Python. Only a thread that has the GIL can hand them over; what other threads print waits for the
# next such moment.

mutable struct PythonStream <: IO
    fd::Int
    lock::ReentrantLock
    pending::Vector{UInt8}
end

const STDOUT = PythonStream(1, ReentrantLock(), UInt8[])
const STDERR = PythonStream(2, ReentrantLock(), UInt8[])

# The streams of Julia itself, for redirect_stdout(stdout) and for the time after Python.
const JULIA_STREAMS = IO[devnull, devnull]

"Whether a stream may have something pending: looked at whenever control goes back to Python."
const PENDING = Ref(false)

const LARGE = 1 << 16

function Base.unsafe_write(s::PythonStream, p::Ptr{UInt8}, n::UInt)
    uninterrupted() do # the lock must not stay taken
        lock(s.lock) do
            old = length(s.pending)
            resize!(s.pending, old + n)
            GC.@preserve s unsafe_copyto!(pointer(s.pending, old + 1), p, n)
            PENDING[] = true
        end
        # The end of a line is rarely far from the end of what is written.
        line = n > 0 && any(i -> unsafe_load(p, i) == UInt8('\n'), max(1, Int(n) - 200):Int(n))
        (line || length(s.pending) > LARGE) && deliver(s)
    end
    return Int(n)
end

function Base.write(s::PythonStream, b::UInt8)
    r = Ref(b)
    GC.@preserve r unsafe_write(s, Base.unsafe_convert(Ptr{UInt8}, r), UInt(1))
    return 1
end

Base.flush(s::PythonStream) = (uninterrupted(() -> deliver(s, true)); nothing)
Base.isopen(::PythonStream) = true
Base.close(::PythonStream) = nothing
Base.isreadable(::PythonStream) = false
Base.iswritable(::PythonStream) = true
Base.bytesavailable(::PythonStream) = 0
Base.eof(::PythonStream) = true
Base.lock(s::PythonStream) = lock(s.lock)
Base.unlock(s::PythonStream) = unlock(s.lock)
Base.show(io::IO, s::PythonStream) = print(io, "PythonStream(", s.fd == 1 ? "stdout" : "stderr", ")")

# Julia 1.5 hands the stream itself to the processes it starts, which write to its descriptor; 1.10 gives them a
# pipe and copies.
isdefined(Base, :rawhandle) && @eval Base.rawhandle(s::PythonStream) = Base.rawhandle(RawFD(s.fd))

# Bytes at the end that begin a character which is not complete yet.
function incomplete(bytes)
    for back in 1:min(3, length(bytes))
        b = bytes[end-back+1]
        b & 0xc0 == 0x80 && continue
        needed = b >= 0xf0 ? 4 : b >= 0xe0 ? 3 : b >= 0xc0 ? 2 : 1
        return needed > back ? back : 0
    end
    return 0
end

"Whether the main thread runs without the GIL and takes it for each line (cells.jl)."
const STREAMING = Ref(false)

# Hands what is pending to Python, if this thread has the GIL.
function deliver(s::PythonStream, flush::Bool = false)
    if @api(gil_held()::Int64) == 0
        STREAMING[] && onmainthread() && withgil(() -> deliver(s, flush))
        return nothing
    end
    bytes = lock(s.lock) do
        keep = incomplete(s.pending)
        out = s.pending[1:end-keep]
        s.pending = s.pending[end-keep+1:end]
        return out
    end
    isempty(bytes) && !flush && return nothing
    r = GC.@preserve bytes @api write(s.fd::Int64, pointer(bytes)::Ptr{UInt8}, length(bytes)::Int64, flush::Int64)::Cint
    r == 0 || throwpython()
    return nothing
end

@noinline function deliverall()
    PENDING[] = false
    try
        deliver(STDOUT)
    finally
        deliver(STDERR)
    end
    return nothing
end

"Hands all pending output to Python. Called with the GIL held, before control goes to Python."
@inline flushstreams() = PENDING[] ? deliverall() : nothing

function takestreams!()
    JULIA_STREAMS[1] = stdout
    JULIA_STREAMS[2] = stderr
    old = stderr
    setstream!(STDOUT, 1)
    setstream!(STDERR, 2)
    # A Julia process that was handed our descriptors, to compile a package, has made the pipes among them non-blocking.
    isdefined(Base, :rawhandle) && push!(Base.package_callbacks, _ -> @api keep_descriptors()::Cvoid)
    # Up to Julia 1.6 the logger keeps the stderr it was made with.
    logger = Logging.global_logger()
    if logger isa Logging.ConsoleLogger && logger.stream === old
        Logging.global_logger(Logging.ConsoleLogger(STDERR, logger.min_level))
    end
    return nothing
end

# redirect_stdout(f, ...) puts the stream back that it found: ours. The file descriptor has to be
# restored too, which Julia's own stream does.
function restorestream(redirect, fd, s::PythonStream)
    fd == 0 && throw(ArgumentError("Python's stdout and stderr can't be read"))
    redirect(JULIA_STREAMS[fd])
    setstream!(s, fd)
    return s
end
defineredirect(restorestream, PythonStream)
