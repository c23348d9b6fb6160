# The Julia side of terrain.py: plain Julia, which knows nothing of Python or NumPy.
#
# Matrices are maps: row 1 is the northern edge, column 1 the western one. The inner loops run along
# the rows, because that is how NumPy lays out its memory.
module Terrain

"What an array is on Julia's side: its type, and the address of its first element."
describe(x::AbstractArray) =
    (type = replace(string(typeof(x)), r"\w+\.|\s" => ""), address = Int(UInt(pointer(x))))

# ---------------------------------------------------------------- slope, aspect, light

"""
    horn!(slope, aspect, z, dx, dy)

Slope (degrees) and aspect (degrees clockwise from north, downhill) of the heights `z`, by Horn's
method, with cells of `dx` by `dy` metres. The edges are repeated outwards.
"""
function horn!(slope::AbstractMatrix, aspect::AbstractMatrix, z::AbstractMatrix, dx, dy)
    rows, columns = size(z)
    size(slope) == size(aspect) == size(z) || throw(DimensionMismatch("the maps differ in size"))
    @inbounds for i in 1:rows
        n, s = max(i - 1, 1), min(i + 1, rows)
        for j in 1:columns
            w, e = max(j - 1, 1), min(j + 1, columns)
            east = Float64(z[n, e]) + 2 * z[i, e] + z[s, e]
            west = Float64(z[n, w]) + 2 * z[i, w] + z[s, w]
            north = Float64(z[n, w]) + 2 * z[n, j] + z[n, e]
            south = Float64(z[s, w]) + 2 * z[s, j] + z[s, e]
            gx, gy = (east - west) / 8dx, (north - south) / 8dy
            slope[i, j] = rad2deg(atan(hypot(gx, gy)))
            aspect[i, j] = mod(rad2deg(atan(-gx, -gy)), 360)
        end
    end
    return nothing
end

"""
    hillshade!(shade, slope, aspect; azimuth = 315, altitude = 45, exaggeration = 1)

The light (0 to 1) on a surface that the sun shines on from `azimuth` and `altitude` (degrees).
"""
function hillshade!(shade, slope, aspect; azimuth = 315, altitude = 45, exaggeration = 1)
    size(shade) == size(slope) == size(aspect) ||
        throw(DimensionMismatch("the maps differ in size"))
    up, level = sind(altitude), cosd(altitude)
    @inbounds for i in 1:size(shade, 1), j in 1:size(shade, 2)
        g = exaggeration * tan(deg2rad(slope[i, j]))
        facing = cos(deg2rad(azimuth - aspect[i, j]))
        shade[i, j] = max((up + level * g * facing) / sqrt(1 + g^2), 0)
    end
    return nothing
end

# ---------------------------------------------------------------- median filter

"""
    medianfilter(z; radius = 7)

The median of the square of `2radius + 1` cells around each cell, edges repeated outwards. A
histogram slides along each row (Huang's algorithm), so that a cell costs O(radius), not O(radius²).
"""
function medianfilter(z::AbstractMatrix{T}; radius = 7) where {T<:Integer}
    rows, columns = size(z)
    lowest, highest = Int.(extrema(z))
    counts = zeros(Int, highest - lowest + 1)
    half = (2radius + 1)^2 ÷ 2
    out = similar(z, T, rows, columns)
    @inbounds for i in 1:rows
        fill!(counts, 0)
        bin, below = 1, 0 # so many of the square's cells lie in bins below this one
        for j in 1-radius:columns+radius # the eastern edge of the square
            for (k, change) in ((j, 1), (j - 2radius - 1, -1))
                k < 1 - radius && continue # nothing to take away yet
                k = clamp(k, 1, columns)
                for r in i-radius:i+radius
                    b = z[clamp(r, 1, rows), k] - lowest + 1
                    counts[b] += change
                    below += b < bin ? change : 0
                end
            end
            j > radius || continue # the square is not complete yet
            while below > half
                bin -= 1
                below -= counts[bin]
            end
            while below + counts[bin] <= half
                below += counts[bin]
                bin += 1
            end
            out[i, j-radius] = lowest + bin - 1
        end
    end
    return out
end

# ---------------------------------------------------------------- drainage

"The indices of the up to eight neighbours of cell `c`."
function neighbours(c::CartesianIndex{2}, cells::CartesianIndices{2})
    one = CartesianIndex(1, 1)
    return (n for n in max(c - one, first(cells)):min(c + one, last(cells)) if n != c)
end

"""
    drainage(z, dx, dy)

`area`: the area (square metres) from which water flows through each cell.
`downstream`: the linear index of the cell it flows to, 0 out of the map.

Water first fills the hollows: starting at the map's edges, cells are taken in the order of their
height (priority-flood; whole metres allow one queue for each height). Then each cell, the last
first, hands its water to its steepest neighbour (D8), or on a level to the one it was reached from.
"""
function drainage(z::AbstractMatrix{<:Integer}, dx, dy)
    cells, index = CartesianIndices(z), LinearIndices(z)
    lowest, highest = Int.(extrema(z))
    queues = [CartesianIndex{2}[] for _ in lowest:highest]
    filled = Matrix{Int}(z)
    reached = falses(size(z))
    downstream = zeros(Int, size(z))
    order = sizehint!(CartesianIndex{2}[], length(z))

    for c in cells
        onedge = c[1] in (1, size(z, 1)) || c[2] in (1, size(z, 2))
        onedge || continue
        reached[c] = true
        push!(queues[filled[c]-lowest+1], c)
    end
    for queue in queues, c in queue # which grows meanwhile
        push!(order, c)
        for n in neighbours(c, cells)
            reached[n] && continue
            reached[n] = true
            downstream[n] = index[c]
            filled[n] = max(filled[n], filled[c])
            push!(queues[filled[n]-lowest+1], n)
        end
    end

    area = fill(Float64(dx * dy), size(z))
    for c in Iterators.reverse(order)
        downstream[c] == 0 && continue
        steepest = 0.0
        for n in neighbours(c, cells)
            distance = hypot((n[1] - c[1]) * dy, (n[2] - c[2]) * dx)
            slope = (filled[c] - filled[n]) / distance
            slope > steepest && ((steepest, downstream[c]) = (slope, index[n]))
        end
        area[downstream[c]] += area[c]
    end
    return (area = area, downstream = downstream)
end

# ---------------------------------------------------------------- prices

"`mean[i]` becomes the mean of the `window` prices up to the i-th; NaN where there are fewer."
function rollingmean!(mean::AbstractVector, prices::AbstractVector; window = 50)
    length(mean) == length(prices) || throw(DimensionMismatch("the vectors differ in length"))
    total = 0.0
    for i in 1:length(prices)
        total += prices[i]
        i > window && (total -= prices[i-window])
        mean[i] = i >= window ? total / window : NaN
    end
    return nothing
end

"""
    risk(prices; window = 21, year = 252)

`volatility`: the standard deviation of the daily log returns over `window` days, for a year.
`drawdown`: the loss since the highest price so far.
"""
function risk(prices::AbstractVector; window = 21, year = 252)
    volatility = fill(NaN, length(prices))
    drawdown = zeros(length(prices))
    returns = diff(log.(prices))
    for i in window+1:length(prices)
        mean = sum(k -> returns[k], i-window:i-1) / window
        variance = sum(k -> (returns[k] - mean)^2, i-window:i-1) / (window - 1)
        volatility[i] = sqrt(year * variance)
    end
    peak = first(prices)
    for (i, price) in enumerate(prices)
        peak = max(peak, price)
        drawdown[i] = price / peak - 1
    end
    return (volatility = volatility, drawdown = drawdown)
end

end
