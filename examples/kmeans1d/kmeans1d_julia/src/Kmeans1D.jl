"""
Optimal k-means clustering in one dimension, by dynamic programming.

In one dimension the clusters of the best solution are intervals, so the best `m` clusters of the first `j` values are the best
`m - 1` of the first `i`, and one of the rest, for some `i`. That `i` does not decrease when `j` grows, so that the
values of it for all `j` are found by divide and conquer: O(k n log n) in all.
"""
module Kmeans1D

using BufferBridge

"""
The clustering of `x` into `k` clusters with the least sum of squared distances to their centroids: the number of
each item's cluster, from zero, and the centroids in ascending order. Where `x` has fewer than `k` different
values there are as many clusters as values.

Raises ValueError if `x` is empty or not all of it finite, or if `k` is less than one or more than the length of `x`.
"""
@pyexport function cluster(x::AbstractVector{<:Real}, k::Int)::NamedTuple{(:clusters, :centroids),Tuple{Vector{Int},Vector{Float64}}}
    isempty(x) && throw(ArgumentError("x is empty: there is nothing to cluster"))
    1 <= k <= length(x) || throw(ArgumentError("k must be from 1 to the number of items ($(length(x))), not $k"))
    values = copyto!(Vector{Float64}(undef, length(x)), x)
    all(isfinite, values) || throw(ArgumentError("x has items that are not finite numbers (NaN or infinity): drop them first"))
    points, weights = distinct(sort(values))
    last_of = intervals(points, weights, min(k, length(points)))
    centroids = means(points, weights, last_of)
    return (clusters = number(values, points[last_of]), centroids = centroids)
end

"The different values of a sorted vector, and how often each is there."
function distinct(sorted::Vector{Float64})
    points, weights = Float64[], Float64[]
    for v in sorted
        if isempty(points) || v != points[end]
            push!(points, v)
            push!(weights, 1.0)
        else
            weights[end] += 1.0
        end
    end
    return points, weights
end

"""
The index of the last point of each of the best `k` intervals.

To minimize the sum of squared distances is to maximize the sum, over the clusters, of (sum of the values)^2 / (number of the
values); the two add up to what does not depend on the clusters. `sums` and `counts` are cumulative, from zero.
"""
function intervals(points::Vector{Float64}, weights::Vector{Float64}, k::Int)
    n = length(points)
    sums, counts = cumulated(points, weights)
    best = [j == 0 ? -Inf : sums[j+1]^2 / counts[j+1] for j in 0:n] # of one cluster
    next = copy(best)
    choices = Vector{Int32}[]
    for m in 2:k
        choice = zeros(Int32, n)
        first_ = m == k ? n : m # of the last cluster only what ends with the last point is wanted
        conquer!(next, choice, best, sums, counts, first_, n - (k - m), m - 1, n - 1)
        push!(choices, choice)
        best, next = next, best
    end
    last_of = fill(n, k)
    for m in k:-1:2
        last_of[m-1] = choices[m-1][last_of[m]]
    end
    return last_of
end

# Shifted and scaled, so that little is lost in differences and squares don't overflow: the intervals stay the same.
function cumulated(points, weights)
    scale = max(abs(points[1]), abs(points[end]))
    scale = scale == 0 ? 1.0 : scale
    total = sum(weights)
    middle = sum(p / scale * (w / total) for (p, w) in zip(points, weights))
    sums, counts = zeros(length(points) + 1), zeros(length(points) + 1)
    for i in eachindex(points)
        sums[i+1] = sums[i] + (points[i] / scale - middle) * weights[i]
        counts[i+1] = counts[i] + weights[i]
    end
    return sums, counts
end

# For j in from:to: the best i in low:high (and before j) for which all but the last cluster end.
function conquer!(next, choice, best, sums, counts, from, to, low, high)
    while from <= to
        j = (from + to) >>> 1
        s, c = sums[j+1], counts[j+1]
        value, at = -Inf, low
        @inbounds for i in low:min(high, j - 1)
            d = s - sums[i+1]
            v = best[i+1] + d * d / (c - counts[i+1])
            if v > value
                value, at = v, i
            end
        end
        next[j+1] = value
        choice[j] = at
        conquer!(next, choice, best, sums, counts, from, j - 1, low, at)
        from, low = j + 1, at
    end
    return nothing
end

function means(points, weights, last_of)
    centroids = similar(points, length(last_of))
    start = 1
    for (m, stop) in enumerate(last_of)
        count = sum(@view weights[start:stop])
        centroids[m] = sum(points[i] * (weights[i] / count) for i in start:stop)
        start = stop + 1
    end
    return centroids
end

# The first cluster whose greatest value is not less than the item (`<`, since for `isless` -0.0 is less than 0.0).
number(values, greatest) = [searchsortedfirst(greatest, v; lt = <) - 1 for v in values]

precompile(cluster, (Vector{Float64}, Int))

end
