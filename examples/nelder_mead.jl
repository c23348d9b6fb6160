# An optimizer in plain Julia, for nelder_mead.py: it knows nothing of Python. Its objective may be any
# function of a Vector.
module NelderMead

export minimize

"What `minimize` found, and what it took."
struct Found
    x::Vector{Float64}
    value::Float64
    iterations::Int
    calls::Int
    converged::Bool
end

"A simplex around `x`: each of its points is as far away along one axis as scipy has it."
function simplex(x)
    points = [copy(x) for _ in 0:length(x)]
    for i in eachindex(x)
        points[i+1][i] = x[i] == 0 ? 0.00025 : 1.05 * x[i]
    end
    return points
end

"""
    minimize(f, x0; xtol = 1e-8, ftol = 1e-8, limit = 200 * length(x0), watch = nothing)

The point next to `x0` where `f` is smallest, by the method of Nelder and Mead, without derivatives. It has converged when
the simplex is smaller than `xtol` and its values differ by less than `ftol`. `watch(iteration, x, value)` is called with
the best point of each iteration, and may throw to end the search.
"""
function minimize(f, x0::Vector{Float64}; xtol = 1e-8, ftol = 1e-8, limit = 200 * length(x0), watch = nothing)
    n = length(x0)
    points = simplex(x0)
    calls = 0
    value(x) = (calls += 1; f(x)::Real)
    values = Float64[value(x) for x in points]
    trial = similar(x0)
    at!(center, t) = (trial .= center .+ t .* (points[end] .- center); trial) # on the line through the worst point
    for iteration in 1:limit
        order = sortperm(values)
        points, values = points[order], values[order]
        watch === nothing || watch(iteration, points[1], values[1])
        size_ = maximum(maximum(abs, p .- points[1]) for p in points)
        size_ <= xtol && values[end] - values[1] <= ftol &&
            return Found(points[1], values[1], iteration, calls, true)
        center = sum(points[1:n]) ./ n
        reflected = value(at!(center, -1.0))
        if reflected < values[1]
            kept = copy(trial)
            expanded = value(at!(center, -2.0))
            points[end], values[end] = expanded < reflected ? (copy(trial), expanded) : (kept, reflected)
        elseif reflected < values[n]
            points[end], values[end] = copy(trial), reflected
        else
            outside = reflected < values[end]
            contracted = value(at!(center, outside ? -0.5 : 0.5))
            if contracted < (outside ? reflected : values[end])
                points[end], values[end] = copy(trial), contracted
            else
                for i in 2:n+1
                    points[i] .= points[1] .+ 0.5 .* (points[i] .- points[1])
                    values[i] = value(points[i])
                end
            end
        end
    end
    best = argmin(values)
    return Found(points[best], values[best], limit, calls, false)
end

end
