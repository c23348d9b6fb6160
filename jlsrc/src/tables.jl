# Tables of Python as a NamedTuple of vectors, the simplest of Julia's tables (Tables.jl has them without being asked), and tables of
# Julia as names and columns. What the columns are is no concern of this file: they come as arguments come, and go as results go.
# bufferbridge/_tables.py is the other half.

"A table on its way from Python, which gives one column after the other: Julia compiles nothing for the number of columns."
struct TableBuilder
    names::Vector{Symbol}
    columns::Vector{Any}
end

newtable() = TableBuilder(Symbol[], Any[])

function addcolumn(t::TableBuilder, name::String, @nospecialize(column), copies::Bool)
    s = tosymbol(name)
    column isa AbstractVector || throw(PyTypeError("column '$name' is no vector but $(columntext(column))"))
    isempty(t.columns) || length(first(t.columns)) == length(column) || throw(DimensionMismatch(
        "columns have one length: '$(t.names[1])' has $(length(t.columns[1])) elements, and '$name' $(length(column))"))
    push!(t.names, s)
    push!(t.columns, copies ? owncopy(column) : column)
    return nothing
end

columntext(@nospecialize(x)) = x isa AbstractArray ? "an array of $(ndims(x)) axes" : article(string(typeof(x)))

# By Julia's C function: NamedTuple's own constructor is compiled for each type, for minutes where there are thousands of columns.
function finishtable(t::TableBuilder)
    T = NamedTuple{Tuple(t.names),Tuple{map(typeof, t.columns)...}}
    isempty(t.columns) && return NamedTuple()
    columns = t.columns
    return GC.@preserve columns ccall(:jl_new_structv, Any, (Any, Ptr{Cvoid}, UInt32), T, pointer(columns), length(columns))
end

# ---------------------------------------------------------------- to Python

"""
    tablecolumns(t) -> (names, columns) or nothing

Of a NamedTuple or dictionary of vectors, of a vector of NamedTuples (whose columns share its memory where that is plain), and, where the
package Tables is loaded, of whatever it takes for a table. Nothing for what is no table.
"""
function tablecolumns(@nospecialize(t))
    if t isa NamedTuple
        columns = listed(t)
        all(c -> c isa AbstractVector, columns) && return listedcolumns(fieldnames(typeof(t)), columns)
    end
    t isa AbstractDict && keytype(t) <: Union{Symbol,AbstractString} && all(c -> c isa AbstractVector, values(t)) &&
        return listedcolumns(keys(t), values(t))
    t isa AbstractVector{<:NamedTuple} && isconcretetype(eltype(t)) && return recordcolumns(t)
    t isa AbstractVector{<:PyRecord} && return recordcolumns(t)
    Tables = get(Base.loaded_modules, TABLES, nothing)
    Tables === nothing && return nothing
    return Base.invokelatest(othercolumns, Tables, t)
end

const TABLES = Base.PkgId(Base.UUID("bd369af6-aec1-5ad0-b16a-f7cc5008161c"), "Tables")

function othercolumns(Tables::Module, @nospecialize(t))
    Tables.istable(t) || return nothing
    columns = Tables.columns(t)
    names = collect(Symbol, Tables.columnnames(columns))
    return listedcolumns(names, [vector(Tables.getcolumn(columns, n)) for n in names])
end
vector(x::AbstractVector) = x
vector(x) = collect(x)

# Two lists of Python's: of a tuple of so many items Julia would make code, as of anything whose type has all columns in it.
@noinline function listedcolumns(@nospecialize(names), @nospecialize(columns))
    texts, wrappers, lengths = String[], Any[], Set{Int}()
    for s in names
        push!(texts, string(s))
    end
    for c in columns
        push!(wrappers, Unconverted(c))
        push!(lengths, length(c))
    end
    length(lengths) <= 1 || throw(DimensionMismatch("the columns of this table have different lengths"))
    return owned(pylist(texts)), owned(pylist(wrappers))
end

recordcolumns(x::AbstractVector) = (names = fieldnamesof(eltype(x)); listedcolumns(names, [recordcolumn(x, n) for n in names]))
fieldnamesof(::Type{<:NamedTuple{names}}) where {names} = names
fieldnamesof(::Type{<:PyRecord{names}}) where {names} = names
recordcolumn(x::AbstractVector, name) = isbitstype(eltype(x)) && layout(x) isa Layout ? column(x, name) : [getproperty(r, name) for r in x]

"Text from a list of it, where None is missing."
textcolumn(@nospecialize(texts)) = any(t -> t === nothing, texts) ?
    Union{String,Missing}[t === nothing ? missing : t for t in texts] : String[t for t in texts]

"""
    pandasparts(x::AbstractVector)

What pandas' array of the elements is made of: ("masked", values, mask), ("text", list), ("times", dtype, numbers), ("numpy",) where
NumPy's array of them is all, ("bytes",) or ("objects",) of the elements one by one.
"""
function pandasparts(x::AbstractVector)
    T = eltype(x)
    (T === Any || T === Missing) && return ("numpy",)
    Nothing <: T && return pandasparts(replace(x, nothing => missing)) # both are None in Python
    Missing <: T || return pandasparts(x, T)
    return pandasparts(x, nonmissingtype(T))
end

pandasparts(x, ::Type) = ("numpy",)
function pandasparts(x, ::Type{T}) where {T<:Union{Bool,ArrowNumber}}
    Missing <: eltype(x) && T !== Float16 || return ("numpy",) # pandas has no masked array of these
    mask = arrowmask(x)
    return ("masked", arrowvalues(x, mask), layout(mask) isa Layout ? mask : Vector{Bool}(mask))
end
pandasparts(x, ::Type{<:Union{AbstractString,Symbol,AbstractChar}}) =
    ("text", owned(pylist(Any[v === missing ? nothing : string(v) for v in x])))
pandasparts(x, ::Type{<:AbstractVector{UInt8}}) = ("bytes",)
pandasparts(x, ::Type{Dates.Date}) = ("times", "M8[s]", stamps(d -> 86400 * (Dates.value(d) - EPOCH_DAY), x))
pandasparts(x, ::Type{Dates.DateTime}) = ("times", "M8[ms]", stamps(d -> Dates.value(d) - EPOCH, x))
pandasparts(x, ::Type{<:Union{Dates.Time,Dates.Month,Dates.Year}}) = ("objects",) # pandas has no such times
pandasparts(x, ::Type{T}) where {T<:Time64} =
    Missing <: eltype(x) ? ("times", typestr(T, NATIVE_IS_LITTLE ? '<' : '>'), stamps(Dates.value, x)) : ("numpy",)
pandasparts(x, ::Type{P}) where {P<:FixedPeriod} =
    Missing <: eltype(x) ? ("times", typestr(timetype(P), NATIVE_IS_LITTLE ? '<' : '>'), stamps(Dates.value, x)) : ("numpy",)

# With NaT, the least number, where one is missing.
stamps(f, x) = Int64[v === missing ? typemin(Int64) : f(v) for v in x]
