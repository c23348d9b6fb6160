"""Julia functions in pools, joblib and Dask; memory of files and of other processes."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, shared_memory

import pytest

import bufferbridge as bb

from .conftest import collect_both

np = pytest.importorskip("numpy", reason="scaled out are NumPy's arrays")


def run_script(tmp_path, code: str) -> list[str]:
    """Runs code as a script, as spawned processes need it; what it prints, by lines."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()


# ------------------------------------------------------------------- processes

# (Without broadcasting, which each worker would take a second to compile.)
DEFINITIONS = """
struct Scale_pool; factor::Float64; end
(s::Scale_pool)(x) = s.factor * x[2]
const offset_pool = 1
moved_pool(x) = (y = copy(x); y[1] += offset_pool; y)
first_pool(x) = x[1]
several_pool(x) = (first = x[1], all = [x, x], rest = (x, "text"))
object_pool(x) = [Dict(1 => x)]
"""


def scaled(x):  # a Python function that uses a Julia object
    return bb.Main.Scale_pool(3.0)(x)


def test_pools_of_processes():
    """Of three kinds; a redefinition arrives, and errors come back."""
    bb.eval(DEFINITIONS)
    blocks = [np.arange(5.0) + i for i in range(4)]
    first = bb.remote(bb.Main.first_pool)
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        done = list(pool.map(bb.remote(bb.Main.moved_pool), blocks))
        assert {type(x) for x in done} == {np.ndarray}
        assert [x[0] for x in done] == [1, 2, 3, 4]

        def result(f, *args):
            return pool.submit(f, *args).result()

        assert result(bb.remote(bb.Main.Scale_pool(2.0)), blocks[1]) == 4
        assert result(scaled, blocks[1]) == 6
        bb.eval("moved_pool(x) = (y = copy(x); y[1] = -100; y)")
        assert result(bb.remote(bb.Main.moved_pool), blocks[0])[0] == -100
        several = result(bb.remote(bb.Main.several_pool), blocks[1])
        assert several.first == 1.0
        assert [type(x) for x in (*several.all, *several.rest)] == [np.ndarray] * 3 + [str]
        with pytest.raises(IndexError) as info:
            result(first, np.zeros(0))
        assert type(info.value).__name__ == "JuliaIndexError"
        assert "first_pool" in info.value.backtrace
        assert str(bb.Base.typeof(info.value.exception)) == "BoundsError"
        if bb.julia_version >= (1, 9):  # before, only the main thread can have Julia's results
            assert result(bb.Main.moved_pool, blocks[0])[0] == -100
            assert result(bb.remote(bb.Main.object_pool), 2)[0][1] == 2
        else:
            with pytest.raises(TypeError, match="object_pool is a Julia object .*before Julia 1.9"):
                result(bb.remote(bb.Main.object_pool), 2)
    with context.Pool(1) as pool:
        assert pool.map(first, blocks) == [0, 1, 2, 3]
    joblib = pytest.importorskip("joblib", reason="the rest is joblib's pool")
    # In one batch, so that one of the processes starts Julia.
    found = joblib.Parallel(n_jobs=2, batch_size=4)(joblib.delayed(first)(x) for x in blocks)
    assert found == [0, 1, 2, 3]
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


def test_remote_in_this_process():
    double = bb.remote(bb.eval("x -> (2x, sum(x))"))
    array, total = double(np.arange(3.0))
    assert type(array) is np.ndarray
    assert list(array) == [0, 2, 4]
    assert total == 3
    assert "remote" in repr(double)
    with pytest.raises(TypeError, match="remote takes a Julia function, not 'int'"):
        bb.remote(1)
    with pytest.raises(bb.JuliaError, match="no method"):
        double("a", "b")
    total = bb.remote(bb.eval("x::Matrix{Float64} -> sum(x)"))
    unaligned = np.frombuffer(bytearray(49), "u1")[1:].view("f8").reshape(2, 3, order="F")
    assert total(unaligned) == 0.0


# ------------------------------------------------------------------- Dask

DASK = """
    import json
    import os
    import resource

    import dask
    import dask.array as da
    import numpy as np
    from distributed import Client, LocalCluster

    import bufferbridge as bb

    ROWS, COLUMNS, BLOCK, LIMIT = 90_000, 1_000, 1_000, 700_000_000

    def block(block_info=None):
        first, last = block_info[None]["array-location"][0]
        return np.arange(first * COLUMNS, last * COLUMNS, dtype="f8").reshape(-1, COLUMNS)

    def peak():
        return os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    if __name__ == "__main__":
        bb.eval('''
            const offset = 0.5
            rowmean(row) = sum(row) / length(row) + offset
            rowmeans(x::AbstractMatrix) = [rowmean(view(x, i, :)) for i in axes(x, 1)]
            total(x::Vector{Float64}) = sum(x)
        ''')
        dask.config.set({"distributed.worker.memory.pause": False})
        one = dict(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None)
        with LocalCluster(memory_limit=LIMIT, **one) as cluster, Client(cluster) as client:
            before = client.run(peak)
            chunks = ((BLOCK,) * (ROWS // BLOCK), (COLUMNS,))
            x = da.map_blocks(block, dtype="f8", chunks=chunks)
            means = x.map_blocks(bb.remote(bb.Main.rowmeans), dtype="f8", drop_axis=1)
            result = means.compute()
            after = client.run(peak)
            # What is sent lies anywhere in a message, mostly not aligned.
            sent = [client.scatter(np.arange(n, dtype="f8")) for n in (1000, 1001)]
            totals = client.gather(client.map(bb.remote(bb.Main.total), sent))
            try:
                client.submit(bb.remote(bb.Main.rowmeans), 3).result()
            except TypeError as error:
                failed = type(error).__name__, "rowmeans(::Int64)" in str(error)
        ((pid, _),), ((same_pid, memory),) = before.values(), after.values()
        print(json.dumps({
            "bytes": x.nbytes, "limit": LIMIT, "same process": pid == same_pid, "peak": memory,
            "right": bool(np.allclose(result, np.arange(ROWS) * COLUMNS + 500)),
            "shape": result.shape, "failed": failed, "totals": totals,
        }))
"""


def test_dask_with_more_data_than_memory(tmp_path):
    """A local cluster of processes, one of which has less memory than the data."""
    pytest.importorskip("distributed", reason="needs dask[distributed,array]")
    pytest.importorskip("dask.array", reason="needs dask[distributed,array]")
    found = json.loads(run_script(tmp_path, DASK)[-1])
    assert found["bytes"] > found["limit"] > found["peak"]
    assert found["same process"]  # it was not restarted
    assert found["right"]
    assert found["shape"] == [90_000]
    assert found["totals"] == [499_500, 500_500]
    assert found["failed"] == ["JuliaTypeError", True]


# ------------------------------------------------------- memory of files and processes


def test_a_file_larger_than_memory(tmp_path):
    path = tmp_path / "large"
    items = 8 << 30
    try:
        with path.open("wb") as file:
            file.truncate(8 * items)  # 64 GB of nothing: no block of it is on the disk
    except OSError as e:
        pytest.skip(f"no sparse files here: {e}")
    x = np.memmap(path, dtype="f8", mode="r+", shape=(items,))
    change = bb.eval("""
        function (x::Vector{Float64}, i)
            x[i+1] = i
            x[i+2:i+1000] .= 1
            return sum(view(x, i+1:i+2000)), length(x)
        end
    """)
    assert change(x, items - 2000) == (items - 2000 + 999, items)
    assert (x[items - 2000], x[items - 1001], x[items - 1000]) == (items - 2000, 1, 0)
    x.flush()
    with path.open("rb") as file:
        file.seek(8 * (items - 2000))
        assert np.frombuffer(file.read(8))[0] == items - 2000
    assert path.stat().st_blocks * 512 < 1 << 24

    r = np.memmap(path, dtype="f8", mode="r", shape=(items,))
    assert bb.eval("x -> x isa BufferBridge.PyArray{Float64,1}")(bb.wrap(r))
    assert bb.eval("x -> x[end-1999]")(r) == items - 2000
    with pytest.raises(ValueError, match="read-only"):
        bb.eval("x -> x[1] = 0")(r)


def test_shared_memory(run_python):
    memory = shared_memory.SharedMemory(create=True, size=8 * 1000)
    try:
        x = np.frombuffer(memory.buf, "f8")
        bb.eval("x::Vector{Float64} -> (x .= 1:length(x); nothing)")(x)
        done = run_python(
            """
            import sys
            from multiprocessing import resource_tracker, shared_memory
            import numpy as np
            import bufferbridge as bb

            resource_tracker.register = lambda *args: None  # the other process removes it
            memory = shared_memory.SharedMemory(name=sys.argv[1])
            x = np.frombuffer(memory.buf, "f8")
            print(bb.Base.sum(x[:1000]))
            bb.eval("x -> x[1] = 0.5")(x)
            del x
            bb.Base.GC.gc()
            bb.stats()
            memory.close()
            """,
            arguments=[memory.name],
        )
        assert done.stdout == "500500.0\n"
        assert x[0] == 0.5
        held = bb.eval("x -> Ref(x)")(x)
        del x
        with pytest.raises(BufferError):
            memory.close()  # as Python's own: Julia has it
        del held
        bb.Base.GC.gc()
        bb.stats()
        memory.close()
    finally:
        memory.unlink()


def test_arrays_over_the_same_shared_memory():
    """What unpickles over shared memory is in it."""
    import pickle

    x = bb.eval("collect(1.0:100.0)")
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(x, 5, buffer_callback=buffers.append)
    memory = shared_memory.SharedMemory(create=True, size=800)
    try:
        memory.buf[:800] = buffers[0].raw()
        y = pickle.loads(data, buffers=[memory.buf[:800]])
        z = pickle.loads(data, buffers=[memory.buf[:800]])
        y[5] = 0.25
        assert z[5] == 0.25
        del y, z
        collect_both()
        memory.close()
    finally:
        memory.unlink()
