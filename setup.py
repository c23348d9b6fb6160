"""What pyproject.toml can't say: the cffi module, and which Pythons it is for."""

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent / "csrc"))
from build_native import STABLE_ABI

setup(
    cffi_modules=["csrc/build_native.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp312"}} if STABLE_ABI else {},
)
