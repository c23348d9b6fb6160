# Typed exports and compiled entries, as far as they need no Python.

using BufferBridge: Compiled, Checked, Value, NO_VALUE, NotExactly, compileentry, isleaf, strict, findexport, doctext,
                    seta!, TAG_INT, TAG_FLOAT

module Exported
using BufferBridge
"The sum."
@pyexport add(a::Int, b::Int = 1)::Int = a + b
@pyexport function half(x::Float64)::Float64
    return x / 2
end
end

@testset "definitions that are exported" begin
    @test Exported.add(1, 2) == 3 && Exported.add(1) == 2
    e = findexport(Exported, :add)
    @test e.arguments == [:a, :b] && e.types == Any[Int, Int] && e.result == Int
    @test doctext(e) == "add(a, b=1, /)\n--\n\nadd(a::Int64, b::Int64)::Int64\n\nThe sum."
    @test e(1, 2) === 3 && e(1) === 2
    @test findexport(Exported, :nothing) === nothing && findexport(Base, :sin) === nothing
    message = try e(1, 2.0) catch err; sprint(showerror, err) end
    @test message == "add() argument 2 ('b') must be int (Julia's Int64), not float"
    for bad in (:(f(x)::Int = x), :(f(x::Int) = x), :(f(x::Int; k)::Int = x), :(f(x::Int...)::Int = 1), :(x -> x), :(f(x::Int = 1, y::Int)::Int = 1))
        @test_throws ArgumentError BufferBridge.parsedefinition(bad)
    end
    @test_throws ArgumentError pyexport(Exported, :f, sin, (String,), Int)
end

@testset "strict arguments" begin
    @test strict(Int, 1) === 1 && strict(Int8, 127) === Int8(127) && strict(UInt64, big(2)^63) === UInt64(2)^63
    @test strict(Float32, 0.5) === 0.5f0 && isnan(strict(Float16, NaN)) && strict(ComplexF32, 0.5im) === 0.5f0im
    @test strict(Char, "é") === 'é' && strict(Symbol, "a") === :a && strict(Any, "a") == "a" && strict(Real, 1) === 1
    for (T, x) in ((Int, 1.0), (Int, true), (Int8, 128), (UInt8, -1), (Int, big(2)^70), (Float64, 1), (Float32, 0.1), (Char, "ab"), (Bool, 1))
        @test_throws NotExactly strict(T, x)
    end
end

@testset "leaves" begin
    leaf(f, T...; result = Any) = isleaf(Compiled{typeof(f),Tuple{T...},result,true}())
    @test leaf(+, Int, Int) && leaf(*, Float64, Float64; result = Float64) && leaf(identity, ComplexF64) && leaf((a, b) -> a < b ? a : -b, Int, Int)
    @test !leaf(÷, Int, Int) && !leaf(sqrt, Float64) && !leaf(string, Int) && !leaf(x -> (while x > 0; x -= 1; end; x), Int)
    @test !leaf(+, Int, Int; result = Int8) # convert may throw
end

@testset "code runs on values" begin
    function call(code, words...)
        cells = fill(NO_VALUE, length(words) + 1)
        GC.@preserve cells begin
            args = pointer(cells, 2)
            for (i, w) in enumerate(words)
                seta!(args + (i - 1) * sizeof(Value), w)
            end
            r = ccall(code.entry, Cint, (Ptr{Cvoid}, Ptr{Value}, Int64, Ptr{Cvoid}, Ptr{Value}, Int64), C_NULL, args, 0, C_NULL,
                      pointer(cells), 0)
            return r, cells[1].tag, cells[1].a
        end
    end
    code = compileentry(typeof(Exported.add), Tuple{Int,Int}, Int)
    @test code.leaf == 1 && unsafe_load(code.valid) == typemax(UInt)
    @test call(code, 2, 3) == (0, TAG_INT, 5)
    code = compileentry(typeof(Exported.half), Tuple{Float64}, Float64)
    @test call(code, 5.0) == (0, TAG_FLOAT, reinterpret(UInt64, 2.5))
    # A definition that changes ends it.
    @eval Exported half(x::Float64) = x / 4
    @test unsafe_load(code.valid) != typemax(UInt)
end
