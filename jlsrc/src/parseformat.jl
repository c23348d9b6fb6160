# Reading formats: from a format of PEP 3118 (the language of Python's struct module, with its
# additions) and an exporter's itemsize to the type of an element and its memory. printformat.jl is the
# way back; docs/formats.md has the table.
#
# The exporter's itemsize is the truth. Formats don't always add up to it: some leave out the padding that
# alignment needs, and the manuals leave open whether a record ends with padding. So a format has several
# readings (`READINGS`), of which the first that gives the itemsize holds. Where the exporter can be
# asked for offsets (NumPy's dtypes, ctypes' structures), bufferbridge/_formats.py has done so, and gives
# them in the form `|n|`, which is ours: the next item is at byte n of its record. `||` says that the bytes
# between the record's fields are others', so that it may not be a Julia type: those are written as a whole.

"Thrown for a format that no Julia type stands for; `position` counts characters from 1."
struct FormatError <: Exception
    format::String
    position::Int
    reason::String
end

function Base.showerror(io::IO, e::FormatError)
    # Of a long format the part around the place.
    from, to = length(e.format) <= 120 ? (1, length(e.format)) : (max(1, e.position - 40), e.position + 40)
    shown = SubString(e.format, nextind(e.format, 0, from), thisind(e.format, nextind(e.format, 0, min(to, length(e.format)))))
    print(io, "format \"", from > 1 ? "..." : "", shown, to < length(e.format) ? "..." : "", "\": ", e.reason,
          " (at character ", e.position, ")")
end

const NATIVE_IS_LITTLE = ENDIAN_BOM == 0x04030201

# Codes whose size is the same in native ('@', '^') and standard mode, then those where it is not.
const FIXED_CODES = Dict{Char,DataType}(
    '?' => Bool, 'b' => Int8, 'B' => UInt8, 'c' => UInt8, 'h' => Int16, 'H' => UInt16,
    'i' => Int32, 'I' => UInt32, 'q' => Int64, 'Q' => UInt64, 'n' => Cssize_t, 'N' => Csize_t,
    'e' => Float16, 'f' => Float32, 'd' => Float64, 'P' => Ptr{Cvoid}, 'z' => Ptr{UInt8},
)
const NATIVE_CODES = Dict{Char,DataType}('l' => Clong, 'L' => Culong)
const STANDARD_CODES = Dict{Char,DataType}('l' => Int32, 'L' => UInt32)
const COMPLEX_CODES = Dict{Char,DataType}('e' => Complex{Float16}, 'f' => ComplexF32, 'd' => ComplexF64)

const UNSUPPORTED_CODES = Dict{Char,String}(
    't' => "bit fields (t) have no type in Julia; share the integer that holds them",
    'X' => "function pointers (X{}) have no type in Julia; pass the function itself",
)

const C_LONG_DOUBLE_ALIGNMENT = 16

"One way to read a format: where alignment pads, and how many bytes a `u` has."
struct Reading
    aligned::Symbol          # :marked (in '@' mode only), :always or :never
    padsnested::Bool         # whether nested records end with the padding of their alignment
    usize::Int
end

# As NumPy reads formats; as PEP 3118's "T{}" without padding that is not written; with C's alignment
# though the marks forbid it (ctypes before Python 3.12 or so); packed. Then with u as ctypes has it.
const READINGS = [Reading(a, p, u) for u in (2, sizeof(Cwchar_t))
                  for (a, p) in ((:marked, true), (:marked, false), (:always, true), (:never, false))]

"One item of a format: how it lies in memory."
struct Item
    S::Type
    size::Int
    alignment::Int
    leaves::Int              # numbers and characters in it
    ispadding::Bool
end
Item(S, size, alignment, leaves) = Item(S, size, alignment, leaves, false)

# Types are made here by the thousand, so that nothing may be compiled for each.
ismemorytype(@nospecialize(S)) = S <: MemoryType

mutable struct FormatParser
    format::String
    units::Vector{UInt8}
    at::Int                  # of the next byte
    mode::Char               # '@', '=', '<', '>' or '^': holds until the next mark, as in NumPy
    depth::Int
    reading::Reading
end
FormatParser(format, reading) =
    FormatParser(format, Vector{UInt8}(codeunits(format)), 1, '@', 0, reading)

const MAX_DEPTH = 32
const MAX_BYTES = typemax(Int32) # of one element

# Bytes as characters: all that means something is ASCII.
peekcode(p) = p.at <= length(p.units) ? Char(p.units[p.at]) : '\0'
nextis(p, c::Char) = peekcode(p) == c
take!(p::FormatParser, c::Char) = nextis(p, c) && (p.at += 1; true)
atend(p) = p.at > length(p.units)
isspacecode(b) = b in (' ', '\t', '\n', '\r', '\v', '\f')
skipspace(p) = while isspacecode(peekcode(p)); p.at += 1; end

# A byte's position as that of its character.
characterat(format, at) = at > ncodeunits(format) ? length(format) + 1 : length(format, 1, thisind(format, at))
reject(p::FormatParser, reason, at = p.at) = throw(FormatError(p.format, characterat(p.format, at), reason))

isaligned(p) = p.reading.aligned == :always || p.reading.aligned == :marked && p.mode == '@'
isswapped(p) = p.mode == (NATIVE_IS_LITTLE ? '>' : '<')
isnative(p) = p.mode in ('@', '^')

takemarks!(p) = while peekcode(p) in ('@', '=', '<', '>', '!', '^')
    p.mode = nextis(p, '!') ? '>' : peekcode(p)
    p.at += 1
    skipspace(p)
end

"A decimal number, or nothing if there is none."
function takenumber!(p)
    start = p.at
    n = 0
    while '0' <= peekcode(p) <= '9'
        n = 10n + (peekcode(p) - '0')
        n <= MAX_BYTES || reject(p, "the number is too large", start)
        p.at += 1
    end
    return p.at == start ? nothing : n
end

"The dimensions of a sub-array, `(2,3)`, or nothing."
function takeshape!(p)
    start = p.at
    take!(p, '(') || return nothing
    shape = Int[]
    while true
        skipspace(p)
        n = takenumber!(p)
        n === nothing && reject(p, "a sub-array's shape needs numbers: (2,3)")
        push!(shape, n)
        skipspace(p)
        take!(p, ')') && break
        take!(p, ',') || reject(p, atend(p) ? "the shape is not closed with ')'" : "a shape is written (2,3)",
                              atend(p) ? start : p.at)
        skipspace(p)
        take!(p, ')') && break # (2,) as Python writes it
    end
    length(shape) <= 64 || reject(p, "a sub-array can't have more than 64 dimensions", start)
    return shape
end

"`N` items of `item`, the sub-array's last dimension."
function repeated(p, item::Item, n, start)
    # What has no size counts too: a tuple of very many is a burden whatever they are.
    leaves, o1 = Base.mul_with_overflow(max(item.leaves, 1), n)
    size, o2 = Base.mul_with_overflow(item.size, n)
    checksize(p, o1 || n > MAX_TUPLE ? typemax(Int) : leaves, o2 ? typemax(Int) : size, start)
    plain = !ismemorytype(item.S) && n > 0 # NTuple{0} would not know of what it has none
    return Item(plain ? NTuple{n,item.S} : Repeated{n,item.S}, size, item.alignment, leaves)
end

function checksize(p, leaves, size, start)
    size <= MAX_BYTES || reject(p, "an element can't have more than $MAX_BYTES bytes", start)
    leaves <= MAX_LEAVES || reject(p, "an element can't have more than $MAX_LEAVES numbers or characters, " *
        "or $MAX_TUPLE along one dimension; share such a field by itself (x[\"name\"] in NumPy)", start)
    return nothing
end

"""
    parseitem(p) -> Item

One item: shape, byte order, count and code, in the order in which NumPy writes them; byte order may also
come first.
"""
function parseitem(p::FormatParser)
    start = p.at
    takemarks!(p)
    shape = takeshape!(p)
    skipspace(p)
    takemarks!(p)
    count = takenumber!(p)
    item = parsecode(p, count === nothing ? 1 : count, start)
    if !(item.S <: FixedString || item.S <: Swapped{<:FixedString} || item.S <: RawBytes) && count !== nothing && count != 1
        item = repeated(p, item, count, start)
    end
    shape === nothing && return item
    ispadding = item.ispadding
    ispadding && (item = rawbytes(p, item.size, start))
    for n in Iterators.reverse(shape)
        item = repeated(p, item, n, start)
    end
    return Item(item.S, item.size, item.alignment, item.leaves, ispadding)
end

function rawbytes(p, n, start)
    checksize(p, n > MAX_TUPLE ? typemax(Int) : n, n, start)
    return Item(RawBytes{n}, n, 1, n)
end

function parsecode(p, count, start)
    at = p.at
    atend(p) && reject(p, "the element's code is missing")
    code = peekcode(p)
    p.at += 1
    T = get(FIXED_CODES, code, get(isnative(p) ? NATIVE_CODES : STANDARD_CODES, code, nothing))
    T === nothing || return number(p, T)
    if code == 'T'
        take!(p, '{') || reject(p, "a record is written T{...}", at)
        p.depth += 1
        p.depth <= MAX_DEPTH || reject(p, "records can't be nested more than $MAX_DEPTH deep", at)
        item = parserecord(p, at)
        p.depth -= 1
        return item
    elseif code == 'Z'
        part = peekcode(p)
        if part == 'g'
            p.at += 1
            return longdouble(p, at, true)
        elseif haskey(COMPLEX_CODES, part)
            p.at += 1
            return number(p, COMPLEX_CODES[part])
        elseif atend(p) || part in (':', '}')
            return number(p, Ptr{Cwchar_t}) # ctypes' c_wchar_p
        end
        reject(p, "after Z comes the code of the parts: Zf, Zd or Zg", at)
    elseif code == 'g'
        return longdouble(p, at, false)
    elseif code in ('s', 'p')
        return text(p, code, count, UInt8, start)
    elseif code == 'w'
        return text(p, 'w', count, UInt32, start)
    elseif code == 'u'
        return p.reading.usize == 4 ? text(p, 'w', count, UInt32, start) : text(p, 'u', count, UInt16, start)
    elseif code == 'x'
        count <= MAX_BYTES || reject(p, "the number is too large", start)
        # Its type is made only if it has a name: padding may be long.
        return Item(RawBytes, count, 1, 0, true)
    elseif code in ('M', 'm') && nextis(p, '[')
        return datetime(p, code, at)
    elseif code == 'O'
        return Item(ObjectReference, sizeof(Ptr{Cvoid}), sizeof(Ptr{Cvoid}), 1)
    elseif code == '&'
        isswapped(p) && reject(p, "pointers of another machine can't be used", at)
        p.depth += 1
        p.depth <= MAX_DEPTH || reject(p, "pointers can't be nested more than $MAX_DEPTH deep", at)
        S = parseitem(p).S
        p.depth -= 1
        return number(p, Ptr{ismemorytype(S) || !isconcretetype(S) ? Cvoid : S})
    end
    reason = get(UNSUPPORTED_CODES, code, nothing)
    reason === nothing || reject(p, reason, at)
    reject(p, "'$(p.format[thisind(p.format, at)])' is no code of an element", at)
end

function number(p, @nospecialize(T))
    size = Core.sizeof(T)
    isswapped(p) && T <: Ptr && reject(p, "pointers of another machine can't be used", p.at - 1)
    S = isswapped(p) && size > 1 ? Swapped{T} : T
    return Item(S, size, T <: Complex ? size ÷ 2 : size, 1)
end

function longdouble(p, at, complex)
    LONG_DOUBLE_BITS == 53 && return number(p, complex ? ComplexF64 : Float64)
    LONG_DOUBLE_BITS == 0 && reject(p, "long double (g) is not known on this kind of machine", at)
    T = complex ? Complex{LongDouble} : LongDouble
    return Item(isswapped(p) ? Swapped{T} : T, sizeof(T), C_LONG_DOUBLE_ALIGNMENT, complex ? 4 : 2)
end

# NumPy's datetime64 and timedelta64, M[ns] and m[25s]: ours, as are offsets.
function datetime(p, code, at)
    stop = findnext(isequal(UInt8(']')), p.units, p.at)
    T = stop === nothing ? nothing : timetype(code, String(p.units[p.at+1:stop-1]))
    T === nothing && reject(p, "a datetime64 is written M[ns], a timedelta64 m[ns]", at)
    p.at = stop + 1
    return number(p, T)
end

function text(p, code, count, ::Type{U}, start) where {U}
    checksize(p, count > MAX_TUPLE ? typemax(Int) : count, count * sizeof(U), start)
    T = FixedString{code,count,U}
    return Item(isswapped(p) && sizeof(U) > 1 && count > 0 ? Swapped{T} : T, count * sizeof(U), sizeof(U), count)
end

"The name after an item, `:name:`, or nothing."
function takename!(p)
    start = p.at
    take!(p, ':') || return nothing
    stop = findnext(isequal(UInt8(':')), p.units, p.at)
    stop === nothing && reject(p, "the field's name is not closed with ':'", start)
    name = String(p.units[p.at:stop-1])
    p.at = stop + 1
    return isempty(name) ? nothing : Symbol(name)
end

roundup(n, alignment) = n + mod(-n, alignment)

"""
    parserecord(p, start) -> Item

The items up to the record's end, which outside of T{...} is the format's.
"""
function parserecord(p::FormatParser, start)
    nested = p.depth > 0
    names = Union{Symbol,Nothing}[]
    items = Item[]
    offsets = Int[]
    starts = Int[]
    offset = 0
    alignment = 1
    paddings = 0
    padding = nothing
    owngaps = true
    leaves = 0
    while true
        skipspace(p)
        if atend(p)
            nested && reject(p, "the record is not closed with '}'", start)
            break
        elseif nested && take!(p, '}')
            break
        elseif take!(p, '|')
            take!(p, '|') && (owngaps = false; continue)
            n = takenumber!(p)
            n === nothing && reject(p, "an offset is written |8|")
            take!(p, '|') || reject(p, "an offset is written |8|")
            offset = n
            continue
        end
        at = p.at
        item = parseitem(p)
        name = takename!(p)
        if isaligned(p)
            offset = roundup(offset, item.alignment)
            alignment = lcm(alignment, item.alignment)
        end
        if item.ispadding
            if name === nothing
                paddings += 1
                padding = item
                offset += item.size
                checksize(p, 0, offset, at)
                continue
            end
            item.S === RawBytes && (item = rawbytes(p, item.size, at))
        end
        name === nothing || !(name in names) || reject(p, "two fields have the name '$name'", at)
        push!(names, name)
        push!(items, item)
        push!(offsets, offset)
        push!(starts, at)
        offset += item.size
        leaves += max(item.leaves, 1)
        checksize(p, leaves, offset, at)
    end
    padded = roundup(offset, alignment)
    if nested
        p.reading.padsnested && isaligned(p) && (offset = padded)
    elseif isempty(items)
        paddings > 0 || reject(p, "the element's code is missing")
        paddings == 1 && padding.S !== RawBytes && return padding # a sub-array of bytes
        return rawbytes(p, offset, start)
    elseif length(items) == 1 && names[1] === nothing && offsets[1] == 0 && paddings == 0
        return items[1]
    end
    bad = findfirst(k -> offsets[k] + items[k].size > offset, eachindex(items))
    bad === nothing || reject(p, "the field reaches beyond the end of its record, which has $offset bytes", starts[bad])
    S = recordtype(fieldnames!(names), Any[i.S for i in items], offsets, offset, owngaps)
    return Item(S, offset, alignment, leaves)
end

# Fields without a name get the names that NumPy gives them.
function fieldnames!(names)
    taken = Set(n for n in names if n !== nothing)
    j = 0
    for i in eachindex(names)
        names[i] === nothing || continue
        while Symbol(:f, j) in taken
            j += 1
        end
        names[i] = Symbol(:f, j)
        j += 1
    end
    return Tuple(Symbol[names...])
end

"A NamedTuple where Julia would lay out the fields in the same way, otherwise a `Packed`."
function recordtype(@nospecialize(names::Tuple), Ss::Vector{Any}, offsets::Vector{Int}, size::Int, owngaps = true)
    if owngaps && !any(ismemorytype, Ss)
        T = NamedTuple{names,Core.apply_type(Tuple, Ss...)}
        if Core.sizeof(T) == size && all(i -> fieldoffset(T, i) == offsets[i], eachindex(offsets))
            return T
        end
    end
    return Packed{names,Core.apply_type(Tuple, Ss...),Core.tuple(offsets...),size}
end

"One reading of the whole format: the element, and its size with the padding that alignment adds at the end."
function parseformat(format::String, reading::Reading)
    p = FormatParser(format, reading)
    item = parserecord(p, 1)
    return item, isaligned(p) ? roundup(item.size, item.alignment) : item.size
end

# An element followed by padding.
function padded(item::Item, itemsize)
    item.size == itemsize && return item.S
    S = item.S
    S <: Packed && return recordtype(S.parameters[1], Any[S.parameters[2].parameters...], Int[S.parameters[3]...], itemsize)
    S <: NamedTuple || return recordtype((:f0,), Any[S], [0], itemsize)
    return recordtype(S.parameters[1], Any[S.parameters[2].parameters...],
                      Int[fieldoffset(S, i) for i in 1:fieldcount(S)], itemsize)
end

"""
    memorytype(format, itemsize) -> S

The memory type of the items of an exporter: a Julia type if the items lie in memory as Julia has them,
otherwise a [`MemoryType`](@ref). `valuetype(S)` is the elements' type. `itemsize` is in bytes.

Throws [`FormatError`](@ref).
"""
memorytype(format::String, itemsize::Int) = typeof(elements(format, itemsize)).parameters[1]

"The elements of an exporter, for dispatch on their memory type `S`: faster on a value than on a type."
struct Elements{S} end

function elements(format::String, itemsize::Int)
    i = get(PARSED, (format, itemsize), 0)
    i == 0 || return ELEMENTS[i]
    e = Core.apply_type(Elements, findreading(format, itemsize)).instance
    length(ELEMENTS) < MAX_PARSED || (empty!(PARSED); empty!(ELEMENTS))
    push!(ELEMENTS, e)
    PARSED[(format, itemsize)] = length(ELEMENTS)
    return e
end

"What formats with their itemsizes were found to mean: places in ELEMENTS. Who looks here has the GIL."
const PARSED = Dict{Tuple{String,Int},Int}()
const ELEMENTS = Any[]
const MAX_PARSED = 10_000

function findreading(format, itemsize)
    sizes = Int[]
    for reading in READINGS
        reading.usize == 2 || 'u' in format || break
        item, withpadding = parseformat(format, reading)
        for size in (item.size, withpadding)
            size == itemsize && return padded(item, itemsize)
        end
        push!(sizes, item.size)
    end
    throw(FormatError(format, 1, "its items add up to $(first(sizes)) bytes, and the exporter's itemsize " *
        "is $itemsize" * (length(unique(sizes)) > 1 ? "; nor does it fit with other alignment" : "")))
end
