# `IO` as a binary file of Python's: what bufferbridge/_files.py calls.

isusable(io::IO) = isopen(io)

function reading(io::IO)
    isusable(io) || isbuffered(io) || throw(ArgumentError("I/O operation on closed file"))
    isreadable(io) || isbuffered(io) || throw(UnsupportedOperation("not readable"))
    return io
end

# What has come from a process or a socket that has ended meanwhile can still be read.
isbuffered(io::IO) = io isa Base.LibuvStream && bytesavailable(io) > 0

function writing(io::IO)
    isusable(io) || throw(ArgumentError("I/O operation on closed file"))
    iswritable(io) || throw(UnsupportedOperation("not writable"))
    return io
end

"At most n bytes, or all for a negative number."
readbytes(io::IO, n::Integer) = n < 0 ? read(reading(io)) : read(reading(io), n)

"What is there, at most n bytes; waits only if there is nothing."
function readsome(io::IO, n::Integer)
    eof(reading(io)) && return UInt8[]
    return read(io, n < 0 ? bytesavailable(io) : min(n, bytesavailable(io)))
end

"A line with its end, of at most n bytes if that is not negative."
function readlinebytes(io::IO, n::Integer)
    reading(io)
    n < 0 && return readuntil(io, UInt8('\n'); keep = true)
    line = UInt8[]
    while length(line) < n && !eof(io)
        push!(line, read(io, UInt8))
        line[end] == UInt8('\n') && break
    end
    return line
end

function writebytes(io::IO, x::Union{Vector{UInt8},PyArray{UInt8,1}})
    writing(io)
    return GC.@preserve x Int(unsafe_write(io, pointer(x), UInt(length(x))))
end

flushfile(io::IO) = (isusable(io) && iswritable(io) && flush(io); nothing)

function isseekable(io::IO)
    isusable(io) && applicable(seek, io, 0) || return false
    io isa Base.GenericIOBuffer && return io.seekable
    try
        position(io)
        return true
    catch e
        isforeign(e) && rethrow()
        return false
    end
end

"whence: 0 from the start, 1 from the position, 2 from the end; as in Python."
function seekfile(io::IO, offset::Integer, whence::Integer)
    isseekable(io) || throw(UnsupportedOperation("not seekable"))
    start = whence == 0 ? 0 : whence == 1 ? position(io) : whence == 2 ? position(seekend(io)) :
        throw(ArgumentError("whence is 0, 1 or 2, not $whence"))
    start + offset >= 0 || throw(ArgumentError("negative position: $(start + offset)"))
    seek(io, start + offset)
    return position(io)
end

tellfile(io::IO) = isseekable(io) ? position(io) : throw(UnsupportedOperation("not seekable"))

function truncatefile(io::IO, size)
    n = size === nothing ? tellfile(writing(io)) : size
    truncate(writing(io), n)
    return n
end

"The number of the file descriptor."
function filedescriptor(io::IO)
    n = try
        Base.fd(io)
    catch e
        isforeign(e) && rethrow()
        nothing
    end
    n isa Base.RawFD && (n = reinterpret(Int32, n))
    n isa Integer && n >= 0 || throw(UnsupportedOperation("this stream has no file descriptor"))
    return Int(n)
end

nameoffile(io::IO) = io isa IOStream ? replace(String(io.name), r"^<file (.*)>$" => s"\1") : sprint(show, io)

isterminal(io::IO) = io isa Base.TTY
