# The Julia side of stars.py, which knows nothing of Python or NumPy.
#
# Stars are records with the fields source_id, ra, dec (degrees) and mag. An array of them has its
# fields as columns, stars.ra, where their layout is not one that Julia has (as here: packed). Of an
# Array of structs it would be BufferBridge.column(stars, :ra).
module Stars

const OBLIQUITY = 23.4393 # degrees, between the Earth's axis and that of its orbit
const RATE = 50.29 / 3600 # degrees a year by which the axis turns
const EQUINOX = 2000 # the year whose axis a catalogue's positions refer to

"What an array is on Julia's side: its type, and the address of its first field, `name`."
describe(x::AbstractArray, name::Symbol) = (type = sketch(x), address = Int(UInt(address(x, name))))
sketch(x) = string(nameof(typeof(x)), " of ", nameof(eltype(x)))
address(x::Array, name) = pointer(x)
address(x, name) = pointer(getproperty(x, name))

# ---------------------------------------------------------------- the Earth's axis

"A position turned about the direction of the equinox: between the equator's and the ecliptic's."
function tilt(longitude, latitude, angle)
    (sλ, cλ), (sβ, cβ), (s, c) = map(sincos, deg2rad.((longitude, latitude, angle)))
    λ, β = atan(sλ * cβ * c + sβ * s, cλ * cβ), asin(clamp(sβ * c - sλ * cβ * s, -1, 1))
    return (mod(rad2deg(λ), 360), rad2deg(β))
end

"Ecliptic longitude and latitude of a star."
ecliptic(star) = tilt(star.ra, star.dec, OBLIQUITY)

"""
    precess!(stars, from, to)

Positions that refer to the Earth's axis in the year `from` become those for the year `to`, in place.
The axis is taken to turn evenly, and the stars not to move, which is good to a degree or so.
"""
function precess!(stars, from, to)
    ra, dec = stars.ra, stars.dec
    for (i, star) in enumerate(stars)
        longitude, latitude = ecliptic(star)
        ra[i], dec[i] = tilt(longitude + RATE * (to - from), latitude, -OBLIQUITY)
    end
    return nothing
end

"Right ascension and declination, for the axis in the year `equinox`, of the pole in the year `year`."
pole(year, equinox) = tilt(90 + RATE * (equinox - year), 90 - OBLIQUITY, -OBLIQUITY)

# ---------------------------------------------------------------- selections

"The stars down to magnitude `faintest`, and north of the declination `south`: records as before."
select(stars; faintest = Inf, south = -90) =
    filter(star -> star.mag <= faintest && star.dec >= south, stars)

"A star when the pole is nearest to it: the year, and the distance in degrees."
struct PoleStar
    year::Int32
    source_id::Int64
    mag::Float32
    distance::Float64
end

function PoleStar(star)
    longitude, latitude = ecliptic(star) # the pole's are 90°, falling, and 90° - OBLIQUITY
    years = (mod(270 - longitude, 360) - 180) / RATE
    return PoleStar(EQUINOX + round(Int, years), star.source_id, star.mag,
                    abs(latitude - (90 - OBLIQUITY)))
end

"The stars that the pole comes `within` so many degrees of, each with its year of this turn."
polestars(stars; within) = filter(p -> p.distance <= within, [PoleStar(star) for star in stars])

end
