"""A Julia module of one's own, used from Python: own_module.jl simulates bodies that attract.

Shown are a module's names as attributes, keyword arguments, a mutable struct and its fields, a
function ending in ! (written _b), results as named tuples, and what goes wrong as exceptions that
are natural in Python. The positions are NumPy's memory throughout: Julia moves the bodies, and the
NumPy array shows where they are.

    python examples/own_module.py
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

import bufferbridge as bb

# Astronomical units, years, masses of the sun.
G = 4 * math.pi**2
EARTH = 3.003e-6
DAY = 1 / 365.25


def sun_and_earth(gravity: bb.JuliaModule) -> None:
    # Matrix{Float64} is column-major: so is this array, and Julia takes it as it is.
    positions = np.array([[0.0, 1.0], [0.0, 0.0]], order="F")
    velocities = np.array([[0.0, 0.0], [0.0, 2 * math.pi]], order="F")
    masses = np.array([1.0, EARTH])
    system = gravity.System(masses, positions, velocities, name="Sun and Earth")
    print(system)

    before = gravity.energy(system, G=G)
    print(f"  energy: kinetic {before.kinetic:.2e}, potential {before.potential:.2e}")
    gravity.step_b(system, DAY, steps=365, G=G)  # step! in Julia
    x, y = positions[:, 1]
    print(f"  after {system.time:.3f} years NumPy's array has the Earth at ({x:.4f}, {y:.4f})")
    assert math.isclose(x, 1, abs_tol=1e-3) and math.isclose(y, 0, abs_tol=1e-2)
    after = gravity.energy(system, G=G)
    assert math.isclose(before.total, after.total, rel_tol=1e-6)

    # Fields are attributes, and arrays in them are the same memory again.
    assert np.shares_memory(np.asarray(system.positions), positions)
    positions[0, 1] = 5.2
    assert system.positions[0, 1] == 5.2
    system.name, system.time = "Sun and Jupiter", 0
    print(system)
    assert str(system) == "Sun and Jupiter: 2 bodies at t = 0.0"
    assert system.time == 0.0 and isinstance(system.time, float)


def show(what: str, action: Callable[[], object], kind: type[Exception]) -> bb.JuliaError:
    """Print the error that `action` raises, which must be of this kind of Python's."""
    try:
        action()
    except kind as error:
        assert isinstance(error, bb.JuliaError)
        print(f"  {what}: {type(error).__name__}, caught by `except {kind.__name__}`")
        print(f"    {str(error).splitlines()[0]}")
        return error
    raise AssertionError(f"{what} raised nothing")


def errors(gravity: bb.JuliaModule) -> None:
    print("What goes wrong:")
    masses = np.ones(2)
    column_major = np.zeros((2, 2), order="F")
    row_major = np.array([[0.0, 1.0], [0.0, 0.0]])
    show(
        "a shape that does not fit",
        lambda: gravity.System(np.ones(3), column_major, column_major, name="three"),
        ValueError,
    )
    show(
        "a keyword that is missing",
        lambda: gravity.System(masses, column_major, column_major),
        TypeError,
    )
    error = show(
        "a matrix that is row-major",
        lambda: gravity.System(masses, row_major, row_major, name="rows"),
        TypeError,
    )
    print("    " + next(line for line in str(error).splitlines() if "row-major" in line))
    assert "np.asfortranarray" in str(error)
    show("a name that is not there", lambda: gravity.levity, AttributeError)

    # An exception of the module's own is a JuliaError, and .exception is the Julia object itself.
    falling = gravity.System(
        masses, np.asfortranarray(row_major), np.zeros((2, 2), order="F"), name="falling"
    )
    error = show(
        "an exception of one's own",
        lambda: gravity.step_b(falling, 0.001, steps=10_000, nearest=0.1),
        bb.JuliaError,
    )
    assert error.exception.bodies == (1, 2)
    assert error.exception.time == falling.time
    assert "step!" in error.backtrace
    print(f"    its fields: bodies {error.exception.bodies}, time {error.exception.time:.3f}")


def main() -> None:
    bb.include(Path(__file__).with_name("own_module.jl"))
    gravity = bb.Main.Gravity
    print("Names:", ", ".join(name for name in dir(gravity) if not name.startswith("_")))
    assert gravity.step_b == getattr(gravity, "step!")
    sun_and_earth(gravity)
    errors(gravity)


if __name__ == "__main__":
    main()
