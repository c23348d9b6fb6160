# What Python's tools ask about Julia objects: help(), inspect.signature, and the display in notebooks.

const REPL_ID = Base.PkgId(Base.UUID("3fa0cd96-eef1-5676-8a61-b3b8758bbffb"), "REPL")

"""
    docof(x) -> String

Julia's documentation of a function, type or module, or of the type of anything else, as the REPL's help shows it.
"""
function docof(@nospecialize(x))
    # Where nothing is documented, the REPL's methods tell what there is.
    haskey(Base.loaded_modules, REPL_ID) || Base.require(REPL_ID)
    return Base.invokelatest(doctextof, x isa Union{Function,Type,Module} ? x : typeof(x))
end

function doctextof(@nospecialize(x))
    text = sprint(io -> show(IOContext(io, :displaysize => (24, 80)), MIME("text/plain"), Base.Docs.doc(x)))
    return String(rstrip(replace(text, r"^  "m => "")))
end

"""
    signatureof(f)

The parameters of a Julia function, each as `(name, kind, hasdefault, annotation)`; kinds as for typed exports' signatures: 0
positional, 1 keyword, 2 `args...`, 3 `kwargs...`. `nothing` where its methods have no one signature: only methods
of one definition do, whose arguments have defaults.
"""
function signatureof(@nospecialize(f))
    ms = collect(methods(f))
    isempty(ms) && return nothing
    all(m -> (m.file, m.line, m.name) == (ms[1].file, ms[1].line, ms[1].name), ms) || return nothing
    m = ms[argmax([Int(m.nargs) for m in ms])]
    required = minimum(Int(m.nargs) - m.isva for m in ms) - 1
    found = Any[]
    names = argumentnames(m)
    types = Base.unwrap_unionall(m.sig).parameters
    for i in 2:Int(m.nargs)
        last = m.isva && i == m.nargs
        push!(found, (names[i], last ? 2 : 0, !last && i - 1 > required, last ? "" : annotation(types[i])))
    end
    for k in Base.kwarg_decl(m)
        name = String(k)
        endswith(name, "...") ? push!(found, (name[1:end-3], 3, false, "")) : push!(found, (name, 1, true, ""))
    end
    return found
end

argumentnames(m) = String[startswith(String(n), '#') ? "" : String(n) for n in Base.method_argnames(m)]
annotation(@nospecialize(T)) = T === Any ? "" : string(T)

# ------------------------------------------------------------------- copies

"What Python's copy module gives: things that nobody can change are their own copies."
shallowcopy(@nospecialize(x)) = isconstant(x) ? x : copy(x)
deepcopied(@nospecialize(x)) = isconstant(x) ? x : deepcopy(x)

isconstant(@nospecialize(x)) = x isa Union{Function,Module,Type,Symbol,Number,AbstractString,AbstractChar,Nothing,Missing}

# ------------------------------------------------------------------ display

# Richest first; a notebook chooses.
const MIMES = ("image/png", "image/jpeg", "image/svg+xml", "text/html", "text/markdown", "text/latex", "application/json")

"""
    mimebundle(x, include, exclude)

What `x` shows itself as: pairs of a MIME type and its data, text as a String and all else as bytes. `include` and
`exclude` are collections of MIME types, or nothing.
"""
function mimebundle(@nospecialize(x), @nospecialize(include), @nospecialize(exclude))
    wanted(m) = (include === nothing || m in include) && (exclude === nothing || !(m in exclude))
    shown = Any[]
    for name in MIMES
        m = MIME(name)
        wanted(name) && showable(m, x) || continue
        push!(shown, (name, istextmime(m) || name == "image/svg+xml" ? displayed(m, x) : sprintbytes(m, x)))
    end
    wanted("text/plain") && push!(shown, ("text/plain", reprof(x)))
    return Tuple(shown)
end

displayed(m, @nospecialize(x)) = sprint(io -> show(IOContext(io, :limit => true), m, x))

function sprintbytes(m, @nospecialize(x))
    io = IOBuffer()
    show(IOContext(io, :limit => true), m, x)
    return Base.take!(io)
end
