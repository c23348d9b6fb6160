# The format language: formats to memory types and back.

# A format of each memory type, with its itemsize, and its value type.
const KNOWN = [
    "c" => UInt8, "n" => Cssize_t, "N" => Csize_t, "P" => Ptr{Cvoid}, "&d" => Ptr{Float64}, "&T{i:a:}" =>
    Ptr{NamedTuple{(:a,),Tuple{Int32}}}, "Ze" => Complex{Float16}, "3s" => FixedString{'s',3,UInt8},
    "3p" => FixedString{'p',3,UInt8}, "3w" => FixedString{'w',3,UInt32}, "3u" => FixedString{'u',3,UInt16},
    "w" => FixedString{'w',1,UInt32}, "O" => ObjectReference, "5x" => RawBytes{5}, "3d" => NTuple{3,Float64},
    "(2,3)h" => NTuple{2,NTuple{3,Int16}}, "(2)3h" => NTuple{2,NTuple{3,Int16}}, "(2,)h" => NTuple{2,Int16},
    "( 2 , 3 )h" => NTuple{2,NTuple{3,Int16}}, ">(2)h" => Repeated{2,Swapped{Int16}},
    "(2)>h" => Repeated{2,Swapped{Int16}}, "(0)d" => Repeated{0,Float64}, ">3w" => Swapped{FixedString{'w',3,UInt32}},
    ">3s" => FixedString{'s',3,UInt8}, ">B" => UInt8, "T{}" => NamedTuple{(),Tuple{}},
    "T{i:a:4xd:b:}" => NamedTuple{(:a, :b),Tuple{Int32,Float64}},
    "i d" => NamedTuple{(:f0, :f1),Tuple{Int32,Float64}}, "i:f1:q" => NamedTuple{(:f1, :f0),Tuple{Int32,Int64}},
    "T{b:x:T{h:y:}:z:}" => NamedTuple{(:x, :z),Tuple{Int8,NamedTuple{(:y,),Tuple{Int16}}}},
    "T{=b:x:h:y:}" => Packed{(:x, :y),Tuple{Int8,Int16},(0, 1),3},
    "T{^b:x:h:y:}" => Packed{(:x, :y),Tuple{Int8,Int16},(0, 1),3},
    "T{>h:x:i:y:}" => Packed{(:x, :y),Tuple{Swapped{Int16},Swapped{Int32}},(0, 2),6},
    "T{>h:x:=i:y:}" => Packed{(:x, :y),Tuple{Swapped{Int16},Int32},(0, 2),6},
    "T{8x}" => Packed{(),Tuple{},(),8}, "T{2x:pad:h:a:}" => NamedTuple{(:pad, :a),Tuple{RawBytes{2},Int16}},
    "T{|4|i:b:|0|i:a:|8|}" => Packed{(:b, :a),Tuple{Int32,Int32},(4, 0),8},
    "T{i:é ü:}" => NamedTuple{(Symbol("é ü"),),Tuple{Int32}},
]

@testset "formats of single numbers" begin
    for T in KINDS
        @test memorytype(formatof(T), sizeof(T)) === T
        sizeof(T) > 1 && @test memorytype(formatof(Swapped{T}), sizeof(T)) === Swapped{T}
        @test KINDS[kindof(T)] === T
    end
    @test memorytype("<i", 4) === Int32
    @test memorytype(">l", 4) === Swapped{Int32}   # standard sizes: l has 4 bytes
    @test memorytype("@l", sizeof(Clong)) === Clong
    @test memorytype("!Q", 8) === Swapped{UInt64}
    @test memorytype("=Zd", 16) === ComplexF64
    @test kindof(String) == 0
end

@testset "formats and memory types" begin
    for (format, S) in KNOWN
        size = memorysize(S)
        @test memorytype(format, size) === S
        again = formatof(S)
        @test again isa String || S <: Packed{(:b, :a)}
        # Pointers and complex halves, which NumPy doesn't know, go out as what they consist of.
        again isa String && !(S <: Union{Ptr,Complex{Float16}}) && @test memorytype(again, size) === S
    end
end

@testset "itemsize decides between readings" begin
    # ctypes up to 3.11 says '<' and leaves out the padding.
    @test memorytype("T{<b:a:<d:b:(3)<h:c:}", 24) === NamedTuple{(:a, :b, :c),Tuple{Int8,Float64,NTuple{3,Int16}}}
    @test memorytype("T{<b:a:<d:b:(3)<h:c:}", 15) === Packed{(:a, :b, :c),Tuple{Int8,Float64,NTuple{3,Int16}},(0, 1, 9),15}
    # NumPy's own
    @test memorytype("T{i:a:=d:b:}", 12) === Packed{(:a, :b),Tuple{Int32,Float64},(0, 4),12}
    @test memorytype("T{xxxxi:a:xxxxxxxxd:b:}", 24) === Packed{(:a, :b),Tuple{Int32,Float64},(4, 16),24}
    @test memorytype("T{d:a:b:b:}", 16) === NamedTuple{(:a, :b),Tuple{Float64,Int8}}
    @test memorytype("db", 16) === NamedTuple{(:f0, :f1),Tuple{Float64,Int8}}
    @test memorytype("bd", 9) === Packed{(:f0, :f1),Tuple{Int8,Float64},(0, 1),9}
    @test memorytype("<u", 4) === FixedString{'w',1,UInt32} # ctypes' c_wchar
    e = try memorytype("T{b:a:d:b:}", 20) catch e; e end
    @test e isa FormatError && occursin("16", e.reason) && occursin("20", e.reason)
end

@testset "what is no format" begin
    for (format, position) in ("" => 1, "<" => 2, "Zq" => 1, "y" => 1, "é" => 1, "@=" => 3, "3t" => 2,
                               "X{}" => 1, "T" => 1, "T{i" => 1, "T{é:" => 3, "T{i:a:i:a:}" => 7, "(2,3" => 1,
                               "(a)d" => 2, "(2)" => 4, "i:name" => 2, "}" => 1, "i}" => 2, "99999999999d" => 1,
                               "(99999,99999)d" => 1, "999999999s" => 1, "2147483647x:a:" => 1, ">P" => 2,
                               "T{|8|i:a:|4|}" => 6, "T{|i" => 4, "(0)(2)d" => 4, "&" => 2)
        e = try memorytype(format, 8) catch e; e end
        @test e isa FormatError
        @test e.position == position
        @test !isempty(e.reason)
    end
    @test_throws FormatError memorytype("d", 4)
    for deep in ("T{"^1000, "&"^1000, "T{"^10^5 * "}"^10^5, "(2)"^1000)
        @test_throws FormatError memorytype(deep, 8)
    end
    message = sprint(showerror, FormatError("xyz", 2, "why"))
    @test occursin("xyz", message) && occursin("character 2", message)
end

struct Inner
    a::Int8
    b::Int16
end
@enum Color red green
primitive type Bits24 24 end
struct Many{T}
    x::T
    inner::Inner
    triple::NTuple{3,T}
    z::ComplexF32
    p::Ptr{Cvoid}
    color::Color
    big::Int128
    bits::Bits24
    grid::NTuple{2,NTuple{3,UInt8}}
    t::Tuple{Int8,Float64}
    n::NamedTuple{(:q,),Tuple{Float32}}
end
struct Vec{N,T} <: AbstractVector{T}
    data::NTuple{N,T}
end
Base.size(::Vec{N}) where {N} = (N,)
Base.getindex(v::Vec, i::Int) = v.data[i]
struct Mat <: AbstractMatrix{Float64}
    data::NTuple{6,Float64}
end
Base.size(::Type{Mat}) = (3, 2)
struct Holder
    inner::Inner
    name::String
end
struct Outer
    holder::Holder
end

@testset "formats of Julia's types" begin
    @test formatof(Inner) == "T{b:a:xh:b:}"
    @test formatof(Tuple{Int8,Float64}) == "T{b:f0:7xd:f1:}"
    @test formatof(NTuple{3,Int16}) == "(3)h"
    @test formatof(Vec{3,Float64}) == "(3)d"
    @test formatof(Mat) == "(2,3)d"               # column-major: the row-major transpose
    @test formatof(Vec{2,Inner}) == "(2)T{b:a:xh:b:}"
    @test formatof(Rational{Int32}) == "T{i:num:i:den:}"
    @test formatof(Color) == "i"
    @test formatof(Int128) == "16x"
    @test formatof(Ptr{Int}) == formatof(UInt)
    @test formatof(LongDouble) == "g" && formatof(Complex{LongDouble}) == "Zg"
    # Julia's own offsets and sizes.
    S = memorytype(formatof(Many{Float64}), sizeof(Many{Float64}))
    names, _, offsets = BufferBridge.fieldsof(S)
    @test collect(names) == collect(fieldnames(Many))
    @test collect(offsets) == [fieldoffset(Many{Float64}, i) for i in 1:fieldcount(Many)]
    for (T, words) in (Outer => ("name", "Holder", "String"), String => ("strings",), Any => ("references",),
                       Union{Int,Missing} => ("missing",), Vector{Int} => ("references",))
        reason = formatof(T)
        @test reason isa NotShared && all(w -> occursin(w, reason.reason), words)
    end
    @test formatof(NamedTuple{(Symbol("a:b"),),Tuple{Int}}) isa NotShared
end
