"""scipy's solvers drive functions written in Julia, and no array is copied on the way.

What scipy passes is a NumPy array, which Julia sees as a Vector of the same memory; what Julia
gives back is a Vector, of which scipy's np.asarray makes a view.

    python examples/scipy_drives.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import bufferbridge as bb

try:
    from scipy.integrate import solve_ivp
    from scipy.optimize import least_squares, minimize, root
except ImportError:
    sys.exit("this example needs scipy: pip install scipy")


class Watched:
    """A Julia function, with a check of each call: both arrays are where they were."""

    def __init__(self, models: Any, function: Callable[..., Any], position: int = 0) -> None:
        self.models, self.function, self.position = models, function, position
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        x = args[self.position]
        result = self.function(*args)
        self.calls += 1
        assert self.models.addresses[-1] == x.ctypes.data, "scipy's array was copied"
        if isinstance(result, bb.JuliaArray):
            view = np.asarray(result)
            assert view.base is not None
            assert view.ctypes.data == bb.Base.UInt(bb.Base.pointer(result)), "Julia's was copied"
        return result


def main() -> None:
    models = bb.include(Path(__file__).with_name("scipy_drives.jl"))

    lorenz = Watched(models, models.lorenz, position=1)
    path = solve_ivp(lorenz, (0.0, 5.0), [1.0, 1.0, 1.0], rtol=1e-8)
    assert path.success
    print(f"solve_ivp:     {path.t.size} steps, {lorenz.calls} calls, no copies")

    energy, gradient = Watched(models, models.energy), Watched(models, models.gradient)
    least = minimize(energy, np.array([-1.2, 1.0, 0.7]), jac=gradient, method="BFGS")
    assert np.allclose(least.x, 1.0, atol=1e-4)
    print(f"minimize:      {energy.calls} values, {gradient.calls} gradients, no copies")

    t = np.linspace(0.0, 2.0, 50)
    data = 3.0 * np.exp(-1.3 * t)
    residuals, jacobian = Watched(models, models.residuals), Watched(models, models.jacobian)
    fit = least_squares(residuals, np.array([1.0, 0.0]), jac=jacobian, args=(t, data))
    assert np.allclose(fit.x, [3.0, -1.3])
    print(f"least_squares: {residuals.calls} residuals, {jacobian.calls} Jacobians, no copies")

    system = Watched(models, models.system)
    crossing = root(system, np.array([1.0, 1.0]))
    assert crossing.success
    assert np.allclose(models.system(crossing.x), 0.0, atol=1e-8)
    print(f"root:          {system.calls} calls, no copies")

    # Without the checks a Julia function is passed as it is.
    plain = solve_ivp(models.lorenz, (0.0, 5.0), [1.0, 1.0, 1.0], rtol=1e-8)
    assert np.array_equal(plain.y, path.y)
    print("Julia's functions passed as they are: the same path")

    # What goes wrong in Julia comes out of scipy as it is.
    try:
        solve_ivp(models.lorenz, (0.0, 1.0), [1.0, 1.0])
    except IndexError as error:
        print(f"an error in the function: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main()
