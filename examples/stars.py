"""A star catalogue, as records in a file: mapped by NumPy, moved and selected by Julia.

data/stars.dat has the stars that the naked eye sees (ESA's Gaia DR3, and Hipparcos for the
brightest) as packed records of 36 bytes: the numbers of every second one are not aligned. NumPy
maps it, and the Julia functions of stars.jl take the map as it is. They turn the Earth's axis by
changing two fields of each record in place, and return selections, which are records of the same
dtype, and a Vector of a Julia struct, which is a structured array in NumPy. Printed are what
crossed, and the pole stars of 26 000 years; then the sky is drawn, of today and of the year 13 800.

    python examples/stars.py [--output build/stars.png]

It needs numpy and matplotlib: pip install "bufferbridge[demo]".
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Circle
from numpy.typing import NDArray

import bufferbridge as bb

Array = NDArray[Any]

CATALOGUE = Path(__file__).parent / "data" / "stars.dat"
STAR = np.dtype(
    [
        ("source_id", "<i8"),  # Gaia's, or minus Hipparcos's
        ("ra", "<f8"),
        ("dec", "<f8"),
        ("mag", "<f4"),
        ("blue", "<f4"),
        ("red", "<f4"),
    ]
)

TODAY, THEN = 2000, 13_800  # the years of the two maps; the catalogue is for the first
SOUTH = 32  # degrees: the maps' edge
NAMES = {
    "Polaris": -11767,
    "Vega": -91262,
    "Thuban": 1667976701458958848,
    "Edasich": 1614731957531452544,
    "Errai": 2281778105594488192,
    "Alfirk": 2272185759996420992,
    "Alderamin": 2193192137376175488,
    "Fawaris": 2079784488001577600,
    "iota Cephei": 2211820991085587584,
    "mu Cephei": 2202630001603369856,
    "31 Cygni": 2082600852679281408,
    "32 Cygni": 2084154943646648320,
    "R Lyrae": 2106630885454013184,
    "X Herculis": 1398822783330261248,
    "g Herculis": 1381119031215320576,
    "10 Draconis": 1671148277108755200,
    "Deneb": -102098,
    "Capella": -24608,
}
LABELLED = ("Polaris", "Errai", "Alderamin", "Deneb", "Vega", "Thuban", "Capella")
FIGURES = {
    "Big Dipper": (
        1510374147844219904, 1563590579347125632, 1576683529448755328, 1575287046603605888,
        -54061, 856096765753549056, 792588939773693568, 1575287046603605888,
    ),
    "Cassiopeia": (
        511974502720839040, 510204838759030144, 426558460884582016, 418551920284673408,
        423018377034969216,
    ),
}  # fmt: skip

# ---------------------------------------------------------------- NumPy's own


def numpy_precess(stars: Array, years: int, obliquity: float, rate: float) -> tuple[Array, Array]:
    """What precess! in stars.jl does, but by matrices: new right ascensions and declinations."""

    def turn(angle: float, i: int, j: int) -> Array:
        matrix = np.eye(3)
        matrix[[i, j], [i, j]] = np.cos(np.radians(angle))
        matrix[j, i] = np.sin(np.radians(angle))
        matrix[i, j] = -matrix[j, i]
        return matrix

    ra, dec = np.radians(stars["ra"]), np.radians(stars["dec"])
    place = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    x, y, z = turn(obliquity, 1, 2) @ turn(rate * years, 0, 1) @ turn(-obliquity, 1, 2) @ place
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(z))


# ---------------------------------------------------------------- what is printed


def print_crossing(sky: bb.JuliaModule, what: str, array: Array, julia: Any) -> None:
    """An array as it is on both sides; SystemExit unless it is the same memory."""
    there = sky.describe(julia, bb.Base.Symbol(array.dtype.names[0]))
    address = array.__array_interface__["data"][0]
    print(f"{what:<28} {array.size:>7} x {array.itemsize} bytes   {there.type:<26} {address:#x}")
    if address != there.address:
        raise SystemExit(f"in Julia it is at {there.address:#x}: it was copied")


def year_name(year: int) -> str:
    return f"{year}" if year > 0 else f"{1 - year} BC"


def print_poles(poles: Array) -> None:
    names = {source_id: name for name, source_id in NAMES.items()}
    row = "{:<8}  {:<12} {:>9} {:>13}"
    print(row.format("year", "pole star", "magnitude", "from the pole"))
    print(row.format(*("-" * n for n in (8, 12, 9, 13))))
    for pole in poles:
        name = names.get(int(pole["source_id"]), "")
        print(
            row.format(
                year_name(pole["year"]), name, f"{pole['mag']:.1f}", f"{pole['distance']:.1f}\u00b0"
            )
        )


# ---------------------------------------------------------------- the picture

INK, FAINT, NIGHT, PATH = "#26323a", "#7d8a92", "#0e1726", "#e0b04c"
COLORS = LinearSegmentedColormap.from_list("stars", ["#9fc0ff", "#ffffff", "#ffe2b0", "#ff9d5c"])


def project(ra: Any, dec: Any) -> tuple[Any, Any]:
    """The sky as one sees it, looking up at the pole; 18 h is below it."""
    angle = np.radians(np.asarray(ra) - 90)
    away = 90 - np.asarray(dec)
    return away * np.sin(angle), away * np.cos(angle)


def draw_sky(ax: Axes, sky: bb.JuliaModule, stars: Array, year: int) -> None:
    """The stars around the pole of a year, whose positions refer to it, and the pole's path."""
    edge = ax.add_patch(Circle((0, 0), 90 - SOUTH, color=NIGHT))
    stars = stars[np.argsort(-stars["mag"])]  # the brightest on top
    size = 0.25 + 60 * 10 ** (-0.3 * (stars["mag"] + 0.5))
    index = np.where(stars["blue"] > 0, stars["blue"] - stars["red"], 0.8)  # 0.8 is white
    color = COLORS(Normalize(0, 2.4)(index))
    alpha = np.clip(1.25 - 0.11 * stars["mag"], 0.2, 1)
    x, y = project(stars["ra"], stars["dec"])
    ax.scatter(x, y, size, color, alpha=alpha, linewidths=0)

    for name, figure in FIGURES.items():
        rows = [np.flatnonzero(stars["source_id"] == source_id) for source_id in figure]
        if all(len(row) == 1 for row in rows):
            row = np.concatenate(rows)
            ax.plot(x[row], y[row], color="white", lw=0.7, alpha=0.45)
            label(ax, name, x[row].mean(), y[row].mean(), 14, alpha=0.6, style="italic")
    for name in LABELLED:
        for row in np.flatnonzero(stars["source_id"] == NAMES[name]):
            label(ax, name, x[row], y[row], 8)

    path = np.array([sky.pole(when, year) for when in range(year, year + 25_800, 100)])
    ax.plot(*project(*path.T), color=PATH, lw=1, alpha=0.8)
    centre = np.array(project(270, 66.56))
    for when in (*range(-9999, 0, 2000), *range(2000, 15_000, 2000)):
        at = np.array(project(*sky.pole(when, year)))
        inwards = 17 * (centre - at) / np.hypot(*(centre - at))
        ax.plot(*at, "o", color=PATH, markersize=2.5)
        ax.annotate(
            year_name(when), at, inwards, textcoords="offset points", ha="center", va="center",
            color=PATH, size=7,
        )  # fmt: skip
    ax.plot(0, 0, "+", color=PATH, markersize=13, markeredgewidth=1.4)

    for artist in (*ax.lines, *ax.collections):
        artist.set_clip_path(edge)
    ax.set(xlim=(SOUTH - 90, 90 - SOUTH), ylim=(SOUTH - 90, 90 - SOUTH), aspect="equal")
    ax.set_axis_off()
    ax.set_title(f"The year {year}", loc="left", size=12, weight="bold", color=INK)


def label(ax: Axes, text: str, x: float, y: float, away: int, **style: Any) -> None:
    side, align = (-away, "right") if x < 0 else (away, "left")
    ax.annotate(
        text, (x, y), (side, 0), textcoords="offset points", ha=align, va="center", color="white",
        size=8, **style,
    )  # fmt: skip


def draw(sky: bb.JuliaModule, skies: dict[int, Array], output: Path) -> None:
    with plt.rc_context({"font.family": "DejaVu Sans"}):
        figure, axes = plt.subplots(1, 2, figsize=(14, 8.1), facecolor="white")
        figure.subplots_adjust(left=0.02, right=0.98, top=0.86, bottom=0.05, wspace=0.03)
        for ax, (year, stars) in zip(axes, skies.items()):
            draw_sky(ax, sky, stars, year)
        figure.text(0.02, 0.945, "The pole among the stars", size=21, weight="bold", color=INK)
        figure.text(
            0.02, 0.918, "Records in a file, mapped by NumPy; Julia turned the Earth\u2019s axis "
            "in place. In gold the path of the pole, with the years.", size=10.5, color=FAINT,
        )  # fmt: skip
        figure.text(
            0.02, 0.02, "Data: Gaia DR3 (ESA/Gaia/DPAC, CC BY-SA 3.0 IGO) and Hipparcos (ESA), "
            "down to magnitude 6.", size=8, color=FAINT,
        )  # fmt: skip
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output, dpi=110)
        plt.close(figure)


# ---------------------------------------------------------------- main


def main() -> None:
    parser = argparse.ArgumentParser(description="A star catalogue, without a copy.")
    parser.add_argument("--output", type=Path, default=Path("build/stars.png"))
    output: Path = parser.parse_args().output

    bb.include(Path(__file__).with_name("stars.jl"))
    sky = bb.Main.Stars
    catalogue = np.memmap(CATALOGUE, STAR, mode="c")  # what is written stays in memory
    print_crossing(sky, "catalogue, to Julia", catalogue, catalogue)

    # A selection is Julia's memory, and records like the catalogue's: the dtype is the very same.
    bright = sky.select(catalogue, faintest=3.7)
    assert np.asarray(bright).dtype == STAR
    print_crossing(sky, "bright stars, from Julia", np.asarray(bright), bright)

    # A Vector{PoleStar} is a structured array, padded as the struct is. NumPy sorts Julia's memory.
    polestars = sky.polestars(bright, within=5)
    poles = np.asarray(polestars)
    poles.sort(order="year")
    assert bb.Base.issorted(polestars, by=lambda pole: pole.year)
    print_crossing(sky, "pole stars, from Julia", poles, polestars)
    print("The bright stars have the catalogue's dtype, the pole stars that of Julia's struct.\n")
    print_poles(poles)

    # Two fields of each record change, in place: NumPy's map is another sky.
    skies = {TODAY: np.asarray(sky.select(catalogue, south=SOUTH))}
    start = time.perf_counter()
    sky.precess_b(catalogue, TODAY, THEN)
    elapsed = time.perf_counter() - start
    skies[THEN] = np.asarray(sky.select(catalogue, south=SOUTH))
    print(
        f"\n{len(catalogue)} stars moved to the year {THEN}, in place, in {1e3 * elapsed:.0f} ms."
    )

    # The file has not changed: from it NumPy computes the same.
    ra, dec = numpy_precess(np.fromfile(CATALOGUE, STAR), THEN - TODAY, sky.OBLIQUITY, sky.RATE)
    turn = (catalogue["ra"] - ra + 180) % 360 - 180  # 359.9 and 0.1 degrees are neighbours
    if not (np.allclose(catalogue["dec"], dec) and np.allclose(turn, 0, atol=1e-6)):
        raise SystemExit("NumPy computes other positions than Julia")
    print("NumPy computes the same from the file, which is as it was.")

    draw(sky, skies, output)
    print(f"Drew {output} ({output.stat().st_size / 1e6:.1f} MB).")


if __name__ == "__main__":
    main()
