"""The structs of csrc/bufferbridge.h that Julia reads and writes, and the one state of the bridge.

Pointers are integers here (``uintptr_t``): Python's arithmetic is what they are for, and a
reference to a Python object is no address.
"""

from __future__ import annotations

import cffi

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

MAX_DIMS = 64  # PyBUF_MAX_NDIM

# enum bb_tag
(
    NONE, BOOL, INT, UINT, FLOAT, COMPLEX, STR, JULIA, BUFFER, OBJECT, CALLABLE, BIGINT, TUPLE,
    NAMEDTUPLE, LIST, DICT, SET, RANGE, SCALAR, ITEM,
) = range(20)  # fmt: skip

# enum bb_class
VALUE, FUNCTION, MODULE, ARRAY, DICTIONARY, SET_, IO = range(7)

ffi: Any = cffi.FFI()
ffi.cdef(
    """
    typedef union { int64_t i; uint64_t u; double d; char bytes[8]; } bb_word;
    typedef struct { int64_t tag; bb_word a, b; uintptr_t owner; } bb_value;

    typedef struct {
        uintptr_t ptr;
        int64_t itemsize, ndim, kind, readonly, derived;
        char *format;
        uintptr_t owner;
        int64_t memory_slot, objects;
        uintptr_t loan;
        int64_t shape[64], strides[64];
    } bb_layout;

    typedef struct {
        int64_t nfree;
        int64_t *free_slots;
        int64_t held_bytes, depth, calls, interruptible, noticed, requested, threw, elsewhere;
        bb_layout layout;
    } bb_state;

    typedef struct { uintptr_t next; int64_t is_buffer; uintptr_t object; } bb_handle;

    typedef struct {
        uintptr_t next;
        int64_t is_buffer;
        uintptr_t ptr;
        int64_t len, itemsize, ndim, readonly, kind, flags;
        int64_t *shape, *strides, *suboffsets;
        char *format;
        uintptr_t object;
    } bb_buffer;

    typedef struct {
        uintptr_t object;
        char *name, *module, *doc;
        int64_t required, count;
    } bb_export;

    typedef int (*bb_entry)(uintptr_t f, bb_value *args, int64_t nargs, uintptr_t kwnames,
                            bb_value *result, int64_t level);
    """
)

state: Any = ffi.new("bb_state *")

NOT_STARTED, RUNNING, STOPPED, FORKED = range(4)


class Bridge:
    """What is known once Julia runs: the rest of ``bb_state``, which Julia does not see."""

    status = NOT_STARTED
    main_thread = 0
    stopping = False
    entry: Any = None
    module = 0  # BufferBridge, in Julia
    lookup: Any = None  # the address of what it has by a name
    session: Any = None
    # Places in a Vector's header, see compat.jl.
    length_offset = flags_offset = shared_mask = 0
    # The package's Python functions (_start.py).
    hooks: dict[str, Any] = {}  # noqa: RUF012


bridge = Bridge()


def address(cdata: Any) -> int:
    return int(ffi.cast("uintptr_t", cdata))


def value_at(p: int) -> Any:
    return ffi.cast("bb_value *", p)
