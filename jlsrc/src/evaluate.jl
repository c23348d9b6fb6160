# Code as text: bb.eval and bb.include.

"""
    evaluate(code, m=Main)

Evaluates all of `code` in the module `m`, as a file would be, and gives the last value. Throws
[`SyntaxError`](@ref), with the place, for code that does not parse; nothing is evaluated then.
"""
function evaluate(code::String, m::Module = Main)
    parsed = parseall(code, "eval")
    parsed isa Expr || return Core.eval(m, parsed)
    bad = badsyntax(parsed)
    bad === nothing || throwsyntax(code, bad)
    if m === Main && definessomething(parsed) # what pickle.jl may have to give to another process
        file = newsourcename()
        parsed = parseall(code, file)
        keepsource!(code, file)
    end
    return Core.eval(m, parsed)
end

# The expression that says what did not parse.
function badsyntax(x)
    x isa Expr || return nothing
    x.head in (:error, :incomplete) && return x
    x.head === :toplevel || return nothing
    for arg in x.args
        bad = badsyntax(arg)
        bad === nothing || return bad
    end
    return nothing
end

@noinline function throwsyntax(code, bad)
    cause = isempty(bad.args) ? nothing : bad.args[1]
    text = cause isa String ? cause : cause === nothing ? "syntax error" : sprint(showerror, cause)
    cause isa Exception || (cause = nothing)
    line, column = syntaxplace(code)
    throw(SyntaxError(cause, string("line ", line, ", column ", column, ": ", text)))
end

# Where the first expression that does not parse starts to go wrong: parsing expression by expression
# finds it, and incomplete code goes wrong at its end.
function syntaxplace(code)
    at = firstindex(code)
    place = at
    while at <= ncodeunits(code)
        place = at
        x, next = try
            Meta.parse(code, at; raise = false)
        catch
            break
        end
        if x isa Expr && x.head === :incomplete
            place = ncodeunits(code) + 1
            break
        elseif x isa Expr && x.head === :error
            place = skipblank(code, at)
            break
        end
        next > at || break
        at = next
    end
    before = SubString(code, 1, prevind(code, min(place, ncodeunits(code) + 1)))
    line = count(isequal('\n'), before) + 1
    start = findlast(isequal('\n'), before)
    column = length(before) - (start === nothing ? 0 : length(SubString(before, 1, start))) + 1
    return line, column
end

skipblank(code, at) = something(findnext(!isspace, code, at), at)

"Evaluates a file in a module; its path is Python's (relative to the current folder)."
function includefile(path::String, m::Module = Main)
    path = abspath(path)
    m === Main && (INCLUDED[path] = open(checksum, path))
    return Base.include(m, path)
end
