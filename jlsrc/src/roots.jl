# Julia objects that Python holds.
#
# Each sits in a slot of ROOTS, whose memory C knows: a Python object that dies puts C_NULL into its
# slot and the slot on the free list without entering Julia (csrc/juliavalue.c). Only Julia fills
# slots, so that the write barrier is Julia's own. All of this happens with the GIL held.

const ROOTS = Ref(Any[])
const FIRST_ROOTS = 1024

# The old table stays in use until C has taken the new one. (Making that may collect, and finalizers may
# come here too: what they have added is copied, or the table is large enough already.)
function growroots!()
    n = max(FIRST_ROOTS, 2 * length(ROOTS[]))
    table = Vector{Any}(undef, n)
    length(ROOTS[]) <= n || return nothing
    copyto!(table, ROOTS[])
    @api(grow_roots(pointer(table)::Ptr{Cvoid}, n::Int64)::Cint) == 0 || throwpython()
    ROOTS[] = table
    return nothing
end

"Makes sure that so many slots are free. Throws if they can't be."
function reserveroots!(n)
    free = statefield(Int64, STATE_NFREE)
    while unsafe_load(free) < n
        growroots!()
    end
    return nothing
end

"""
    root!(x) -> slot

Keeps `x` alive for Python, which owns the slot from then on. Slots count from zero.
"""
function root!(@nospecialize(x))
    free = statefield(Int64, STATE_NFREE)
    reserveroots!(1)
    n = unsafe_load(free)
    slot = unsafe_load(unsafe_load(statefield(Ptr{Int64}, STATE_FREE_SLOTS)), n)
    unsafe_store!(free, n - 1)
    @inbounds ROOTS[][slot + 1] = x
    return slot
end

"The types of the objects in these slots as one text with NULs between, which leaves nothing held by itself."
typesofroots(slots) = join((typetext(ROOTS[][slot+1]) for slot in slots), '\0')

function typetext(@nospecialize(x))
    try
        return string(typeof(x))
    catch # shown by anybody's code
        return string(nameof(typeof(x)))
    end
end
