# Strings and bytes of a fixed size, as they lie in arrays and records: NumPy's S and U, Pascal strings,
# and bytes that mean nothing here.

"""
    FixedString{C,N,U} <: AbstractString

Text in a place for `N` code units of type `U`, the rest of which is filled with zeros. `C` is the format
code of PEP 3118:

| `C`   | `U`      | contents                                                  |
|-------|----------|-----------------------------------------------------------|
| `'s'` | `UInt8`  | bytes, read as UTF-8 as a `String` does (NumPy's `S`)     |
| `'p'` | `UInt8`  | the same after a byte with the length (a Pascal string)   |
| `'w'` | `UInt32` | code points (NumPy's `U`)                                 |
| `'u'` | `UInt16` | UTF-16                                                    |

It compares, hashes and prints like a `String` of the same text; trailing zeros are not part of it.
Converting a longer string throws an ArgumentError.
"""
struct FixedString{C,N,U} <: AbstractString
    units::NTuple{N,U}
end

const ByteString = FixedString{C,N,UInt8} where {C,N}

function Base.ncodeunits(s::FixedString{C,N}) where {C,N}
    n = N
    while n > 0 && s.units[n] == 0
        n -= 1
    end
    return n
end
Base.ncodeunits(s::FixedString{'p',N}) where {N} = N == 0 ? 0 : min(Int(s.units[1]), N - 1)

Base.codeunit(::Type{FixedString{C,N,U}}) where {C,N,U} = U
Base.codeunit(s::FixedString) = codeunit(typeof(s))
@inline function Base.codeunit(s::FixedString, i::Integer)
    @boundscheck checkbounds(s, i)
    return s.units[i]
end
@inline function Base.codeunit(s::FixedString{'p'}, i::Integer)
    @boundscheck checkbounds(s, i)
    return s.units[i + 1]
end

# The text of UTF-8 is String's concern.
Base.String(s::ByteString) = String(UInt8[codeunit(s, i) for i in 1:ncodeunits(s)])
Base.String(s::FixedString) = sprint(io -> foreach(c -> print(io, c), s))
Base.convert(::Type{String}, s::FixedString) = String(s)
Base.Symbol(s::FixedString) = Symbol(String(s))
# What Base has for String only.
Base.reverse(s::FixedString) = reverse(String(s))
Base.isvalid(s::FixedString) = isvalid(String(s))
Base.occursin(r::Regex, s::FixedString; offset::Integer = 0) = occursin(r, String(s); offset = offset)
Base.match(r::Regex, s::FixedString) = match(r, String(s))
Base.eachmatch(r::Regex, s::FixedString; overlap = false) = eachmatch(r, String(s); overlap = overlap)

# ------------------------------------------------------------------- UTF-8

iscontinuation(b::UInt8) = b & 0xc0 == 0x80

# As iterate(::String, i) has it, malformed text included: a Char holds its bytes of UTF-8.
function Base.iterate(s::ByteString, i::Int = 1)
    n = ncodeunits(s)
    1 <= i <= n || return nothing
    lead = codeunit(s, i)
    bits = UInt32(lead) << 24
    count = lead < 0xc0 || lead > 0xf7 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3
    i += 1
    for k in 1:count
        (i <= n && iscontinuation(codeunit(s, i))) || break
        bits |= UInt32(codeunit(s, i)) << (24 - 8k)
        i += 1
    end
    return reinterpret(Char, bits), i
end

function Base.isvalid(s::ByteString, i::Int)
    1 <= i <= ncodeunits(s) || return false
    iscontinuation(codeunit(s, i)) || return true
    for j in i-1:-1:max(1, i - 3)
        iscontinuation(codeunit(s, j)) || return iterate(s, j)[2] <= i
    end
    return true
end

# --------------------------------------------------------- UTF-16 and UTF-32

# What is no code point shows as Unicode's replacement character. Bytes that are no UTF-8 are the code points
# U+DC80 to U+DCFF, as in Python's own strings (csrc/text.c).
isescape(u::UInt32) = 0xdc80 <= u <= 0xdcff
tochar(u::UInt32) = u > 0x10ffff ? '\ufffd' : isescape(u) ? reinterpret(Char, u << 24) : Char(u)

function pushunits!(units::Vector{UInt32}, c::AbstractChar)
    if !(Base.ismalformed(c) || Base.isoverlong(c))
        u = UInt32(c)
        u > 0x10ffff || isescape(u) || return push!(units, u)
    end
    return append!(units, 0xdc00 .+ UInt32.(codeunits(string(c))))
end

function Base.iterate(s::FixedString{'w'}, i::Int = 1)
    1 <= i <= ncodeunits(s) || return nothing
    return tochar(codeunit(s, i)), i + 1
end
Base.isvalid(s::FixedString{'w'}, i::Int) = 1 <= i <= ncodeunits(s)

ishigh(u::UInt16) = u & 0xfc00 == 0xd800
islow(u::UInt16) = u & 0xfc00 == 0xdc00
ispair(s::FixedString{'u'}, i) =
    1 <= i < ncodeunits(s) && ishigh(codeunit(s, i)) && islow(codeunit(s, i + 1))

function Base.iterate(s::FixedString{'u'}, i::Int = 1)
    1 <= i <= ncodeunits(s) || return nothing
    u = UInt32(codeunit(s, i))
    ispair(s, i) || return Char(u), i + 1
    return Char(0x10000 + ((u & 0x3ff) << 10 | codeunit(s, i + 1) & 0x3ff)), i + 2
end
Base.isvalid(s::FixedString{'u'}, i::Int) = 1 <= i <= ncodeunits(s) && !ispair(s, i - 1)

# ------------------------------------------------------------------- writing

FixedString{C,N,U}(s::FixedString{C,N,U}) where {C,N,U} = s
FixedString{C,N,U}(s::AbstractString) where {C,N,U} = fixed(FixedString{C,N,U}, unitsof(Val(C), s), s)
FixedString{C,N,U}(c::AbstractChar) where {C,N,U} = FixedString{C,N,U}(string(c))
# Bytes, as NumPy's S has them.
FixedString{C,N,U}(b::AbstractVector{UInt8}) where {C,N,U} = C in ('s', 'p') ? fixed(FixedString{C,N,U}, b, b) :
    throw(ArgumentError("an element of this array is text (format $C): assign a string, not bytes"))

Base.convert(::Type{T}, s::T) where {T<:FixedString} = s
Base.convert(::Type{T}, s::AbstractString) where {T<:FixedString} = T(s)
Base.convert(::Type{T}, s::Union{AbstractChar,AbstractVector{UInt8}}) where {T<:FixedString} = T(s)

unitsof(::Val, s) = codeunits(String(s))
unitsof(::Val{'w'}, s) = foldl(pushunits!, s; init = UInt32[])
function unitsof(::Val{'u'}, s)
    s isa FixedString{'u'} && return UInt16[codeunit(s, i) for i in 1:ncodeunits(s)]
    return transcode(UInt16, String(s))
end

# A tuple is filled through memory: N may be large.
function fixed(::Type{FixedString{C,N,U}}, units, s) where {C,N,U}
    room = C == 'p' ? min(N - 1, 255) : N
    length(units) <= room || throw(ArgumentError(
        "$(shown(s)) doesn't fit: it has $(length(units)) $(C == 'w' ? "characters" : "code units"), " *
        "and an element of this array has room for $(max(room, 0)) (format $N$C)"))
    N == 0 && return FixedString{C,N,U}(())
    place = zeros(U, N)
    C == 'p' && (place[1] = length(units))
    copyto!(place, C == 'p' ? 2 : 1, units, 1, length(units))
    return FixedString{C,N,U}(GC.@preserve place unsafe_load(Ptr{NTuple{N,U}}(pointer(place))))
end

shown(s::AbstractString) = repr(length(s) <= 40 ? s : first(s, 37) * "...")
shown(b) = "b" * shown(String(copy(b)))

# --------------------------------------------------------------------- bytes

"""
    RawBytes{N}

`N` bytes without a meaning here: NumPy's void (`V`, format `Nx`).
"""
struct RawBytes{N}
    bytes::NTuple{N,UInt8}
end

Base.show(io::IO, x::RawBytes) = print(io, "RawBytes(\"", (string(b; base = 16, pad = 2) for b in x.bytes)..., "\")")
Base.convert(::Type{RawBytes{N}}, b::AbstractVector{UInt8}) where {N} =
    RawBytes{N}(fixed(FixedString{'s',N,UInt8}, b, b).units)
