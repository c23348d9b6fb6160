"""Builds ``bufferbridge._native``, the C layer, as a cffi module in API mode.

What Python gets through cffi is little: the installation of the types (which are plain CPython
types, see bufferbridge.h), the start and the end of Julia, and the buffer request flags. Nothing on
a hot path is a cffi call, since each of those releases the GIL.
"""

import os
import platform
import sys
import sysconfig
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent

# One module for CPython 3.12 and all later versions, where that can be (abi.h). The limited API has
# buffers only from 3.11 and vectorcall only from 3.12, and free-threaded builds have another ABI.
STABLE_ABI = (
    platform.python_implementation() == "CPython"
    and sys.version_info >= (3, 12)
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and os.environ.get("BUFFERBRIDGE_ABI3", "1") != "0"
)
SOURCES = [
    "abi",
    "acquire",
    "api",
    "arrow",
    "borrow",
    "call",
    "dlpack",
    "export",
    "getbuffer",
    "held",
    "interface",
    "juliaarray",
    "juliavalue",
    "kinds",
    "masked",
    "numbers",
    "operations",
    "signals",
    "stack",
    "state",
    "text",
    "threads",
    "tls",
    "values",
]

# Defined in state.c and signals.c.
FUNCTIONS = """
    int bb_install(uintptr_t dict_id);
    void bb_set_hooks(uintptr_t dict_id);
    int bb_boot(const char *libjulia, const char *bindir, const char *image, int argc, char **argv,
                const char *package, const char *uuid, uint64_t *facts, char *error,
                size_t error_size);
    void bb_keep_faults(void);
"""

# A free-threaded Python takes the GIL back, with a RuntimeWarning, for modules that need it. cffi
# declares all of its modules as such that do not. This one does: see docs/install.md.
NEEDS_THE_GIL = """
#ifdef Py_GIL_DISABLED
static PyObject *bb_with_gil(PyObject *module)
{
    if (module != NULL && PyUnstable_Module_SetGIL(module, Py_MOD_GIL_USED) < 0)
        Py_CLEAR(module);
    return module;
}
#define _cffi_init(name, version, context) bb_with_gil(_cffi_init(name, version, context))
#endif
"""

# Buffer request types, CPython's manual; the values are the compiler's.
FLAGS = [
    "SIMPLE",
    "WRITABLE",
    "FORMAT",
    "ND",
    "STRIDES",
    "C_CONTIGUOUS",
    "F_CONTIGUOUS",
    "ANY_CONTIGUOUS",
    "INDIRECT",
]

ffibuilder = FFI()
ffibuilder.cdef("".join(f"#define PyBUF_{flag} ...\n" for flag in FLAGS) + FUNCTIONS)
ffibuilder.set_source(
    "bufferbridge._native",
    '#include "bufferbridge.h"' + FUNCTIONS + NEEDS_THE_GIL,
    sources=[f"csrc/{name}.c" for name in SOURCES],
    depends=["csrc/bufferbridge.h", "csrc/abi.h"],
    include_dirs=[str(HERE)],
    define_macros=[
        ("Py_LIMITED_API", "0x030C0000") if STABLE_ABI else ("_CFFI_NO_LIMITED_API", None)
    ],
    py_limited_api=STABLE_ABI,
    extra_compile_args=["-std=gnu11", "-O2", "-fvisibility=hidden", "-fno-plt"],
    libraries=["dl", "pthread"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
