"""Memory lives as long as it is seen, and no longer; `stats()` tells the truth."""

from __future__ import annotations

import gc
import sys
import textwrap
import tracemalloc
import types
import weakref

import numpy as np
import pytest

import bufferbridge as bb
from bufferbridge import _core
from bufferbridge._native import lib

from .conftest import collect_both


def test_arrays_outlive_their_names(held):
    x = bb.eval("collect(1.0:1_000_000.0)")
    a = np.asarray(x)
    del x
    collect_both()
    bb.eval("[zeros(1_000_000) for i in 1:20]; nothing")
    assert a[0] == 1
    assert a[-1] == 1_000_000
    assert a.sum() == 1_000_000 * 1_000_001 / 2
    del a


def test_views_keep_the_parent(held):
    view = bb.eval("view(collect(1.0:1_000_000.0), 500_000:500_010)")[2:5]
    a = np.asarray(view)
    del view
    collect_both()
    assert a.tolist() == [500_002, 500_003, 500_004]
    del a


def test_python_memory_lives_while_julia_holds_it(held):
    data = bytearray(b"x" * 1_000_000)
    bb.Main.held_buffer = data
    with pytest.raises(BufferError):
        data.append(1)
    collect_both()
    with pytest.raises(BufferError):
        data.append(1)
    bb.Main.held_buffer = None
    collect_both()
    data.append(1)


@pytest.mark.parametrize(
    "wrap",
    ["x -> reshape(x, 2, :)", "x -> view(x, 2:3)", "x -> reinterpret(Int64, x)", "x -> (y = x,)"],
)
def test_derived_arrays_keep_the_python_memory(held, wrap):
    a = np.arange(100_000.0)
    refs = sys.getrefcount(a)
    derived = bb.eval(wrap)(a)
    collect_both()
    assert sys.getrefcount(a) > refs
    del derived
    collect_both()
    assert sys.getrefcount(a) == refs


def test_memory_of_temporaries(held):
    x = bb.Base.identity(np.arange(1_000_000.0))  # only Julia holds the ndarray
    collect_both()
    assert np.asarray(x)[-1] == 999_999
    del x


def test_a_hundred_thousand_arrays_leave_nothing(held):
    make = bb.eval("n -> fill(Float64(n), 10)")
    for i in range(100_000):
        assert memoryview(make(i))[3] == i


def test_a_hundred_thousand_arguments_leave_nothing(held):
    total = bb.Base.sum
    for _ in range(100_000):
        total(np.ones(10))


def test_fresh_large_arguments_do_not_pile_up(held):
    total = bb.Base.sum
    for _ in range(100):
        total(np.ones(4_000_000))  # 32 MB each, 3.2 GB in all
        assert bb.stats()["pinned_bytes"] < 600e6


def test_python_objects_are_released(held):
    class Thing:
        alive = 0

        def __init__(self):
            Thing.alive += 1

        def __del__(self):
            Thing.alive -= 1

    keep = bb.eval("x -> (global kept = x; nothing)")
    keep([Thing() for _ in range(100)])
    collect_both()
    assert Thing.alive == 100
    assert bb.stats()["python_objects"] >= held["python_objects"] + 100
    keep(None)
    collect_both()
    assert Thing.alive == 0


def test_callbacks_see_the_same_memory(held):
    seen = []
    f = bb.eval("(f, x) -> (f(x); x[1])")
    a = np.zeros(3)

    def callback(x):
        np.asarray(x)[0] = 5
        seen.append(x)

    assert f(callback, a) == 5
    assert a[0] == 5
    seen.clear()
    del callback


def test_exports_are_counted(held):
    x = bb.eval("zeros(3)")
    before = bb.stats()["exports"]
    views = [memoryview(x) for _ in range(3)]
    assert bb.stats()["exports"] == before + 3
    for view in views:
        view.release()
    assert bb.stats()["exports"] == before


def test_an_exported_vector_does_not_move():
    v = bb.eval("global moving = collect(1.0:1_000_000.0)")
    a = np.asarray(v)
    try:
        bb.eval("push!(moving, 1.0); resize!(moving, 10_000_000); nothing")
    except bb.JuliaError as e:
        assert "shared" in str(e)  # up to Julia 1.10
        assert bb.julia_version < (1, 11)
    gc.collect()
    bb.Base.GC.gc()
    assert a[-1] == 1_000_000
    a[0] = 3.0


def test_a_vector_that_is_not_exported_can_grow_and_is_followed():
    v = bb.eval("global growing = [1]")
    for i in range(2, 2000):
        bb.Base.push_b(v, i)
        assert len(v) == i
        assert v[-1] == i
    assert memoryview(v).tolist() == list(range(1, 2000))
    bb.eval("global other = [1, 2, 3]")
    v = bb.Main.other
    bb.eval("resize!(other, 1)")
    assert v.shape == (1,)
    with pytest.raises(IndexError):
        v[1]


def test_views_follow_a_vector_that_was_resized():
    bb.eval("global base_v = collect(1:10)")
    view = bb.eval("view(base_v, 5:8)")
    twice = view[1:3]
    assert view[0] == 5
    bb.eval("resize!(base_v, 1_000_000); base_v[5] = 50; base_v[6] = 60")
    assert view[0] == 50
    assert twice[0] == 60
    bb.eval("resize!(base_v, 6)")
    for use in (memoryview, lambda v: v[0], len):
        with pytest.raises(BufferError, match="resized"):
            use(view)
    bb.eval("resize!(base_v, 8); base_v[5:8] .= 1:4")
    assert memoryview(view).tolist() == [1, 2, 3, 4]


# Vectors whose memory is allocated in different ways, and all that may move it.
VECTORS = [
    "zeros(5)",
    "zeros(1_000_000)",
    "vec(zeros(1000, 1000))",
    "resize!(zeros(1_000_000), 100_000)",
    "resize!(zeros(1000), 5)",
    "append!(Float64[], zeros(100_000))",
]
RESIZINGS = [
    "sizehint!(v, 1)",
    "sizehint!(v, 10^7)",
    "push!(v, 1.0)",
    "append!(v, v)",
    "pushfirst!(v, 1.0)",
    "empty!(v)",
    "pop!(v)",
    "popfirst!(v)",
    "deleteat!(v, 2)",
    "resize!(v, 1)",
    "resize!(v, 10^7)",
    "splice!(v, 1:2)",
    "filter!(x -> true, v)",
]


@pytest.mark.parametrize("make", VECTORS)
@pytest.mark.parametrize("derived", ["v", "view(v, 2:4)"])
def test_nothing_moves_memory_that_is_exported(held, make, derived):
    bb.eval("global all_v = []; nothing")
    views = []
    for resizing in RESIZINGS:
        bb.eval(f"global v = {make}; v .= 1:length(v); push!(all_v, v)")
        a = np.asarray(bb.eval(derived))
        views.append((resizing, a, a.copy()))
        try:
            bb.eval(f"{resizing}; nothing")
        except bb.JuliaError as e:
            assert "shared" in str(e)
    for let_go in ("nothing", "global v = nothing; global all_v = nothing"):
        bb.eval(f"{let_go}; GC.gc(); global other_v = [fill(-1.0, 100_000) for i in 1:20]; nothing")
        for resizing, a, expected in views:
            assert np.array_equal(a, expected), resizing
    bb.eval("global other_v = nothing")
    del views, a


@pytest.mark.parametrize(
    ("last", "printed"),
    [
        ("", ""),
        ("sys.exit(0)", ""),
        ("f = bb.eval('x -> (global keepit = x)'); f(bytearray(100)); f(print)", ""),
        ("atexit.register(lambda: print(m[5]))", "6.0\n"),
        ("bb.Main.callback = lambda: sys.exit(0)\nbb.eval('callback()')", ""),
        ("del x\nbb.eval('atexit(() -> println(\"bye\"))')", "bye\n"),
        ("bb.eval('print(\"no newline\")')", "no newline"),
        ("import gc; gc.disable(); c = [bb.eval('Ref(1)')]; c.append(c)", ""),
        ("import threading; threading.Thread(target=lambda: m[0], daemon=True).start()", ""),
        ("y = bb.Base.identity(bytearray(b'abc')); n = memoryview(y); sys.modules['k'] = n", ""),
    ],
)
def test_exits_in_every_order_are_clean(run_python, last, printed):
    first = """
        import bufferbridge as bb, sys, atexit
        x = bb.eval("collect(1.0:100_000.0)")
        m = memoryview(x)
    """
    done = run_python(textwrap.dedent(first) + last)
    assert done.stderr == ""
    assert done.stdout == printed


def test_errors_in_flight_at_exit(run_python):
    done = run_python(
        "import bufferbridge as bb\nx = memoryview(bb.eval('[1]'))\nbb.eval('error(\"last\")')",
        code_expected=1,
    )
    assert "JuliaError: last" in done.stderr
    done = run_python("import bufferbridge as bb, os\nbb.eval('1')\nos._exit(7)", code_expected=7)


def test_calls_after_the_end_are_refused(run_python):
    done = run_python(
        """
        import atexit
        import bufferbridge as bb

        def late():
            print(m[0], v, repr(f)[:30])
            try:
                f(1)
            except RuntimeError as e:
                print("refused:", e)

        atexit.register(late)  # runs after bufferbridge's own, which is registered later
        v = bb.eval("[7]")
        m = memoryview(v)
        f = bb.Base.sin
        """
    )
    assert done.stdout.startswith("7 <bufferbridge.JuliaArray at")
    assert "refused: Julia has stopped" in done.stdout


def test_python_memory_is_valid_to_the_end(run_python):
    done = run_python(
        """
        import atexit

        atexit.register(lambda: print(bytes(m[:3]), m[-1]))  # runs after bufferbridge's own
        import bufferbridge as bb
        m = memoryview(bb.Base.identity(bytearray(b"abc" * 100_000)))
        """,
        env={"MALLOC_PERTURB_": "165"},
    )
    assert done.stdout == "b'abc' 99\n"


def test_daemon_threads_without_the_gil_at_exit(run_python):
    if not bb.eval('VERSION >= v"1.9"'):
        pytest.skip("only the main thread calls Julia")
    # What the second thread's call throws at exit has to be compiled, which Julia no longer does.
    run_python(
        """
        import threading, time
        import bufferbridge as bb

        call = bb.nogil(bb.eval("f -> while true; print(devnull, f(rand())); end"))
        for _ in range(2):
            threading.Thread(target=call, args=(lambda x: x,), daemon=True).start()
        time.sleep(0.2)
        """
    )


def test_fork(run_python):
    done = run_python(
        """
        import os
        import bufferbridge as bb
        m = memoryview(bb.eval("[7]"))
        pid = os.fork()
        if pid == 0:
            try:
                bb.eval("1 + 1")
            except RuntimeError as e:
                print(m[0], e, flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print(bb.eval("1 + 1"))
        """
    )
    assert done.stdout.startswith("7 Julia does not survive os.fork()")
    assert done.stdout.endswith("2\n")


def test_an_export_that_is_refused_forbids_nothing():
    v = bb.eval("global refused_v = [1, 2, 3]")
    with pytest.raises(BufferError):
        _core._request(v[::2], lib.PyBUF_C_CONTIGUOUS)
    with pytest.raises(BufferError):
        _core._request(v, lib.PyBUF_FORMAT)
    assert list(bb.Base.push_b(v, 4)) == [1, 2, 3, 4]


def test_wrap_holds_only_the_buffer(held):
    data = bytearray(8)
    colons = np.frombuffer(data, dtype=[("a:b", "i8")])
    with pytest.raises(TypeError, match="shared"):
        bb.wrap(colons)
    del colons
    data.extend(b"more")  # nobody holds it any more
    x = bb.wrap(data)
    assert bb.stats()["python_objects"] == held["python_objects"]
    del x


def listed(found):
    """The Python objects that Julia holds, by id."""
    return {id(h.object): h for h in found["held_by_julia"]}


def test_detail_agrees_with_the_numbers(held):
    data, thing = np.zeros(10), Thing()
    bb.Main.kept_data, bb.Main.kept_thing = data, thing
    x = bb.eval("zeros(3, 4)")
    m, n = memoryview(x), memoryview(x)
    s = bb.eval("Any[1]")
    f = bb.Base.sin
    found = bb.stats(detail=True)
    assert found.keys() - bb.stats().keys() == {"held_by_python", "held_by_julia"}
    assert len(found["held_by_julia"]) == found["python_objects"] + found["pinned_buffers"]
    assert len(found["held_by_python"]) <= found["julia_objects"]
    ours = {id(h.object): h for h in found["held_by_python"]}
    assert ours[id(x)] == (x, str(bb.eval("Matrix{Float64}")), 96, 2, None)
    assert ours[id(s)][1:] == (str(bb.eval("Vector{Any}")), None, 0, None)
    assert ours[id(f)].type == "typeof(sin)"
    assert sum(h.type == "Module" for h in found["held_by_python"]) >= 3
    theirs = listed(found)
    assert theirs[id(data)] == (data, "buffer", 80, None)
    assert theirs[id(thing)] == (thing, "object", None, None)
    assert sum(h.bytes or 0 for h in found["held_by_julia"]) == found["pinned_bytes"]
    bb.Main.kept_data = bb.Main.kept_thing = None
    del found, ours, theirs, m, n, x, s, f
    collect_both()
    assert not {id(data), id(thing)} & set(listed(bb.stats(detail=True)))


class Thing:
    pass


class Slotted:
    """Up to Python 3.11, tracemalloc does not find instances that have a dict."""

    __slots__ = ()


def test_detail_is_a_keyword_and_off_by_default():
    assert all(isinstance(v, int) for v in bb.stats().values())
    assert bb.stats(detail=False).keys() == bb.stats().keys()
    with pytest.raises(TypeError):
        bb.stats(True)  # type: ignore[misc]


def test_detail_tells_where_objects_were_made(held):
    tracemalloc.start()
    try:
        thing = Slotted()
        x = bb.eval("[1, 2]")
        bb.Main.kept_thing = thing
        found = bb.stats(detail=True)
    finally:
        tracemalloc.stop()
    line = test_detail_tells_where_objects_were_made.__code__.co_firstlineno
    (where,) = (h.where for h in found["held_by_julia"] if h.object is thing)
    assert (where[-1].filename, where[-1].lineno) == (__file__, line + 3)
    (where,) = (h.where for h in found["held_by_python"] if h.object is x)
    assert where is not None
    assert bb.stats(detail=True)["held_by_python"][-1].where is None
    bb.Main.kept_thing = None


def test_detail_of_what_cannot_be_asked(held):
    """Views that no longer fit, types that can't be shown, borrowed memory."""
    bb.eval("global base_v = collect(1:10)")
    view = bb.eval("view(base_v, 5:8)")
    bb.eval("resize!(base_v, 2)")
    bb.eval("struct Unshown{T} end; Base.show(::IO, ::Type{<:Unshown}) = error(1)")
    odd = bb.eval("Unshown{1}()")
    data = bytearray(5)
    with bb.borrow(data) as x:
        m = memoryview(x)
        found = bb.stats(detail=True)
        assert found["pinned_bytes"] == held["pinned_bytes"] + 5
        (h,) = (h for h in found["held_by_julia"] if h.object is data)
        assert (h.kind, h.bytes) == ("buffer", 5)
        (h,) = (h for h in found["held_by_python"] if h.object is x)
        assert (h.bytes, h.exports) == (5, 1)
        del h
        m.release()
    found = bb.stats(detail=True)
    assert not any(h.object is data for h in found["held_by_julia"])
    ours = {id(h.object): h for h in found["held_by_python"]}
    assert "SubArray" in ours[id(view)].type
    assert "Unshown" in ours[id(odd)].type
    assert ours[id(x)].bytes is None
    assert "PyBorrowedArray" in ours[id(x)].type
    bb.eval("base_v = nothing")


def test_detail_while_everything_changes(held):
    """What is enumerated may be let go of meanwhile, and new things may come."""

    class Busy:
        def __del__(self):
            kept.append(bb.eval("Ref(1)"))
            bb.stats(detail=True)

    kept = []
    bb.eval("busy = Any[]")
    threshold = gc.get_threshold()
    gc.set_threshold(20)
    try:
        for i in range(40):
            cycle = [Busy(), bb.eval("Ref(2)")]
            cycle.append(cycle)
            bb.eval("x -> (push!(busy, x); length(busy) > 5 && popfirst!(busy); nothing)")(Busy())
            del cycle
            found = bb.stats(detail=True)
            assert len(found["held_by_python"]) >= len(kept)
            if i % 10 == 0:
                bb.Base.GC.gc()
                kept.clear()
    finally:
        gc.set_threshold(*threshold)
    bb.eval("busy = nothing")
    del found
    collect_both()
    kept.clear()
    collect_both()
    kept.clear()


def test_detail_from_a_weak_reference_of_a_dying_object(held):
    """A JuliaValue whose references are gone is not given out again."""
    x = bb.eval("Ref(3)")
    before = len(bb.stats(detail=True)["held_by_python"])
    seen = []
    w = weakref.ref(x, lambda _: seen.append(len(bb.stats(detail=True)["held_by_python"])))
    del x
    assert seen == [before - 1]
    assert w() is None


def test_detail_without_julia(run_python):
    done = run_python(
        """
        import atexit, threading
        import bufferbridge as bb
        assert bb.stats(detail=True)["held_by_julia"] == []
        assert bb.stats(detail=True)["held_by_python"] == []
        assert bb.julia_version is None

        def late():
            found = bb.stats(detail=True)
            print([h.type for h in found["held_by_python"] if h.object is x],
                  [h.bytes for h in found["held_by_python"] if h.object is x])

        atexit.register(late)  # runs after bufferbridge's own, which is registered later
        x = bb.eval("[1, 2]")
        print([h.type for h in bb.stats(detail=True)["held_by_python"] if h.object is x])
        thread = threading.Thread(target=lambda: bb.stats(detail=True))
        thread.start()
        thread.join()
        """
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[1] == "[None] [16]"


def is_shared(o):
    return isinstance(o, (type, types.ModuleType)) or (isinstance(o, dict) and "__name__" in o)


def suspects(depth=4):
    """The recipe of docs/memory.md."""
    for h in bb.stats(detail=True)["held_by_julia"]:
        level = [h.object]
        for _ in range(depth):
            level = [o for o in gc.get_referents(*level) if not is_shared(o)]
            yield from ((h.object, o) for o in level if isinstance(o, bb.JuliaValue))


class Model:
    def __init__(self, weak):
        if weak:
            step = weakref.WeakMethod(self.step)
            self.solve = bb.eval("f -> x -> f(2x)")(lambda x: step()(x))
        else:
            self.solve = bb.eval("f -> x -> f(2x)")(self.step)

    def step(self, x):
        return x + 1


def test_cycles_across_the_border_are_found_and_broken(held):
    known = {id(python) for python, _ in suspects()}  # of other tests
    model = Model(weak=False)
    assert model.solve(20) == 41
    alive = weakref.ref(model)
    del model
    collect_both()
    assert alive() is not None  # neither collector sees it
    ((python, julia),) = (pair for pair in suspects() if id(pair[0]) not in known)
    assert python.__func__ is Model.step
    assert julia is alive().solve
    del python.__self__.solve, python, julia
    collect_both()
    assert alive() is None

    model = Model(weak=True)
    assert model.solve(20) == 41
    alive = weakref.ref(model)
    assert {id(python) for python, _ in suspects()} <= known
    del model
    collect_both()
    assert alive() is None


def test_a_cycle_through_a_container_and_a_buffer(held):
    class Data(bytearray):
        pass

    known = {id(python) for python, _ in suspects()}  # of other tests
    data = Data(100)
    data.holder = [bb.eval("x -> Ref{Any}(x)")(data)]
    thing = Thing()
    thing.value = {"key": bb.eval("x -> Any[x]")(thing)}
    found = {id(python) for python, _ in suspects()}
    assert found - known == {id(data), id(thing)}
    data.holder.clear()
    del thing.value
    collect_both()
    assert {id(python) for python, _ in suspects()} <= known
