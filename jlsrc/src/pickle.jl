# Julia objects for Python's pickle (bufferbridge/_pickle.py), and what Julia's own Serialization has to know of ours.
#
# What pickle is given consists of plain values of Python's, of Julia objects that are pickled in turn (modules, global
# variables), and of bytes:
#
# - an array with memory that can be shared is its memory, a format, a size, and an order. Where the format does not
#   say all, as for the user's structs, the type comes along by reference. Nothing of this depends on Julia's version.
# - modules, types and named functions are references: a module, and a name in it. sources.jl finds what has to be
#   defined in Main for them.
# - everything else goes through Serialization. Modules and Python's objects in it are written as numbers, and handed
#   to pickle, which knows how to write them: so a Python object that is referred to twice stays one.
#
# Nothing here looks at bytes from outside without a header: Serialization trusts what it reads, as pickle does, and a bit or a
# field that is wrong can crash it. So they have a checksum, against accidents, and the fields of the structs in them, against
# types that are others here.

import Serialization
import Serialization: AbstractSerializer, serialize, deserialize

"An object that can't be pickled: by its nature (`never`), or since something is not known."
struct NotPicklable <: Exception
    message::String
    never::Bool
end
Base.showerror(io::IO, e::NotPicklable) = print(io, e.message)
errorkind(e::NotPicklable) = e.never ? KIND_TYPE : KIND_VALUE

never(what) = throw(NotPicklable("$what can't be pickled", true))

"What a pickle refers to, and is not here."
struct NotHere <: Exception
    message::String
end
Base.showerror(io::IO, e::NotHere) = print(io, e.message)

# ------------------------------------------------------------------- arrays

"""
    elementreference(x) -> nothing, false, or a reference

What is needed besides the format for the type of an array's items: `nothing`, or a reference to the type. `false`: its
memory means nothing elsewhere.
"""
function elementreference(x::AbstractArray)
    l = layout(x)
    l isa Layout || return false
    S = memorytype(l)
    hasobjects(S) && return false
    haspointers(S) && never("an array with addresses in it (its elements are of type $(eltype(x)))")
    return saysall(S) ? nothing : typereference(S)
end

"Whether the format gives this very type of items."
function saysall(::Type{S}) where {S}
    try
        return elements(formatof(S)::String, memorysize(S)) === Elements{S}()
    catch e # there are types that no reader of formats has
        isforeign(e) && rethrow()
        return false
    end
end

haspointers(::Type{S}) where {S} = S <: Ptr || isstructtype(S) && any(haspointers, unique(fieldtypes(S)))
haspointers(::Type{Swapped{T}}) where {T} = haspointers(T)
haspointers(::Type{Repeated{N,S}}) where {N,S} = haspointers(S)
haspointers(::Type{<:Packed{names,Ss}}) where {names,Ss} = any(haspointers, Ss.parameters)

"The items of an array with gaps, one after the other in column-major order, as bytes."
function packed(x::AbstractArray)
    return holding(loanof(x)) do
        l = layout(x)::Layout
        n = memorysize(memorytype(l))
        bytes = Vector{UInt8}(undef, n * length(x))
        GC.@preserve x bytes pack!(pointer(bytes), l.ptr, l.size, l.strides, n)
        Unconverted(bytes)
    end
end

function pack!(to::Ptr{UInt8}, from::Ptr{UInt8}, size, strides, n)
    any(iszero, size) && return to
    if length(size) <= 1
        count, stride = length(size) == 0 ? (1, n) : (size[1], strides[1])
        stride == n && (unsafe_copyto!(to, from, n * count); return to + n * count)
        n == 8 && return packitems!(UInt64, to, from, count, stride)
        n == 4 && return packitems!(UInt32, to, from, count, stride)
        for i in 0:count-1
            unsafe_copyto!(to + i * n, from + i * stride, n)
        end
        return to + n * count
    end
    for i in 0:size[end]-1
        to = pack!(to, from + i * strides[end], Base.front(size), Base.front(strides), n)
    end
    return to
end

function packitems!(::Type{U}, to, from, count, stride) where {U}
    for i in 0:count-1
        unsafe_store!(Ptr{U}(to), unsafe_load(Ptr{U}(from + i * stride)), i + 1)
    end
    return to + count * sizeof(U)
end

"""
    unpickledarray(o::PyObject, format, itemsize, reference, size, order)

The array whose items are the bytes that `o` exports, which it shares, in column-major (`order` "F") or row-major ("C")
order. Bytes that are not aligned as Julia needs them are copied.

What a damaged pickle says is not believed: an ArgumentError where sizes and bytes contradict each other, and for items that are
addresses, which no pickle of ours has.
"""
function unpickledarray(o::PyObject, format::String, itemsize::Int, reference, size::Tuple, order::String)
    dims, rowmajor = map(Int, size), order == "C"
    length(dims) <= MAX_DIMS || throw(ArgumentError("an array can't have $(length(dims)) axes"))
    rowmajor || order == "F" || throw(ArgumentError("the order of items is C or F, not $order"))
    reference === nothing && return unpickledarray(elements(format, itemsize), o, dims, rowmajor)
    S = resolvetype(reference)
    f = isbitstype(S) || S <: MemoryType ? formatof(S) : nothing
    f == format && memorysize(S) == itemsize || throw(NotHere(
        "elements of the type $S were pickled with the layout $format ($itemsize bytes), and that type has another one here " *
        "($(f isa String ? f : "none"))"))
    return unpickledarray(Core.apply_type(Elements, S).instance, o, dims, rowmajor)
end

# As with any buffer: the Array that is made of it, and nothing else, has the finalizer that gives it back. (What only a
# finalizer refers to is finalized too early.)
function unpickledarray(::Elements{S}, o::PyObject, size, rowmajor) where {S}
    (hasobjects(S) || haspointers(S)) && throw(ArgumentError("addresses in a pickle mean nothing"))
    n = checkedbytes(memorysize(S), size)
    return withgil(() -> withvalue() do v
        GC.@preserve(o, @api(acquire(pointerof(o)::Ptr{Cvoid}, v::Ptr{Value})::Cint)) == 1 || throwpython()
        b = unsafe_load(geta(Ptr{BufferInfo}, v))
        b.len == n || throw(ArgumentError("an array of size $size needs $n bytes, and the pickle has $(b.len)"))
        memory = rowmajor ? reverse(size) : size # in Julia's order
        if n == 0
            isplain(S) && return arranged(Array{S}(undef, memory), b.readonly != 0, rowmajor)
            return arranged(S, UInt8[], size, b.readonly != 0, rowmajor)
        elseif !isplain(S)
            return arranged(S, adopt(v, wraparray(UInt8, b, (n,))), size, b.readonly != 0, rowmajor)
        elseif isaligned(S, b)
            return arranged(adopt(v, wraparray(S, b, memory)), b.readonly != 0, rowmajor)
        end
        aligned = Array{S}(undef, memory)
        GC.@preserve aligned unsafe_copyto!(Ptr{UInt8}(pointer(aligned)), b.ptr, n)
        return arranged(aligned, b.readonly != 0, rowmajor)
    end)
end

arranged(::Type{S}, bytes, size::NTuple{N,Int}, readonly, rowmajor) where {S,N} =
    PyStridedArray{valuetype(S),N,S}(bytes, 0, rowmajor ? rowmajorstrides(size, memorysize(S)) : densestrides(size, memorysize(S)),
                                     size, readonly)

function arranged(items::Array{S,N}, readonly, rowmajor) where {S,N}
    rowmajor || return readonly ? PyArray(items, true) : items
    shape = reverse(size(items))
    readonly && return PyStridedArray{S,N,S}(vec(items), 0, rowmajorstrides(shape, 1), shape, true)
    return N == 2 && S <: Number ? transpose(items) : PermutedDimsArray(items, reverse(ntuple(identity, N)))
end

rowmajorstrides(size, itemsize) = reverse(densestrides(reverse(size), itemsize))

# --------------------------------------------------------------- references

"""
    modulereference(m) -> Tuple of Strings

How another process can find a module: its root, as "base", name; "package", name, uuid; or "file", name, path, CRC; and
the names below that.
"""
function modulereference(m::Module)
    haskey(FILE_MODULES, m) && return ("file", map(string, FILE_MODULES[m])...)
    m in (Main, Base, Core) && return ("base", String(nameof(m)))
    p = parentmodule(m)
    if p === m
        id = Base.PkgId(m)
        id.uuid === nothing && throw(NotPicklable("the Julia module $m is of no package that another process could load", false))
        return ("package", id.name, string(id.uuid))
    end
    isdefined(p, nameof(m)) && getfield(p, nameof(m)) === m || throw(NotPicklable(
        "the Julia module $m has no name by which another process could know it: make it of a file (from bufferbridge.jl " *
        "import ...), or put it into a package", false))
    return (modulereference(p)..., String(nameof(m)))
end

filechecksum(m::Module) = Int(FILE_MODULES[m][3])

"The root module of a reference."
function rootmodule(kind::String, name::String, uuid::String = "")
    kind == "base" && return getfield(@__MODULE__, Symbol(name))::Module # Main, Base and Core are everywhere
    id = Base.PkgId(Base.UUID(uuid), name)
    Base.root_module_exists(id) && return Base.root_module(id)
    path = Base.locate_package(id)
    path === nothing && throw(NotHere("the Julia package $name ($uuid), which a pickled object is of, is not in this process's " *
        "environment ($(something(Base.active_project(), "none")))"))
    return Base.require(id)
end

submodule(m::Module, name::String) = named(m, name)::Module

"What has that name in a module."
function named(m::Module, name::String)
    isdefined(m, Symbol(name)) ||
        throw(NotHere("Julia's $m has no name $name here, which a pickled object refers to"))
    return getfield(m, Symbol(name))
end

"The module and the name of a function or type that is not anonymous; nothing for others."
function functionreference(@nospecialize(f))
    issingleton(f) || return nothing
    m, name = parentmodule(f), nameof(f)
    isdefined(m, name) && getfield(m, name) === f || return nothing
    return Unconverted(m), String(name)
end

"""
    typereference(T) -> Tuple

A type by its module, its name and its parameters; integers, Bools and Symbols as parameters are themselves.
"""
function typereference(@nospecialize(T::Type))
    T isa DataType || throw(NotPicklable("the type $T can't be referred to by a name", false))
    wrapper = T.name.wrapper
    m, name = parentmodule(T), nameof(T)
    isdefined(m, name) && getfield(m, name) === wrapper || throw(NotPicklable(
        "the type $T has no name in its module $m by which another process could know it", false))
    return ("type", Unconverted(m), String(name), map(parameterreference, Tuple(T.parameters)))
end

parameterreference(@nospecialize(T::Type)) = typereference(T)
parameterreference(x::Symbol) = ("symbol", String(x))
parameterreference(x::Tuple) = ("tuple", map(parameterreference, x))
parameterreference(x::Union{Bool,Int}) = ("value", x)
parameterreference(@nospecialize(x)) = ("value", Unconverted(x))

function resolvetype(reference::Tuple)
    _, m, name, parameters = reference
    T = named(m, name)
    T isa Type || throw(NotHere("Julia's $m.$name is no type here, as it was where an array was pickled"))
    T === Tuple && return Tuple{map(resolveparameter, parameters)...}
    return isempty(parameters) ? T : Core.apply_type(T, map(resolveparameter, parameters)...)
end

function resolveparameter(reference::Tuple)
    kind = reference[1]
    kind == "type" && return resolvetype(reference)
    kind == "symbol" && return Symbol(reference[2])
    kind == "tuple" && return map(resolveparameter, reference[2])
    return reference[2]
end

"The definitions that Main needs for a function, a module or the items of an array; see `define`."
definitionsof(m::Module) = finddefinitions(m)
definitionsof(x::AbstractArray) = knowndefinitions(memorytype(memoryof(x)))
definitionsof(@nospecialize(f)) = knowndefinitions(f)

function knowndefinitions(@nospecialize(x))
    world = ccall(:jl_get_world_counter, UInt, ()) # no method was added or changed as long as it is the same
    known = get(DEFINITIONS, x, nothing)
    known === nothing || known[1] != world || return known[2]
    definitions = finddefinitions(x)
    any(d -> d[1] == "value", definitions) && return definitions
    length(DEFINITIONS) < 1000 || empty!(DEFINITIONS)
    DEFINITIONS[x] = (world, definitions)
    return definitions
end
const DEFINITIONS = IdDict{Any,Tuple{UInt,Tuple}}()

function finddefinitions(@nospecialize(x))
    n = Needs()
    need(n, x)
    return Tuple(n.definitions)
end
need(n::Needs, m::Module) = m === Main || rootof(m) !== Main ? nothing : needmodule!(n, m)
need(n::Needs, T::Type) = need!(n, T)
function need(n::Needs, @nospecialize(f))
    m = parentmodule(f)
    m === Main || return need(n, m)
    return needname!(n, nameof(f))
end

# -------------------------------------------------------------- serialization

"A serializer that hands Python's objects and modules to pickle, and knows what it needs in Main."
mutable struct Pickler{I<:IO} <: AbstractSerializer
    io::I
    counter::Int
    table::IdDict{Any,Any}
    pending_refs::Vector{Int}
    known_object_data::Dict{UInt64,Any}
    version::Int
    objects::Vector{Any}
    needs::Needs
    code::Bool              # whether there is code in it, which only the same version reads
    types::Set{Any}         # whose fields are written one after the other
end

Pickler(io::IO, objects = Any[]) =
    Pickler(io, 0, IdDict{Any,Any}(), Int[], Dict{UInt64,Any}(), Int(Serialization.ser_version), objects, Needs(), false, Set{Any}())

# What the header says that was read.
@static if isdefined(Serialization, :format_version)
    Serialization.format_version(s::Pickler) = s.version
end

isinmemory(io::IO) = io isa IOBuffer

"In the place of something that pickle writes: its number."
struct Numbered
    number::Int
end

function number!(s::Pickler, @nospecialize(x))
    push!(s.objects, x)
    serialize(s, Numbered(length(s.objects)))
end

"""
    pickledvalue(x) -> (bytes, objects, definitions, code, checksum, layouts)

`code`: whether it can be read by the same version of Julia only. `layouts`: the fields of the structs in it, see `checklayouts`.
"""
function pickledvalue(@nospecialize(x))
    s = Pickler(IOBuffer())
    Serialization.writeheader(s)
    serialize(s, x)
    bytes = Base.take!(s.io)
    return Unconverted(bytes), Tuple(s.objects), Tuple(s.needs.definitions), s.code, Int(checksum(bytes)), layoutsof(s)
end

"The object in the bytes, if they are those that were written, and its types are what they were."
function unpickledvalue(bytes::AbstractVector{UInt8}, objects::Tuple, written::Int, layouts::Tuple)
    memory = bytes isa PyArray ? data(bytes) : bytes
    checksum(memory) == written || throw(ArgumentError("its bytes are not those that were written: the pickle is damaged"))
    checklayouts(layouts, objects)
    s = Pickler(IOBuffer(memory), Any[x for x in objects])
    return Unconverted(deserialize(s))
end

serialize(s::Pickler, o::PyObject) = number!(s, o)
const WRITTEN_BY_NAME = (Main, Base, Core, @__MODULE__) # modules that are everywhere
serialize(s::Pickler, m::Module) =
    m in WRITTEN_BY_NAME ? invoke(serialize, Tuple{AbstractSerializer,Module}, s, m) : number!(s, Unconverted(m))
deserialize(s::Pickler, ::Type{Numbered}) = s.objects[deserialize(s)::Int]

# Where a type or function of Main's is met.
function Serialization.serialize_type_data(s::Pickler, @nospecialize(t::DataType))
    isanonymous(t) && (s.code = true)
    notelayout!(s, t)
    need!(s.needs, t)
    invoke(Serialization.serialize_type_data, Tuple{Any,DataType}, s, t)
end

# Those of Base and of packages are written by names that are numbered, and mean another function in another version.
function isanonymous(T::DataType)
    T <: Function && startswith(String(T.name.name), '#') || return false
    isdefined(T, :instance) || return true
    m, name = parentmodule(T), nameof(T.instance)
    return !(isdefined(m, name) && getfield(m, name) === T.instance)
end

# Serialization writes the fields of a struct one after the other, and to read them stores what comes next into the
# fields that the type has there: unchecked if it is mutable. So the fields come along, and are compared before.
function notelayout!(s::Pickler, @nospecialize(T))
    T isa DataType && isconcretetype(T) && !(T <: Union{Tuple,NamedTuple}) && !isinnerfunction(T) && fieldcount(T) > 0 || return nothing
    T.name.wrapper in s.types && return nothing
    which(deserialize, Tuple{Pickler,Type{T}}) === which(deserialize, Tuple{Pickler,DataType}) || return nothing # a form of its own
    push!(s.types, T.name.wrapper)
    isbitstype(T) && foreach(F -> notelayout!(s, F), fieldtypes(T)) # arrays of such are written as they are in memory
    return nothing
end

function layoutsof(s::Pickler)
    places = Dict{Module,Any}(m => String(nameof(m)) for m in WRITTEN_BY_NAME)
    for (i, o) in enumerate(s.objects)
        o isa Unconverted && o.value isa Module && (places[o.value] = i)
    end
    return Tuple((places[parentmodule(T)], String(nameof(T)), declaredfields(T)) for T in s.types if haskey(places, parentmodule(T)))
end

"""
    checklayouts(layouts, objects)

Throws NotHere if a type has other fields here. A layout is the type's module (a name, or its number among the objects), its name, and its fields.
"""
function checklayouts(layouts::Tuple, objects::Tuple)
    for (place, name, fields) in layouts
        m = place isa Int ? objects[place] : getfield(@__MODULE__, Symbol(place))
        T = named(m, name)
        T isa Type && declaredfields(T) == fields ||
            throw(NotHere("the type $m.$name has the fields ($(declaredfields(T))) here, and had ($fields) where it was pickled"))
    end
end

# As they are declared; in words that are the same in all versions of Julia.
function declaredfields(@nospecialize(T))
    D = Base.unwrap_unionall(T)
    D isa DataType || return "none"
    return join((string(name, "::", typeword(F)) for (name, F) in zip(fieldnames(D), D.types)), ", ")
end
function typeword(@nospecialize(x))
    Base.isvarargtype(x) && return string("Vararg{", typeword(Base.unwrapva(x)), "}")
    x isa UnionAll && return string(typeword(x.body), " where ", x.var.name)
    x isa Union && return join(sort!(map(typeword, Base.uniontypes(x))), "|")
    x isa TypeVar && return String(x.name)
    x isa DataType || return string(x)
    return isempty(x.parameters) ? String(nameof(x)) : string(nameof(x), "{", join(map(typeword, x.parameters), ","), "}")
end

"Of a constant, to see whether it is what was sent before."
function fingerprint(@nospecialize(x))
    s = Pickler(IOBuffer())
    serialize(s, x)
    return max(1, Int(checksum(Base.take!(s.io)))) # 0 means none
end

# Numbers of inner functions, which are sent whole: once in each process, and no two processes have the same.
const NUMBER_OF = IdDict{Any,UInt64}()
const WITH_NUMBER = Dict{UInt64,Any}()
const PROCESS = Ref(UInt64(0))
function Serialization.object_number(s::Pickler, @nospecialize(x))
    haskey(NUMBER_OF, x) && return NUMBER_OF[x]
    PROCESS[] == 0 && (PROCESS[] = hash((gethostname(), getpid(), time(), time_ns())))
    number = hash(length(NUMBER_OF), PROCESS[])
    Serialization.remember_object(s, x, number)
    return number
end
Serialization.lookup_object_number(s::Pickler, n::UInt64) = get(WITH_NUMBER, n, nothing)
Serialization.remember_object(s::Pickler, @nospecialize(x), n::UInt64) = (NUMBER_OF[x] = n; WITH_NUMBER[n] = x; nothing)

serialize(s::Pickler, p::Ptr) = p == C_NULL ? invoke(serialize, Tuple{AbstractSerializer,Ptr}, s, p) : never("an address (Ptr)")
function serialize(s::Pickler, x::BigFloat)
    Serialization.serialize_type(s, BigFloat)
    serialize(s, precision(x))
    serialize(s, string(x))
end
deserialize(s::Pickler, ::Type{BigFloat}) =
    (p = deserialize(s)::Int; text = deserialize(s)::String; setprecision(() -> parse(BigFloat, text), BigFloat, p))
serialize(s::Pickler, t::Task) = never("a Task")
serialize(s::Pickler, io::IO) = never("a stream ($(typeof(io)))")
serialize(s::Pickler, io::IOBuffer) = invoke(serialize, Tuple{AbstractSerializer,Any}, s, io)
serialize(s::Pickler, c::Union{Timer,Base.AsyncCondition,Base.Process,Channel,WeakRef}) = never("a $(nameof(typeof(c)))")
function serialize(s::Pickler, a::Array)
    isbitstype(eltype(a)) && haspointers(eltype(a)) && never("an array with addresses in it ($(typeof(a)))")
    invoke(serialize, Tuple{AbstractSerializer,Array}, s, a)
end

# ---------------------------------------- what Julia's own serializers meet, too

serialize(s::AbstractSerializer, o::PyObject) = throw(ArgumentError(
    "a PyObject can't be serialized by Julia, which does not know what is in it: convert it to a value of Julia's, or use " *
    "pyimport(\"pickle\").dumps(o)"))

# Memory that is lent, or reached through pointers, and references to Python's objects: the elements.
serialize(s::AbstractSerializer, x::Union{PyBorrowedArray,PyIndirectArray}) = serialize(s, collect(x))
serialize(s::AbstractSerializer, x::PyStridedArray) =
    holdsobjects(x) || loanof(x) !== nothing ? serialize(s, collect(x)) : invoke(serialize, Tuple{AbstractSerializer,Any}, s, x)
