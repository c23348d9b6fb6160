# Element types and the format strings of PEP 3118 (the language of Python's struct module, with its
# additions). Numbers only, so far: `elementtype` reads a format of one number, `kindof` says which
# number a Julia type is.

"Thrown for a format that no Julia type stands for; `position` counts characters from 1."
struct FormatError <: Exception
    format::String
    position::Int
    reason::String
end

Base.showerror(io::IO, e::FormatError) =
    print(io, "format \"", e.format, "\": ", e.reason, " (at character ", e.position, ")")

const NATIVE_IS_LITTLE = ENDIAN_BOM == 0x04030201

# Codes whose size is the same in native ('@') and standard ('=') mode, then those where it is not.
const FIXED_CODES = Dict{Char,DataType}(
    '?' => Bool, 'b' => Int8, 'B' => UInt8, 'c' => UInt8, 'h' => Int16, 'H' => UInt16,
    'i' => Int32, 'I' => UInt32, 'q' => Int64, 'Q' => UInt64,
    'e' => Float16, 'f' => Float32, 'd' => Float64,
)
const NATIVE_CODES = Dict{Char,DataType}('l' => Clong, 'L' => Culong, 'n' => Cssize_t, 'N' => Csize_t)
const STANDARD_CODES = Dict{Char,DataType}('l' => Int32, 'L' => UInt32)
const COMPLEX_CODES = Dict{Char,DataType}('e' => Complex{Float16}, 'f' => ComplexF32, 'd' => ComplexF64)

"""
    elementtype(format, itemsize) -> (T, swapped)

The Julia type of one item of a format, and whether its bytes are in the order that this machine does
not use. `itemsize` is the exporter's, in bytes, and must be the type's.

Throws [`FormatError`](@ref).
"""
function elementtype(format::String, itemsize::Integer)
    chars = collect(format)
    at = 1
    native, little = true, NATIVE_IS_LITTLE
    while at <= length(chars) && chars[at] in "@=<>!^"
        native = chars[at] in "@^"
        little = chars[at] == '<' || (chars[at] in "@=^" && NATIVE_IS_LITTLE)
        at += 1
    end
    at <= length(chars) || throw(FormatError(format, at, "the element's code is missing"))
    start = at
    if chars[at] == '1' && at < length(chars)
        at += 1 # one element, written with its count
    end
    code = chars[at]
    T = if code == 'Z' && at < length(chars)
        at += 1
        get(COMPLEX_CODES, chars[at], nothing)
    else
        get(FIXED_CODES, code, get(native ? NATIVE_CODES : STANDARD_CODES, code, nothing))
    end
    if T === nothing || at != length(chars)
        throw(FormatError(format, start, "elements other than single numbers can't be shared yet; " *
                                         "pass one field (x[\"name\"]) or a numeric view of the memory"))
    end
    sizeof(T) == itemsize || throw(FormatError(format, start,
        "the exporter's itemsize is $itemsize bytes, but this format has $(sizeof(T))"))
    return T, little != NATIVE_IS_LITTLE && itemsize > 1
end

# Position in KINDS, which is the number C knows the type by; 0: not an element C knows.
kindof(::Type) = 0
for (i, T) in enumerate(KINDS)
    @eval kindof(::Type{$T}) = $i
end

"Codes that Python's consumers (NumPy in the first place) use for the types of KINDS."
const KIND_CODES = ("?", "b", "B", "h", "H", "i", "I", sizeof(Clong) == 8 ? "l" : "q",
                    sizeof(Culong) == 8 ? "L" : "Q", "e", "f", "d", "Zf", "Zd")

# With byte order the standard sizes hold, in which l has 4 bytes.
const SWAPPED_CODES = map(KIND_CODES) do code
    (NATIVE_IS_LITTLE ? ">" : "<") * (code == "l" ? "q" : code == "L" ? "Q" : code)
end

"""
    formatof(T, swapped=false) -> String or nothing

The format of an element type, the inverse of [`elementtype`](@ref); `nothing` if there is none.
"""
function formatof(::Type{T}, swapped::Bool = false) where {T}
    kind = kindof(T)
    kind == 0 && return nothing
    return swapped ? SWAPPED_CODES[kind] : KIND_CODES[kind]
end
