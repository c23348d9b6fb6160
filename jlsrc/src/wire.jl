# What this side shares with the C layer (csrc/bufferbridge.h): the struct a value travels in, the
# description of a buffer, and the functions of CPython that Julia needs, under names of our own.

# ---------------------------------------------------------------- values

"One value on its way between the languages, `bb_value` in C."
struct Value
    tag::Int64
    a::UInt64
    b::UInt64
    owner::Ptr{Cvoid}
end

# enum bb_tag
const TAG_NONE = 0
const TAG_BOOL = 1
const TAG_INT = 2
const TAG_UINT = 3
const TAG_FLOAT = 4
const TAG_COMPLEX = 5
const TAG_STR = 6
const TAG_JULIA = 7
const TAG_BUFFER = 8
const TAG_OBJECT = 9
const TAG_CALLABLE = 10
const TAG_BIGINT = 11
const TAG_TUPLE = 12
const TAG_NAMEDTUPLE = 13
const TAG_LIST = 14
const TAG_DICT = 15
const TAG_SET = 16
const TAG_RANGE = 17
const TAG_SCALAR = 18
const TAG_ITEM = 19

gettag(p::Ptr{Value}) = unsafe_load(Ptr{Int64}(p))
settag!(p::Ptr{Value}, tag) = unsafe_store!(Ptr{Int64}(p), Int64(tag))
"The first (`geta`) and second (`getb`) word of a value, read as a `T`."
geta(::Type{T}, p::Ptr{Value}) where {T} = unsafe_load(Ptr{T}(p + 8))
getb(::Type{T}, p::Ptr{Value}) where {T} = unsafe_load(Ptr{T}(p + 16))
seta!(p::Ptr{Value}, x::T) where {T} = unsafe_store!(Ptr{T}(p + 8), x)
setb!(p::Ptr{Value}, x::T) where {T} = unsafe_store!(Ptr{T}(p + 16), x)

const NO_VALUE = Value(TAG_NONE, 0, 0, C_NULL)

const SmallInt = Union{Int8,Int16,Int32,Int64,UInt8,UInt16,UInt32}
const SmallFloat = Union{Float16,Float32,Float64}
"What goes to Python as plain words, of which C makes the objects."
const PlainWords = Union{Nothing,Missing,Bool,SmallInt,UInt64,SmallFloat,Complex{<:Union{SmallInt,SmallFloat}}}
"And what a callback takes so: C reads the text where it is."
const Lendable = Union{PlainWords,String,SubString{String}}

# --------------------------------------------------------------- buffers

"An exporter's memory, the part of `bb_buffer` that Julia reads. Strides are bytes."
struct BufferInfo
    next::Ptr{Cvoid}
    isbuffer::Int64
    ptr::Ptr{UInt8}
    len::Int64
    itemsize::Int64
    ndim::Int64
    readonly::Int64
    kind::Int64
    flags::Int64
    shape::Ptr{Int64}
    strides::Ptr{Int64}
    suboffsets::Ptr{Int64}
    format::Ptr{UInt8}
    object::Ptr{Cvoid}
end

const MAX_DIMS = 64 # PyBUF_MAX_NDIM

const C_CONTIGUOUS = 1
const F_CONTIGUOUS = 2
const ALIGNED = 4
const SWAPPED = 8

# enum bb_kind: the element types that C knows, in order
const KINDS = (Bool, Int8, UInt8, Int16, UInt16, Int32, UInt32, Int64, UInt64,
               Float16, Float32, Float64, ComplexF32, ComplexF64)

# --------------------------------------------------------------- classes

# enum bb_class: which Python type wraps a Julia object
const CLASS_VALUE = 0
const CLASS_FUNCTION = 1
const CLASS_MODULE = 2
const CLASS_ARRAY = 3
const CLASS_DICT = 4
const CLASS_SET = 5
const CLASS_IO = 6

# enum bb_helper, in order: Julia functions that slots of the Python types call
const HELPERS = (:getattr, :setattr, :dirof, :reprof, :strof, :hashof, :compare, :lengthof, :getitem,
                 :setitem, :contains, :iteration, :truth, :arrayget, :arrayset, :arrayrefresh, :arraytrim,
                 :whynotshared, :wrap, :borrow, :compilecall, :compilegeneral, :recompile,
                 :operate, :tonumber, :callraw, :deleteitem,
                 :identity, :sharedcopy)

# ------------------------------------------------------------- functions

const API_NAMES = (:str, :bigint, :box, :new_export, :tuple_new, :tuple_set, :list_new, :list_set, :namedtuple,
                   :conversion, :apply, :not_implemented, :unbox, :acquire, :clear, :length, :item, :items, :object_item, :is_tuple, :is_list, :is_slice, :getattr, :setattr, :dir, :repr,
                   :call, :gil_ensure, :stack_ends, :gil_release, :gil_held, :gil_give_up, :gil_regain, :enter_recursion,
                   :leave_recursion, :hold, :decref, :incref,
                   :loan_hold, :loan_release, :release_later, :drain, :grow_roots, :new_julia, :raise, :fetch, :wants_frames, :restore,
                   :format_exception, :write, :set_entry, :set_helper, :set_facts,
                   :set_runtime, :set_waker, :set_idle, :set_take_over, :check_signals, :state, :keep_descriptors,
                   # csrc/operations.c
                   :call_object, :binary, :unary, :compare, :truth, :hash, :getitem, :setitem, :delitem, :contains, :lookup,
                   :iter, :next, :hasattr, :isinstance, :callable, :import_module, :bytes, :container, :julia_exception)

# Functions and variables of Julia's runtime that the C layer uses (bb_runtime).
const RUNTIME = (:jl_gc_safe_enter, :jl_gc_safe_leave, :jl_gc_enable, :jl_throw, :jl_interrupt_exception,
                 :jl_enter_handler, :jl_pop_handler, :jl_sigatomic_begin, :jl_sigatomic_end,
                 :jl_get_ptls_states, :jl_get_current_task, :jl_exit_threaded_region, :uv_async_send)

@eval mutable struct Api
    $([:($name::Ptr{Cvoid}) for name in API_NAMES]...)
end

"Addresses of the C functions in csrc/api.c, which also says what each needs and gives."
const API = Api((C_NULL for _ in API_NAMES)...)

"""
    @api name(x::T, ...)::R

Calls the function `name` of csrc/api.c.
"""
macro api(call)
    signature, R = call.args
    name, args = signature.args[1], signature.args[2:end]
    types = Expr(:tuple, (a.args[2] for a in args)...)
    values = (a.args[1] for a in args)
    pointer = Expr(:., :API, QuoteNode(name))
    return esc(:(ccall($pointer, $R, $types, $(values...))))
end

"Whether this Julia runs inside a Python process that started it."
connected() = API.state != C_NULL

# Fields of bb_state that Julia reads and writes, by their offsets.
const STATE_NFREE = 0
const STATE_FREE_SLOTS = 8
const STATE_HELD_BYTES = 16
const STATE_DEPTH = 24
const STATE_INTERRUPTIBLE = 40
const STATE_NOTICED = 48
const STATE_REQUESTED = 56
const STATE_THREW = 64
const STATE_ELSEWHERE = 72
const STATE_LAYOUT = 80

const STATE = Ref{Ptr{UInt8}}(C_NULL)
statefield(::Type{T}, offset) where {T} = Ptr{T}(STATE[] + offset)

"Bytes of Python's memory that wait for Julia's collector: the same memory counts once."
heldbytes() = unsafe_load(statefield(Int64, STATE_HELD_BYTES))
