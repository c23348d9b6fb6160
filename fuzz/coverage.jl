# Coverage of Julia code for a fuzzing engine: files of BufferBridge are evaluated anew in its module, with a
# counter at every line of every function and in every branch of `&&`, `||` and `?:`.

module Coverage

const COUNTERS = zeros(UInt8, 1 << 14) # the engine looks at them, and clears them before each run
const USED = Ref(0)
const PLACES = String[]

@noinline hit(k::Int) = (@inbounds COUNTERS[k] += 0x01; nothing)

function counter(place)
    USED[] += 1
    push!(PLACES, place)
    return :($hit($(USED[])))
end

isdefinition(x) = x isa Expr && (x.head === :function || x.head === :(=) && iscall(x.args[1]))
iscall(x) = x isa Expr && (x.head === :call || x.head in (:where, :(::)) && iscall(x.args[1]))

# Top level: only definitions of functions are changed.
function instrument(x, file)
    x isa Expr || return x
    if isdefinition(x) && length(x.args) == 2
        return Expr(x.head, x.args[1], body(x.args[2], file))
    elseif x.head in (:block, :toplevel)
        return Expr(x.head, map(a -> instrument(a, file), x.args)...)
    elseif x.head === :macrocall && x.args[1] in (Symbol("@inline"), Symbol("@noinline"))
        return Expr(:macrocall, map(a -> instrument(a, file), x.args)...)
    elseif x.head === :macrocall && (x.args[1] isa GlobalRef || x.args[1] isa Expr) && isdefinition(x.args[end])
        return Expr(:macrocall, x.args[1:end-1]..., instrument(x.args[end], file)) # a docstring
    end
    return x
end

function body(x, file)
    x isa Expr || return x
    x.head in (:quote, :macrocall, :inert) && return x
    if x.head === :block
        args = Any[]
        for a in x.args
            push!(args, body(a, file))
            a isa LineNumberNode && push!(args, counter("$file:$(a.line)"))
        end
        return Expr(:block, args...)
    elseif x.head in (:&&, :||)
        return Expr(x.head, body(x.args[1], file), branch(x.args[2], file))
    elseif x.head in (:if, :elseif) && length(x.args) == 3
        return Expr(x.head, body(x.args[1], file), branch(x.args[2], file),
                    x.args[3] isa Expr && x.args[3].head === :elseif ? body(x.args[3], file) : branch(x.args[3], file))
    end
    return Expr(x.head, map(a -> body(a, file), x.args)...)
end

branch(x, file) = Expr(:block, counter("$file:branch"), body(x, file))

"Instruments files of a module's; gives the number of counters."
function start(m::Module, folder::String, files)
    for file in files
        Base.include(x -> instrument(x, file), m, joinpath(folder, file))
    end
    return USED[]
end

address() = Int(pointer(COUNTERS))
covered() = count(!iszero, COUNTERS)

end
