"""A landscape and a share price, in NumPy's memory and in Julia's, without a copy.

Elevations of the Jacksboro Fault and the prices of a share, both real and both shipped with
matplotlib, go to the Julia functions of terrain.jl. Some of these write into arrays that NumPy
allocated, others return arrays of Julia's that NumPy looks at. Printed are what crossed, with its
address on either side (the script fails if one differs), and the times; then a picture is drawn.

    python examples/terrain.py [--output build/terrain.png]

It needs numpy and matplotlib: pip install "bufferbridge[demo]".
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import cbook, dates, patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import bufferbridge as bb

Array = NDArray[Any]

METRES_PER_DEGREE = 111_200
SUN = {"azimuth": 315, "altitude": 45, "exaggeration": 2}
RADIUS = 7  # of the median filter, in cells
MEAN_WINDOW = 100  # days
RISK_WINDOW = 21  # days, a month of trading

# ---------------------------------------------------------------- data


@dataclass
class Landscape:
    """A map: heights in metres, row 0 in the north; its edges in degrees; its cells in metres."""

    elevation: Array
    west: float
    east: float
    south: float
    north: float
    dx: float
    dy: float


def load_landscape() -> Landscape:
    with cbook.get_sample_data("jacksboro_fault_dem.npz") as dem:
        # The file's ymin is a slip: the height of the map was added to ymax, not taken off. With
        # this correction Cross Mountain and Norris Dam are where they are.
        north = float(dem["ymax"])
        south = north - len(dem["elevation"]) * float(dem["dy"])
        dx = METRES_PER_DEGREE * float(dem["dx"]) * np.cos(np.radians((north + south) / 2))
        dy = METRES_PER_DEGREE * float(dem["dy"])
        west, east = float(dem["xmin"]), float(dem["xmax"])
        return Landscape(dem["elevation"], west, east, south, north, float(dx), dy)


def load_prices() -> tuple[Array, Array]:
    """Dates, and closing prices: a field of records of 56 bytes, so that far from one another."""
    with cbook.get_sample_data("goog.npz") as data:
        records = data["price_data"]
    return records["date"], records["adj_close"]


# ---------------------------------------------------------------- the same in NumPy


def numpy_relief(z: Array, dx: float, dy: float) -> tuple[Array, Array, Array]:
    """Slope, aspect and hillshade."""
    p = np.pad(z.astype(np.float64), 1, mode="edge")
    across = p[:-2] + 2 * p[1:-1] + p[2:]
    along = p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
    gx = (across[:, 2:] - across[:, :-2]) / (8 * dx)
    gy = (along[:-2] - along[2:]) / (8 * dy)
    slope = np.hypot(gx, gy)
    aspect = np.arctan2(-gx, -gy)
    g = SUN["exaggeration"] * slope
    azimuth, altitude = np.radians(SUN["azimuth"]), np.radians(SUN["altitude"])
    light = np.sin(altitude) + np.cos(altitude) * g * np.cos(azimuth - aspect)
    shade = np.maximum(light / np.hypot(1, g), 0)
    return np.degrees(np.arctan(slope)), np.degrees(aspect) % 360, shade


def numpy_median(z: Array) -> Array:
    windows = sliding_window_view(np.pad(z, RADIUS, mode="edge"), (2 * RADIUS + 1,) * 2)
    return np.median(windows, axis=(2, 3))


def numpy_risk(prices: Array) -> tuple[Array, Array, Array]:
    """Rolling mean, volatility and drawdown."""
    mean = np.full(len(prices), np.nan)
    mean[MEAN_WINDOW - 1 :] = sliding_window_view(prices, MEAN_WINDOW).mean(axis=1)
    volatility = np.full(len(prices), np.nan)
    returns = sliding_window_view(np.diff(np.log(prices)), RISK_WINDOW)
    volatility[RISK_WINDOW:] = np.sqrt(252) * returns.std(axis=1, ddof=1)
    return mean, volatility, prices / np.maximum.accumulate(prices) - 1


# ---------------------------------------------------------------- what crossed, and how fast


class Crossing(NamedTuple):
    """One array, as seen from both sides."""

    name: str
    direction: str
    array: Array
    julia_type: str
    julia_address: int

    @property
    def address(self) -> int:
        return int(self.array.__array_interface__["data"][0])


class Timing(NamedTuple):
    """Seconds: the first call, which compiles; the best of later ones; the best of NumPy's."""

    name: str
    first: float
    julia: float
    numpy: float | None


def seconds(f: Callable[[], object]) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def measure(
    name: str, julia: Callable[[], object], numpy: Callable[[], object] | None, repeat: int = 5
) -> Timing:
    first = seconds(julia)
    return Timing(
        name,
        first,
        min(seconds(julia) for _ in range(repeat)),
        min(seconds(numpy) for _ in range(repeat)) if numpy else None,
    )


def print_crossings(crossings: list[Crossing]) -> None:
    row = "{:<11} {:<16} {:<11} {:<8} {:<37} {:>14} {:>14}  {}"
    titles = ("array", "direction", "shape", "dtype", "type in Julia", "NumPy's", "Julia's", "same")
    print(row.format(*titles))
    print(row.format(*("-" * n for n in (11, 16, 11, 8, 37, 14, 14, 4))))
    for c in crossings:
        shape = " x ".join(map(str, c.array.shape))
        same = "yes" if c.address == c.julia_address else "NO"
        left = c.name, c.direction, shape, str(c.array.dtype), c.julia_type
        print(row.format(*left, f"{c.address:#x}", f"{c.julia_address:#x}", same))


def print_timings(timings: list[Timing]) -> None:
    row = "{:<28} {:>12} {:>12} {:>12} {:>13}"
    print(row.format("milliseconds", "first call", "later calls", "NumPy", "NumPy / Julia"))
    print(row.format(*("-" * n for n in (28, 12, 12, 12, 13))))
    for t in timings:
        numpy, ratio = "-", "-"  # where there is no fair one
        if t.numpy is not None:
            numpy, ratio = f"{1e3 * t.numpy:.2f}", f"{t.numpy / t.julia:.1f}"
        print(row.format(t.name, f"{1e3 * t.first:.1f}", f"{1e3 * t.julia:.2f}", numpy, ratio))


# ---------------------------------------------------------------- the computation


@dataclass
class Results:
    slope: Array
    aspect: Array
    shade: Array
    mean: Array
    median: Array
    area: Array
    downstream: Array
    volatility: Array
    drawdown: Array


def compute(
    terrain: bb.JuliaModule, land: Landscape, prices: Array
) -> tuple[Results, list[Crossing], list[Timing]]:
    z, dx, dy = land.elevation, land.dx, land.dy

    # Arrays of NumPy's, for Julia to fill. (slope in column-major order, to have both)
    slope = np.full(z.shape, np.nan, np.float32, order="F")
    aspect = np.full(z.shape, np.nan, np.float32)
    shade = np.full(z.shape, np.nan)
    mean = np.full(len(prices), np.nan)

    def relief() -> None:
        terrain.horn_b(slope, aspect, z, dx, dy)
        terrain.hillshade_b(shade, slope, aspect, **SUN)

    def rolling() -> Any:
        terrain.rollingmean_b(mean, prices, window=MEAN_WINDOW)
        return terrain.risk(prices, window=RISK_WINDOW)

    def median() -> Any:
        return terrain.medianfilter(z, radius=RADIUS)

    timings = [
        measure("slope, aspect and hillshade", relief, lambda: numpy_relief(z, dx, dy)),
        measure("median of 15 x 15 cells", median, lambda: numpy_median(z), repeat=2),
        measure("drainage", lambda: terrain.drainage(z, dx, dy), None),
        measure("rolling mean and risk", rolling, lambda: numpy_risk(prices)),
    ]

    # Arrays of Julia's, for NumPy to look at.
    of_julia = {
        "median": median(),
        **terrain.drainage(z, dx, dy)._asdict(),
        **rolling()._asdict(),
    }
    views = {name: np.asarray(x) for name, x in of_julia.items()}

    of_python = {
        ("elevation", "to Julia"): z,
        ("slope", "to Julia, filled"): slope,
        ("aspect", "to Julia, filled"): aspect,
        ("hillshade", "to Julia, filled"): shade,
        ("prices", "to Julia"): prices,
        ("mean", "to Julia, filled"): mean,
    }
    crossings = [
        Crossing(name, how, x, *terrain.describe(x)) for (name, how), x in of_python.items()
    ] + [
        Crossing(name, "from Julia", views[name], *terrain.describe(x))
        for name, x in of_julia.items()
    ]
    return Results(slope, aspect, shade, mean=mean, **views), crossings, timings


def check(results: Results, crossings: list[Crossing], land: Landscape, prices: Array) -> None:
    """Raise SystemExit unless everything was shared, and is what NumPy computes."""
    copied = [c.name for c in crossings if c.address != c.julia_address]
    if copied:
        raise SystemExit(f"these have different addresses in Python and Julia: {', '.join(copied)}")
    relief = numpy_relief(land.elevation, land.dx, land.dy)
    mean, volatility, drawdown = numpy_risk(prices)
    turn = (results.aspect - relief[1] + 180) % 360 - 180  # 359.9 and 0.1 degrees are neighbours
    pairs = {
        "slope": (results.slope, relief[0]),
        "aspect": (turn[relief[0] > 0], 0),  # a plane faces nowhere
        "hillshade": (results.shade, relief[2]),
        "median": (results.median, numpy_median(land.elevation)),
        "mean": (results.mean, mean),
        "volatility": (results.volatility, volatility),
        "drawdown": (results.drawdown, drawdown),
    }
    for name, (julia, numpy) in pairs.items():
        if not np.allclose(julia, numpy, rtol=1e-4, atol=1e-3, equal_nan=True):
            raise SystemExit(f"NumPy computes another {name} than Julia")
    total = land.elevation.size * land.dx * land.dy
    if not land.dx * land.dy <= results.area.min() <= results.area.max() <= total:
        raise SystemExit("the drainage areas can't be right")


# ---------------------------------------------------------------- the picture

INK, FAINT, WATER = "#26323a", "#7d8a92", "#2f6f9f"
HEIGHTS = LinearSegmentedColormap.from_list(
    "heights", ["#7f9f80", "#b3bf92", "#e3d7a8", "#cfa878", "#a67c5b", "#d9cfc8", "#fbfaf8"]
)
PLACES = {  # degrees north and east; where the name goes, in points
    "Jacksboro": (36.3300, -84.1839, (7, -3)),
    "LaFollette": (36.3828, -84.1197, (7, -3)),
    "Norris Dam": (36.2243, -84.0914, (-7, 6)),
    "Cross Mountain\n1076 m": (36.1988, -84.2310, (8, -6)),
}
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


def draw(results: Results, land: Landscape, days: Array, prices: Array, output: Path) -> None:
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(14, 13.6), facecolor="white")
        maps = figure.add_gridspec(
            2, 2, left=0.06, right=0.928, top=0.905, bottom=0.31, width_ratios=(2.145, 1),
            wspace=0.2, hspace=0.12,
        )  # fmt: skip
        charts = figure.add_gridspec(
            1, 3, left=0.06, right=0.975, top=0.245, bottom=0.06, wspace=0.17
        )
        draw_relief(figure.add_subplot(maps[:, 0]), results, land)
        draw_ridges(figure.add_subplot(maps[0, 1]), results, land)
        draw_slope(figure.add_subplot(maps[1, 1]), results, land)
        draw_prices([figure.add_subplot(c) for c in charts], results, days, prices)
        draw_titles(figure)
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output, dpi=96)
        plt.close(figure)


def draw_titles(figure: Figure) -> None:
    figure.text(0.06, 0.965, "Two languages, one memory", size=21, weight="bold")
    figure.text(
        0.06, 0.944, "Computed by Julia in arrays that it shares with NumPy; no copy was made "
        "between the two.", size=10.5, color=FAINT,
    )  # fmt: skip
    figure.text(
        0.06, 0.014, "Data: jacksboro_fault_dem.npz (3 arc seconds) and goog.npz, "
        "from matplotlib\u2019s sample data.", size=8, color=FAINT,
    )  # fmt: skip


def show_map(ax: Axes, image: Array, land: Landscape, **kwargs: Any) -> Any:
    edges = (land.west, land.east, land.south, land.north)
    aspect = land.dy / land.dx
    shown = ax.imshow(image, extent=edges, aspect=aspect, interpolation="bicubic", **kwargs)
    ax.xaxis.set_major_locator(plt.MultipleLocator(0.1))
    ax.yaxis.set_major_locator(plt.MultipleLocator(0.1))
    ax.xaxis.set_major_formatter(lambda x, _: f"{-x:.1f}\u00b0 W")
    ax.yaxis.set_major_formatter(lambda y, _: f"{y:.1f}\u00b0 N")
    return shown


def color_bar(ax: Axes, shown: Any, label: str, extend: str, width: float = 0.036) -> None:
    side = ax.inset_axes((1 + width, 0, width, 1))
    bar = ax.figure.colorbar(shown, cax=side, label=label, extend=extend)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2)


def relit(colors: Array, shade: Array, strength: float = 1) -> Array:
    """RGB colors, lit (Pegtop's soft light)."""
    light = (0.5 + strength * (shade - 0.5))[..., np.newaxis]
    return np.clip(2 * light * colors + (1 - 2 * light) * colors**2, 0, 1)


def draw_relief(ax: Axes, results: Results, land: Landscape) -> None:
    low, high = np.percentile(land.elevation, (0.5, 99.8))
    scale = plt.Normalize(low, high)
    colors = HEIGHTS(scale(land.elevation))[..., :3]
    show_map(ax, relit(colors, results.shade, 1.25), land)
    heights = plt.cm.ScalarMappable(scale, HEIGHTS)
    color_bar(ax, heights, "height above sea level (m)", "both", 0.017)
    draw_rivers(ax, results, land)
    halo = [patheffects.withStroke(linewidth=2.5, foreground="white", alpha=0.85)]
    for name, (latitude, longitude, offset) in PLACES.items():
        peak = "Mountain" in name
        marker, size = ("^", 8) if peak else ("o", 5)
        ax.plot(longitude, latitude, marker, color=INK, markersize=size, markeredgecolor="white")
        ax.annotate(
            name, (longitude, latitude), offset, textcoords="offset points", va="center",
            ha="left" if offset[0] > 0 else "right", linespacing=1.1, path_effects=halo,
        )  # fmt: skip
    ax.set_title("The Jacksboro Fault, Tennessee: relief and rivers")


def draw_rivers(ax: Axes, results: Results, land: Landscape) -> None:
    """A line from each cell with a river to the cell downstream, wider the more land it drains."""
    km2 = results.area / 1e6
    rows, columns = np.nonzero((km2 > 1.5) & (results.downstream > 0))
    order = np.argsort(km2[rows, columns])
    rows, columns = rows[order], columns[order]
    below = np.unravel_index(results.downstream[rows, columns] - 1, km2.shape, order="F")
    height, width = km2.shape
    ends = [
        (
            land.west + (j + 0.5) * (land.east - land.west) / width,
            land.north - (i + 0.5) * (land.north - land.south) / height,
        )
        for i, j in ((rows, columns), below)
    ]
    segments = np.moveaxis(np.array(ends), (0, 1, 2), (1, 2, 0))
    ax.add_collection(
        LineCollection(
            segments, linewidths=0.35 * km2[rows, columns] ** 0.38, color=WATER, capstyle="round"
        ),
        autolim=False,
    )


def draw_ridges(ax: Axes, results: Results, land: Landscape) -> None:
    above = land.elevation.astype(float) - results.median
    shown = show_map(ax, above, land, cmap="BrBG_r", vmin=-120, vmax=120)
    ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    color_bar(ax, shown, "height above the median around (m)", "both")
    ax.set_title("Ridges and valleys")


def draw_slope(ax: Axes, results: Results, land: Landscape) -> None:
    shown = show_map(ax, results.slope, land, cmap="magma_r", vmin=0, vmax=30)
    ax.tick_params(left=False, labelleft=False)
    color_bar(ax, shown, "slope (degrees)", "max")
    ax.set_title("Slope")


def draw_prices(axes: list[Axes], results: Results, days: Array, prices: Array) -> None:
    price, volatility, drawdown = axes
    price.plot(days, prices, color=FAINT, lw=0.9, label="daily")
    price.plot(days, results.mean, color="#b5552b", lw=1.8, label=f"mean of {MEAN_WINDOW} days")
    price.legend(frameon=False, loc="upper left", handlelength=1.5)
    price.set_title("GOOG: closing price (US$)")

    volatility.plot(days, 100 * results.volatility, color="#6a4c93", lw=1.2)
    volatility.set_ylim(bottom=0)
    volatility.set_title(f"Volatility over {RISK_WINDOW} days (% per year)")

    drawdown.fill_between(days, 100 * results.drawdown, 0, color=WATER, alpha=0.25, lw=0)
    drawdown.plot(days, 100 * results.drawdown, color=WATER, lw=1)
    drawdown.set_ylim(top=0)
    drawdown.set_title("Loss since the highest price (%)")

    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#e4e8ea", lw=0.7)
        ax.set_axisbelow(True)
        ax.set_xlim(days[0], days[-1])
        ax.xaxis.set_major_locator(dates.YearLocator())
        ax.xaxis.set_major_formatter(dates.DateFormatter("%Y"))


# ---------------------------------------------------------------- main


def main() -> None:
    parser = argparse.ArgumentParser(description="Terrain and prices, without a copy.")
    parser.add_argument("--output", type=Path, default=Path("build/terrain.png"))
    output: Path = parser.parse_args().output

    land = load_landscape()
    days, prices = load_prices()

    start = seconds(bb.init)
    loaded = seconds(lambda: bb.include(Path(__file__).with_name("terrain.jl")))
    terrain = bb.Main.Terrain
    version = ".".join(map(str, bb.julia_version or ()))
    print(f"Julia {version} started in {start:.2f} s, terrain.jl loaded in {loaded:.2f} s.\n")

    results, crossings, timings = compute(terrain, land, prices)
    print_crossings(crossings)
    print()
    print_timings(timings)
    print("\nbb.stats() with all of this alive:\n ", bb.stats())
    check(results, crossings, land, prices)
    print("Every array has one address on both sides, and NumPy computes the same.")

    draw(results, land, days, prices, output)
    print(f"\nDrew {output} ({output.stat().st_size / 1e6:.1f} MB).")

    del results, crossings
    gc.collect()
    bb.Base.GC.gc()
    print("bb.stats() when all of it is gone:\n ", bb.stats())


if __name__ == "__main__":
    main()
