"""Input that is meant to break things: each ends in a Python exception, or does no harm."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest

import bufferbridge as bb

from .conftest import collect_both


def test_an_interface_that_vanishes_while_it_is_read():
    memory = np.arange(100.0)

    class Clearing:
        def __init__(self, interface):
            self.interface = interface

        def __index__(self):
            self.interface.clear()
            gc.collect()
            return 2

    class Exporter:
        pass

    exporter = Exporter()
    interface = {"typestr": "<f8", "data": (memory.ctypes.data, False)}
    interface["shape"] = (Clearing(interface), 2, 2)
    exporter.__array_interface__ = interface
    try:
        length = bb.Base.length(exporter)
    except TypeError:  # integers only, from Python 3.10 on
        length = 8
    assert length == 8


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (-1,)},
        {"shape": (2**40, 2**40)},
        {"shape": [2]},
        {"shape": ("x",)},
        {"shape": None},
        {"shape": (1,) * 65},
        {"typestr": "<f3"},
        {"typestr": "x"},
        {"typestr": 3},
        {"data": None},
        {"data": (0, False)},
        {"data": ("x", False)},
        {"data": (1, 2, 3)},
        {"strides": (1, 2)},
        {"strides": "x"},
    ],
    ids=repr,
)
def test_interfaces_that_contradict_themselves(change):
    class Exporter:
        memory = np.arange(4.0)
        __array_interface__ = {**memory.__array_interface__, **change}

    before = bb.stats()["pinned_buffers"]
    with pytest.raises((TypeError, BufferError)):
        bb.Base.length(Exporter())
    assert bb.stats()["pinned_buffers"] == before


def test_sequences_that_lie():
    class Long(list):
        def __len__(self):
            raise ValueError("no length")

    class Short(tuple):
        def __len__(self):
            return 10**6

    with pytest.raises(ValueError, match="no length"):
        bb.Base.identity(Long([1]))
    with pytest.raises(IndexError):
        bb.Base.identity(Short([1]))


def test_lists_that_change_while_they_are_converted():
    items: list = []

    class Appending:
        @property
        def __array_interface__(self):
            if len(items) < 100:
                items.append(1)
            raise AttributeError

    items.extend([Appending(), 2])
    assert len(bb.Base.identity(items)) <= 100


def test_slots_called_directly():
    value = bb.eval("Ref(1)")
    for call in (
        lambda: bb.JuliaModule.__getattribute__(bb.Main, {}),
        lambda: bb.JuliaValue.__setattr__(value, [0], 1),
        lambda: bb.JuliaValue.__delattr__(value, [0]),
        lambda: bb.JuliaArray.__getitem__(1, 2),
        lambda: object.__new__(bb.JuliaArray),
        lambda: bb.JuliaValue.__new__(bb.JuliaArray),
    ):
        with pytest.raises(TypeError):
            call()


def test_copies_of_handles_in_julia():
    bb.Main.handle = thing = object()
    bb.eval("copied = deepcopy(Any[handle])[1]; handle = nothing")
    collect_both()
    assert bb.Main.copied is thing
    bb.eval("finalize(copied)")
    with pytest.raises(ValueError, match="finalized"):
        bb.Main.copied
    bb.eval("copied = nothing")


def test_raising_what_is_no_exception():
    with pytest.raises(TypeError, match="no exception"):
        bb.eval("e -> throw(BufferBridge.PyException(e))")(object())


def test_views_that_do_not_fit_any_more_never_reach_julia():
    for make in ("rand(10^6)", 'fill("x", 10^6)'):
        x = bb.eval(make)
        w = x[1:]
        bb.Base.empty_b(x)
        bb.Base.sizehint_b(x, 0)
        assert repr(w).startswith("<bufferbridge.JuliaArray at")
        for use in (np.asarray, bb.Base.sum, list, lambda v: 1.0 in v, lambda v: v[0]):
            with pytest.raises(BufferError, match="resized"):
                use(w)


def test_sizes_that_call_python():
    bb.eval(
        """
        struct Calling <: AbstractVector{Float64}; f; end
        Base.size(x::Calling) = (x.f(zeros(3, 4, 5)); (3,))
        Base.getindex(x::Calling, i::Int) = Float64(i)
        """
    )
    x = bb.Main.Calling(lambda a: None)
    assert x.shape == (3,)
    assert x[1] == 2.0
    assert np.asarray(x).tolist() == [1, 2, 3]


def test_exceptions_in_every_slot():
    bb.eval(
        """
        struct Throwing <: AbstractVector{Int}; end
        Base.size(x::Throwing) = (2,)
        Base.getindex(x::Throwing, i::Int) = error("getindex")
        Base.show(io::IO, ::MIME"text/plain", x::Throwing) = error("show")
        struct Thrower end
        for f in (:hash, :length, :iterate)
            @eval Base.$f(x::Thrower, args...) = error("thrown")
        end
        Base.:(==)(x::Thrower, y::Thrower) = error("thrown")
        Base.getproperty(x::Thrower, name::Symbol) = error("thrown")
        Base.show(io::IO, x::Thrower) = error("thrown")
        """
    )
    x = bb.Main.Throwing()
    for use in (lambda: x[0], lambda: list(x), lambda: repr(x), lambda: 1 in x):
        with pytest.raises(bb.JuliaError):
            use()
    a, b = bb.Main.Thrower(), bb.eval("Ref{Any}(Thrower())")[()]
    for use in (
        lambda: hash(a),
        lambda: len(a),
        lambda: list(a),
        lambda: repr(a),
        lambda: str(a),
        lambda: a.field,
    ):
        with pytest.raises((bb.JuliaError, AttributeError)):
            use()
    assert b is not None
    assert bb.eval("1 + 1") == 2


def test_allocation_failures(run_python):
    run_python(
        """
        import _testcapi
        import bufferbridge as bb
        make = bb.eval("() -> zeros(2, 2, 2, 2, 2)")
        make()
        before = bb.stats()["julia_objects"]
        failures = 0
        for i in range(1, 12):
            array = None
            try:
                _testcapi.set_nomemory(i, i + 1)
                array = make()
            except MemoryError:
                failures += 1
            finally:
                _testcapi.remove_mem_hooks()
            array = None
        assert failures > 0
        bb.Base.GC.gc()  # Julia had the exceptions, whose notes have its frames
        assert bb.stats()["julia_objects"] == before, bb.stats()
        assert make().shape == (2, 2, 2, 2, 2)
        """
    )


def test_tasks_that_are_in_python_at_the_same_time(run_python):
    done = run_python(
        """
        import bufferbridge as bb

        def slow(i):
            bb.Base.sleep(0.05)
            return i * 2

        def deep(n):
            a = b = c = d = e = f = g = h = [n] * 3
            return n and deep(n - 1)

        def outer():
            x = [1, 2]
            bb.Base.sleep(0.2)
            deep(20)
            return x

        start = bb.eval("f -> (global t = @async f(1); yield(); nothing)")
        start(slow)
        print(outer(), bb.eval("fetch(t)"))
        many = bb.eval("f -> (ts = [@async f(i) for i in 1:8]; [fetch(t) for t in ts])")
        print(list(many(slow)))
        """
    )
    assert done.stdout == "[1, 2] 2\n[2, 4, 6, 8, 10, 12, 14, 16]\n"


def test_views_that_did_not_fit_from_the_start():
    w = bb.eval("x = rand(10^6); w = view(x, 1:10^6); empty!(x); sizehint!(x, 0); w")
    for use in (memoryview, np.asarray, lambda v: v[0], bb.Base.sum):
        with pytest.raises(BufferError, match="resized"):
            use(w)


def test_memory_that_is_counted_right():
    before = bb.stats()["pinned_bytes"]
    held = [bb.Base.identity(np.broadcast_to(1.0, 2**58)) for _ in range(4)]
    assert bb.stats()["pinned_bytes"] == before + 4 * 8
    del held


def test_strides_that_lead_nowhere():
    class Exporter:
        memory = np.arange(4.0)
        __array_interface__ = {**memory.__array_interface__, "strides": (2**62,)}

    with pytest.raises(BufferError, match="address space"):
        bb.Base.length(Exporter())


def test_a_broken_stdout_loses_no_result(run_python):
    run_python(
        """
        import sys
        import bufferbridge as bb
        bb.eval("1")
        before = bb.stats()["julia_objects"]

        class Broken:
            def write(self, text):
                raise ValueError("broken")

        old, sys.stdout = sys.stdout, Broken()
        for _ in range(50):
            try:
                bb.eval('print("x"); [1, 2, 3]')
            except ValueError as e:
                e = None
        sys.stdout = old
        bb.Base.GC.gc()  # of the exceptions, which have notes of Julia's frames
        bb.Base.GC.gc()
        assert bb.stats()["julia_objects"] <= before + 2, bb.stats()
        """
    )


def test_scalars_that_are_no_numbers_stay_python_objects():
    scalar = np.void(b"ab")
    assert bb.Base.identity(scalar) is scalar
    assert bb.eval("x -> x isa AbstractVector{UInt8}")(np.bytes_(b"ab"))


def test_zero_dimensions_in_every_byte_order():
    assert bb.Base.identity(np.array(1.5, dtype=">f8"))[()] == 1.5
    assert bb.Base.identity(np.frombuffer(b"x" + bytes(8), "f8", 1, 1)[0:1].reshape(()))[()] == 0


RESIZING = """
    import numpy as np
    import pytest
    import bufferbridge as bb

    make = bb.eval("() -> zeros(10^6)")
    shrink = bb.eval("v -> (resize!(v, 0); sizehint!(v, 0); GC.gc(); nothing)")
    first = bb.eval("(a, b = nothing; c = nothing) -> sum(a)")

    class Evil:
        def __init__(self, vector):
            self.vector = vector

        def __index__(self):
            shrink(self.vector)
            return 900000

        @property
        def __array_interface__(self):
            shrink(self.vector)
            return np.ones(999990).__array_interface__
"""


@pytest.mark.parametrize(
    "use",
    [
        "view[evil]",
        "view[evil] = 1.5",
        "view[:] = evil",
        "first(view, evil)",
        "first(view, [evil])",
        "first(view, c=evil)",
        "first(view, c=[evil])",
        "first((view, evil))",
    ],
)
def test_a_view_whose_vector_is_resized_while_it_is_used(run_python, use):
    # An index and an argument may be anything, and run any code before Julia sees the view.
    run_python(
        RESIZING
        + f"""
    v = make()
    view = v[10:]
    evil = Evil(v)
    with pytest.raises(BufferError, match="resized"):
        {use}
        """
    )


def test_lists_nested_deep_cost_no_compile_time():
    # Each level was a type of its own: 900 of them took minutes, and json.loads makes such lists.
    for make in (lambda x: [x], lambda x: {"a": x}):
        nested = 1
        for _ in range(150):
            nested = make(nested)
        start = time.perf_counter()
        bb.Base.identity(nested)
        assert time.perf_counter() - start < 20
    assert bb.eval("x -> x isa Vector{Vector{Vector{Int}}}")([[[1]]])


def test_records_with_long_fields_cost_no_compile_time():
    # A tuple of 1000 items took minutes to compile on its way to Python.
    x = bb.wrap(np.ones(1, dtype=[("long", ">i4", (1000,)), ("last", "u1")]))
    start = time.perf_counter()
    assert x[0] == ((1,) * 1000, 1)
    assert bb.eval("ntuple(i -> i, 100)") == tuple(range(1, 101))
    assert time.perf_counter() - start < 20
