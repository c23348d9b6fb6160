# Julia's half of stress.py.
module Stress

Base.Experimental.@optlevel 0 # there are many combinations of types to compile

using Main.BufferBridge: memoryowner

# Which memory Julia has finalized, by serial number. Python looks at it through a view.
const finalized = zeros(UInt8, 1 << 22)

struct Finalized
    serial::Int
end
(f::Finalized)(_) = (finalized[f.serial+1] = 1; nothing)

const Record = NamedTuple{(:a, :b),Tuple{Int32,Float64}}

element(::Type{T}, k) where {T<:Number} = T(k)
element(::Type{Record}, k) = Record((k, k))

fillwith!(a::AbstractArray{T}, start) where {T} =
    (foreach(i -> a[i] = element(T, (start + i - 1) % 251), 1:length(a)); a)

function make(T, serial, start, dims...)
    a = fillwith!(Array{T}(undef, dims...), start)
    finalizer(Finalized(serial), memoryowner(a))
    return a
end

"A Vector that is an alias of a Matrix."
alias(T, serial, start, n) = vec(make(T, serial, start, n, 1))

"A Vector with room to spare."
spacious(T, serial, start, n) = resize!(make(T, serial, start, 3n), n)

# Axes are (start, step, count), counted from zero.
cut(x, axes...) = view(x, (range(a + 1; step = s, length = n) for (a, s, n) in axes)...)
flip(x) = PermutedDimsArray(x, ndims(x):-1:1)
put(x, k, i...) = (x[(i .+ 1)...] = element(eltype(x), k); nothing)
same(x, y) = size(x) == size(y) && all(i -> isequal(x[i], y[i]), CartesianIndices(y))

# What may move a Vector's memory. Each gives what it would be in Python: items to add in front and
# behind, or to take away.
grow(v, how, k) =
    how == "push" ? push!(v, element(eltype(v), k)) :
    how == "pushfirst" ? pushfirst!(v, element(eltype(v), k)) :
    how == "append" ? append!(v, fillwith!(similar(v, 3000), k)) :
    how == "resize" ? fillwith!(resize!(v, length(v) + 1000), k) : error(how)
shrink(v, how) =
    how == "pop" ? pop!(v) :
    how == "popfirst" ? popfirst!(v) :
    how == "deleteat" ? deleteat!(v, 1) :
    how == "empty" ? empty!(v) :
    how == "resize" ? resize!(v, 1) : error(how)

# Places to keep things: a global Dict, a Vector{Any}, closures, exceptions.
const held = Dict{Int,Any}()
keep(key, @nospecialize(x)) = (held[key] = x; nothing)
get(key) = held[key]
drop(key) = (delete!(held, key); nothing)
keepinvector(key, @nospecialize(x)) = keep(key, Any[x])
getfromvector(key) = held[key][1]
closure(@nospecialize(x)) = () -> x
outofbounds(@nospecialize(x)) = throw(BoundsError(x, 1))

call(f, xs...) = f(xs...)
callcaught(f, xs...) = try
    f(xs...)
catch e
    e
end

"Computes and allocates for a while; to be called without the GIL too."
function work(x, rounds)
    total = 0.0
    for _ in 1:rounds
        garbage = [Vector{Float64}(undef, 100) for _ in 1:100]
        total += mapreduce(Float64, +, x; init = 0.0) + 0 * length(garbage)
    end
    return total
end

# A task on Julia's second thread that allocates all the time.
const busy = Threads.Atomic{Bool}(true)
const collected = Threads.Atomic{Int}(0)
const background = Ref{Task}()

function allocate()
    while busy[]
        sum(length, [Vector{UInt8}(undef, rand(1:5000)) for _ in 1:100])
        Threads.atomic_add!(collected, 1)
        GC.safepoint()
    end
end

function startbackground()
    t = Task(allocate)
    t.sticky = true
    ccall(:jl_set_task_tid, Cint, (Any, Cint), t, 1) # else the main thread might take it
    background[] = schedule(t)
    return nothing
end
stopbackground() = (busy[] = false; wait(background[]); collected[])

end
