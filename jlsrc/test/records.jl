# Values and memory of records, strings and long doubles.

memoryof(bytes...) = UInt8[bytes...]

@testset "strings of a fixed size" begin
    for (T, texts) in (FixedString{'s',8,UInt8} => ("", "abc", "héllo", "abcdefgh", "日本"),
                       FixedString{'p',8,UInt8} => ("", "abc", "héllo", "日本"),
                       FixedString{'w',5,UInt32} => ("", "abc", "héllo", "日本a😀b"),
                       FixedString{'u',6,UInt16} => ("", "abc", "héllo", "日本a😀b"))
        for text in texts
            s = convert(T, text)
            @test s == text && text == s && isequal(s, text) && hash(s) == hash(text)
            @test String(s) == text && string(s) == text && "<$s>" == "<$text>"
            @test collect(s) == collect(text) && length(s) == length(text)
            @test repr(s) == repr(text)
            @test isempty(s) == isempty(text) && cmp(s, text) == 0
            @test uppercase(s) == uppercase(text) && s * "!" == text * "!" && reverse(s) == reverse(text)
            @test all(i -> isvalid(s, i), eachindex(s)) && length(collect(eachindex(s))) == length(text)
            @test T(s) === s && convert(T, SubString("x" * text, 2)) === s
            @test match(r"b", s) === nothing || match(r"b", s).match == "b"
            @test startswith(s, first(text, 1)) && (isempty(text) || occursin(last(text), s))
        end
        message = try convert(T, "far too long") catch e; sprint(showerror, e) end
        @test occursin("far too long", message) && occursin("fit", message)
        @test_throws BoundsError codeunit(T("a"), 2)
    end
    bytes = FixedString{'s',3,UInt8}
    @test convert(bytes, UInt8[0x61, 0xff]) |> codeunits == UInt8[0x61, 0xff]
    broken = bytes((0xe6, 0x97, 0x61))
    @test collect(broken) == collect(String(UInt8[0xe6, 0x97, 0x61])) && !isvalid(broken)
    @test FixedString{'s',0,UInt8}("") == ""
    @test_throws ArgumentError convert(FixedString{'w',3,UInt32}, UInt8[1])
    @test collect(FixedString{'w',1,UInt32}((0xffffffff,))) == ['\ufffd']
    @test FixedString{'w',3,UInt32}('x') == "x"
end

@testset "long double" begin
    if BufferBridge.LONG_DOUBLE_BITS in (64, 113)
        for x in (0.0, -0.0, 1.0, -1.5, 0.1, 1e300, 5e-324, Inf, -Inf)
            l = LongDouble(x)
            @test BigFloat(l) == x && Float64(l) === x && signbit(l) == signbit(x) && l == x && hash(l) == hash(x)
            @test LongDouble(BigFloat(l)) === l
        end
        @test isnan(LongDouble(NaN)) && isnan(BigFloat(LongDouble(NaN)))
        # Numbers of two bits, at the ends of the range and of the precision.
        p = BufferBridge.LONG_DOUBLE_BITS
        for k in (1, 62, 63, 64, 111, 112, 113), e in (-16446, -16445, -16382, -64, 0, 16383, 16384)
            y = ldexp(big(1.0), e) + ldexp(big(1.0), e - k)
            exact = e <= 16383 && e - k >= max(e, -16382) - (p - 1)
            @test (BigFloat(LongDouble(y)) == y) == exact
        end
        ulp = ldexp(big(1.0), 1 - p)
        @test BigFloat(LongDouble(1 + ulp / 2)) == 1                 # ties to even
        @test BigFloat(LongDouble(1 + 3ulp / 2)) == 1 + 2ulp
        @test BigFloat(LongDouble(1 + ulp / 2 + ulp^2)) == 1 + ulp
        @test isinf(LongDouble(ldexp(big(1.0), 16384))) && isfinite(LongDouble(ldexp(big(1.0), 16383)))
        @test BigFloat(LongDouble(ldexp(2 - ulp / 2, 16383))) == Inf
        @test LongDouble(1) + LongDouble(2) == 3 && LongDouble(1) / 3 isa BigFloat
        @test sum(LongDouble[1, 2]) == 3 && maximum(LongDouble[1, 3, 2]) == 3 && sort(LongDouble[2, 1]) == [1, 2]
        @test -LongDouble(2) == -2 && abs(LongDouble(-2)) === LongDouble(2) && iszero(zero(LongDouble))
        @test Int(LongDouble(7)) == 7 && floor(Int, LongDouble(7.5)) == 7 && Rational{Int}(LongDouble(0.5)) == 1 // 2
        @test string(LongDouble(1.5)) == "1.5" && occursin("1.5", repr(LongDouble(1.5)))
        # No precision of the user's gets in the way.
        @test setprecision(() -> BigFloat(LongDouble(0.1)) == 0.1, BigFloat, 20)
        @test setprecision(() -> LongDouble(0.1), BigFloat, 20) === LongDouble(0.1)
    end
end

@testset "records" begin
    r = PyRecord((a = 1, b = 2.5))
    @test r.a == 1 && r[2] == 2.5 && r[:b] == 2.5
    @test keys(r) == propertynames(r) == (:a, :b) && values(r) == (1, 2.5) && length(r) == 2
    @test NamedTuple(r) === convert(NamedTuple, r) === (a = 1, b = 2.5) && Tuple(r) == (1, 2.5)
    @test collect(pairs(r)) == [:a => 1, :b => 2.5] && [x for x in r] == [1, 2.5]
    @test r == PyRecord((a = 1, b = 2.5)) && r == (a = 1, b = 2.5) && r != PyRecord((a = 2, b = 2.5))
    @test r != PyRecord((a = 1, c = 2.5)) && isequal(r, r) && isless(r, PyRecord((a = 2, b = 0.0)))
    @test hash(r) == hash((a = 1, b = 2.5)) && length(unique([r, r])) == 1
    @test haskey(r, :a) && !haskey(r, :x) && get(r, :x, 0) == 0 && merge(r, (c = 3,)) == (a = 1, b = 2.5, c = 3)
    @test repr(r) == "PyRecord(a = 1, b = 2.5)" && isbits(r)
    @test_throws ArgumentError r.a = 2
    @test_throws Exception r.nothing_of_that_name
    @test convert(PyRecord{(:a, :b),Tuple{Float64,Float64}}, (a = 1, b = 2)).a === 1.0
    @test PyRecord((fields = 1, names = 2)).fields == 1
end

# Three packed records: Int8, big-endian Int32, sub-array of two Int16, a string.
const PACKED = Packed{(:a, :b, :c, :data),
                      Tuple{Int8,Swapped{Int32},Repeated{2,Swapped{Int16}},FixedString{'s',3,UInt8}},(0, 1, 5, 9),13}

function packedarray(n = 3; readonly = false)
    bytes = zeros(UInt8, 13n)
    for i in 0:n-1
        bytes[13i .+ (1:12)] .= (i + 1, 0, 0, 1, i, 0, i, 1, 0, UInt8('x'), UInt8('y'), UInt8('z'))
    end
    return PyStridedArray{valuetype(PACKED),1,PACKED}(bytes, 0, (13,), (n,), readonly)
end

@testset "arrays of records" begin
    x = packedarray()
    @test x[2] == (a = 2, b = 257, c = (1, 256), data = "xyz")
    @test x[3].b === Int32(258) && isbitstype(eltype(x)) && eltype(x) <: PyRecord
    @test propertynames(x) == (:a, :b, :c, :data)
    @test x.b == [256, 257, 258] && x.data == ["xyz", "xyz", "xyz"] && x.c[2] == (1, 256)
    x.b[2] = -1
    @test x[2].b == -1 && x[1].b == 256
    x.a .+= 10
    @test [r.a for r in x] == [11, 12, 13]
    x.b = [7, 8, 9]
    @test x.b == 7:9 && flat(x)[5] == 7
    flat(x)[13] = 0xee                                     # padding
    x[1] = x[3]
    @test x[1] == x[3] && flat(x)[13] == 0xee              # is left alone
    x[1] = (a = 1, b = 2, c = (3, 4), data = "q")
    @test x[1].data == "q" && x[1].c == (3, 4)
    before = copy(flat(x))
    @test_throws Exception x[1] = (a = 1, b = 2, c = (3, 4), data = "too long")
    @test_throws Exception x[1] = (a = 1, b = 2.5, c = (3, 4), data = "")
    @test_throws Exception x.b[1] = "text"
    @test_throws ArgumentError x.nothing_of_that_name
    @test_throws Exception x[1] = (a = 1,)
    @test flat(x) == before
    # What is made of it keeps the layout.
    for y in (copy(x), filter(r -> r.a > 0, x), x[[1, 3]], sort(x; by = r -> -r.b), similar(x))
        @test memorytype(y) === PACKED && !Base.mightalias(x, y)
    end
    @test filter(r -> r.a == 12, x)[1] == x[2] && sort(x; by = r -> -r.b)[1].b == 9
    @test collect(x) isa Vector{eltype(x)} && collect(x) == x
    @test map(r -> r.b, x) isa Vector{Int32}
    x[2:3] .= view(x, 1:2)
    @test x[3].a == 12
    frozen = packedarray(; readonly = true)
    @test isreadonly(frozen.b)
    @test_throws ArgumentError frozen.b[1] = 0
    @test_throws ArgumentError frozen[1] = frozen[2]
    @test_throws ArgumentError pointer(frozen)
    @test layout(x).strides == (13,) && memorytype(layout(x.b)) === Swapped{Int32}
end

struct Point
    x::Float64
    y::Float64
end
struct Particle
    id::Int32
    pos::Point
end
struct OtherName
    id::Int32
    place::Point
end

@testset "columns and structs" begin
    a = [(id = Int32(i), pos = (x = 1.0i, y = -1.0i)) for i in 1:4]
    c = column(a, :id)
    @test c == 1:4
    c[2] = 20
    @test a[2].id == 20
    column(column(a, :pos), :y) .= 5
    @test all(r -> r.pos.y == 5, a)
    m = reshape(a, 2, 2)
    @test column(m, :id)[2, 1] == 20 && column(view(m, 1, :), :id) == [1, 3]
    @test_throws ArgumentError column(a, :nothing_of_that_name)
    @test_throws ArgumentError column([1.0], :x)
    # A column of a Vector that was resized since.
    v = [(x = i, y = 2i) for i in 1:100]
    column_of_v = column(v, :y)
    @test layout(column_of_v).owner === v
    resize!(v, 2)
    @test_throws BufferBridge.Resized column_of_v[50]
    @test column_of_v[2] == 4
    @test layout(column_of_v) isa NotShared

    p = recordarray(Particle, a)
    @test p isa Vector{Particle} && p[2].id == 20 && p[3].pos.x == 3
    p[1] = Particle(9, Point(8, 7))
    @test a[1] == (id = 9, pos = (x = 8, y = 7))
    VERSION < v"1.11" && @test_throws Exception push!(a, a[1]) # its memory may not move any more
    q = let b = [(id = Int32(i), pos = (x = 1.0i, y = 0.0)) for i in 1:1000]
        recordarray(Particle, b)
    end
    GC.gc(); GC.gc()
    @test q[1000].id == 1000 # keeps the memory
    message = try recordarray(OtherName, a) catch e; sprint(showerror, e) end
    for word in ("OtherName", "place", "pos", "offset", "8")
        @test occursin(word, message)
    end
    @test_throws ArgumentError recordarray(String, a)
    @test_throws ArgumentError recordarray(Point, a)
    @test_throws ArgumentError recordarray(Int, a)
    @test recordarray(Particle, PyArray(a, true)) isa PyArray{Particle} && isreadonly(recordarray(Particle, PyArray(a, true)))
    @test recordarray(Particle, PermutedDimsArray(m, (2, 1)))[2, 1].id == a[3].id
end
