# Objects that live as long as another one does, which has no field for them.
#
# A finalizer that refers to `x` is not enough: Julia's collector schedules the finalizers of all that is not marked
# before it marks what finalizers refer to, so that one of x's own, which gives memory back, would run while x is still
# wanted. So x is in a table, and the finalizer has the number of its place there.

const KEPT = Any[]
const FREE_PLACES = Int[]
const KEEPING = Threads.SpinLock()

"""
    keepwith!(owner, x)

Keeps `x` alive as long as `owner`, a mutable object.
"""
function keepwith!(owner, @nospecialize(x))
    uninterrupted() do
        place = lock(KEEPING) do
            isempty(FREE_PLACES) && (push!(KEPT, nothing); push!(FREE_PLACES, length(KEPT)))
            p = pop!(FREE_PLACES)
            KEPT[p] = x
            return p
        end
        finalizer(LetGo(place), owner)
    end
    return owner
end

struct LetGo
    place::Int
end

# Finalizers run on any thread, and in the midst of other code, that has the lock perhaps: then later.
function (f::LetGo)(owner)
    if trylock(KEEPING)
        try
            KEPT[f.place] = nothing
            push!(FREE_PLACES, f.place)
        finally
            unlock(KEEPING)
        end
    else
        finalizer(f, owner)
    end
    return nothing
end
