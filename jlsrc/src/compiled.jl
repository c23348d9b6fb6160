# Entries from Python that are compiled for one function and arguments of certain types: nothing is looked up at
# run time, and numbers are not boxed. csrc/call.c asks for them where a function is called often with plain
# arguments, csrc/export.c for typed exports (export.jl).
#
# They stay true by Julia's own means. Whoever changes a definition that compiled code relies on ends the
# world in which that code is valid (`max_world` of its CodeInstance), and C looks at that word with each call.
# (The entry would look up the new definition by itself, and be slow from then on.)

"""
What C calls, `bb_code`: a function like [`entry`](@ref), the word that says whether it is valid, and whether it
is a leaf. C keeps its address: these are never freed.
"""
struct Code
    entry::Ptr{Cvoid}
    valid::Ptr{UInt}
    leaf::Int64
end

"""
    Compiled{F,A,R,leaf}()

The entry for calls of an `F` with arguments of the types in the tuple type `A`, whose result is converted to
`R`. A leaf is called without any of the preparations for exceptions, interrupts and task switches.
"""
struct Compiled{F,A<:Tuple,R,leaf} end

function (::Compiled{F,A,R,false})(f::Ptr{Cvoid}, args::Ptr{Value}, nargs::Int64, kwnames::Ptr{Cvoid}, result::Ptr{Value}, level::Int64)::Cint where {F,A,R}
    goin(level)
    try
        xs = argumentsof(A, f, args)
        x = @running level calluser(callee(F, f), xs...)
        goout(level)
        level = 0
        flushstreams()
        setresult!(result, convert(R, x))
        return Cint(0)
    catch e
        return failed(e, level, result)
    end
end

function (::Compiled{F,A,R,true})(f::Ptr{Cvoid}, args::Ptr{Value}, nargs::Int64, kwnames::Ptr{Cvoid}, result::Ptr{Value}, level::Int64)::Cint where {F,A,R}
    setresult!(result, convert(R, callee(F, f)(argumentsof(A, f, args)...)))
    return Cint(0)
end

# What `@running` says of the time of the call, the compiler could take apart if it saw both.
@noinline calluser(f::F, xs::Vararg{Any,N}) where {F,N} = f(xs...)

# The function at f; where there is but one object of its type, a constant.
@generated callee(::Type{F}, f::Ptr{Cvoid}) where {F} =
    isdefined(F, :instance) ? F.instance : :(unsafe_pointer_to_objref(f)::F)

@generated function argumentsof(::Type{A}, f::Ptr{Cvoid}, args::Ptr{Value}) where {A}
    return Expr(:tuple, (:(argumentof($T, args + $((i - 1) * sizeof(Value)), f, $i)) for (i, T) in enumerate(A.parameters))...)
end

@inline argumentof(::Type{T}, v::Ptr{Value}, f, i) where {T<:Union{Int64,Float64}} = geta(T, v)
@inline argumentof(::Type{Bool}, v::Ptr{Value}, f, i) = geta(Int64, v) != 0
@inline argumentof(::Type{ComplexF64}, v::Ptr{Value}, f, i) = Complex(geta(Float64, v), getb(Float64, v))
@inline argumentof(::Type{Nothing}, v::Ptr{Value}, f, i) = nothing
@inline argumentof(::Type{String}, v::Ptr{Value}, f, i) = unsafe_string(geta(Ptr{UInt8}, v), getb(Int64, v))

# Types of the tags that csrc/call.c makes signatures of.
const SIGNATURE_TYPES = (Nothing, Bool, Int64, Union{}, Float64, ComplexF64, String)

"Code that C has, and what it needs: one-element Vectors by the type of entry."
const CODES = Dict{Any,Vector{Code}}()
const INSTANCES = Any[]

"""
    compilecall(f, signature) -> the address of a `Code`

For a call of `f` with plain arguments: their tags, three bits each, with a 1 before them.
"""
function compilecall(@nospecialize(f), signature::Int64)
    types = Any[]
    while signature > 1
        pushfirst!(types, SIGNATURE_TYPES[(signature & 7) + 1])
        signature >>= 3
    end
    F, A = typeof(f), Tuple{types...}
    place = get!(() -> Code[Code(C_NULL, C_NULL, 0)], CODES, (F, A))
    iscurrent(place[1]) || uninterrupted(() -> place[1] = compileentry(F, A, Any))
    return Int(UInt(pointer(place)))
end

"Replaces the general entry, that there was from the start, by a faster one. C asks for it when there have been many calls."
compilegeneral() = uninterrupted(() -> @api set_entry(cfunction(entry)::Ptr{Cvoid})::Cvoid)

iscurrent(c::Code) = c.entry != C_NULL && unsafe_load(c.valid) == typemax(UInt)

function compileentry(F, A, R)
    leaf = Compiled{F,A,R,true}()
    # C calls leaves without a way to give back what an argument owns, as the bytes of a text may be.
    entry = !(String in A.parameters) && isleaf(leaf) ? leaf : Compiled{F,A,R,false}()
    precompile(entry, ENTRY_TYPES)
    return Code(cfunction(entry), validword(entry), entry === leaf)
end

const MAX_WORLD = fieldoffset(Core.CodeInstance, findfirst(==(:max_world), fieldnames(Core.CodeInstance)))

# Where the last world is in which the compiled code of an entry is valid. Julia changes this word.
function validword(entry)
    for instance in Base.method_instances(entry, Tuple{ENTRY_TYPES...}, Base.get_world_counter())
        isdefined(instance, :cache) || continue
        code = instance.cache
        while true
            if code.max_world == typemax(UInt)
                push!(INSTANCES, code)
                return Ptr{UInt}(pointer_from_objref(code) + MAX_WORLD)
            end
            isdefined(code, :next) || break
            code = code.next
        end
    end
    error("there is no code for a function that was compiled just now")
end

# ------------------------------------------------------------------ leaves

# Operations that can't throw, as long as their operands are of the types that `takes` says. (With others they
# throw when they are run: no more is said by the types of their results.)
intrinsics(names...) = Set{Any}(getfield(Core.Intrinsics, name) for name in names if isdefined(Core.Intrinsics, name))

const OF_BITS = intrinsics(:neg_int, :add_int, :sub_int, :mul_int, :eq_int, :ne_int, :slt_int, :ult_int, :sle_int, :ule_int,
                           :and_int, :or_int, :xor_int, :not_int, :flipsign_int)
const OF_FLOATS = intrinsics(:neg_float, :add_float, :sub_float, :mul_float, :div_float, :muladd_float, :fma_float, :eq_float,
                             :ne_float, :lt_float, :le_float, :fpiseq, :abs_float, :copysign_float, :ceil_llvm, :floor_llvm,
                             :trunc_llvm, :rint_llvm, :sqrt_llvm)
const SHIFTS = intrinsics(:shl_int, :lshr_int, :ashr_int)
const WIDENING = intrinsics(:sext_int, :zext_int)
const TO_FLOATS = intrinsics(:sitofp, :uitofp)
const OF_POINTERS = intrinsics(:add_ptr, :sub_ptr)

"""
Whether a call of the entry does nothing but such operations, without loops: what is left after inlining is
looked at, statement by statement, and whatever is not known to be harmless is taken for harm.
"""
function isleaf(entry)
    found = code_typed(entry, ENTRY_TYPES)
    length(found) == 1 || return false
    ir, R = found[1]
    R === Cint || return false
    return all(i -> isharmless(ir.code[i], i, ir), eachindex(ir.code))
end

isharmless(@nospecialize(x), i, ir) = isoperand(x)
isharmless(x::Core.PiNode, i, ir) = isoperand(x.val)
isharmless(x::Core.PhiNode, i, ir) = all(k -> !isassigned(x.values, k) || isoperand(x.values[k]), eachindex(x.values))
isharmless(x::Core.GotoNode, i, ir) = x.label > i
function isharmless(x::Expr, i, ir)
    x.head === :gotoifnot && return x.args[2] > i && typeofoperand(x.args[1], ir) === Bool
    x.head in (:meta, :boundscheck) && return true
    all(isoperand, x.args) || return false
    x.head === :return && return true
    x.head === :new && return isnew(x.args, ir)
    return x.head === :call && takes(constant(x.args[1]), x.args[2:end], ir)
end
@static if isdefined(Core, :GotoIfNot)
    isharmless(x::Core.GotoIfNot, i, ir) = x.dest > i && typeofoperand(x.cond, ir) === Bool
    isharmless(x::Core.ReturnNode, i, ir) = isdefined(x, :val) && isoperand(x.val)
end

# What can be looked at: a value of before, or a constant. (Globals and type parameters may be undefined.)
isoperand(@nospecialize(x)) = !(x isa Expr)
isoperand(x::GlobalRef) = isdefined(x.mod, x.name) && isconst(x.mod, x.name)

constant(@nospecialize(x)) = x
constant(x::QuoteNode) = x.value
constant(x::GlobalRef) = getfield(x.mod, x.name)

# The type of an operand, or Any.
function typeofoperand(@nospecialize(x), ir)
    if x isa Core.SSAValue
        T = ir.ssavaluetypes[x.id]
        T isa Type && return T
        return hasproperty(T, :val) ? typeofconstant(T.val) : hasproperty(T, :typ) && T.typ isa Type ? T.typ : Any
    end
    n = x isa Core.SlotNumber ? x.id : isdefined(Core, :Argument) && x isa Core.Argument ? x.n : 0
    n == 0 || return 2 <= n <= length(ENTRY_TYPES) + 1 ? ENTRY_TYPES[n-1] : Any
    return isoperand(x) ? typeofconstant(constant(x)) : Any
end

typeofconstant(@nospecialize(x)) = x isa Type ? Type{x} : typeof(x)

# The type that an operand is, for the first operand of conversions, or Any.
function typeas(@nospecialize(x), ir)
    T = typeofoperand(x, ir)
    return T isa DataType && T <: Type && length(T.parameters) == 1 && T.parameters[1] isa DataType ? T.parameters[1] : Any
end

isprimitive(@nospecialize(T)) = T isa DataType && isprimitivetype(T)
isfloat(@nospecialize(T)) = T === Float64 || T === Float32

# Whether the operation `f` is one of these, and the operands are such that it can't throw.
function takes(@nospecialize(f), operands, ir)
    f === (===) && return length(operands) == 2
    isempty(operands) && return false
    types = Any[typeofoperand(x, ir) for x in operands]
    T = types[1]
    f in OF_BITS && return isprimitive(T) && all(==(T), types)
    f in OF_FLOATS && return isfloat(T) && all(==(T), types)
    f in SHIFTS && return length(types) == 2 && all(isprimitive, types)
    f in OF_POINTERS && return length(types) == 2 && (T === UInt || T <: Ptr) && types[2] === UInt
    f === Core.ifelse && return length(types) == 3 && T === Bool && isbitstype(types[2]) && types[2] === types[3]
    f === getfield && return length(types) == 2 && haspart(T, operands[2])
    f === Core.Intrinsics.pointerref && return ispointer(T, types[2:end], operands[end])
    f === Core.Intrinsics.pointerset &&
        return length(types) == 4 && ispointer(T, types[3:end], operands[end]) && types[2] === eltype(T)
    length(types) == 2 || return false
    To, From = typeas(operands[1], ir), types[2]
    isprimitive(To) && isprimitive(From) || return false
    f === Core.Intrinsics.bitcast && return sizeof(To) == sizeof(From)
    f in WIDENING && return sizeof(To) > sizeof(From)
    f === Core.Intrinsics.trunc_int && return sizeof(To) < sizeof(From)
    f in TO_FLOATS && return isfloat(To)
    return f === Core.Intrinsics.fptrunc && To === Float32 && From === Float64 ||
           f === Core.Intrinsics.fpext && To === Float64 && From === Float32
end

# Of plain data, by a number and with the alignment of a byte.
ispointer(@nospecialize(P), types, alignment) =
    P isa DataType && P <: Ptr && isbitstype(eltype(P)) && types == Any[Int, Int] && alignment === 1

# getfield(x, :name or number) of plain data that has this field.
function haspart(@nospecialize(T), field)
    T isa DataType && isbitstype(T) || return false
    field = constant(field)
    return field isa Symbol ? hasfield(T, field) : field isa Int && 1 <= field <= fieldcount(T)
end

# A new struct of plain data with values for all its fields.
function isnew(args, ir)
    T = typeas(args[1], ir)
    return T isa DataType && isbitstype(T) && length(args) == 1 + fieldcount(T) &&
           all(i -> typeofoperand(args[i+1], ir) === fieldtype(T, i), 1:fieldcount(T))
end
