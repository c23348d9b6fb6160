"""The types and functions of the C layer, as Python names: see ``_core.pyi`` for what they are.

They are plain CPython types, made in ``csrc/``, which this module asks to put them here. No call
goes through cffi afterwards. PyPy has no use for C code that CPython's API is compiled into: there
(and with BUFFERBRIDGE_PORTABLE in the environment) they are the Python ones of ``_portable``.
"""

import os
import sys

CLASS_VALUE, CLASS_FUNCTION, CLASS_MODULE, CLASS_ARRAY = range(4)  # enum bb_class

if sys.implementation.name == "cpython" and not os.environ.get("BUFFERBRIDGE_PORTABLE"):
    from ._native import ffi, lib

    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        # A free-threaded Python has taken it back for _native, unless it was told never to.
        raise ImportError(
            "bufferbridge needs Python's GIL, which PYTHON_GIL=0 or -X gil=0 keeps off: start "
            "Python without that, and the GIL is enabled when bufferbridge is imported"
        )
    if lib.bb_install(id(globals())) != 0:
        raise ImportError("bufferbridge's C layer could not be set up")
    _check_interpreter()  # noqa: F821  (one of the names that were put here)
    _exporter = memoryview

    def _set_hooks(hooks):
        lib.bb_set_hooks(id(hooks))
else:
    from ._portable import install

    ffi, lib = install(globals())
