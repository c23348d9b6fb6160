# A Julia module of one's own, for own_module.py: bodies that attract each other. It is plain Julia,
# and its signatures are strict, as Julia's often are.
module Gravity

export System, energy, step!, Collision

"Two bodies came closer than they may."
struct Collision <: Exception
    bodies::Tuple{Int,Int}
    time::Float64
end
Base.showerror(io::IO, e::Collision) =
    print(io, "bodies ", join(e.bodies, " and "), " collided at t = ", round(e.time, digits = 3))

"Bodies in the plane: a column of `positions` and `velocities` is one body's."
mutable struct System
    masses::Vector{Float64}
    positions::Matrix{Float64}
    velocities::Matrix{Float64}
    time::Float64
    name::String
end

function System(masses::Vector{Float64}, positions::Matrix{Float64}, velocities::Matrix{Float64};
                name)
    size(positions) == size(velocities) == (2, length(masses)) ||
        throw(DimensionMismatch("positions and velocities must be 2 x $(length(masses)) matrices"))
    all(>(0), masses) || throw(ArgumentError("masses must be positive"))
    return System(masses, positions, velocities, 0.0, name)
end

Base.show(io::IO, s::System) =
    print(io, s.name, ": ", length(s.masses), " bodies at t = ", round(s.time, digits = 3))

"The distance between bodies `i` and `j`, and its two parts."
function separation(s::System, i, j)
    dx = s.positions[1, j] - s.positions[1, i]
    dy = s.positions[2, j] - s.positions[2, i]
    return hypot(dx, dy), dx, dy
end

"The energy of the system, kinetic and potential."
function energy(s::System; G = 1.0)
    n = length(s.masses)
    kinetic = sum(s.masses[i] * (s.velocities[1, i]^2 + s.velocities[2, i]^2) / 2 for i in 1:n)
    potential = 0.0
    for i in 1:n, j in i+1:n
        potential -= G * s.masses[i] * s.masses[j] / first(separation(s, i, j))
    end
    return (kinetic = kinetic, potential = potential, total = kinetic + potential)
end

"Gives every body the push of `dt`."
function kick!(s::System, dt, G, nearest)
    n = length(s.masses)
    for i in 1:n, j in i+1:n
        r, dx, dy = separation(s, i, j)
        r < nearest && throw(Collision((i, j), s.time))
        push = G * dt / r^3
        s.velocities[1, i] += push * s.masses[j] * dx
        s.velocities[2, i] += push * s.masses[j] * dy
        s.velocities[1, j] -= push * s.masses[i] * dx
        s.velocities[2, j] -= push * s.masses[i] * dy
    end
end

"""
    step!(s, dt; steps = 1, G = 1, nearest = 0)

Moves the system on by `steps` times `dt`, in place (leapfrog). Throws [`Collision`](@ref) where two
bodies come closer than `nearest`.
"""
function step!(s::System, dt::Real; steps::Integer = 1, G = 1.0, nearest = 0.0)
    for _ in 1:steps
        kick!(s, dt / 2, G, nearest)
        s.positions .+= dt .* s.velocities
        kick!(s, dt / 2, G, nearest)
        s.time += dt
    end
    return s
end

end
