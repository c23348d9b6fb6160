"""Random operations on all that holds memory, and a model of what must be alive and contain what.

    python tests/stress.py --seconds 60 --seed 1 --threads 4 --julia-threads 2

Prints the seed, which repeats a run (one thread's: exactly, but for when Julia collects), and the
operations done. The first thing that is not as the model says ends the program with exit code 1.

The model: each piece of memory (Memory) is bytes, and each reference to it (Ref) knows where its
items are in these bytes. A Ref is a Python object, or something in Julia that gives one. As long as
the model has a Ref to a memory, its owner must not be finalized, and the items that the Ref shows
must be those of the model; when there is none, collections on both sides must finalize it.

Each thread has its own World of memories. Before Julia 1.9 only the main thread calls Julia; the
others get arrays from it. What is given to another thread isn't changed any more.
"""

from __future__ import annotations

import argparse
import array
import collections
import faulthandler
import gc
import itertools
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

import bufferbridge as bb

RECORD = np.dtype([("a", "<i4"), ("b", "<f8")], align=True)
NUMBERS = [np.dtype("f8"), np.dtype("u1")]  # few: Julia compiles for each
JULIA_TYPES = {NUMBERS[0]: "Float64", NUMBERS[1]: "UInt8", RECORD: "Stress.Record"}
SIZES = [1, 2, 7, 30, 200, 3000, 20_000]  # Julia has other ways to allocate small and large arrays
GROWING = ["push", "pushfirst", "append", "resize"]
SHRINKING = ["pop", "popfirst", "deleteat", "empty", "resize"]
DERIVED = ("dtype", "own_index", "fixed", "pins", "level")  # what a Ref has of another
MOST_REFS = 60
MOST_DEPTH = 3
MOST_LEVEL = 2  # of wrappers in Julia: each combination of them is compiled

serials = itertools.count()
finalized: set[int] = set()  # Python objects
exchange: list[Ref] = []  # on the way from one thread to another


class Traced:
    """Objects that note when they are finalized."""

    serial: int | None = None

    def __del__(self) -> None:
        if self.serial is not None:
            finalized.add(self.serial)


class TracedBytes(Traced, bytes):
    pass


class TracedBytearray(Traced, bytearray):
    pass


class TracedArray(Traced, array.array):
    pass


class TracedNdarray(Traced, np.ndarray):
    pass


class Token(Traced):
    """A Python object that is no buffer."""


class Box:
    """Goes to Julia as it is, a PyObject. It is a cycle, so only the collector finds it."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.me = self


class Memory:
    """What must be alive, and what it contains; without content: a Token."""

    def __init__(
        self, owner: str, serial: int, content: np.ndarray | None, dtype: np.dtype
    ) -> None:
        self.owner = owner  # julia, or a Python type
        self.serial = serial
        self.content = content  # bytes
        self.dtype = dtype
        self.vector = False  # of Julia, and may be resized
        self.exported = False  # to Python
        self.pinned = False  # it may not be resized once it was exported
        self.derived = (
            False  # there are reshapes and such, whose shape after resizing is not modelled
        )
        self.frozen = False  # several threads look at it
        self.readonly = False
        self.holders: set[Ref] = set()
        self.successor: Memory | None = None  # the same Vector after it got other memory

    @property
    def finalized(self) -> bool:
        if self.owner == "julia":
            return bool(julia_finalized[self.serial])
        return self.serial in finalized

    @property
    def held(self) -> bool:
        return bool(self.holders) or (self.successor is not None and self.successor.held)


class Ref:
    """A reference to memory: `get()` gives the Python object."""

    def __init__(
        self,
        memory: Memory,
        place: str,
        get: Callable[[], Any],
        like: Ref | None = None,
        drop: Callable[[], Any] | None = None,
        **different: Any,
    ) -> None:
        self.memory = memory
        self.place = place  # python, cell, julia, ...
        self.get = get
        self.drop = drop
        self.dtype = memory.dtype
        # Of each item's first byte; None: the whole of a Vector, whatever its length.
        self.own_index: np.ndarray | None = None
        self.fixed = False  # an exported buffer: stays where it is if a Vector is resized
        self.pins = True  # keeps a Python exporter from being resized
        self.level = 0  # of wrappers in Julia
        if like is not None:
            different = {**{name: getattr(like, name) for name in DERIVED}, **different}
        for name, value in different.items():
            setattr(self, name, value)
        memory.holders.add(self)

    @property
    def index(self) -> np.ndarray:
        if self.own_index is not None:
            return self.own_index
        return np.arange(0, self.memory.content.size, self.dtype.itemsize)

    @property
    def fits(self) -> bool:
        """Whether the Vector is still long enough."""
        index = self.index
        return index.size == 0 or index.max() + self.dtype.itemsize <= self.memory.content.size

    @property
    def expected(self) -> np.ndarray:
        bytes_ = self.memory.content[self.index[..., None] + np.arange(self.dtype.itemsize)]
        return np.ascontiguousarray(bytes_).view(self.dtype)[..., 0]

    @property
    def contiguous(self) -> bool:
        """As Julia understands it."""
        flat = self.index.ravel(order="F")
        return flat.size > 0 and bool((np.diff(flat) == self.dtype.itemsize).all())


def as_array(x: Any) -> np.ndarray:
    """np.asarray takes bytes for a string."""
    return np.asarray(memoryview(x) if isinstance(x, bytes) else x)


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape:
        return False
    if b.dtype.names:  # padding has any content
        return all(a[name].tobytes() == b[name].tobytes() for name in b.dtype.names)
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


class Failure(Exception):
    """Something was not as the model says."""


def must(condition: object, *what: object) -> None:
    if not condition:
        raise Failure(" ".join(str(w() if callable(w) else w) for w in what))


class World:
    """One thread's memories and what it does with them."""

    def __init__(self, seed: int, calls_julia: bool) -> None:
        self.random = random.Random(seed)
        self.calls_julia = calls_julia
        self.refs: list[Ref] = []
        self.memories: list[Memory] = []
        self.depth = 0  # of callbacks
        self.dropped_inside: list[Ref] = []  # callers may still have them on their stack
        self.done: collections.Counter[str] = collections.Counter()
        self.log: collections.deque[str] = collections.deque(maxlen=12)
        anywhere = {
            self.make_python: 3, self.export: 8, self.slice_python: 4, self.put_into_cell: 2,
            self.write: 4, self.check: 12, self.resize_python: 2, self.release: 1, self.drop: 10,
            self.drop_half: 0.1, self.collect_python: 0.3, self.give: 1, self.take: 4,
        }  # fmt: skip
        in_julia = {
            self.make_julia: 8, self.pass_through: 6, self.slice_julia: 4, self.reshape: 2,
            self.flip: 2, self.reinterpret: 2, self.wrap: 1, self.keep_in_julia: 5,
            self.keep_token: 2, self.resize_julia: 5, self.hint: 1, self.call_back: 3,
            self.raise_through: 1, self.fail_in_julia: 2, self.without_gil: 1,
            self.collect_julia: 0.5, self.settle: 0.1, self.give: 2,
        }  # fmt: skip
        julialess = {self.call_refused: 1, self.wait: 10}
        operations = {**anywhere, **(in_julia if calls_julia else julialess)}
        self.operations, self.weights = list(operations), list(operations.values())

    # ------------------------------------------------------------ the machinery

    def step(self) -> None:
        (operation,) = self.random.choices(self.operations, self.weights)
        self.log.append(operation.__name__)
        operation()
        self.done[operation.__name__] += 1
        while len(self.refs) > MOST_REFS:
            self.drop()

    def choose(self, condition: Callable[[Ref], object] = lambda ref: True) -> Ref | None:
        """A reference, or None; one that has memory."""
        found = [r for r in self.refs if r.memory.content is not None and condition(r)]
        return self.random.choice(found) if found else None

    def add(self, memory: Memory, object_: Any, like: Ref | None = None, **different: Any) -> None:
        """A Python object that refers to memory."""
        self.refs.append(Ref(memory, "python", lambda: object_, like, **different))

    def new_memory(self, *args: Any) -> Memory:
        memory = Memory(*args)
        self.memories.append(memory)
        return memory

    def untrack(self, memory: Memory) -> None:
        """A Vector got other memory: nobody will be told when that is finalized."""
        memory.serial = next(serials)
        self.memories = [m for m in self.memories if m is not memory]

    def forget(self, ref: Ref) -> None:
        self.refs.remove(ref)
        if self.depth == 0:
            ref.memory.holders.discard(ref)
        else:
            self.dropped_inside.append(ref)
        drop, ref.drop = ref.drop, None
        ref.get = lambda: None
        if drop is not None:
            drop()

    def axes(self, ref: Ref) -> list[tuple[int, int, int]] | None:
        """(start, step, count) for each axis, none of them empty."""
        axes = []
        if ref.index.size == 0:
            return None
        for n in ref.index.shape:
            first, last = self.random.randrange(n), self.random.randrange(n)
            step = self.random.choice([1, 1, 2, 3]) * (1 if last >= first else -1)
            axes.append((first, step, abs(last - first) // abs(step) + 1))
        return axes

    def slices(self, axes: list[tuple[int, int, int]]) -> tuple[slice, ...]:
        ends = [a + s * n for a, s, n in axes]
        return tuple(slice(a, e if e >= 0 else None, s) for (a, s, n), e in zip(axes, ends))

    def alive(self, ref: Ref) -> None:
        must(not ref.memory.finalized, "finalized though", ref.place, "holds it:", ref.memory.owner)

    def usable(self, ref: Ref) -> bool:
        """False, and BufferError is what one gets, if the Vector is too short for this view."""
        if ref.fits:
            return True
        x = ref.get()
        try:
            memoryview(x)
        except BufferError:
            return False
        raise Failure(f"a view that doesn't fit was exported: {self.describe(ref, x)}")

    # --------------------------------------------------------------- operations

    def make_julia(self) -> None:
        dtype = self.random.choice([*NUMBERS, RECORD])
        serial, start = next(serials), self.random.randrange(251)
        how = self.random.choice(["make", "make", "alias", "spacious", "matrix", "cube"])
        n = self.random.choice(SIZES)
        shape = {"matrix": (n % 37 + 1, n % 11 + 1), "cube": (2, n % 7 + 1, 3)}.get(how, (n,))
        make = getattr(stress, "make" if how in ("matrix", "cube") else how)
        x = make(julia_types[dtype], serial, start, *shape)
        values = (start + np.arange(np.prod(shape))) % 251
        content = np.zeros(values.size, dtype)
        for name in dtype.names or [...]:
            content[name] = values
        memory = self.new_memory("julia", serial, content.view("u1"), dtype)
        memory.vector = len(shape) == 1
        memory.pinned = how != "alias" and not resizing_keeps_memory
        index = np.arange(0, memory.content.size, dtype.itemsize).reshape(shape, order="F")
        self.add(memory, x, own_index=None if memory.vector else index)

    def make_python(self) -> None:
        dtype = self.random.choice(NUMBERS)
        serial, start = next(serials), self.random.randrange(251)
        values = ((start + np.arange(self.random.choice(SIZES))) % 251).astype(dtype)
        kind = self.random.choice([TracedBytes, TracedBytearray, TracedArray, TracedNdarray])
        if kind is TracedArray:
            x = kind({"f": "d", "u": "B"}[dtype.kind], values.tobytes())
        elif kind is TracedNdarray:
            x = kind(values.shape, dtype)
            x[:] = values
        else:
            dtype = np.dtype("u1")
            x = kind(values.tobytes())
        x.serial = serial
        content = np.frombuffer(values.tobytes(), "u1").copy()
        memory = self.new_memory(kind.__name__, serial, content, dtype)
        memory.readonly = kind is TracedBytes
        if kind is TracedNdarray:
            x = np.asarray(x)  # so that slices of it are plain
        self.add(memory, x, pins=kind is TracedNdarray, fixed=kind is TracedNdarray)

    def export(self) -> None:
        ref = self.choose(lambda r: self.calls_julia or r.place in ("python", "cell"))
        if ref is None or not self.usable(ref):
            return
        x = ref.get()
        y = memoryview(x) if self.random.random() < 0.4 else as_array(x)
        must(y.shape == ref.index.shape, "shape", y.shape, "for", ref.index.shape)
        ref.memory.exported = True
        self.add(ref.memory, y, ref, own_index=ref.index, fixed=True, pins=True)

    def slice_python(self) -> None:
        ref = self.choose(lambda r: r.place == "python")
        if ref is None or not self.usable(ref):
            return
        x, axes = ref.get(), self.axes(ref)
        julia = isinstance(x, bb.JuliaArray)
        if axes is None or (julia and not self.calls_julia):
            return
        if isinstance(x, (bytes, bytearray, array.array)) or (
            isinstance(x, memoryview) and x.ndim > 1
        ):
            return  # copies; not implemented
        slices = self.slices(axes)
        self.add(
            ref.memory,
            x[slices if len(slices) > 1 else slices[0]],
            ref,
            own_index=ref.index[slices],
        )

    def slice_julia(self) -> None:
        ref = self.choose()
        if ref is None or not self.usable(ref) or (axes := self.axes(ref)) is None:
            return
        y = stress.cut(ref.get(), *axes)
        self.add(ref.memory, y, ref, own_index=ref.index[self.slices(axes)], pins=True)

    def reshape(self) -> None:
        ref = self.choose(lambda r: r.contiguous and r.level < MOST_LEVEL)
        if ref is None or not self.usable(ref):
            return
        n = ref.index.size
        a = self.random.choice([d for d in (1, 2, 3, 5, 7) if n % d == 0])
        shape = self.random.choice([(a, n // a), (n // a, a), (n,), (1, a, n // a)])
        ref.memory.derived = True
        y = bb.Base.reshape(ref.get(), *shape)
        self.add(
            ref.memory,
            y,
            ref,
            own_index=ref.index.reshape(shape, order="F"),
            pins=True,
            level=ref.level + 1,
        )

    def flip(self) -> None:
        ref = self.choose(lambda r: r.index.ndim > 1 and r.level < MOST_LEVEL)
        if ref is None:
            return
        ref.memory.derived = True
        self.add(
            ref.memory,
            stress.flip(ref.get()),
            ref,
            own_index=ref.index.T,
            pins=True,
            level=ref.level + 1,
        )

    def reinterpret(self) -> None:
        dtype = self.random.choice(NUMBERS)
        ref = self.choose(
            lambda r: r.index.ndim == 1
            and not r.dtype.names
            and r.contiguous
            and r.index.size * r.dtype.itemsize % dtype.itemsize == 0
            and r.level < MOST_LEVEL
        )
        if ref is None or not self.usable(ref):
            return
        ref.memory.derived = True
        x = ref.get()
        if isinstance(x, np.ndarray) and self.random.random() < 0.5:
            y = x.view(dtype)
        else:
            y = bb.Base.reinterpret(julia_types[dtype], x)
        end = ref.index.size * ref.dtype.itemsize
        index = ref.index[0] + np.arange(0, end, dtype.itemsize)
        self.add(ref.memory, y, ref, dtype=dtype, own_index=index, level=ref.level + 1)

    def pass_through(self) -> None:
        ref = self.choose()
        if ref is not None and self.usable(ref):
            x = bb.Base.identity(ref.get())
            must(isinstance(x, bb.JuliaArray), "identity gave", type(x))
            self.add(ref.memory, x, ref, pins=True)

    def wrap(self) -> None:
        ref = self.choose(lambda r: not isinstance(r.get(), bb.JuliaArray))
        if ref is not None:
            self.add(ref.memory, bb.wrap(ref.get()), ref, pins=True)

    def keep_in_julia(self) -> None:
        ref = self.choose()
        if ref is None or not self.usable(ref):
            return
        x, key = ref.get(), next(serials)
        place = self.random.choice(["julia", "vector", "closure", "box", "error"])
        pins, drop = True, None
        if place == "julia":
            stress.keep(key, x)
            get, drop = lambda: stress.get(key), lambda: stress.drop(key)
        elif place == "vector":
            stress.keepinvector(key, x)
            get, drop = lambda: stress.getfromvector(key), lambda: stress.drop(key)
        elif place == "closure":
            get = stress.closure(x)
        elif place == "box":
            stress.keep(key, Box(x))
            get, drop = lambda: stress.get(key).value, lambda: stress.drop(key)
            pins = ref.pins
        else:
            try:
                stress.outofbounds(x)
            except IndexError as e:
                error = e.with_traceback(None)
            get = lambda: error.exception.a  # noqa: E731
        self.refs.append(Ref(ref.memory, place, get, ref, drop, pins=pins))

    def keep_token(self) -> None:
        token, key = Token(), next(serials)
        token.serial = next(serials)
        memory = self.new_memory("Token", token.serial, None, None)
        if self.random.random() < 0.5:
            stress.keep(key, token)
            get, drop = lambda: stress.get(key), lambda: stress.drop(key)
        else:
            get, drop = stress.closure(token), None
        self.refs.append(Ref(memory, "julia", get, drop=drop))

    def put_into_cell(self) -> None:
        """Into a Python container that refers to itself."""
        ref = self.choose(lambda r: r.place == "python")
        if ref is None:
            return
        cell: Any = self.random.choice([lambda x: [x], lambda x: {"x": x}])(ref.get())
        key: Any = 0 if isinstance(cell, list) else "x"
        if isinstance(cell, list):
            cell.append(cell)
        else:
            cell["me"] = cell
        self.refs.append(Ref(ref.memory, "cell", lambda: cell[key], ref))
        if self.random.random() < 0.5:
            self.forget(ref)

    def check(self) -> None:
        if not self.refs:
            return
        self.check_ref(self.random.choice(self.refs))

    def check_ref(self, ref: Ref) -> None:
        if not self.calls_julia and ref.place not in ("python", "cell"):
            return
        self.alive(ref)
        x = ref.get()
        if ref.memory.content is None:
            must(isinstance(x, Token) and x.serial == ref.memory.serial, "another token:", x)
            return
        if not self.usable(ref):
            return
        expected = ref.expected
        if self.calls_julia and self.random.random() < 0.3:
            must(
                stress.same(x, expected), "Julia sees other items in", lambda: self.describe(ref, x)
            )
        elif isinstance(x, bb.JuliaArray) and expected.size and not ref.dtype.names:
            place = tuple(self.random.randrange(n) for n in expected.shape)
            must(x[place] == expected[place], "item", place, "of", lambda: self.describe(ref, x))
        else:
            ref.memory.exported = True
            must(equal(as_array(x), expected), "other items in", lambda: self.describe(ref, x))

    def describe(self, ref: Ref, x: Any) -> str:
        seen = as_array(x)  # dtype, shape and items
        return (
            f"{type(x).__name__} of {ref.memory.owner} in {ref.place}: dtype {seen.dtype}, shape "
            f"{seen.shape}, {seen.ravel()[:5]}, not {ref.dtype} "
            f"{ref.index.shape} {ref.expected.ravel()[:5] if ref.fits else ''}"
        )

    def write(self) -> None:
        ref = self.choose(
            lambda r: not r.memory.frozen and r.index.size > 0 and r.dtype is not None
        )
        if (
            ref is None
            or not self.usable(ref)
            or not (self.calls_julia or ref.place in ("python", "cell"))
        ):
            return
        x, k = ref.get(), self.random.randrange(251)
        place = tuple(self.random.randrange(n) for n in ref.index.shape)
        value: Any = (k, k) if ref.dtype.names else k
        if ref.dtype.kind == "f":
            value = float(k)
        try:
            if self.calls_julia and self.random.random() < 0.5:
                stress.put(x, k, *place)
            elif isinstance(x, memoryview) and ref.dtype.names:
                return
            else:
                x[place if len(place) > 1 else place[0]] = value
        except Exception:
            must(ref.memory.readonly, "not written to", lambda: self.describe(ref, x))
            return
        must(not ref.memory.readonly, "written to read-only memory")
        item = np.zeros((), ref.dtype)
        item[...] = value
        at = ref.index[place]
        ref.memory.content[at : at + ref.dtype.itemsize] = np.frombuffer(item.tobytes(), "u1")

    def resize_julia(self) -> None:
        ref = self.choose(
            lambda r: r.memory.owner == "julia"
            and r.memory.vector
            and r.own_index is None
            and not r.memory.frozen
        )
        if ref is None:
            return
        memory = ref.memory
        if memory.derived and not (memory.exported and memory.pinned):
            return
        grow = memory.content.size == 0 or resizing_keeps_memory or self.random.random() < 0.5
        how, k = self.random.choice(GROWING if grow else SHRINKING), self.random.randrange(251)
        try:
            if grow:
                stress.grow(ref.get(), how, k)
            else:
                stress.shrink(ref.get(), how)
        except bb.JuliaError as e:
            must("shared data" in str(e), "resizing raised", e)
            must(memory.exported, "an array that was never exported can't be resized")
            return
        before = memory.content.size
        self.resized(memory, how, k, grow)
        same = memory.content.size == before  # nothing to do
        must(same or not (memory.exported and memory.pinned), how, "while there may be views")

    def resized(self, memory: Memory, how: str, k: int, grow: bool) -> None:
        old = memory.content
        size = memory.dtype.itemsize
        if grow:
            count = {"append": 3000, "resize": old.size // size + 1000}.get(how, 1)
            values = (k + np.arange(count)) % 251
            items = np.zeros(count, memory.dtype)
            for name in memory.dtype.names or [...]:
                items[name] = values
            new = items.view("u1")
            parts = {"resize": [new], "pushfirst": [new, old]}.get(how, [old, new])
            content = np.concatenate(parts)
        elif how in ("popfirst", "deleteat"):
            content = old[size:].copy()
        else:
            content = old[: {"pop": old.size - size, "resize": size}.get(how, 0)].copy()
        self.moved(memory, content)

    def moved(self, memory: Memory, content: np.ndarray) -> None:
        """A Vector may have other memory now; what was exported is still there."""
        if memory.pinned or not memory.exported:
            memory.content = content
            if not memory.pinned:
                self.untrack(memory)
            return
        moved = self.new_memory("julia", next(serials), content, memory.dtype)
        self.untrack(moved)
        moved.vector = True
        moved.frozen = moved.exported = memory.frozen = True
        memory.successor = moved
        for ref in [r for r in self.refs if r.memory is memory and not r.fixed]:
            moved.holders.add(ref)
            memory.holders.discard(ref)
            ref.memory = moved

    def hint(self) -> None:
        """sizehint! gives spare room back, by moving."""
        ref = self.choose(lambda r: r.memory.vector and r.own_index is None)
        if ref is None:
            return
        memory = ref.memory
        if not memory.pinned and (memory.frozen or memory.derived):
            return
        try:
            bb.Base.sizehint_b(ref.get(), self.random.choice([0, 1, 100_000]))
        except bb.JuliaError as e:
            shared = memory.exported or memory.derived
            must("shared data" in str(e) and shared, "sizehint! raised", e)
        else:
            self.moved(memory, memory.content.copy())

    def resize_python(self) -> None:
        ref = self.choose(
            lambda r: r.place == "python"
            and r.memory.owner in ("TracedBytearray", "TracedArray")
            and not r.pins
            and r.own_index is None
            and not r.memory.frozen
        )
        if ref is None:
            return
        memory, x = ref.memory, ref.get()
        pinned = any(r.pins for r in self.refs if r.memory is memory)
        free = not pinned and self.depth == 0 and self.calls_julia and self.random.random() < 0.2
        item = 7.0 if memory.dtype.kind == "f" else 7
        for attempt in range(100 if free else 1):
            if free:
                collect()
                time.sleep(0.01 * (attempt > 2))  # other threads may be about to run finalizers
            try:
                x.append(item)
                break
            except BufferError:
                pass
        else:
            must(not free, "Julia and Python let go, but", type(x).__name__, "can't be resized")
            return
        must(not pinned, "resized while there are views of", type(x).__name__)
        more = np.array([7], memory.dtype).view("u1")
        memory.content = np.concatenate([memory.content, more])

    def release(self) -> None:
        """An explicit end of a memoryview."""
        ref = self.choose(lambda r: r.place == "python" and isinstance(r.get(), memoryview))
        if ref is None:
            return
        view = ref.get()
        if not any(r is not ref and r.memory is ref.memory for r in self.refs):
            view.release()  # else it might be the exporter of another reference
            self.forget(ref)

    def drop(self) -> None:
        refs = [r for r in self.refs if self.calls_julia or r.place in ("python", "cell")]
        if refs:
            self.forget(self.random.choice(refs))

    def drop_half(self) -> None:
        for _ in range(len(self.refs) // 2):
            self.drop()

    def collect_python(self) -> None:
        gc.collect(self.random.randrange(3))

    def collect_julia(self) -> None:
        bb.Base.GC.gc(self.random.random() < 0.2)

    def settle(self) -> None:
        """Looks at everything; and what nobody holds must be finalized."""
        for ref in list(self.refs):
            self.check_ref(ref)
        if self.depth > 0:
            return
        for attempt in range(100):
            collect()
            left = [m for m in self.memories if not m.held and not m.finalized]
            if not left:
                break
            must(attempt < 99, "not finalized:", len(left), left[0].owner)
            time.sleep(0.01 * (attempt > 2))  # other threads may be about to run finalizers
        self.memories = [m for m in self.memories if m.held]

    def call_back(self) -> None:
        """Julia calls Python, which does anything, and keeps, drops or returns what it got."""
        ref = self.choose()
        if ref is None or not self.usable(ref) or self.depth >= MOST_DEPTH:
            return
        what = self.random.choice(["keep", "drop", "return", "raise"])
        call = stress.callcaught if what == "raise" else stress.call
        if self.random.random() < 0.3:
            call = bb.nogil(call)
        token = ValueError("from the callback")

        def callback(x: Any) -> Any:
            must(isinstance(x, bb.JuliaArray), "a callback got", type(x))
            if what == "keep":
                self.add(memory, x, ref, pins=True)
            for _ in range(self.random.randrange(6)):
                self.step()
            if what == "raise":
                raise token
            return x if what != "drop" else None

        memory = ref.memory
        self.depth += 1
        try:
            result = call(callback, ref.get())
        finally:
            self.depth -= 1
        if what == "raise":
            must(result is token, "the callback's exception came back as", result)
        elif what == "drop":
            must(result is None, "None came back as", result)
        elif what == "keep" and ref in self.refs and ref.memory is memory:
            self.add(memory, result, ref, pins=True)
        if self.depth == 0:
            del result, token, callback, call
            for dropped in self.dropped_inside:
                dropped.memory.holders.discard(dropped)
            self.dropped_inside.clear()

    def raise_through(self) -> None:
        """A Python exception on its way through Julia and Python and Julia."""
        error = KeyError("through")
        depth = self.random.randrange(4)

        def callback(n: int) -> Any:
            if n == 0:
                raise error
            return stress.call(callback, n - 1)

        try:
            stress.call(callback, depth)
        except KeyError as e:
            must(e is error, "another exception")
        else:
            raise Failure("the exception is lost")

    def fail_in_julia(self) -> None:
        ref = self.choose()
        if ref is None or not self.usable(ref):
            return
        try:
            self.random.choice([bb.Base.sqrt, stress.outofbounds, bb.Base.error])(ref.get(), None)
        except bb.JuliaError as e:
            must(str(e), "an empty message")
        else:
            raise Failure("Julia did not throw")

    def without_gil(self) -> None:
        ref = self.choose(lambda r: r.dtype.kind == "u")
        if ref is not None and self.usable(ref):
            rounds = self.random.choice([1, 3, 10])
            total = bb.nogil(stress.work)(ref.get(), rounds)
            must(total == rounds * float(ref.expected.sum(dtype="f8")), "the sum is", total)

    def give(self) -> None:
        ref = self.choose(lambda r: r.place in ("python", "cell") and r.fits)
        if ref is not None and len(exchange) < 50 and several_threads and self.depth == 0:
            ref.memory.frozen = True
            self.refs.remove(ref)
            exchange.append(ref)

    def take(self) -> None:
        with_luck = exchange.pop(self.random.randrange(len(exchange))) if exchange else None
        if with_luck is not None:
            self.refs.append(with_luck)

    def call_refused(self) -> None:
        """Before Julia 1.9, on any thread but the main one."""
        ref = self.choose(lambda r: isinstance(r.get(), bb.JuliaArray))
        if ref is None:
            return
        try:
            self.random.choice([bb.Base.sum, bb.Base.identity, lambda x: x[::2]])(ref.get())
        except RuntimeError:
            return
        raise Failure("called Julia from a thread that may not")

    def wait(self) -> None:
        time.sleep(self.random.random() * 0.005)

    # -------------------------------------------------------------------- ends

    def run(self, until: float, steps: int | None) -> None:
        while time.monotonic() < until and not failures and steps != 0:
            self.step()
            steps = None if steps is None else steps - 1


def collect() -> None:
    for _ in range(2):
        gc.collect()
        bb.Base.GC.gc()
    bb.stats()


failures: list[str] = []
several_threads = False


def guarded(world: World, seed: int, name: str, function: Callable[..., Any], *args: Any) -> None:
    try:
        function(*args)
    except BaseException:
        done = sum(world.done.values())
        failures.append(
            f"{name}, seed {seed}, after {done} operations, the last {list(world.log)}:\n"
            f"{traceback.format_exc()}"
        )


def main() -> int:
    global stress, julia_types, julia_finalized, resizing_keeps_memory, several_threads
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--steps", type=int, help="of the main thread, at most")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--julia-threads", type=int, default=1)
    options = parser.parse_args()
    print("seed", options.seed, flush=True)
    faulthandler.enable()

    several_threads = options.threads > 1
    bb.init(threads=options.julia_threads)
    bb.include(os.path.join(os.path.dirname(os.path.abspath(__file__)), "stress.jl"))
    stress = bb.Main.Stress
    julia_types = {dtype: bb.eval(name) for dtype, name in JULIA_TYPES.items()}
    julia_finalized = np.asarray(stress.finalized)
    resizing_keeps_memory = bb.julia_version >= (1, 11)
    if options.julia_threads > 1:
        stress.startbackground()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(1e-4)

    collect()
    before = bb.stats()
    anywhere = bb.julia_version >= (1, 9)
    worlds = [World(options.seed + i, i == 0 or anywhere) for i in range(options.threads)]
    until = time.monotonic() + options.seconds
    threads = [
        threading.Thread(target=guarded, args=(w, options.seed, f"thread {i}", w.run, until, None))
        for i, w in enumerate(worlds)
    ]
    for thread in threads[1:]:
        thread.start()
    guarded(worlds[0], options.seed, "main thread", worlds[0].run, until, options.steps)
    for thread in threads[1:]:
        thread.join()

    if not failures:  # everything is dropped
        guarded(worlds[0], options.seed, "the end", the_end, worlds, before)
    if options.julia_threads > 1:
        print("rounds of the background task", stress.stopbackground())
    for failure in failures:
        print(failure, file=sys.stderr)
    done = sum((w.done for w in worlds), collections.Counter())
    print(", ".join(f"{name} {n}" for name, n in sorted(done.items())))
    print("operations", sum(done.values()), flush=True)
    return 1 if failures else 0


def the_end(worlds: list[World], before: dict[str, int]) -> None:
    first = worlds[0]
    while exchange:
        first.take()
    for world in worlds:
        for ref in list(world.refs):
            if world.calls_julia:
                world.check_ref(ref)
        while world.refs:
            world.forget(world.refs[-1])
        if world is not first:
            first.memories += world.memories
    first.settle()
    must(not first.memories, "still held:", len(first.memories))
    after = bb.stats()
    must(after == before, "stats are", after, "and were", before)


if __name__ == "__main__":
    raise SystemExit(main())
