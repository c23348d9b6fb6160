# Typed exports: Julia functions with declared types, which Python has as builtins (csrc/export.c).

"""
    Export

A function and the types it is exported with. It can be called, too, which checks the arguments one by one:
that is what Python gets where C has found an argument that it does not know.
"""
struct Export
    mod::Module
    name::Symbol
    f::Any
    arguments::Vector{Symbol}
    types::Vector{Any}
    defaults::Vector{Any}   # of the last arguments
    result::Any
end

Base.show(io::IO, e::Export) = print(io, "Export(", e.mod, '.', signaturetext(e), ")")

signaturetext(e::Export) =
    string(e.name, '(', join(("$n::$T" for (n, T) in zip(e.arguments, e.types)), ", "), ")::", e.result)

# The exports of a module are in a Dict of the module's own, so that they are kept when it is precompiled.
const TABLE = Symbol("#exports to Python#")

exportsof(m::Module) = isdefined(m, TABLE) ? getfield(m, TABLE)::Dict{Symbol,Export} : nothing

function findexport(m::Module, name::Symbol)
    table = exportsof(m)
    return table === nothing ? nothing : get(table, name, nothing)
end

const MAX_ARGUMENTS = 32 # BB_EXPORT_ARGS

"""
    pyexport(m::Module, name::Symbol, f, types, result; arguments, defaults = [])

Exports `f` to Python: the module's attribute `name` is a builtin function there, which takes arguments of exactly
the `types` and returns a `result`. See [`@pyexport`](@ref), of which this is the form for functions that exist
already.

`types` is a tuple of types, `arguments` a list of the arguments' names (those of the method of `f`, if they are
not given), and `defaults` what the signature shows for the last arguments, of which as many may be left out: `f`
needs methods for these numbers of arguments.

# Examples
```julia
using LinearAlgebra
pyexport(@__MODULE__, :dot, dot, (Vector{Float64}, Vector{Float64}), Float64)
```

Throws an `ArgumentError` if there is no such method, or more than $MAX_ARGUMENTS arguments.
"""
function pyexport(m::Module, name::Symbol, @nospecialize(f), types, @nospecialize(result);
                  arguments = nothing, defaults = [])
    what = "a typed export ($(m).$name)"
    all(T -> T isa Type, types) && result isa Type || throw(ArgumentError("$what needs types of its arguments and its result"))
    length(types) <= MAX_ARGUMENTS || throw(ArgumentError("$what takes at most $MAX_ARGUMENTS arguments, not $(length(types))"))
    names = arguments === nothing ? argumentnames(f, types) : collect(Symbol, arguments)
    e = Export(m, name, f, names, collect(Any, types), collect(Any, defaults), result)
    length(e.arguments) == length(e.types) && length(e.defaults) <= length(e.types) ||
        throw(ArgumentError("$what needs as many names as types, and no more defaults"))
    for n in numbers(e)
        T = Tuple{e.types[1:n]...}
        hasmethod(f, T) || throw(ArgumentError("$what has no method for the types ($(join(e.types[1:n], ", ")))"))
        # Into the image of the package that is being precompiled.
        ccall(:jl_generating_output, Cint, ()) == 1 && precompile(f, Tuple(e.types[1:n]))
    end
    isdefined(m, TABLE) || Core.eval(m, :(const $TABLE = $(Dict{Symbol,Export}())))
    getfield(m, TABLE)[name] = e
    return nothing
end

# How many arguments there may be.
numbers(e::Export) = length(e.types)-length(e.defaults):length(e.types)

function argumentnames(@nospecialize(f), types)
    hasmethod(f, Tuple{types...}) || return Symbol[Symbol("arg", i) for i in 1:length(types)]
    names = Base.method_argnames(which(f, Tuple{types...}))[2:end]
    return Symbol[i > length(names) || !Base.isidentifier(names[i]) ? Symbol("arg", i) : names[i] for i in 1:length(types)]
end

"""
    @pyexport function f(a::A, b::B)::R ... end
    @pyexport f(a::A, b::B = 1)::R = ...

Defines the function, and exports it to Python: there the module's attribute `f` is a builtin function, which

- takes an `A` and a `B`, and nothing that would have to be cast: an `int` for `Int`, a `float` for `Float64`, a
  buffer of float64 for `Vector{Float64}` that can be one (writable, aligned, contiguous), any buffer of the right
  dtype and number of dimensions for `AbstractMatrix{Float64}`. All else raises TypeError, which says what would do;
- is called without dispatch, as the code for just these types;
- returns what `convert(R, ...)` makes of the result;
- has the signature and the docstring of the function.

Every argument and the result need a type; last arguments may have defaults. Keyword arguments, slurping
(`xs...`) and `where` are errors.

# Examples
```julia
module Geometry
using BufferBridge

"The area of a rectangle."
@pyexport area(width::Float64, height::Float64)::Float64 = width * height

@pyexport function scale!(v::Vector{Float64}, factor::Float64 = 2.0)::Nothing
    v .*= factor
    return nothing
end
end
```
In Python: `bb.Main.Geometry.area(2.0, 3.0)`.
"""
macro pyexport(definition)
    name, arguments, types, defaults, result = parsedefinition(definition)
    return quote
        Base.@__doc__ $(esc(definition))
        pyexport($__module__, $(QuoteNode(name)), $(esc(name)), ($(map(esc, types)...),), $(esc(result));
                 arguments = $arguments, defaults = [$((:(($(QuoteNode(d)))) for d in defaults)...)])
        $(esc(name))
    end
end

function parsedefinition(definition)
    bad(what) = throw(ArgumentError("@pyexport: $what; write `@pyexport f(a::Int, b::Float64)::Float64 = ...`, or " *
                                    "`@pyexport function f(...)::T ... end`"))
    definition isa Expr && definition.head in (:function, :(=)) || bad("this is no definition of a function")
    signature = definition.args[1]
    iswhere(x) = x isa Expr && (x.head === :where || x.head === :(::) && iswhere(x.args[end]))
    iswhere(signature) && bad("type parameters (`where`) can't be exported: give the types themselves")
    signature isa Expr && signature.head === :(::) && length(signature.args) == 2 || bad("the type of the result is missing")
    call, result = signature.args
    call isa Expr && call.head === :call && call.args[1] isa Symbol || bad("the function needs a simple name")
    arguments, types, defaults = Symbol[], Any[], Any[]
    for a in call.args[2:end]
        a isa Expr && a.head === :parameters && bad("keyword arguments can't be exported")
        hasdefault = a isa Expr && a.head === :kw
        hasdefault && push!(defaults, a.args[2])
        hasdefault || isempty(defaults) || bad("defaults come last")
        declared = hasdefault ? a.args[1] : a
        declared isa Expr && declared.head === :... && bad("`xs...` can't be exported: give each argument")
        declared isa Expr && declared.head === :(::) && length(declared.args) == 2 && declared.args[1] isa Symbol ||
            bad("the argument `$a` needs a name and a type")
        push!(arguments, declared.args[1])
        push!(types, declared.args[2])
    end
    return call.args[1], arguments, types, defaults, result
end

# ---------------------------------------------------------- strict arguments

"""
    strict(T, x)

`x` as a `T`, if that changes nothing of it. Throws `NotExactly` otherwise. Python has one kind of int, of float and
of complex: they become what is declared, as long as that can hold the very value.
"""
strict(::Type{T}, x) where {T} = x isa T ? x : throw(NotExactly())

const Small = Union{Int8,Int16,Int32,UInt8,UInt16,UInt32,UInt64,Int128,UInt128}
strict(::Type{T}, x::Union{Int64,BigInt}) where {T<:Small} = exactly(T, x)
strict(::Type{BigInt}, x::Int64) = BigInt(x)
strict(::Type{Int64}, x::BigInt) = exactly(Int64, x)
strict(::Type{T}, x::Float64) where {T<:Union{Float16,Float32}} = (y = T(x); y == x || isnan(x) ? y : throw(NotExactly(true)))
strict(::Type{Complex{T}}, x::ComplexF64) where {T<:Union{Float16,Float32}} = Complex(strict(T, real(x)), strict(T, imag(x)))
strict(::Type{Char}, x::String) = length(x) == 1 ? first(x) : throw(NotExactly())
strict(::Type{Symbol}, x::String) = Symbol(x)

exactly(::Type{T}, x) where {T} = typemin(T) <= x <= typemax(T) ? T(x) : throw(NotExactly(true))

# An argument that is not of the declared type, or (`rounds`) has a value that it can't hold.
struct NotExactly <: Exception
    rounds::Bool
end
NotExactly() = NotExactly(false)

"A value that the declared type can't hold, for Python's OverflowError."
struct OutOfRange <: Exception
    message::String
end
Base.showerror(io::IO, e::OutOfRange) = print(io, e.message)
errorkind(::OutOfRange) = KIND_OVERFLOW

function strictargument(e::Export, i::Int, @nospecialize(x))
    T = e.types[i]
    try
        return strict(T, x)
    catch err
        err isa NotExactly || rethrow()
        where_ = "$(e.name)() argument $i ('$(e.arguments[i])')"
        err.rounds && throw(OutOfRange("$where_ must be $(expected(T)), which can't hold $x"))
        remedy = x isa AbstractArray && T <: AbstractArray ? arrayremedy(T, x) : ""
        throw(PyTypeError("$where_ must be $(expected(T)), not $(given(x))$remedy"))
    end
end

# In Python's words, where it has any.
const PYTHON_NAMES = IdDict{Any,String}(Bool => "bool", Int64 => "int", Float64 => "float", ComplexF64 => "complex",
                                        String => "str", Nothing => "None")
given(@nospecialize(x)) = get(PYTHON_NAMES, typeof(x), string(typeof(x)))
expected(@nospecialize(T)) = haskey(PYTHON_NAMES, T) ? "$(PYTHON_NAMES[T]) (Julia's $T)" : string(T)

function arrayremedy(@nospecialize(T), x::AbstractArray)
    eltype(T) isa Type && !(eltype(x) <: eltype(T)) &&
        return ": its elements are another type, and nothing is converted; use numpy.asarray(x, dtype=...) to make a copy"
    T isa DataType && ndims(x) != ndims(T) && return ": it has $(ndims(x)) dimensions"
    return ": a buffer is an Array only if it is writable, aligned, of the machine's byte order and column-major; " *
           "make a copy (numpy.array(x, order=\"F\")), or have the function take an AbstractArray"
end

function (e::Export)(args...)
    length(args) in numbers(e) || throw(PyTypeError("$(e.name)() takes $(length(e.types)) arguments ($(length(args)) given)"))
    xs = Any[strictargument(e, i, x) for (i, x) in enumerate(args)]
    return convert(e.result, e.f(xs...))
end

# ------------------------------------------------------------- the builtin

# enum bb_export_kind: what C checks and converts by itself. All else is Checked{T}.
const EXPORT_KINDS = (Int64, Float64, Bool, ComplexF64)

struct Checked{T} end

@inline function argumentof(::Type{Checked{T}}, v::Ptr{Value}, f, i) where {T}
    x = fromvalue(v)
    x isa T && return x
    return strictargument(unsafe_pointer_to_objref(f).export_, i, x)::T
end

"""
What C has of an export: `bb_export`, followed by what keeps it alive. One for each builtin function, for ever.
"""
mutable struct Builtin{F}
    object::Ptr{Cvoid}
    name::Ptr{UInt8}
    mod::Ptr{UInt8}
    doc::Ptr{UInt8}
    required::Int64
    count::Int64
    kinds::Ptr{UInt8}
    codes::Ptr{Code}
    f::F
    export_::Export
    keep::Any
end

(b::Builtin)(args...) = b.export_(args...)

# The function of a Builtin at f; it is not called itself.
@generated callee(::Type{Builtin{F}}, f::Ptr{Cvoid}) where {F} =
    isdefined(F, :instance) ? F.instance : :((unsafe_pointer_to_objref(f)::Builtin{F}).f)

const NEVER = Ref(UInt(0)) # the `valid` of code that was not compiled yet

function Builtin(e::Export)
    texts = (String(e.name), string(e.mod), doctext(e))
    kinds = UInt8[something(findfirst(==(T), EXPORT_KINDS), 0) for T in e.types]
    codes = fill(Code(C_NULL, Base.unsafe_convert(Ptr{UInt}, NEVER), 0), length(numbers(e)))
    b = Builtin{typeof(e.f)}(C_NULL, map(pointer, texts)..., first(numbers(e)), last(numbers(e)), pointer(kinds), pointer(codes),
                             e.f, e, (texts, kinds, codes))
    b.object = pointer_from_objref(b)
    return b
end

# The builtin functions of exports, and their Builtins.
const BUILTINS = IdDict{Export,PyObject}()
const BUILTIN_ROOTS = Any[]

function builtin(e::Export)
    return get!(BUILTINS, e) do
        b = Builtin(e)
        push!(BUILTIN_ROOTS, b)
        owned(@api new_export(pointer_from_objref(b)::Ptr{Cvoid})::Ptr{Cvoid})
    end
end

"An export's code for calls with `n` arguments, compiled for the definitions as they are now."
function recompile(b::Builtin, n::Int64)
    e = b.export_
    codes = b.keep[3]
    A = Tuple{(T in EXPORT_KINDS ? T : Checked{T} for T in e.types[1:n])...}
    uninterrupted(() -> codes[n-first(numbers(e))+1] = compileentry(typeof(b), A, e.result))
    return nothing
end

# ---------------------------------------------------------------- documents

# As CPython's own builtins have it: the signature, which inspect.signature reads, then the text.
function doctext(e::Export)
    arguments = [pyargument(n, i) for (i, n) in enumerate(e.arguments)]
    for (i, d) in enumerate(reverse(e.defaults))
        arguments[end-i+1] *= "=" * pydefault(d)
    end
    slash = isempty(arguments) ? "" : ", /"
    text = docstring(e)
    return string(e.name, "(", join(arguments, ", "), slash, ")\n--\n\n", signaturetext(e), isempty(text) ? "" : "\n\n" * text)
end

const PYTHON_KEYWORDS = ("and", "as", "assert", "async", "await", "class", "def", "del", "elif", "except", "from",
                         "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "with", "yield", "None", "True", "False")

# Python reads the signature: a name that it can't have is its number.
function pyargument(name::Symbol, i::Int)
    s = String(name)
    occursin(r"^[A-Za-z_][A-Za-z_0-9]*$", s) || return string("arg", i)
    return s in PYTHON_KEYWORDS ? s * "_" : s
end

pydefault(x::Union{Int64,Float64,String}) = x isa Float64 && !isfinite(x) ? "..." : repr(x)
pydefault(x::Bool) = x ? "True" : "False"
pydefault(x) = x === nothing || x === :nothing ? "None" : "..."

# What was written before the definition.
function docstring(e::Export)
    docs = Base.Docs.meta(e.mod)
    multi = get(docs, Base.Docs.Binding(e.mod, e.name), nothing)
    multi === nothing && return ""
    found = [multi.docs[sig] for sig in multi.order if sig == Union{} || Tuple{e.types...} <: sig]
    return strip(join((join(filter(t -> t isa String, collect(d.text))) for d in found), "\n\n"))
end
