# Functions in plain Julia that scipy calls, for scipy_drives.py.
module Models

export lorenz, energy, gradient, residuals, jacobian, system, addresses

# Where the arrays were that came in. (Only to show that nothing was copied.)
const addresses = UInt[]
seen(x) = (push!(addresses, UInt(pointer(x))); x)

"The right-hand side of Lorenz' equations."
function lorenz(t::Float64, y::Vector{Float64}, sigma = 10.0, rho = 28.0, beta = 8 / 3)
    seen(y)
    return [sigma * (y[2] - y[1]), y[1] * (rho - y[3]) - y[2], y[1] * y[2] - beta * y[3]]
end

"Rosenbrock's function, and its gradient."
energy(x::Vector{Float64}) = (seen(x); sum(100 * (x[i+1] - x[i]^2)^2 + (1 - x[i])^2 for i in 1:length(x)-1))
function gradient(x::Vector{Float64})
    seen(x)
    g = zero(x)
    for i in 1:length(x)-1
        d = x[i+1] - x[i]^2
        g[i] -= 400 * x[i] * d + 2 * (1 - x[i])
        g[i+1] += 200 * d
    end
    return g
end

"How far a * exp(b * t) is from the data, and the derivatives by a and b (a column each)."
residuals(p::Vector{Float64}, t::Vector{Float64}, data::Vector{Float64}) = (seen(p); p[1] .* exp.(p[2] .* t) .- data)
jacobian(p::Vector{Float64}, t::Vector{Float64}, data::Vector{Float64}) =
    (seen(p); hcat(exp.(p[2] .* t), p[1] .* t .* exp.(p[2] .* t)))

"A system of equations: a circle and a parabola."
system(x::Vector{Float64}) = (seen(x); [x[1]^2 + x[2]^2 - 1, x[2] - x[1]^2])

end
