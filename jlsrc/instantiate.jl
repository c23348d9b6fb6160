# Installs what a Julia package depends on that is shipped in a Python package: run by bufferbridge/_shipped.py as
#
#     julia instantiate.jl FOLDER NAME
#
# The folder, which may be read-only, has a Project.toml. With a Manifest.toml beside it that says what to install. Else
# versions are resolved, and kept as the environment NAME in the depot (`shippedenvironment` in src/modules.jl).
# BufferBridge is no part of it: that comes with bufferbridge.

import Pkg

const folder, name = ARGS
const environment =
    joinpath(first(DEPOT_PATH), "environments", "bufferbridge", "v$(VERSION.major).$(VERSION.minor)", name)

withoutbridge(deps) = filter(p -> first(p) != "BufferBridge", deps)
isstdlib(dep) = isfile(joinpath(Sys.STDLIB, dep, "Project.toml"))

function write_toml(file, data)
    open(io -> Pkg.TOML.print(io, data; sorted = true), joinpath(environment, file), "w")
end

# Entries of packages in folders have paths from where the Manifest.toml is.
function absolute!(entry)
    haskey(entry, "path") && (entry["path"] = normpath(joinpath(folder, entry["path"])))
    return entry
end

"The packages of the shipped Manifest.toml, and all of it without BufferBridge; or nothing."
function shippedmanifest()
    file = Base.project_file_manifest_path(joinpath(folder, "Project.toml"))
    file === nothing && return nothing
    data = Pkg.TOML.parsefile(file)
    delete!(data, "project_hash") # of another Project.toml
    isnested = haskey(data, "manifest_format")
    packages = withoutbridge(isnested ? get(data, "deps", Dict()) : data)
    foreach(list -> foreach(absolute!, list), values(packages))
    return packages, isnested ? merge(data, Dict("deps" => packages)) : packages
end

function main()
    project = Pkg.TOML.parsefile(joinpath(folder, "Project.toml"))
    deps = withoutbridge(get(project, "deps", Dict()))
    manifest = shippedmanifest()
    installed = manifest === nothing ? all(isstdlib, keys(deps)) :
                !any(list -> any(entry -> haskey(entry, "git-tree-sha1"), list), values(manifest[1]))
    if installed
        println("$(project["name"]) depends on nothing that has to be installed.")
        return
    end
    rm(environment; force = true, recursive = true) # made of an older Project.toml, perhaps
    mkpath(environment)
    compat = filter(p -> first(p) == "julia" || haskey(deps, first(p)), get(project, "compat", Dict()))
    write_toml("Project.toml", Dict("deps" => deps, "compat" => compat))
    manifest === nothing || write_toml("Manifest.toml", manifest[2])
    try
        Pkg.activate(environment)
        Pkg.instantiate()
    catch e
        rm(environment; force = true, recursive = true) # half of one would be taken for a whole one
        println(stderr, "error: ", sprint(showerror, e))
        exit(1)
    end
    println("The packages that $(project["name"]) needs are installed; their versions are in")
    println(joinpath(environment, "Manifest.toml"))
end

main()
