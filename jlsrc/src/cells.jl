# What IPython needs of Julia: code with values of Python's in it, the names that could complete it, and where
# display(x) shows. The rest is bufferbridge/_ipython.py.
#
# `$x` stands for a value of Python's wherever Julia itself has no use for `$`: not in strings, which are parsed
# already, not in quotes, and not in @eval, which is one. One more `$` leads out of a quote, as in nested quotes.
#
# The values are not copied into the code: it has an Interpolated in place of each, whose type the compiler knows and
# whose value it loads. For what the compiler knows itself it keeps for ever. An Interpolated is emptied when the
# cell has run, so that nothing is kept; anonymous functions and tasks that are made in the cell, and may run
# later, capture the value itself. Only named functions go on to use it, and keep it.

mutable struct Interpolated{T}
    value::T
    name::Symbol
    Interpolated(x::T, name::Symbol) where {T} = new{T}(x, name)
    Interpolated{T}() where {T} = new{T}() # never made; says that there may be nothing
end

Base.show(io::IO, x::Interpolated) = print(io, "\$", x.name)

# As new(), where references are NULL: who still looks gets an UndefRefError. Storing those needs no write barrier.
function clear!(x::Interpolated{T}) where {T}
    isbitstype(T) && return nothing # it keeps nothing
    name = x.name
    GC.@preserve x ccall(:memset, Ptr{Cvoid}, (Ptr{Cvoid}, Cint, Csize_t), pointer_from_objref(x), 0, sizeof(typeof(x)))
    x.name = name
    return nothing
end

access(x::Interpolated) = Expr(:., QuoteNode(x), QuoteNode(:value))

"The code of a cell, parsed."
struct Cell
    expression::Any
end

"""
    parsecell(code, file) -> Cell

Throws [`SyntaxError`](@ref), with the place, for code that does not parse.
"""
function parsecell(code::String, file::String)
    parsed = parseall(code, file)
    bad = badsyntax(parsed)
    bad === nothing || throwsyntax(code, bad)
    return Cell(parsed)
end

"Before a cell runs in Main into which no value of Python's goes: keeps what it defines (sources.jl)."
keepcell(cell::Cell, code::String, file::String) = (definessomething(cell.expression) && keepsource!(code, file); nothing)

# ----------------------------------------------------------------- finding $

const TASK_MACROS = (Symbol("@async"), Symbol("@spawn"), Symbol("@spawnat"), Symbol("@task"), Symbol("@fetch"))
# These evaluate what comes after `$` when they begin.
const BENCHMARK_MACROS = Symbol.(("@btime", "@btimed", "@benchmark", "@benchmarkable", "@belapsed", "@ballocated"))

macroname(x::Symbol) = x
macroname(x::GlobalRef) = x.name
macroname(x::QuoteNode) = macroname(x.value)
macroname(x::Expr) = x.head === :. && length(x.args) == 2 ? macroname(x.args[2]) : Symbol("")
macroname(@nospecialize(x)) = Symbol("")

ismacro(x::Expr, names) = x.head === :macrocall && macroname(x.args[1]) in names

# Calls f(name, lenient) for each name of Python's in x, and gives x with what that gives in their places. lenient: it
# is an argument of a macro, which may have its own idea of `$`: `nothing` leaves it alone.
struct Walk
    f::Any
    depth::Int      # of quotes
    lenient::Bool
end

replaced(w::Walk, @nospecialize(x)) = x

function replaced(w::Walk, x::Expr)
    head = x.head
    if head === :$
        w.depth > 0 && return Expr(:$, (replaced(Walk(w.f, w.depth - 1, w.lenient), a) for a in x.args)...)
        new = w.f(pythonname(x), w.lenient)
        return new === nothing ? x : new
    elseif head === :quote
        return each(Walk(w.f, w.depth + 1, w.lenient), x)
    elseif head === :macrocall
        depth = w.depth + ismacro(x, (Symbol("@eval"),))
        return each(Walk(w.f, depth, true), x)
    end
    w.depth == 0 && forbidassignment(x)
    return each(w, x)
end

each(w::Walk, x::Expr) = Expr(x.head, (replaced(w, a) for a in x.args)...)

ispython(@nospecialize(x)) = x isa Expr && x.head === :$

function pythonname(x::Expr)
    name = x.args[1]
    name isa Symbol && return name
    throw(SyntaxError(nothing, "after \$ comes the name of a Python variable, or a Python expression in " *
                               "parentheses, not $(repr(name))"))
end

function forbidassignment(x::Expr)
    head = String(x.head)
    assigns = endswith(head, '=') && !startswith(head, '.') && !(head in ("==", "<=", ">=", "!=", "===", "!=="))
    targets = assigns || head == "kw" ? x.args[1:min(1, end)] : head in ("global", "local", "const") ? x.args : ()
    for target in targets
        parts = target isa Expr && target.head in (:tuple, :parameters) ? target.args : (target,)
        i = findfirst(ispython, collect(Any, parts))
        i === nothing || throw(SyntaxError(nothing,
            "\$$(parts[i].args[1]) is a value of Python's, and its name can't be assigned here. To change an array in " *
            "place, write \$$(parts[i].args[1]) .= ...; to give Python a value, write name = %julia ... there"))
    end
    return nothing
end

"The names of Python's variables in the code, each with whether it must be one."
function namesof(cell::Cell)
    found = Dict{Symbol,Bool}()
    order = Symbol[]
    function note(name, lenient)
        haskey(found, name) || push!(order, name)
        found[name] = get(found, name, false) | !lenient
        return nothing
    end
    replaced(Walk(note, 0, false), cell.expression)
    return Tuple((String(name), found[name]) for name in order)
end

# ------------------------------------------------------------------ putting values in

# What may run after the cell: it captures values.
islater(x::Expr) = x.head in (:->, :do, :generator, :comprehension, :typed_comprehension) ||
                   (x.head === :function && x.args[1] isa Expr && x.args[1].head in (:tuple, :...)) ||
                   ismacro(x, TASK_MACROS)

isdefinition(x::Expr) = x.head in (:function, :macro, :struct, :module) ||
                        (x.head === :(=) && iscall(x.args[1]))
iscall(@nospecialize(x)) = x isa Expr && (x.head === :call || (x.head in (:where, :(::)) && iscall(x.args[1])))

mutable struct Substitution
    values::Dict{Symbol,Interpolated}
    kept::Set{Symbol}               # which code goes on to use
    captured::Union{Nothing,Dict{Symbol,Symbol}} # inside of what captures: the local variables
    defining::Bool
end

put(s::Substitution, @nospecialize(x), depth = 0) = x

function put(s::Substitution, x::Expr, depth = 0)
    head = x.head
    if head === :$
        depth > 0 && return Expr(:$, (put(s, a, depth - 1) for a in x.args)...)
        name = x.args[1]
        haskey(s.values, name) || return x
        s.captured === nothing || return get!(() -> gensym(name), s.captured, name)
        s.defining && push!(s.kept, name)
        return access(s.values[name])
    elseif head === :quote || ismacro(x, (Symbol("@eval"),))
        return Expr(head, (put(s, a, depth + 1) for a in x.args)...)
    elseif depth == 0 && ismacro(x, BENCHMARK_MACROS)
        return Expr(head, (benchmarked(s, a) for a in x.args)...)
    elseif depth == 0 && s.captured === nothing && !s.defining && islater(x)
        s.captured = Dict{Symbol,Symbol}()
        inner = Expr(head, (put(s, a) for a in x.args)...)
        names, s.captured = s.captured, nothing
        isempty(names) && return inner
        return Expr(:let, Expr(:block, (:($g = $(access(s.values[name]))) for (name, g) in names)...), inner)
    end
    defining = s.defining
    s.defining = defining || isdefinition(x)
    y = Expr(head, (put(s, a, depth) for a in x.args)...)
    s.defining = defining
    return y
end

# Functions that these make from the code are used at once and never again: they get the value as an argument.
benchmarked(s::Substitution, @nospecialize(x)) = x
function benchmarked(s::Substitution, x::Expr)
    ispython(x) && return haskey(s.values, x.args[1]) ? Expr(:$, put(s, x)) : x
    return Expr(x.head, (benchmarked(s, a) for a in x.args)...)
end

"""
    runcell(cell, m, names, values...)

Evaluates the cell in the module `m`, with `\$name` for each name the value that belongs to it, and gives the last
value. Assignments in loops are to globals of that name, if there are any, as in Julia's own prompt.

To be called through `nogil`: a notebook shows what is printed, and says that it lives, by threads of Python's.
"""
function runcell(cell::Cell, m::Module, names, values...)
    holders = Dict{Symbol,Interpolated}(Symbol(n) => Interpolated(v, Symbol(n)) for (n, v) in zip(names, values))
    s = Substitution(holders, Set{Symbol}(), nothing, false)
    code = softscope(put(s, cell.expression))
    streaming = STREAMING[]
    try
        STREAMING[] = true
        return Core.eval(m, code)
    finally
        STREAMING[] = streaming
        for (name, holder) in holders
            name in s.kept || clear!(holder)
        end
    end
end

# As REPL.softscope.
softscope(@nospecialize(x)) = x
function softscope(x::Expr)
    x.head === :toplevel && return Expr(:toplevel, (softscope(a) for a in x.args)...)
    x.head in (:meta, :import, :using, :export, :public, :module, :error, :incomplete, :thunk) && return x
    return Expr(:block, Expr(:softscope, true), x)
end

# ---------------------------------------------------------------- completion

const REPL_PACKAGE = Base.PkgId(Base.UUID("3fa0cd96-eef1-5676-8a61-b3b8758bbffb"), "REPL")

"""
    completionsof(code, position, m) -> (texts, start)

What Julia's own prompt would complete the first `position` characters of the code to: texts for what begins at
the character `start` (from 0).
"""
function completionsof(code::String, position::Int, m::Module)
    completions = Base.require(REPL_PACKAGE).REPLCompletions
    return Base.invokelatest(completionsof, completions, first(code, position), m)
end

function completionsof(completions::Module, code::String, m::Module)
    # A statement by itself: of several, Julia 1.10 does not complete what has a dot.
    before = something(findlast(c -> c in ('\n', ';'), code), 0)
    statement = code[nextind(code, before):end]
    found, range, _ = completions.completions(statement, lastindex(statement), m)
    texts = String[completions.completion_text(c) for c in found if !(c isa completions.MethodCompletion)]
    characters = length(SubString(statement, 1, prevind(statement, first(range))))
    return Tuple(unique(texts)), length(SubString(code, 1, before)) + characters
end

# ------------------------------------------------------------------- display

"Where IPython shows: `show(mime, x)`, a Python function, gets a MIME type, or nothing, and what it is of."
struct PythonDisplay <: AbstractDisplay
    show::Any
end

Base.display(d::PythonDisplay, @nospecialize(x)) = (d.show(nothing, shownas(x)); nothing)
function Base.display(d::PythonDisplay, mime::MIME, @nospecialize(x))
    showable(mime, x) || throw(MethodError(display, (d, mime, x)))
    d.show(string(mime), repr(mime, x))
    return nothing
end
Base.displayable(::PythonDisplay, ::MIME) = true

# A JuliaValue, so that it is shown as Julia shows it, also where Python has a value of its own for it.
shownas(o::PyObject) = o
shownas(@nospecialize(x)) = withgil(() -> owned(wrapped(x)))

takedisplay!(show) = (d = PythonDisplay(show); pushdisplay(d); d)
givedisplay!(d::PythonDisplay) = (d in Base.Multimedia.displays && popdisplay(d); nothing)
