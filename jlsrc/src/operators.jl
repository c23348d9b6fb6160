# Python's operators, and its numbers, for Julia objects: what each means in Julia (csrc/numbers.c).
#
# Where Python and Julia write different things alike, Python's meaning counts: `//` divides and rounds down, `%` has the
# divisor's sign, `^` is the exclusive or and `**` the power. Those of a JuliaArray go element by element, as NumPy's.

"What Python is told where the other operand has to be asked."
struct NotImplementedType end
const NOT_IMPLEMENTED = NotImplementedType()
topython(::NotImplementedType) = @api not_implemented()::Ptr{Cvoid}

const BINARY = Dict{String,Function}(
    "+" => +, "-" => -, "*" => *, "/" => /, "//" => fld, "%" => mod, "**" => ^, "<<" => <<, ">>" => >>,
    "&" => &, "|" => |, "^" => xor, "divmod" => (x, y) -> (fld(x, y), mod(x, y)), "@" => *)

const UNARY = Dict{String,Function}("neg" => -, "pos" => +, "abs" => abs, "~" => ~)

const SET_OPERATORS = Dict{String,Function}("|" => union, "&" => intersect, "-" => setdiff, "^" => symdiff)

function operate(op::String, @nospecialize(a), @nospecialize(b))
    endswith(op, '=') && return operate!(chop(op), a, b)
    (a isa Union{PyObject,PyFunction} || b isa Union{PyObject,PyFunction}) && return NOT_IMPLEMENTED
    if a isa AbstractSet && b isa AbstractSet && haskey(SET_OPERATORS, op)
        return SET_OPERATORS[op](a, b)
    elseif a isa AbstractDict && b isa AbstractDict && op == "|"
        return merge(a, b)
    elseif op == "@"
        return a isa AbstractVector && b isa AbstractVector ? transpose(a) * b : a * b
    elseif a isa AbstractArray && b isa Union{AbstractArray,Number} || a isa Number && b isa AbstractArray
        op == "divmod" && return (elementwise(fld, a, b), elementwise(mod, a, b))
        return elementwise(BINARY[op], a, b)
    end
    return BINARY[op](a, b)
end

operate(op::String, @nospecialize(a)) = UNARY[op](a)
operate(op::String, @nospecialize(a::AbstractArray)) = UNARY[op].(a)

# Julia lines up first axes where shapes differ, NumPy last ones: neither is done.
function elementwise(f, @nospecialize(a), @nospecialize(b))
    a isa AbstractArray && b isa AbstractArray && size(a) != size(b) && throw(DimensionMismatch(
        "operators of Julia arrays want equal shapes, not $(size(a)) and $(size(b)): broadcast in Julia, or use numpy.asarray"))
    return broadcast(f, a, b)
end

# The result is there before the first item is assigned: the operands' memory may overlap.
function operate!(op, @nospecialize(a), @nospecialize(b))
    b isa Union{AbstractArray,Number} ||
        throw(PyTypeError("$op= of a Julia array wants an array or a number, not $(typeof(b))"))
    isreadonly(memoryof(a)) && throwreadonly()
    assign!(a, elementwise(BINARY[op], a, b))
    return nothing
end

# --------------------------------------------------------------- numbers

"""
    tonumber(what, x)

What Python's `int(x)` (towards zero), `float(x)` and `operator.index(x)` are.
"""
function tonumber(what::String, @nospecialize(x))
    x isa Base.Enum && what != "float" && return Integer(x)
    x isa Integer && what != "float" && return x
    x isa Real && what == "int" && return rounded(x, RoundToZero)
    x isa Real && what == "float" && return Float64(x)::Float64
    throw(PyTypeError(what == "index" ? "'$(typeof(x))' of Julia can't be interpreted as an integer" :
                      "$what() wants a number, not '$(typeof(x))' of Julia"))
end

# Where there is no memory for a BigInt, the library that makes them ends the process.
const MOST_BITS = 2^30
checksize(x::BigFloat) = iszero(x) || abs(exponent(x)) <= MOST_BITS ? nothing :
    throw(OverflowError("the integers that $(sprint(show, x; context = :compact => true)) is made of have too many digits"))

"Real part and imaginary part."
tocomplex(@nospecialize(x::Number)) = ComplexF64(x)
tocomplex(@nospecialize(x)) = throw(PyTypeError("complex() wants a number, not '$(typeof(x))' of Julia"))

function rounded(@nospecialize(x::Real), mode)
    isfinite(x) || throw(InexactError(:round, BigInt, x)) # for which some types have a number
    x isa BigFloat && abs(x) >= 1 && checksize(x)
    return round(BigInt, x, mode)
end

torounded(@nospecialize(x::Real), ::Nothing, mode::String) =
    rounded(x, mode == "floor" ? RoundDown : mode == "ceil" ? RoundUp : mode == "trunc" ? RoundToZero : RoundNearest)
torounded(@nospecialize(x), ::Nothing, mode::String) = mode == "floor" ? floor(x) : mode == "ceil" ? ceil(x) :
    mode == "trunc" ? trunc(x) : round(x)
torounded(@nospecialize(x), digits::Integer, mode::String) = round(x; digits = digits)

# Numbers that are equal have equal hashes, in Python too (its manual, "Hashing of numeric types"): that of a
# fraction is one modulo a prime.
const HASH_MODULUS = big(2)^61 - 1
const HASH_INFINITE = 314159

hashof(@nospecialize(x)) = hash(x) % Int

# Those that are equal to Python's own objects have the hashes of these.
hashof(x::PyAny) = pyhash(x)
hashof(x::AbstractString) = pyhash(PyObject(String(x)))

function hashof(@nospecialize(x::Complex))
    h = (hashof(real(x)) % UInt) + 0x000f4243 * (hashof(imag(x)) % UInt) # sys.hash_info.imag
    return h % Int
end

# By Julia's own decomposition, num * 2^pow / den, and not by the fraction: a BigFloat's may have 2^62 digits.
function hashof(@nospecialize(x::Union{Integer,Rational,AbstractFloat}))
    isnan(x) && return hash(x) % Int
    isfinite(x) || return x > 0 ? HASH_INFINITE : -HASH_INFINITE
    num, pow, den = try
        map(BigInt, Base.decompose(x))
    catch e # a number of somebody's that can't be taken apart
        isforeign(e) && rethrow()
        return hash(x) % Int
    end
    iszero(mod(den, HASH_MODULUS)) && return num > 0 ? HASH_INFINITE : -HASH_INFINITE
    h = mod(abs(num) << Int(mod(pow, 61)) * invmod(abs(den), HASH_MODULUS), HASH_MODULUS) # 2^61 is 1
    h = Int((num < 0) == (den < 0) ? h : -h)
    return h == -1 ? -2 : h
end
