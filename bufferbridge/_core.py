"""The types and functions of the C layer, as Python names: see ``_core.pyi`` for what they are.

They are plain CPython types, made in ``csrc/``, which this module asks to put them here. No call
goes through cffi afterwards.
"""

from ._native import lib

CLASS_VALUE, CLASS_FUNCTION, CLASS_MODULE, CLASS_ARRAY = range(4)  # enum bb_class

if lib.bb_install(id(globals())) != 0:
    raise ImportError("bufferbridge's C layer could not be set up")
_check_interpreter()  # noqa: F821  (one of the names that were put here)
