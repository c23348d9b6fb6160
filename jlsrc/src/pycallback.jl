# Python functions for Julia code that wants to know the type of what comes back, and for C.

"""
    TypedFunction{T} <: Function

A Python callable whose results are `T`s; see [`returning`](@ref BufferBridge.returning).
"""
struct TypedFunction{T} <: Function
    f::PyFunction
end

"""
    BufferBridge.returning(f, T)  (bb.callback(f, T) in Python)

The Python function `f`, as a Julia function that gives a `T` or throws an error that names it: Julia's compiler knows then what
it gets. `T` may be `PyObject`, which is any result as it is. Results are converted strictly, as `convert` does.
"""
returning(f::PyAny, ::Type{T}) where {T} = TypedFunction{T}(PyFunction(asobject(f)))
returning(f::TypedFunction, ::Type{T}) where {T} = TypedFunction{T}(f.f)
returning(f, ::Type) = throw(PyTypeError("$(short(f)) is not a Python callable"))

Base.show(io::IO, f::TypedFunction{T}) where {T} = print(io, f.f, "::", T)
Base.show(io::IO, ::MIME"text/plain", f::TypedFunction) = show(io, f)

# What comes as a plain value comes the fast way.
(c::TypedFunction{T})(args...; kwargs...) where {T<:Union{Nothing,Number,AbstractString}} =
    (x = c.f(args...; kwargs...); x isa T ? x : plainresult(T, c.f, x))
(c::TypedFunction{T})(args...; kwargs...) where {T} = pycall(c.f, T, args...; kwargs...)::T
(c::TypedFunction{Any})(args...; kwargs...) = c.f(args...; kwargs...)

@noinline function plainresult(::Type{T}, f, @nospecialize(x))::T where {T}
    kindfits(T, x) || throwresult(T, f, x, nothing)
    try
        return fromkind(T, x)
    catch e
        throwresult(T, f, x, e)
    end
end

"""
    pycfunction(f, R, (A, ...))

A pointer for C to a Python callable, as `@cfunction` makes one of a Julia function: `R` is the type of the result and the `A`s are
those of the arguments, `Ref{T}` for a `T` that C has a pointer to. Pass what this gives to `ccall` as a `Ptr{Cvoid}`. It keeps the
callable alive; keep it alive as long as C may call it.

Results are converted strictly. An exception leaves the C function by a jump, as Julia's own do: only C code that can bear that (`qsort`
can) may call functions that raise. Threads that C started may call it with Julia 1.9 and later only.
"""
pycfunction(f::PyAny, ::Type{R}, types::Tuple) where {R} = pycfunction(returning(f, R === Cvoid ? Any : R), R, types)
pycfunction(f::TypedFunction, ::Type{R}, types::Tuple) where {R} =
    Base.invokelatest(cfunctionmaker(R, types), ForC{R}(f))::Base.CFunction
pycfunction(f, R::Type, types::Tuple) = throw(PyTypeError("pycfunction takes a Python callable, not a $(typeof(f))"))

struct ForC{R}
    f::TypedFunction
end
(c::ForC{R})(args...) where {R} = (x = c.f(args...); R === Cvoid ? nothing : x::R)

# A function that makes the pointers of one signature: @cfunction wants the types written out.
const CFUNCTIONS = Dict{Any,Any}()
function cfunctionmaker(R, types)
    all(T -> T isa Type, types) || throw(PyTypeError("the types of a C function's arguments are a tuple of types, not $types"))
    return withgil() do # one at a time
        get!(CFUNCTIONS, (R, types)) do
            Core.eval(@__MODULE__, :(f -> $(Expr(:macrocall, Symbol("@cfunction"), LineNumberNode(@__LINE__, @__FILE__),
                                                 Expr(:$, :f), R, Expr(:tuple, types...)))))
        end
    end
end

# ------------------------------------------------- bb.pyobject and bb.callback

"""
What `bb.pyobject(x)` gives: a JuliaValue of the `PyObject`, which would go to Python as the object itself. The box has it as its
attribute, since nothing converts that.
"""
function pyobjectof(box::PyObject)
    o = pygetattr(box, :object)
    return withgil(() -> owned(newjulia(CLASS_VALUE, o)))
end

callback(f, returns) = returning(f, resulttype(returns))

resulttype(T::Type) = T
resulttype(::Nothing) = Nothing
function resulttype(class::PyAny)
    for (name, T) in ("bool" => Bool, "int" => Int, "float" => Float64, "complex" => ComplexF64, "str" => String)
        pyis(class, pybuiltin(name)) && return T
    end
    throw(PyTypeError("a callback returns a Julia type, or bool, int, float, complex, str or None, not $(short(class))"))
end
resulttype(x) = throw(PyTypeError("a callback returns a type, not $(short(x))"))
