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
    entry = isleaf(leaf) ? leaf : Compiled{F,A,R,false}()
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

# Operations that can't throw, whatever their operands.
const HARMLESS = Set{Any}(getfield(Core.Intrinsics, name) for name in (
    :neg_int, :add_int, :sub_int, :mul_int, :neg_float, :add_float, :sub_float, :mul_float, :div_float,
    :muladd_float, :fma_float, :eq_int, :ne_int, :slt_int, :ult_int, :sle_int, :ule_int, :eq_float, :ne_float,
    :lt_float, :le_float, :fpiseq, :and_int, :or_int, :xor_int, :not_int, :shl_int, :lshr_int, :ashr_int, :abs_float,
    :copysign_float, :ceil_llvm, :floor_llvm, :trunc_llvm, :rint_llvm, :sqrt_llvm, :sext_int, :zext_int, :trunc_int,
    :sitofp, :uitofp, :fptrunc, :fpext, :bitcast, :add_ptr, :sub_ptr, :pointerref, :pointerset, :flipsign_int)
    if isdefined(Core.Intrinsics, name))
push!(HARMLESS, ===, ifelse)

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

isharmless(@nospecialize(x), i, ir) = isconstant(x)
isharmless(x::Union{Core.SSAValue,Core.SlotNumber,Core.PhiNode,Core.PiNode}, i, ir) = true
isharmless(x::Core.GotoNode, i, ir) = x.label > i
function isharmless(x::Expr, i, ir)
    x.head === :gotoifnot && return x.args[2] > i
    x.head in (:return, :meta, :boundscheck, :unreachable) && return x.head !== :unreachable
    x.head === :new && return isbitstype(typeofstatement(x.args[1], ir))
    x.head === :call || return false
    f = x.args[1]
    f isa GlobalRef && (f = isdefined(f.mod, f.name) && isconst(f.mod, f.name) ? getfield(f.mod, f.name) : nothing)
    f in HARMLESS && return true
    return f === getfield && ispartof(x.args, ir)
end
@static if isdefined(Core, :GotoIfNot)
    isharmless(x::Core.GotoIfNot, i, ir) = x.dest > i
    isharmless(x::Core.ReturnNode, i, ir) = isdefined(x, :val)
end

isconstant(@nospecialize(x)) = x === nothing || isbits(x) || x isa QuoteNode || x isa GlobalRef && isconst(x.mod, x.name)

# getfield(x, :name or number) of plain data that has this field.
function ispartof(args, ir)
    length(args) == 3 || return false
    T, field = typeofstatement(args[2], ir), args[3]
    field isa QuoteNode && (field = field.value)
    isbitstype(T) || return false
    return field isa Symbol ? hasfield(T, field) : field isa Int && 1 <= field <= fieldcount(T)
end

# The type of a value in a statement, or Any.
function typeofstatement(@nospecialize(x), ir)
    T = x isa Core.SSAValue ? ir.ssavaluetypes[x.id] : isbits(x) ? typeof(x) : x isa Type ? Type{x} : Any
    T isa Type || (T = hasproperty(T, :val) ? typeof(T.val) : Any) # a constant
    T isa DataType && T <: Type && return length(T.parameters) == 1 && T.parameters[1] isa DataType ? T.parameters[1] : Any
    return T isa DataType ? T : Any
end
