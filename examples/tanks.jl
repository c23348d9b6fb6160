# Rain tanks: each has what flowed in and out until then, but never less than nothing or more than its capacity. So each
# row needs the one before, which no operation on whole columns does.

"For each tank what it holds at the end, and how much overflowed: a table, as the log is."
function tanks(log; capacity)
    names = unique(log.tank)
    number = Dict(name => i for (i, name) in enumerate(names))
    level, overflow, unknown = zeros(length(names)), zeros(length(names)), zeros(Int, length(names))
    for (name, flow) in zip(log.tank, log.flow)
        i = number[name]
        if flow === missing
            unknown[i] += 1
            continue
        end
        x = level[i] + flow
        overflow[i] += max(x - capacity, 0.0)
        level[i] = clamp(x, 0.0, capacity)
    end
    return (tank = names, level = level, overflow = overflow, unknown = unknown)
end
