# The rows for JNumPy, which has typed exports only: a function for each, named as its row.

module BenchRows

using TyPython
using TyPython.CPython

@export_py function typed(a::Int, b::Int)::Int
    return a + b
end

@export_py function complex_(a::ComplexF64)::ComplexF64
    return a
end

@export_py function str(a::String)::String
    return a
end

@export_py function ndarray(a::AbstractArray)::Array
    return a
end

@export_py function total(a::AbstractArray)::Float64
    return sum(a)
end

@export_py function product(a::AbstractArray, b::AbstractArray)::Array
    return a * b
end

@export_py function ignore(a::AbstractArray)::Nothing
    return nothing
end

@export_py function callback(f::Py)::Nothing
    for i in 1:1000
        f(py_cast(Py, i))
    end
    return nothing
end

@export_py function evaluate(code::String)::String
    return Base.eval(Main, Meta.parse(code))
end

function init()
    @export_pymodule _bench_rows begin
        typed = Pyfunc(typed)
        complex = Pyfunc(complex_)
        str = Pyfunc(str)
        ndarray = Pyfunc(ndarray)
        sum_10 = Pyfunc(total)
        sum_10000 = Pyfunc(total)
        product_10 = Pyfunc(product)
        pass_huge = Pyfunc(ignore)
        callback = Pyfunc(callback)
        evaluate = Pyfunc(evaluate)
    end
end

end
