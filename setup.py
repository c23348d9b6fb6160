"""What pyproject.toml can't say: CPython's cffi module and its tag, and PyPy's wheel without it."""

import sys
from pathlib import Path

from setuptools import setup

if sys.implementation.name == "cpython":
    sys.path.insert(0, str(Path(__file__).resolve().parent / "csrc"))
    from build_native import STABLE_ABI

    setup(
        cffi_modules=["csrc/build_native.py:ffibuilder"],
        options={"bdist_wheel": {"py_limited_api": "cp312"}} if STABLE_ABI else {},
    )
else:
    # PyPy does with bufferbridge/_portable, which is Python only. CPython does not, so that the
    # wheel has to say that it is PyPy's: pp39-none-any, and not py3-none-any.
    try:
        from setuptools.command.bdist_wheel import bdist_wheel
    except ImportError:  # before setuptools 70
        from wheel.bdist_wheel import bdist_wheel

    class PyPyWheel(bdist_wheel):
        def get_tag(self):
            return f"pp{sys.version_info[0]}{sys.version_info[1]}", "none", "any"

    setup(cmdclass={"bdist_wheel": PyPyWheel})
