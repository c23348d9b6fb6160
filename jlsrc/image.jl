# Makes a system image that holds BufferBridge and named packages: run by bufferbridge/_precompile.py as
#
#     julia --sysimage=BASE --output-o=OBJECT image.jl STATEMENTS SOURCES [PACKAGE...]
#
# STATEMENTS is what `--trace-compile` wrote while a Python process worked: it is compiled too. SOURCES gets
# the files that the image goes stale with, besides Julia's and BufferBridge's own, one on each line.

# Julia does not initialize itself when it writes an image.
Base.reinit_stdio()
@eval Sys BINDIR = ccall(:jl_get_julia_bindir, Any, ())::String
@eval Sys STDLIB = abspath(BINDIR, "..", "share", "julia", "stdlib", string("v", VERSION.major, ".", VERSION.minor))
Base.init_depot_path()
Base.init_load_path()
isdefined(Base, :init_active_project) && Base.init_active_project()

module Making

const statements, sources = ARGS[1:2]
const names = Symbol.(ARGS[3:end])
const before = Set(Base.loaded_modules_array())

function load()
    pushfirst!(LOAD_PATH, @__DIR__) # a package with typed exports needs BufferBridge, which its environment may not have
    for name in names
        Base.require(Main, name)
    end
    Core.eval(Main, :(import BufferBridge))
end

isfrom(file, folder) = startswith(file, joinpath(folder, ""))

# A package in a depot's folder `packages` never changes: another version has another folder.
function filesof(m::Module)
    file = pathof(m)
    (file === nothing || isfrom(file, Sys.STDLIB) || isfrom(file, @__DIR__)) && return String[]
    any(depot -> isfrom(file, joinpath(depot, "packages")), DEPOT_PATH) && return [file]
    return [joinpath(folder, f) for (folder, _, files) in walkdir(dirname(file)) for f in files if endswith(f, ".jl")]
end

function environments()
    projects = filter(isfile, Base.load_path())
    manifests = map(Base.project_file_manifest_path, projects)
    return filter(f -> f isa String && !isfrom(f, @__DIR__), [projects; manifests])
end

function writesources()
    isempty(names) && return write(sources, "")
    added = filter(m -> !(m in before) && nameof(m) !== :BufferBridge, Base.loaded_modules_array())
    write(sources, join(unique([environments(); mapreduce(filesof, vcat, added; init = String[])]), '\n'))
end

# A statement may name what only the process that was traced had.
function compile()
    scope = Module()
    for m in Base.loaded_modules_array()
        Core.eval(scope, :(const $(nameof(m)) = $m))
    end
    for line in eachline(statements)
        try
            Core.eval(scope, Meta.parse(line))
        catch
        end
    end
end

load()
writesources()
compile()

# On Julia 1.5 the compiler finds no addresses for functions that it compiles for `@cfunction` while it
# writes an image: this one is compiled already.
Core.eval(Main.BufferBridge, :(cfunction(entry)))

end

# What the next process finds out for itself.
empty!(LOAD_PATH)
empty!(DEPOT_PATH)
empty!(ARGS)
empty!(Core.ARGS)
if isdefined(Base, :TOML_CACHE)
    empty!(Base.TOML_CACHE.d)
    Base.TOML.reinit!(Base.TOML_CACHE.p, "")
end
@eval Sys BINDIR = ""
@eval Sys STDLIB = ""
