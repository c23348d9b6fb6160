# What the C layer calls first (bb_boot in csrc/state.c).

"""
    boot(facts)

Connects this module to Python ([`start`](@ref)). The first of the `facts` is the lookup of the C layer's
functions; they are replaced by what Python needs to know: the slots of Main, Base, Core and this module,
and the three numbers of Julia's version.
"""
function boot(facts::Ptr{Cvoid})
    words = Ptr{UInt64}(facts)
    start(Ptr{Cvoid}(unsafe_load(words)))
    unsafe_store!(words, root!(Main), 1)
    unsafe_store!(words, root!(Base), 2)
    unsafe_store!(words, root!(Core), 3)
    unsafe_store!(words, root!(@__MODULE__), 4)
    unsafe_store!(words, VERSION.major, 5)
    unsafe_store!(words, VERSION.minor, 6)
    unsafe_store!(words, VERSION.patch, 7)
    # A system image has it in Main already.
    isdefined(Main, :BufferBridge) || Core.eval(Main, :(import BufferBridge))
    return nothing
end
