# Python's files as Julia's streams: nothing is read ahead, except one item to know whether there is more (`eof`), and nothing is
# kept back, except the beginning of a character. So both languages can use the file in turns.

"""
    PyIO(file)

A Python file object, binary or text, as an `IO`: `read`, `readline`, `eachline`, `write`, `print`, `eof`, `flush`, `close`, ... Of a
text file Julia sees the text as UTF-8, whatever its encoding is. Sizes and positions are in bytes.

Throws what is a TypeError in Python if `file` has neither `read` nor `write`, and what its methods raise.
"""
mutable struct PyIO <: IO
    object::PyObject
    text::Bool
    ahead::Vector{UInt8}    # read, and not asked for yet
    partial::Vector{UInt8}  # written: the beginning of a character
    mark::Int               # as Base's `mark` has it
end

function PyIO(file::PyAny)
    hasproperty(file, :read) || hasproperty(file, :write) ||
        throw(PyTypeError("a Python '$(pytypename(file))' is not a file: it has neither read nor write"))
    text = pyisinstance(file, pygetattr(pyimport("io"), :TextIOBase)) || hasproperty(file, :encoding)
    return PyIO(asobject(file), text, UInt8[], UInt8[], -1)
end

topython(io::PyIO) = topython(io.object)
Base.convert(::Type{PyObject}, io::PyIO) = io.object
Base.show(io::IO, x::PyIO) = print(io, "PyIO(", pytext(x.object, 0), ")")

itembytes(x::AbstractString) = codeunits(String(x))
itembytes(x::AbstractVector{UInt8}) = x
itembytes(::Nothing) = UInt8[] # a file that does not block, and has nothing yet
itembytes(x) = throw(PyTypeError("the file's read gave a $(typeof(x)), which is neither text nor bytes"))

# n items, bytes or characters; all that there are if n is negative.
fetchitems(io::PyIO, n) = itembytes(io.object.read(n))

function Base.eof(io::PyIO)
    isempty(io.ahead) || return false
    append!(io.ahead, fetchitems(io, 1))
    return isempty(io.ahead)
end

function taken!(io::PyIO)
    bytes = io.ahead
    io.ahead = UInt8[]
    return bytes
end

# Up to n bytes.
function Base.readbytes!(io::PyIO, into::AbstractVector{UInt8}, n = length(into))
    have = taken!(io)
    try
        while length(have) < n
            # A character has up to four bytes: never more than are asked for, but for the last one.
            missing_ = n - length(have)
            more = fetchitems(io, io.text ? max(1, missing_ >> 2) : missing_)
            isempty(more) && break
            append!(have, more)
        end
    catch # an interrupt, a timeout: what was read is there for the next one
        prepend!(io.ahead, have)
        rethrow()
    end
    m = Int(min(n, length(have)))
    length(into) < m && resize!(into, m)
    copyto!(into, firstindex(into), have, 1, m)
    io.ahead = have[m+1:end]
    return m
end

function Base.unsafe_read(io::PyIO, p::Ptr{UInt8}, n::UInt)
    m = readbytes!(io, unsafe_wrap(Array, p, n), n)
    m == n || throw(EOFError())
    return nothing
end

function Base.read(io::PyIO, ::Type{UInt8})
    eof(io) && throw(EOFError())
    return popfirst!(io.ahead)
end

Base.peek(io::PyIO, ::Type{UInt8}) = eof(io) ? throw(EOFError()) : first(io.ahead)
Base.bytesavailable(io::PyIO) = length(io.ahead)
Base.readavailable(io::PyIO) = (eof(io); taken!(io))
function Base.read(io::PyIO)
    more = fetchitems(io, -1) # first: it may throw
    return append!(taken!(io), more)
end
Base.read(io::PyIO, n::Integer) = (v = UInt8[]; readbytes!(io, v, n); v)
Base.read(io::PyIO, ::Type{String}) = String(read(io))

function Base.readline(io::PyIO; keep::Bool = false)
    UInt8('\n') in io.ahead || append!(io.ahead, itembytes(io.object.readline()))
    s = String(taken!(io))
    return keep ? s : endswith(s, "\r\n") ? String(chop(s; tail = 2)) : String(chomp(s))
end

function Base.unsafe_write(io::PyIO, p::Ptr{UInt8}, n::UInt)
    if io.text
        append!(io.partial, unsafe_wrap(Array, p, n))
        whole = io.partial[1:end-incomplete(io.partial)]
        io.partial = io.partial[length(whole)+1:end]
        isempty(whole) || io.object.write(String(whole))
    else
        done = UInt(0)
        while done < n
            data = withgil(() -> owned(@api bytes((p + done)::Ptr{UInt8}, (n - done)::Int64)::Ptr{Cvoid}))
            written = io.object.write(data)
            written isa Integer || break # somebody's file, whose write says nothing
            written > 0 || throw(Base.IOError("the Python file took nothing of what was written", 0))
            done += UInt(written)
        end
    end
    return Int(n)
end
function Base.write(io::PyIO, b::UInt8)
    r = Ref(b)
    GC.@preserve r unsafe_write(io, Base.unsafe_convert(Ptr{UInt8}, r), UInt(1))
    return 1
end

Base.flush(io::PyIO) = (io.object.flush(); nothing)
Base.close(io::PyIO) = (io.object.close(); nothing)
Base.isopen(io::PyIO) = !(io.object.closed)::Bool
Base.isreadable(io::PyIO) = isopen(io) && io.object.readable()::Bool
Base.iswritable(io::PyIO) = isopen(io) && io.object.writable()::Bool

# Positions are Python's: of a text file only those that `position` gave.
function Base.position(io::PyIO)
    io.text && !isempty(io.ahead) && throw(ArgumentError("a text file has no position between what was looked at and what was read"))
    return io.object.tell() - length(io.ahead)
end
Base.seek(io::PyIO, n::Integer) = (taken!(io); io.object.seek(n); io)
Base.seekstart(io::PyIO) = seek(io, 0)
Base.seekend(io::PyIO) = (taken!(io); io.object.seek(0, 2); io)
Base.skip(io::PyIO, n::Integer) = seek(io, position(io) + n)
