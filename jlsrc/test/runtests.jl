# Tests of BufferBridge without Python: element types and formats, the array types over plain memory,
# and the layouts of Julia's arrays. What needs Python is tested in tests/.

using BufferBridge
using BufferBridge: memorytype, valuetype, memorysize, formatof, kindof, FormatError, layout, NotShared, KINDS,
                    swapbytes, reshapestrides, evaluate, SyntaxError, isreadonly, address, flat, Swapped, Packed,
                    Repeated, ObjectReference, load, store!
using LinearAlgebra
using Test

include("formats.jl")
include("records.jl")
include("exports.jl")

# The layout of x must lead to its very elements.
function agrees(x::AbstractArray{T,N}) where {T,N}
    l = layout(x)
    l isa NotShared && return false
    l.size == size(x) || return false
    GC.@preserve x begin
        return all(CartesianIndices(size(x))) do I
            p = l.ptr + reduce(+, (Tuple(I) .- 1) .* l.strides; init = 0)
            load(memorytype(l), p) === x[I]
        end
    end
end

@testset "layouts" begin
    A = reshape(collect(1.0:24.0), 2, 3, 4)
    M = reshape(collect(1:12), 3, 4)
    v = collect(1.0:12.0)
    shared = [
        v, M, A, fill(3.0), zeros(0), zeros(3, 0, 2),
        view(v, 2:5), view(v, 12:-3:1), view(M, 2, :), view(M, :, 2), view(M, 1:2:3, 4:-2:1),
        view(A, :, 2, :), view(A, 2, 3, 4), view(view(A, :, 2:3, :), 1, :, 2:4), view(v, 3:2),
        PermutedDimsArray(A, (3, 1, 2)), PermutedDimsArray(view(A, :, 1:2, :), (2, 3, 1)),
        transpose(M), transpose(v), v', M', transpose(view(M, 1:2, :)),
        reshape(view(M, :, 2:3), 6), reshape(view(M, :, 2:3), 2, 3), reshape(view(v, 1:2:11), 2, 3),
        reshape(transpose(v), 3, 4), reinterpret(Int64, v), reinterpret(Int32, M),
        reinterpret(ComplexF64, v), reinterpret(Float64, rand(ComplexF64, 2, 3)),
        reinterpret(Int64, view(v, 1:2:9)), transpose(rand(ComplexF64, 2, 3)), codeunits("abc"),
        [true, false], Float16[1, 2], ComplexF32[1im],
    ]
    if VERSION >= v"1.6"
        push!(shared, reinterpret(reshape, Float64, rand(ComplexF64, 3)),
              reinterpret(reshape, ComplexF64, rand(2, 3)))
    end
    for x in shared
        @test agrees(x)
    end
    @test isreadonly(codeunits("abc")) && !isreadonly(v)
    @test layout(codeunits("abc")).readonly
    @test layout(v).owner === v
    @test layout(view(v, 2:3)).owner === v
    @test layout(M).owner === nothing
    for x in (rand(ComplexF64, 2)', falses(3), 1:3, ["a"], Any[1], [1.0, missing], ['a'], [nothing], Union{}[],
              view(v, [1, 3]), Diagonal(v), Symmetric(rand(2, 2)), view(M, [true, false, true], :),
              reshape(view(M, 1:2, :), 8))
        l = layout(x)
        @test l isa NotShared
        @test !isempty(l.reason)
    end
end

@testset "strides of reshaped memory" begin
    @test reshapestrides((2, 3), (8, 16), (6,), 8) == [8]
    @test reshapestrides((2, 3), (8, 32), (6,), 8) === nothing
    @test reshapestrides((2, 3), (8, 32), (2, 1, 3), 8)[[1, 3]] == [8, 32]
    @test reshapestrides((4, 3), (8, 64), (2, 2, 3), 8) == [8, 16, 64]
    @test reshapestrides((1, 6), (999, 8), (2, 3), 8) == [8, 16]
end

# Python's arrays over Julia's memory: the interface, without Python.
function arrays()
    data = collect(1.0:12.0)
    contiguous = PyArray(reshape(copy(data), 3, 4), false)
    strided = PyStridedArray{Float64,2,Float64}(copy(data), 8, (1, -4), (3, 3), false)
    bytes = Vector{UInt8}(undef, 1 + 8 * 12)
    raw = PyStridedArray{Float64,2,Float64}(bytes, 1, (8, 24), (3, 4), false)
    raw .= reshape(data, 3, 4)
    swapped = PyStridedArray{ComplexF32,1,Swapped{ComplexF32}}(zeros(UInt8, 80), 0, (8,), (10,), false)
    swapped .= 1:10
    return contiguous, strided, raw, swapped
end

@testset "the interface of AbstractArray" begin
    for x in arrays()
        copied = collect(x)
        @test size(x) == size(copied)
        @test x == copied
        @test similar(x) isa Array
        @test copy(x) == copied
        @test x .+ 1 == copied .+ 1
        @test sum(x) ≈ sum(copied)
        @test map(abs, x) == map(abs, copied)
        @test view(x, :) == vec(copied)
        @test x[end] == copied[end]
        @test x[:] == copied[:]
        @test [y for y in x] == [y for y in copied]
        @test_throws BoundsError x[0]
        @test_throws BoundsError x[length(x)+1]
        x[2] = 99
        @test x[2] == 99
        @test x[1] == copied[1] && x[3] == copied[3]
        x .= copied
        @test x == copied
        @test copyto!(similar(x), x) == copied
        @test repr("text/plain", x) isa String
        @test occursin(string(nameof(typeof(x))), repr("text/plain", x))
        @test_throws Exception x[1] = "no number"
        ndims(x) == 1 && @test first(eachindex(x, collect(x))) === 1
    end
    contiguous, strided, raw, swapped = arrays()
    @test contiguous isa DenseArray
    @test !(strided isa DenseArray)
    @test contiguous * ones(4) ≈ collect(contiguous) * ones(4)
    @test strides(contiguous) == (1, 3)
    @test pointer(contiguous) == pointer(contiguous.data)
    @test strides(strided) == (1, -4)
    @test unsafe_load(pointer(strided)) == strided[1]
    @test flat(swapped)[1:4] == UInt8[0x3f, 0x80, 0, 0]
    @test_throws ArgumentError Base.unsafe_convert(Ptr{ComplexF32}, swapped)
    @test reinterpret(Int64, contiguous)[1] == reinterpret(Int64, 1.0)
    @test reshape(contiguous, 12)[5] == 5
    @test sort(vec(contiguous)) == 1:12
end

@testset "read-only memory" begin
    contiguous, strided, raw, swapped = arrays()
    frozen = PyArray(contiguous.data, true)
    @test isreadonly(frozen) && !isreadonly(contiguous)
    for write in (x -> x[1] = 0, x -> x .= 0, x -> fill!(x, 0), x -> copyto!(x, zeros(12)))
        @test_throws ArgumentError write(frozen)
    end
    @test frozen == contiguous
    text = try
        frozen[1] = 0
    catch e
        sprint(showerror, e)
    end
    @test occursin("read-only", text) && occursin("copy", text)
    r = PyStridedArray{Float64,2,Float64}(flat(strided), 8, (1, -4), (3, 3), true)
    @test_throws ArgumentError r[1] = 0
    @test occursin("read-only", repr("text/plain", frozen))
end

# What C does when the block ends that memory was borrowed for is done by hand here.
@testset "borrowed memory" begin
    for wrap in ((v, loan) -> PyBorrowedArray(v, (3, 4), false, loan),
                 (v, loan) -> PyStridedArray{Float64,2,Float64}(PyBorrowedArray(v, loan), 8, (1, -4), (3, 3), false),
                 (v, loan) -> PyStridedArray{Float64,1,Swapped{Float64}}(
                     PyBorrowedArray(collect(reinterpret(UInt8, bswap.(v))), loan), 0, (16,), (6,), false))
        loan = BufferBridge.Loan()
        x = wrap(collect(1.0:12.0), loan)
        copied = collect(x)
        @test BufferBridge.loanof(x) === BufferBridge.loanof(view(x, :)) === BufferBridge.loanof(vec(x)) === loan
        @test x == copied && copy(x) isa Array && similar(x) isa Array
        @test sum(x) == sum(copied) && x .+ x == 2copied
        x .= x .* 2
        @test x == 2copied
        @test agrees(x)
        other = deepcopy(x)
        same = Base.unaliascopy(x)
        @test typeof(other) === typeof(same) === typeof(x)
        loan.open = 0
        for use in (x -> x[1], x -> @inbounds(x[1]), x -> x[1] = 1, sum, copy, collect, x -> x .= 0, deepcopy, pointer,
                    x -> view(x, 1:2)[1], x -> reshape(x, length(x))[1], x -> reinterpret(Int64, x)[1], layout,
                    x -> x == x, x -> copyto!(zeros(12), x), x -> x .+ 1, Base.unaliascopy, x -> Ref(x, 1)[])
            @test_throws BufferReleased use(x)
        end
        @test endswith(repr(x), "released") && endswith(repr("text/plain", x), "released")
        @test size(x) == size(copied)
        @test other == same == 2copied
    end
    loan = BufferBridge.Loan()
    records = PyBorrowedArray([(a = i, b = 2.0i) for i in 1:3], loan)
    column = records.b
    @test column == [2, 4, 6] && BufferBridge.loanof(column) === loan
    loan.open = 0
    @test_throws BufferReleased column[1]
    @test_throws BufferReleased records.b[1]
    text = try records[1] catch e; sprint(showerror, e) end
    @test occursin("copy", text)
    v = collect(1:5)
    for word in BufferBridge.lengthwords(v)
        unsafe_store!(word, 0)
    end
    @test isempty(v) && length(v) == 0 && size(v) == (0,)
end

@testset "borrowed arrays make no method ambiguous" begin
    ours(ms) = any(m -> endswith(String(m.file), "borrowed.jl"), ms)
    @test isempty(filter(ours, detect_ambiguities(BufferBridge)))
end

@testset "code as text" begin
    @test evaluate("1 + 1") == 2
    @test evaluate("") === nothing
    @test evaluate("x = 1\nx + 1", Module()) == 2
    for (code, place) in ("1 +" => "line 1, column 4", "a = 1\nb = (" => "line 2", ")" => "line 1")
        text = try
            evaluate(code)
        catch e
            @test e isa SyntaxError
            sprint(showerror, e)
        end
        @test occursin(place, text)
    end
end

@testset "without Python" begin
    @test !BufferBridge.connected()
    @test_throws ErrorException BufferBridge.withgil(() -> 1)
    for use in (() -> pyimport("math"), () -> PyObject(1), () -> PyList([1]), () -> pyeval("1"))
        @test_throws ErrorException use()
    end
end
