"""The part of the build that pyproject.toml can't say: the cffi module."""

from setuptools import setup

setup(cffi_modules=["csrc/build_native.py:ffibuilder"])
