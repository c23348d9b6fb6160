# Where the definitions in Main came from, so that another process can be given them (pickle.jl).
#
# Kept is the text of what was evaluated in Main by bb.eval and in cells, as far as it defines functions, types, macros
# or modules: one Source for each statement at top level. A method knows the file and the line of its definition, and code
# with definitions is evaluated under a file name of its own (`eval[7]`); so a function leads to the statements that its
# methods are from, and to no others: what else the code did is not done again elsewhere. Of files that were included,
# the path is enough. What Main refers to besides (names of packages, global variables) is asked for in Main itself.
#
# All of this is used with the GIL held.

"A statement that defines something in Main. It defines `names`, and if it `extends`, methods of what others have defined."
mutable struct Source   # (of which each is another one)
    number::Int         # the order of their evaluation
    file::String
    first::Int          # the lines of it, in the file
    last::Int
    text::String
    names::Vector{Symbol}
    extends::Bool
    mentioned::Set{Symbol}  # if it extends: the names in it
end

const SOURCES = Vector{Source}()                    # in the order of their evaluation
const SOURCES_OF_FILE = Dict{String,Vector{Source}}()
const SOURCE_OF_NAME = Dict{Symbol,Source}()        # the last one
const EXTENDING = Dict{String,Source}()             # those that extend, by their beginning; the last one
const SOURCE_BYTES = Ref(0)
const MAX_SOURCE_BYTES = 64 << 20                   # the oldest are forgotten beyond that
const SOURCE_FILES = Ref(0)
const SOURCE_NUMBERS = Ref(0)

"Files that were included in Main by bb.include, with the CRC of what they contained."
const INCLUDED = Dict{String,UInt32}()

"Modules that were made of files, or loaded by their path: name, path and CRC (bufferbridge/_modules.py)."
const FILE_MODULES = IdDict{Module,Tuple{String,String,UInt32}}()

isoffile(m::Module) = haskey(FILE_MODULES, m)

"Of files and texts, to see whether two are the same."
checksum(data) = Base._crc32c(data)

# ---------------------------------------------------------------- what code defines

"""
    definesof(x) -> (names, extends)

What evaluating the expression `x` at top level defines, by its form.
"""
function definesof(@nospecialize(x))
    names, extends = Symbol[], Ref(false)
    definesof!(names, extends, x)
    return unique!(names), extends[]
end

function definesof!(names, extends, @nospecialize(x))
    x isa Expr || return nothing
    head = x.head
    if head === :macrocall && macroname(x.args[1]) === Symbol("@enum")
        append!(names, enumnames(x))
    elseif head in (:toplevel, :block, :if, :elseif, :for, :while, :let, :const, :global, :macrocall)
        for a in (head === :macrocall ? x.args[2:end] : x.args)
            definesof!(names, extends, a)
        end
    elseif head === :function || head === :(=) && iscall(x.args[1])
        name = functionname(x.args[1])
        name isa Symbol ? push!(names, name) : name === nothing || (extends[] = true)
    elseif head === :macro
        name = functionname(x.args[1])
        name isa Symbol && push!(names, Symbol("@", name))
    elseif head in (:struct, :abstract, :primitive)
        name = typename(x.args[head === :struct ? 2 : 1])
        name isa Symbol && push!(names, name)
    elseif head === :module && x.args[2] isa Symbol
        push!(names, x.args[2])
    end
    return nothing
end

# @enum Fruit apple pear=2, or with a block of these.
function enumnames(x::Expr)
    items = Any[]
    for a in x.args[3:end]
        a isa Expr && a.head === :block ? append!(items, a.args) : push!(items, a)
    end
    items = map(a -> a isa Expr && a.head in (:(=), :(::)) ? a.args[1] : a, items)
    return Symbol[a for a in items if a isa Symbol]
end

# `nothing`: it has no name. Anything but a Symbol: it is a method of something that is defined elsewhere.
functionname(x::Symbol) = x
function functionname(x::Expr)
    x.head in (:where, :(::)) && length(x.args) >= 1 && iscall(x) && return functionname(x.args[1])
    x.head === :call && return functionname(x.args[1])
    x.head === :curly && return functionname(x.args[1])
    x.head === :tuple && return nothing
    return x # Base.show, (p::Polynomial)
end
functionname(@nospecialize(x)) = nothing

typename(x::Symbol) = x
typename(x::Expr) = x.head in (:(<:), :curly) ? typename(x.args[1]) : nothing
typename(@nospecialize(x)) = nothing

definessomething(@nospecialize(x)) = (d = definesof(x); !isempty(d[1]) || d[2])

# ---------------------------------------------------------------- keeping it

"A file name that no other code has."
newsourcename() = string("eval[", SOURCE_FILES[] += 1, "]")

"""
    keepsource!(code, file)

Keeps the statements of `code` that define something, before it is evaluated under that file name in Main.
"""
function keepsource!(code::String, file::String)
    at, line = firstindex(code), 1
    while at <= ncodeunits(code)
        x, next = try
            Meta.parse(code, at; raise = false)
        catch
            return nothing
        end
        next > at || return nothing
        for (text, x) in statements(SubString(code, at, prevind(code, next)), x)
            lines = count(isequal('\n'), text)
            names, extends = definesof(x)
            mentioned = Set{Symbol}()
            extends && mentions!(mentioned, x)
            isempty(names) && !extends || keep!(Source(SOURCE_NUMBERS[] += 1, file, line, line + lines, strip(text), names, extends, mentioned))
            line += lines
        end
        at = next
    end
    return nothing
end

# The parser takes statements with semicolons between for one.
function statements(text, @nospecialize(x))
    x isa Expr && x.head === :toplevel || return [(String(text), x)]
    found, start = Tuple{String,Any}[], firstindex(text)
    for i in eachindex(text)
        text[i] === ';' || i == lastindex(text) || continue
        y = Meta.parse(text[start:i]; raise = false)
        y isa Expr && y.head in (:incomplete, :error) && continue
        push!(found, (text[start:i], y))
        start = nextind(text, i)
    end
    start > lastindex(text) || push!(found, (text[start:end], nothing))
    return found
end

function keep!(s::Source)
    push!(SOURCES, s)
    push!(get!(() -> Source[], SOURCES_OF_FILE, s.file), s)
    for name in s.names
        SOURCE_OF_NAME[name] = s
    end
    s.extends && (EXTENDING[headof(s.text)] = s)
    SOURCE_BYTES[] += sizeof(s.text)
    while SOURCE_BYTES[] > MAX_SOURCE_BYTES && length(SOURCES) > 1
        forget!(popfirst!(SOURCES))
    end
    return nothing
end

function forget!(s::Source)
    SOURCE_BYTES[] -= sizeof(s.text)
    delete!(SOURCES_OF_FILE, s.file)
    for name in s.names
        get(SOURCE_OF_NAME, name, nothing) === s && delete!(SOURCE_OF_NAME, name)
    end
    s.extends && get(EXTENDING, headof(s.text), nothing) === s && delete!(EXTENDING, headof(s.text))
    return nothing
end

# ------------------------------------------------------------- where something is from

"The statement at a place that defines `name`, or something whose name is made when it is evaluated."
function sourceat(file::String, line::Integer, name::Symbol)
    found = nothing
    for s in get(SOURCES_OF_FILE, file, ())
        s.first <= line <= s.last && (name in s.names || s.extends) || continue
        (found === nothing || name in s.names) && (found = s)
    end
    return found
end

"Where a definition is from: a Source, the path of a file, or nothing."
function origin(m::Method, name::Symbol)
    file = String(m.file)
    s = sourceat(file, m.line, name)
    s === nothing || return s
    return isabspath(file) && isfile(file) ? file : nothing
end

"All that the definition of a name in Main consists of, in the order in which it was evaluated."
function originsof(name::Symbol, @nospecialize(x))
    found = Any[]
    if x isa Function
        for m in methods(x)
            m.module === Main || continue
            o = origin(m, name)
            o === nothing || o in found || push!(found, o)
        end
    elseif x isa Module
        o = originofmodule(x)
        o === nothing || push!(found, o)
    else
        s = get(SOURCE_OF_NAME, name, nothing)
        s === nothing || push!(found, s)
        if isempty(found)
            for m in methods(x)
                m.module === Main && (o = origin(m, name)) isa String && !(o in found) && push!(found, o)
            end
        end
    end
    if isempty(found)
        s = get(SOURCE_OF_NAME, name, nothing)
        s === nothing || push!(found, s)
    end
    return sort!(found; by = o -> o isa Source ? o.number : 0)
end

# A module has an `eval` of its own, which is where it is.
function originofmodule(m::Module)
    isdefined(m, :eval) || return nothing
    ms = methods(getfield(m, :eval))
    return isempty(ms) ? nothing : origin(first(ms), nameof(m))
end

# ------------------------------------------------------------- what something needs

"""
    Needs

The names in Main that something needs to be used in another process, in an order in which they can be defined.
`definitions` is what they come to; see [`define`](@ref).
"""
struct Needs
    seen::Set{Any}          # names in Main, methods, types
    done::Set{Any}          # origins
    definitions::Vector{Any}
end
Needs() = Needs(Set{Any}(), Set{Any}(), Any[])

"What the value of the name `name` of `m`, or whatever is in it, needs."
function needname!(n::Needs, name::Symbol)
    isdefined(Main, name) || return nothing
    name in n.seen && return nothing
    push!(n.seen, name)
    owner = Base.binding_module(Main, name)
    owner in (Base, Core) && return nothing
    x = getfield(Main, name)
    body = match(r"^#(.+)#\d+$", String(name))
    if body !== nothing && x isa Function # of a function with keywords, by a name that is made up
        # Of an anonymous function: another process has other functions by that name.
        all(isdigit, body[1]) && throw(NotPicklable(
            "an anonymous function with keyword arguments can't be given to another process: give it a name " *
            "(f(x; k = 1) = ...), or write it within let ... end", false))
        needname!(n, Symbol(body[1]))
        foreach(m -> need!(n, m), methods(x))
        return nothing
    elseif owner !== Main
        push!(n.definitions, ("import", Unconverted(owner), String(name)))
    elseif x isa Module && nameof(x) === name && rootof(x) === x
        push!(n.definitions, ("import", Unconverted(x), ""))
    elseif x isa Module && nameof(x) === name && parentmodule(x) === Main && !isoffile(x)
        needdefinition!(n, name, x)
    elseif x isa Union{Type,Function} && isnamedas(x, name)
        needdefinition!(n, name, x)
    else
        mark = isconst(Main, name) && isstate(x) ? (SENT[name] = fingerprint(x)) : 0
        sent = x isa Union{Bool,Int64,Float64,ComplexF64,String,Nothing} ? x : Unconverted(x) # Python has these, in all versions
        push!(n.definitions, ("value", String(name), isconst(Main, name), sent, mark))
    end
    return nothing
end

isnamedas(@nospecialize(f::Function), name) = parentmodule(f) === Main && nameof(f) === name && issingleton(f)
isnamedas(@nospecialize(T::Type), name) =
    (U = Base.unwrap_unionall(T); U isa DataType && parentmodule(U) === Main && nameof(U) === name && T === U.name.wrapper)

issingleton(@nospecialize(f)) = Base.issingletontype(typeof(f))

# (Base's parent is Main.)
rootof(m::Module) = (p = parentmodule(m); p === m || m in (Base, Core) ? m : rootof(p))

function needdefinition!(n::Needs, name::Symbol, @nospecialize(x))
    origins = originsof(name, x)
    isempty(origins) && throw(NotPicklable(
        "the definition of $name in Julia's Main is not known, so that it can't be given to another process: put it into a " *
        "file and bufferbridge.include that, or into a package", false))
    for o in origins
        o isa Source && for macro_ in macrosof(o.text)
            needname!(n, macro_)
        end
    end
    if x isa Function
        for m in methods(x)
            m.module === Main && need!(n, m)
        end
    elseif x isa Type
        T = Base.unwrap_unionall(x)::DataType
        need!(n, supertype(T))
        isabstracttype(T) || isprimitivetype(T) || foreach(S -> need!(n, S), T.types)
    end
    foreach(o -> needorigin!(n, o), origins)
    x isa Type && needextensions!(n, name)
    return nothing
end

function needorigin!(n::Needs, o::Source)
    o in n.done && return nothing
    push!(n.done, o)
    push!(n.definitions, ("source", o.text, Tuple(map(String, o.names))))
    return nothing
end

function needorigin!(n::Needs, path::String)
    path in n.done && return nothing
    push!(n.done, path)
    push!(n.definitions, ("file", path, Int(get(() -> open(checksum, path), INCLUDED, path))))
    return nothing
end

# Methods for a type of functions that are defined elsewhere, Base.show(io, ::Point), or (p::Polynomial)(x).
function needextensions!(n::Needs, name::Symbol)
    for s in SOURCES
        s.extends && name in s.mentioned && !(s in n.done) && needorigin!(n, s)
    end
end

mentions!(found, @nospecialize(x)) =
    x isa Symbol ? push!(found, x) : x isa Expr ? foreach(a -> mentions!(found, a), x.args) : nothing

macrosof(text::String) = macrosof!(Symbol[], parseall(text, "none"))
function macrosof!(found, @nospecialize(x))
    x isa Expr || return found
    x.head === :macrocall && x.args[1] isa Symbol && push!(found, x.args[1])
    foreach(a -> macrosof!(found, a), x.args)
    return found
end

"What a method refers to."
function need!(n::Needs, m::Method)
    m in n.seen && return nothing
    push!(n.seen, m)
    need!(n, m.sig)
    isdefined(m, :source) && need!(n, Base.uncompressed_ast(m))
    isdefined(m, :generator) && needgenerator!(n, m.generator)
    return nothing
end

# Of a @generated function: what makes its code, and the functions and types of Main in the code that is quoted there.
# (Which quoted names are globals turns out when it is made. Data of the same name is left out.)
function needgenerator!(n::Needs, g)
    g isa Core.GeneratedFunctionStub && g.gen isa Function || return nothing
    for m in methods(g.gen)
        need!(n, m)
        isdefined(m, :source) || continue
        quoted = Set{Symbol}()
        foreach(x -> quotednames!(quoted, x), Base.uncompressed_ast(m).code)
        for name in quoted
            isdefined(Main, name) && getfield(Main, name) isa Union{Function,Type,Module} && needname!(n, name)
        end
    end
    return nothing
end

quotednames!(found, x::QuoteNode) = mentions!(found, x.value)
quotednames!(found, x::Expr) = foreach(a -> quotednames!(found, a), x.args)
quotednames!(found, @nospecialize(x)) = nothing

need!(n::Needs, code::Core.CodeInfo) = foreach(x -> need!(n, x), code.code)
need!(n::Needs, x::Expr) = foreach(a -> need!(n, a), x.args)
need!(n::Needs, x::QuoteNode) = x.value isa Union{Type,Function} ? need!(n, x.value) : nothing
need!(n::Needs, x::GlobalRef) = x.mod === Main ? needglobal!(n, x.name) : nothing
need!(n::Needs, T::UnionAll) = (need!(n, T.var.ub); need!(n, T.body))
need!(n::Needs, T::Union) = (need!(n, T.a); need!(n, T.b))
need!(n::Needs, T::TypeVar) = need!(n, T.ub)
need!(n::Needs, @nospecialize(f::Function)) = need!(n, typeof(f))
# Statements of lowered code are structs of their own since Julia 1.6: ReturnNode, GotoIfNot.
function need!(n::Needs, @nospecialize(x))
    parentmodule(typeof(x)) === Core && nameof(typeof(x)) in (:ReturnNode, :GotoIfNot, :PiNode) || return nothing
    for i in 1:nfields(x)
        isdefined(x, i) && need!(n, getfield(x, i))
    end
    return nothing
end

function need!(n::Needs, T::DataType)
    T in n.seen && return nothing
    push!(n.seen, T)
    foreach(p -> need!(n, p), T.parameters)
    m = parentmodule(T)
    if isinnerfunction(T)
        foreach(method -> need!(n, method), methodsof(T))
    elseif rootof(m) === Main
        m === Main ? needtype!(n, T) : needmodule!(n, m)
    end
    return nothing
end

# A name that code refers to: of an inner function its type.
function needglobal!(n::Needs, name::Symbol)
    isdefined(Main, name) || return nothing
    x = getfield(Main, name)
    T = Base.unwrap_unionall(x)
    T isa DataType && isinnerfunction(T) ? need!(n, T) : needname!(n, name)
    return nothing
end

function needtype!(n::Needs, T::DataType)
    isdefined(T, :instance) && T.instance isa Function && return needname!(n, nameof(T.instance))
    return needname!(n, nameof(T))
end

"The one in Main that a module is in."
function needmodule!(n::Needs, m::Module)
    while !isoffile(m) && parentmodule(m) !== Main
        m = parentmodule(m)
    end
    isoffile(m) && return nothing # what refers to it says how to load it
    isdefined(Main, nameof(m)) && getfield(Main, nameof(m)) === m ||
        throw(NotPicklable("the Julia module $m has no name in Main by which another process could know it: make it of a " *
                           "file (from bufferbridge.jl import ...), or put it into a package", false))
    return needname!(n, nameof(m))
end

# Of anonymous functions and closures; see should_send_whole_type in Serialization.
function isinnerfunction(T::DataType)
    T <: Function && parentmodule(T) in (Main, Serialization.__deserialized_types__) || return false
    name = String(T.name.name)
    startswith(name, '#') || return false
    isdefined(T, :instance) || return true
    return !isnamedas(T.instance, nameof(T.instance)) || !isdefined(Main, nameof(T.instance)) ||
           getfield(Main, nameof(T.instance)) !== T.instance
end

# ------------------------------------------------------------- in the other process

"""
    define(definition...)

Does what a definition says, if that is not so already.

- `"source", text, names`: evaluates the text of a statement in Main, unless it is what these names come from here.
- `"file", path, crc`: includes the file in Main, unless that was done when it had the same contents.
- `"import", module, name`: makes a name of a module known in Main; the module itself by the name "".
- `"value", name, isconst, x, mark`: a global variable. Constants stay as they are, since compiled code may have their value; the mark,
  if it is not 0, is that of a constant whose contents can change.
"""
define(kind::String, args...) = define(Val(Symbol(kind)), args...)

function define(::Val{:source}, text::String, names::Tuple)
    isinuse(text, names) || evaluate(text, Main)
    return nothing
end

function isinuse(text, names)
    if isempty(names)
        s = get(EXTENDING, headof(text), nothing)
        return s !== nothing && s.text == text
    end
    return all(names) do name
        s = Symbol(name)
        isdefined(Main, s) || return false
        return any(o -> o isa Source && o.text == text, originsof(s, getfield(Main, s)))
    end
end

# Constants that hold what can change, a cache say: the mark of what was sent to or from here last.
const SENT = Dict{Symbol,Int}()
isstate(@nospecialize(x)) = !(isbits(x) || x isa Union{String,Symbol,Function,Type,Module,PyObject})

# A definition again has the same beginning.
headof(text) = first(split(text, r"=|\n"; limit = 2))

function define(::Val{:file}, path::String, crc::Int)
    get(INCLUDED, path, nothing) === UInt32(crc) && return nothing
    isfile(path) || throw(NotHere("the Julia file $path, which the definition of a pickled object is in, is not here"))
    open(checksum, path) == UInt32(crc) ||
        throw(NotHere("the Julia file $path is another one than the process that pickled an object has included: include it there again"))
    includefile(path)
    return nothing
end

function define(::Val{:import}, m::Module, name::String)
    path = Expr(:., fullname(m)...)
    rootof(m) === Main && (path = Expr(:., :., fullname(m)[2:end]...))
    s = name == "" ? nameof(m) : Symbol(name)
    isdefined(Main, s) && return nothing
    try
        Core.eval(Main, name == "" ? Expr(:import, path) : Expr(:import, Expr(:(:), path, Expr(:., s))))
    catch # it is no package of this environment's
    end
    isdefined(Main, s) || Core.eval(Main, Expr(:const, Expr(:(=), s, QuoteNode(name == "" ? m : getfield(m, s)))))
    return nothing
end

function define(::Val{:value}, name::String, isconst_::Bool, @nospecialize(x), mark::Int = 0)
    s = Symbol(name)
    if isdefined(Main, s) && isconst(Main, s)
        isequal(getfield(Main, s), x) === true && return nothing
        isconst_ && mark != 0 && get(SENT, s, 0) == mark && return nothing # the same again, whose contents have changed here
        throw(NotHere("Julia's Main has a constant $name here, and another value was pickled with a function that uses it: " *
                      "start the process anew, or make it a variable (no const) or an argument"))
    end
    isconst_ && mark != 0 && (SENT[s] = mark)
    assignment = Expr(:(=), s, QuoteNode(x))
    Core.eval(Main, isconst_ && !isdefined(Main, s) ? Expr(:const, assignment) : assignment)
    return nothing
end
