# What is compiled with the package: in its package image from Julia 1.9 on, and inferred only before. Every
# start reads the whole of that, so it is what most processes need. What ordinary uses need besides is
# compiled into a system image (bufferbridge/_workload.py).

# The start and the first call.
precompile(boot, (Ptr{Cvoid},))
precompile(entry, ENTRY_TYPES)
precompile(evaluate, (String, Module))
precompile(includefile, (String,))
precompile(fail, (Any, Ptr{Value}))

# What the slots of the Python types call (HELPERS), with arguments as they are compiled for.
for (helper, types) in (
    (getattr, (Module, String)), (getattr, (Any, String)), (setattr, (Module, String, Any)),
    (dirof, (Module,)), (reprof, (Any,)), (strof, (Any,)), (strof, (AbstractArray,)), (hashof, (Any,)),
    (compare, (Any, String, Any)), (lengthof, (Any,)), (getitem, (Any, Any)), (setitem, (Any, Any, Any)),
    (arrayget, (AbstractArray, Int64, Bool)), (arrayset, (AbstractArray, Int64, Bool, Any)),
    (whynotshared, (AbstractArray,)),
)
    precompile(helper, types)
end

# Definitions in bb.eval's code are kept, and functions sent to processes which see them for the first time.
precompile(definessomething, (Any,))
precompile(keepsource!, (String, String))
if CACHES_CODE
    for f in (elementreference, definitionsof, functionreference, modulereference, pickledvalue)
        precompile(f, (Any,))
    end
    precompile(finddefinitions, (Any,))
    precompile(needname!, (Needs, Symbol))
    precompile(need!, (Needs, Method))
    precompile(define, (Val{:source}, String, Tuple{String}))
    precompile(isinuse, (String, Tuple{String}))
    precompile(named, (Module, String))
    for T in (Float64, Int64), N in 1:2
        precompile(unpickledarray, (PyObject, String, Int64, Nothing, NTuple{N,Int64}, String))
        precompile(elementreference, (Array{T,N},))
    end
end

# Results.
for T in (Nothing, Bool, Int64, Float64, ComplexF64, String, Symbol, Char, BigInt, Module, PyObject)
    precompile(topython, (T,))
end
precompile(topython, (typeof(evaluate),)) # of all functions: compiled for Function
for T in (Int64, Float64), N in 1:2
    precompile(topython, (Array{T,N},))
    precompile(indices, (Array{T,N}, Ptr{Int64}, Int64))
end
