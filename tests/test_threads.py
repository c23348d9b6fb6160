"""Python threads, Julia threads, and the two collectors, at once."""

from __future__ import annotations

import pytest

import bufferbridge as bb

JULIA_THREADS = pytest.mark.parametrize("threads", [1, 2])
MANY = pytest.mark.usefixtures("every_thread")

PRELUDE = """
    import faulthandler, gc, sys, threading, time
    import bufferbridge as bb
    faulthandler.dump_traceback_later(120, exit=True)  # a hang is a failure

    def together(*functions):
        errors = []
        def run(f):
            try:
                f()
            except BaseException as e:
                errors.append(e)
        threads = [threading.Thread(target=run, args=(f,)) for f in functions[1:]]
        for t in threads:
            t.start()
        run(functions[0])
        for t in threads:
            t.join()
        assert not errors, errors
"""


@pytest.fixture
def every_thread():
    bb.init()
    if bb.julia_version < (1, 9):
        pytest.skip("before Julia 1.9 only the main thread calls it")


@pytest.fixture
def run_threads(run_python):
    from textwrap import dedent

    def run(code, threads=1, **options):
        start = f"bb.init(threads={threads})\n"
        return run_python(dedent(PRELUDE) + start + dedent(code), **options)

    return run


@MANY
@JULIA_THREADS
def test_calls_callbacks_and_collections_from_four_threads(run_threads, threads):
    done = run_threads(
        """
        allocate = bb.eval("x -> (s = 0.0; for i in 1:100; s += sum(rand(1000)); end; s)")
        callback = bb.eval("(f, n) -> sum(f(i) for i in 1:n)")

        def calls():
            for i in range(100):
                assert allocate(i) > 0

        def callbacks():
            for i in range(50):
                assert callback(lambda x: x + 1, 20) == 230

        def arrays():
            for i in range(100):
                x = bb.Base.zeros(10_000)
                assert memoryview(x).nbytes == 80_000
                assert bb.Base.sum(bytes([1] * 1000)) == 1000
                bb.Base.GC.gc(False)

        def compiles():
            for i in range(20):
                assert bb.eval(f"(x -> x + {i})(1)") == i + 1
                try:
                    bb.eval(f"error({i})")
                except bb.JuliaError as e:
                    assert str(i) in str(e) and e.backtrace is not None

        together(calls, callbacks, arrays, compiles)
        """,
        threads,
    )
    assert done.stdout == done.stderr == ""


@MANY
def test_threads_that_come_and_go(run_threads):
    run_threads(
        """
        f = bb.eval("x -> sum(rand(x))")
        for i in range(100):
            thread = threading.Thread(target=f, args=(1000,))
            thread.start()
            if i % 3:
                thread.join()
        thread.join()
        bb.Base.GC.gc()
        assert f(10) > 0
        """
    )


@JULIA_THREADS
def test_views_and_ends_of_objects_on_every_thread_while_julia_collects(run_threads, threads):
    run_threads(
        """
        x = bb.eval("collect(1.0:1000.0)")
        stop = []
        garbage = [bb.eval(code) for i in range(1000) for code in ("Ref(1)", "zeros(100)")]
        data = [bytearray(100) for i in range(200)]

        def views():
            while not stop:
                view = memoryview(x)
                assert view[999] == 1000.0 and x[5] == 6.0
                view.release()

        def ends():
            while garbage:
                garbage.pop()
                time.sleep(0)

        def refused():
            try:
                bb.eval("1 + 1")
            except RuntimeError as e:
                assert "1.9" in str(e) and bb.julia_version < (1, 9)
            while not stop:
                gc.collect()

        def collects():
            hold = bb.eval("x -> (global held_by_thread_test = x; nothing)")
            for d in data:
                hold(d)
                bb.eval("global v = [rand(100) for i in 1:100]; GC.gc(false)")
            hold(None)
            stop.append(1)

        together(collects, views, ends, refused)
        bb.Base.GC.gc()
        bb.stats()
        for d in data:
            d.append(1)
        """,
        threads,
    )


def test_julia_threads_go_on_while_python_idles_or_computes(run_threads):
    done = run_threads(
        """
        bb.eval('''
            global count = Threads.Atomic{Int}(0)
            global stopped = Threads.Atomic{Int}(0)
            global task = Threads.@spawn while stopped[] == 0
                sum(length(rand(100)) for i in 1:100)
                Threads.atomic_add!(count, 1)
                yield()
            end
        ''')
        def progress(wait):
            before = bb.Main.count[()]
            wait()
            return bb.Main.count[()] > before + 100

        def compute():
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                sum(range(1000))

        print(progress(lambda: time.sleep(0.3)), progress(compute))
        bb.eval("stopped[] = 1; wait(task)")
        """,
        2,
    )
    assert done.stdout == "True True\n"


def test_threads_macro_and_its_garbage(run_threads):
    run_threads(
        """
        total = bb.eval('''
            function total(n)
                sums = zeros(n)
                Threads.@threads for i in 1:n
                    sums[i] = sum(sum(rand(1000) .+ 1 .- rand(1000)) for j in 1:50)
                end
                return sum(sums)
            end
        ''')
        for i in range(20):
            assert total(20) > 0
            x = bb.eval("[rand(10) for i in 1:1000]")
            del x
        """,
        2,
    )


@JULIA_THREADS
def test_nogil_lets_other_threads_run(run_threads, threads):
    done = run_threads(
        """
        ticks = 0
        stop = []

        def tick():
            global ticks
            while not stop:
                ticks += 1
                time.sleep(0.001)

        def call():
            busy = "(x; y = 1) -> (t = time(); while time() - t < 0.5; rand(10); end; x + y)"
            slow = bb.nogil(bb.eval(busy))
            before = ticks
            assert slow(1, y=2) == 3
            print(ticks - before > 20)
            stop.append(1)

        together(call, tick)
        """,
        threads,
    )
    assert done.stdout == "True\n"


def test_nogil_takes_arrays_and_gives_them_back_and_raises():
    x = bytearray(10)
    fill = bb.nogil(bb.eval("x -> fill!(x, 7)"))
    y = fill(x)
    assert isinstance(fill, bb.JuliaFunction)
    assert bytes(x) == bytes([7]) * 10 == bytes(memoryview(y))
    with pytest.raises(bb.JuliaError, match="inside"):
        bb.nogil(bb.eval('() -> error("inside")'))()
    assert bb.nogil(bb.Base.sum)([1, 2]) == 3
    nested = bb.nogil(bb.eval("f -> f(1)"))
    assert nested(lambda i: nested(lambda j: i + j)) == 2

    def fails(i):
        raise KeyError(i)

    with pytest.raises(KeyError):
        nested(fails)
    assert nested(lambda i: bb.nogil(bb.Base.sqrt)(4.0)) == 2.0
    for wrong in (len, 3, "sum"):
        with pytest.raises(TypeError, match="Julia function"):
            bb.nogil(wrong)
    with pytest.raises(TypeError):
        bb.nogil(bb.eval("Ref(1)"))(1)


def test_nogil_prints_in_order(capsys):
    bb.nogil(bb.eval('f -> (println("a"); f("b"); println("c"))'))(print)
    assert capsys.readouterr().out == "a\nb\nc\n"


def test_nogil_callbacks_on_julias_threads(run_threads):
    done = run_threads(
        """
        f = bb.nogil(bb.eval('''
            function(f, n)
                out = zeros(Int, n)
                Threads.@threads for i in 1:n
                    rand(1000)
                    out[i] = f(i)
                end
                return out
            end
        '''))
        seen = set()
        def callback(i):
            seen.add(threading.get_ident())
            return i * 2
        for n in range(50):
            assert list(f(callback, 10)) == [2 * i for i in range(1, 11)]

        def fails(i):
            raise KeyError(i)
        try:
            f(fails, 4)
        except Exception as e:
            print(type(e).__name__)
        print(len(seen) >= 1)
        """,
        2,
    )
    assert done.stdout.endswith("True\n")


@MANY
def test_nogil_runs_in_parallel_with_calls_of_other_threads(run_threads):
    run_threads(
        """
        work = bb.eval("x -> (s = 0.0; for i in 1:2000; s += sum(rand(1000)); end; s)")
        free = bb.nogil(work)
        together(*[lambda: [free(1) for i in range(5)] for k in range(3)],
                 lambda: [work(1) for i in range(5)])
        """,
        2,
    )


def test_finalizers_of_julias_run_on_any_thread(run_threads):
    """Objects of Python's that Julia drops on its own threads are released by Python's."""
    done = run_threads(
        """
        class Thing:
            alive = 0
            def __init__(self):
                Thing.alive += 1
            def __del__(self):
                assert threading.current_thread() is threading.main_thread()
                Thing.alive -= 1

        keep = bb.eval("global kept = Any[]; x -> (push!(kept, x); nothing)")
        for round in range(5):
            for i in range(100):
                keep(Thing())
                keep(bytearray(1000))
            bb.eval('''
                empty!(kept)
                wait(Threads.@spawn (GC.gc(); GC.gc()))
                for i in 1:100; rand(10_000); end
                GC.gc()
            ''')
        bb.stats()
        print(Thing.alive < 10, bb.stats()["pinned_buffers"] < 10)
        """,
        2,
    )
    assert done.stdout == "True True\n"
    assert done.stderr == ""


@MANY
@JULIA_THREADS
@pytest.mark.parametrize("wrap", ["", "bb.nogil"])
def test_waiting_on_another_thread_while_the_main_one_is_in_python(run_threads, threads, wrap):
    run_threads(
        f"""
        f = {wrap}(bb.eval("x -> (sleep(0.2); run(`true`); x)"))
        out = []
        thread = threading.Thread(target=lambda: out.append(f(5)))
        thread.start()
        thread.join()
        assert out == [5]
        assert bb.eval("(sleep(0.01); 1)") == 1
        """,
        threads,
    )


@MANY
def test_julia_threads_wait_and_go_on_while_python_idles(run_threads):
    run_threads(
        """
        bb.eval("global done = 0; global t = Threads.@spawn (sleep(0.3); global done = 1)")
        time.sleep(1.5)
        assert memoryview(bb.eval("[done]"))[0] == 1
        bb.eval("Threads.@threads for i in 1:4; sleep(0.01); end; wait(t)")
        """,
        2,
    )
