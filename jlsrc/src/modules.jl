# Modules for Python: fresh ones, files and packages as modules (bufferbridge/_modules.py), `using`, and packages
# that are shipped inside Python's (bufferbridge/_shipped.py).

"""
    newmodule(name)

A module of that name with what Julia's `module` gives one: the names of Base, and an `eval` and an `include` of its
own. It is bound nowhere; its name is printed as if it were in Main.
"""
function newmodule(name::String)
    Base.isidentifier(name) || throw(ArgumentError("a module needs a name like 'Model', not $(repr(name))"))
    m = Module(Symbol(name))
    Core.eval(m, quote
        eval(x) = $(Core.eval)($m, x)
        include(path) = $(Base.include)($m, path)
        include(mapexpr::Function, path) = $(Base.include)(mapexpr, $m, path)
    end)
    return m
end

"""
    filemodule(name, path)

Evaluates a file in a new module of that name, and gives the module. If what the file defines is itself a module of that
name, gives that one. Throws a [`SyntaxError`](@ref) before anything is evaluated.
"""
function filemodule(name::String, path::String)
    code = read(path, String)
    parsed = parseall(code, path)
    bad = badsyntax(parsed)
    bad === nothing || throwsyntax(code, bad, path)
    s = Symbol(name)
    identity = (name, path, checksum(code))
    if definesmodule(parsed, s)
        outer = newmodule("Python")
        Base.include(outer, path)
        m = Base.invokelatest(getfield, outer, s)::Module
        FILE_MODULES[m] = identity
        return m
    end
    m = newmodule(name)
    FILE_MODULES[m] = identity
    Base.include(m, path)
    # As at the end of a `module`.
    Base.invokelatest(isdefined, m, :__init__) && Base.invokelatest(Base.invokelatest(getfield, m, :__init__))
    return m
end

function throwsyntax(code, bad, path)
    try
        throwsyntax(code, bad)
    catch e
        e isa SyntaxError || rethrow()
        throw(SyntaxError(e.cause, "$path, $(e.message)"))
    end
end

# At top level, with a docstring or without.
function definesmodule(x, name::Symbol)
    x isa Expr || return false
    x.head === :module && return x.args[2] === name
    return x.head in (:toplevel, :macrocall) && any(y -> definesmodule(y, name), x.args)
end

# ------------------------------------------------------------------ packages

"""
    packagestate(name) -> String

What Julia has under a name: "module" (Main, Base, Core), "package", "missing" (an environment names it, and it is not
installed), or "" for nothing.
"""
packagestate(name::String) = packagestate(Main, name)
function packagestate(m::Module, name::String)
    name in ("Main", "Base", "Core") && return "module"
    id = Base.identify_package(m, name)
    id === nothing && return ""
    return isinstalled(id) ? "package" : "missing"
end

function isinstalled(id::Base.PkgId)
    Base.root_module_exists(id) && return true
    path = Base.locate_package(id)
    return path !== nothing && isfile(path)
end

"The package of that name, loaded."
loadpackage(name::String) = Base.require(Base.identify_package(name)::Base.PkgId)

"Names of packages that can be loaded, as far as they are known without looking long."
function packagenames()
    found = Set{String}(readdir(Sys.STDLIB))
    union!(found, (id.name for id in keys(Base.loaded_modules)))
    for file in Base.load_path()
        isfile(file) && union!(found, (id.name for id in projectdeps(file)))
    end
    return pylisting(filter!(Base.isidentifier, collect(found)))
end

# The section [deps] of a Project.toml, one line for each. (There is no TOML in Julia 1.5 itself.)
function projectdeps(file::String)
    found, inside = Base.PkgId[], false
    for line in eachline(file)
        header = match(r"^\s*\[\s*([^\[\]]*?)\s*\]", line)
        header === nothing || (inside = header[1] == "deps")
        dep = inside ? match(r"^\s*\"?([^\s\"=]+)\"?\s*=\s*[\"']([0-9a-fA-F-]{36})[\"']", line) : nothing
        dep === nothing || push!(found, Base.PkgId(Base.UUID(dep[2]), dep[1]))
    end
    return found
end

"The path of a package's file, or nothing for other modules."
modulefile(m::Module) = pathof(m)

"The names that `using` would bring, and the typed exports."
function exportednames(m::Module)
    exported = filter(s -> Base.isexported(m, s) && !Base.isdeprecated(m, s), names(m)) # later versions list public names, too
    found = union(Set(exported), keys(something(exportsof(m), Dict())))
    return pylisting(pyname(s) for s in found if s !== nameof(m) && Base.isidentifier(s) && hasname(m, s))
end

"The typed exports of a module, as Python's names."
typedexports(m::Module) = pylisting(pyname(s) for s in keys(something(exportsof(m), Dict())))

"The docstring of a module, as it was written."
function moduledoc(m::Module)
    isdefined(m, Base.Docs.META) || return nothing
    multi = get(Base.Docs.meta(m), Base.Docs.Binding(m, nameof(m)), nothing)
    multi isa Base.Docs.MultiDoc || return nothing
    return String(strip(join((join(filter(t -> t isa String, collect(multi.docs[sig].text))) for sig in multi.order), "\n\n")))
end

# --------------------------------------------------------------------- using

"""
    usein(m, clauses...)

Evaluates `using` of each clause in `m`. Nothing is evaluated before all clauses are known to be that and no other code,
and to name packages that are installed: else the result is the first name that is not.
"""
function usein(m::Module, clauses::String...)
    parsed = Any[usingclause(c) for c in clauses]
    for x in parsed, name in packagesof(x)
        name in ("Main", "Base", "Core") || packagestate(m, name) == "package" || return name
    end
    for x in parsed
        Core.eval(m, x)
    end
    return nothing
end

function usingclause(text::String)
    code = "using $text"
    parsed = parseall(code, "using")
    bad = badsyntax(parsed)
    bad === nothing || throwsyntax(code, bad)
    xs = filter(x -> !(x isa LineNumberNode), parsed.args)
    length(xs) == 1 && isusing(xs[1]) && return xs[1]
    throw(ArgumentError("this is not what follows `using`: $(repr(text)); write 'LinearAlgebra', or 'LinearAlgebra: norm, det'"))
end

isusing(x) = x isa Expr && x.head === :using && all(isclause, x.args)
isclause(x) = ispath_(x) || x isa Expr && x.head in (:(:), :as) && all(y -> y isa Symbol || isclause(y), x.args)
ispath_(x) = x isa Expr && x.head === :. && all(y -> y isa Symbol, x.args)

# What a `using` takes from packages: paths that do not start with a dot.
function packagesof(x::Expr)
    paths = map(a -> a.head === :. ? a : packagepath(a), x.args)
    return [String(p.args[1]) for p in paths if p.args[1] !== :.]
end
packagepath(a::Expr) = a.head === :. ? a : packagepath(a.args[1])

# ------------------------------------------------------------ shipped packages

"""
    loadshipped(folder, name, uuid, environment) -> Module, or names

Loads the package in `folder`. Its environment is its own where it has one: a Manifest.toml beside its Project.toml, or what
`python -m bufferbridge instantiate` has made for it. Otherwise the dependencies are looked for as for code in Main.
Afterwards all of these are the last in LOAD_PATH, for what the package loads later. Where dependencies are not installed
nothing is loaded, and the result is a tuple of their names.
"""
function loadshipped(folder::String, name::String, uuid::String, environment::String)
    id = Base.PkgId(Base.UUID(uuid), name)
    Base.root_module_exists(id) && return Base.root_module(id)
    project = joinpath(folder, "Project.toml")
    made = shippedenvironment(environment)
    ismade = isfile(joinpath(made, "Manifest.toml"))
    bridge = dirname(@__DIR__)
    # From Julia 1.9 on a dependency is looked for no further than the environment that names it: that is the folder.
    path = hasmanifest(project) ? [bridge, folder, "@stdlib"] : ismade ? [bridge, made, folder, "@stdlib"] :
           [filter(!isequal(folder), LOAD_PATH); folder]
    before = copy(LOAD_PATH)
    copy!(LOAD_PATH, path)
    m = try
        absent = absentdeps!(String[], Set{Base.PkgId}(), project)
        isempty(absent) || return Tuple(absent)
        Base.require(id)
    finally
        copy!(LOAD_PATH, before)
    end
    ismade && !(made in before) && push!(LOAD_PATH, made)
    folder in before || push!(LOAD_PATH, folder)
    return m
end

function hasmanifest(project)
    manifest = Base.project_file_manifest_path(project)
    return manifest !== nothing && isfile(manifest)
end

"Where `instantiate` keeps the environment of a shipped package (see jlsrc/instantiate.jl)."
shippedenvironment(name) =
    joinpath(first(DEPOT_PATH), "environments", "bufferbridge", "v$(VERSION.major).$(VERSION.minor)", name)

function absentdeps!(found::Vector{String}, seen::Set{Base.PkgId}, project::String)
    for id in projectdeps(project)
        id in seen && continue
        push!(seen, id)
        if !isinstalled(id)
            push!(found, id.name)
            continue
        end
        path = Base.locate_package(id)
        (path === nothing || startswith(path, Sys.STDLIB)) && continue
        next = joinpath(dirname(dirname(path)), "Project.toml")
        isfile(next) && absentdeps!(found, seen, next)
    end
    return found
end
