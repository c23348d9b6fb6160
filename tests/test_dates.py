"""NumPy's datetime64 and timedelta64: the same memory, and the same arithmetic, as NumPy itself."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bufferbridge as bb

np = pytest.importorskip("numpy", reason="these are NumPy's types")

UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"]
NAT = -(2**63)


@pytest.fixture(scope="module")
def jl():
    module = bb.newmodule("DatesTests")
    bb.using("BufferBridge", "Dates", module=module)
    # However much of these is in Main by then.
    bb.eval("qualified(T) = sprint(show, T; context = :module => Base)", module)
    return module


_functions = {}


def run(jl, code, *args):
    """Julia code for a function, called; compiled once."""
    if code not in _functions:
        _functions[code] = bb.eval(code, jl)
    return _functions[code](*args)


def julia_type(dtype):
    unit, n = np.datetime_data(dtype)
    name = "DateTime64" if dtype.kind == "M" else "TimeDelta64"
    return f"{name}{{{f':{unit}' if n == 1 else f'({n}, :{unit})'}}}"


@given(
    kind=st.sampled_from("Mm"),
    unit=st.sampled_from(UNITS),
    n=st.sampled_from([1, 25]),
    order=st.sampled_from("<>"),
    shape=st.sampled_from([(), (3,), (2, 3)]),
    step=st.sampled_from([1, 2, -1]),
    count=st.integers(NAT, 2**63 - 1),
)
@settings(max_examples=4, deadline=None)
def test_arrays_are_shared(jl, kind, unit, n, order, shape, step, count):
    dtype = np.dtype(f"{order}{kind}8[{n if n > 1 else ''}{unit}]")
    a = np.full(shape, count, f"{order}i8").view(dtype)
    if shape:
        a = a[::step]
    x = bb.wrap(a)
    assert run(jl, "x -> qualified(eltype(x))", x) == "BufferBridge." + julia_type(dtype)
    assert run(jl, "x -> Dates.value(first(x))", x) == count
    back = np.asarray(x)
    assert back.dtype == dtype
    assert back.dtype.str == dtype.str
    assert back.shape == a.shape
    assert back.ctypes.data == a.ctypes.data
    run(jl, "x -> (x[end] = eltype(x)(7); nothing)", x)
    assert int(a.view(f"{order}i8").flat[-1]) == 7
    assert (back.view(f"{order}i8") == a.view(f"{order}i8")).all()


@pytest.mark.parametrize("n", ["", "25"])
def test_every_unit(jl, n):
    """What formats and dtypes become each other; nothing is compiled for each type."""
    for kind in "Mm":
        for unit in UNITS:
            dtype = np.dtype(f"{kind}8[{n}{unit}]")
            name = run(jl, "f -> qualified(BufferBridge.memorytype(f, 8))", f"{kind}[{n}{unit}]")
            assert name == "BufferBridge." + julia_type(dtype)
            assert bb.eval(f"BufferBridge.dtype({name})") == dtype.str


def test_vector_signature(jl):
    f = bb.eval("(x::Vector{DateTime64{:ns}}) -> length(x)", jl)
    assert f(np.zeros(4, "M8[ns]")) == 4
    with pytest.raises(TypeError):
        f(np.zeros(4, "M8[us]"))


@pytest.mark.filterwarnings("ignore:The 'generic' unit:DeprecationWarning")  # of NumPy 2.5
def test_generic_and_nat(jl):
    a = np.array([5, "NaT"], "m8")
    assert run(jl, "x -> (eltype(x) === TimeDelta64{:generic}, isnat.(x))", a)[0]
    assert np.asarray(run(jl, "x -> isnat.(x)", a)).tolist() == [False, True]
    assert np.asarray(bb.eval("[nat(DateTime64{:generic})]", jl)).dtype == "M8"


def test_read_only(jl):
    a = np.zeros(3, "M8[s]")
    a.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        run(jl, "x -> (x[1] = DateTime64{:s}(1))", a)
    assert not np.asarray(bb.wrap(a)).flags.writeable


def test_unaligned():
    memory = np.zeros(17, "u1")[1:]
    a = memory.view("M8[s]")
    bb.wrap(a)[1] = np.datetime64(5, "s")
    assert a.view("i8").tolist() == [0, 5]


class TestRecords:
    def test_shared(self, jl):
        a = np.zeros(3, [("t", "M8[us]"), ("v", "f8")])
        run(jl, "x -> (x[2] = (t = DateTime64{:us}(DateTime(2021, 2, 3)), v = 1.5); nothing)", a)
        assert a[1].tolist() == (datetime.datetime(2021, 2, 3), 1.5)
        b = np.asarray(bb.wrap(a))
        assert b.dtype == a.dtype
        assert np.shares_memory(a, b)

    @pytest.mark.parametrize(
        "dtype", [[("t", ">m8[25s]"), ("v", "f4")], {"names": "ab", "formats": ["M8[D]", "M8[h]"]}]
    )
    def test_other_layouts(self, jl, dtype):
        a = np.zeros((2, 2), dtype)
        a[1, 0][a.dtype.names[0]] = 7
        x = bb.wrap(a)
        assert x[1, 0][0] == a[1, 0][0]
        assert x[a.dtype.names[0]][1, 0] == a[1, 0][0]
        assert np.shares_memory(np.asarray(x), a)
        assert run(jl, "r -> r[1]", a[1, 0]) == a[1, 0][0]

    def test_of_julia(self, jl):
        code = "[(t = DateTime64{:s}(5), v = Int8(1)), (t = nat(DateTime64{:s}), v = Int8(2))]"
        x = bb.eval(code, jl)
        a = np.asarray(x)
        assert a.dtype["t"] == "M8[s]"
        assert a.dtype.itemsize == 16
        a[0]["t"] = np.datetime64(9, "s")
        assert x[0].t == np.datetime64(9, "s")
        with pytest.raises(BufferError, match="datetime64"):
            memoryview(x)


class TestToPython:
    def test_view(self, jl):
        x = bb.eval("DateTime64{:D}.(Date(2020):Day(1):Date(2020, 1, 5))", jl)
        a = np.asarray(x)
        assert a.dtype == "M8[D]"
        assert a[0] == np.datetime64("2020-01-01")
        a[1] = np.datetime64("1999-12-31")
        assert run(jl, "x -> string(x[2])", x) == "1999-12-31"
        assert (np.asarray(x[1::2]) == a[1::2]).all()
        assert np.shares_memory(np.asarray(x[1::2]), a)

    def test_why_not_memoryview(self, jl):
        with pytest.raises(BufferError, match=r"datetime64.*numpy\.asarray\(x\) gives a view"):
            memoryview(bb.eval("[DateTime64{:D}(1)]", jl))

    def test_resizing(self, jl):
        x = bb.eval("DateTime64{:D}.(1:1000)", jl)
        a = np.asarray(x)
        try:
            run(jl, "x -> (append!(x, x); nothing)", x)
        except bb.JuliaError as e:
            assert "shared" in str(e)
            assert bb.julia_version < (1, 11)
        assert a.view("i8").sum() == 500500

    @pytest.mark.parametrize(
        "wrapper", ["PermutedDimsArray(x, (2, 1))", "view(x, 2:2, :)", "reshape(x, 6)"]
    )
    def test_wrappers(self, jl, wrapper):
        x = bb.eval(f"x = DateTime64{{:s}}.(reshape(1:6, 2, 3)); {wrapper}", jl)
        a = np.asarray(x)
        a[...] = np.datetime64(3, "s")
        assert all(v == np.datetime64(3, "s") for v in np.asarray(x).flat)
        assert set(np.asarray(x).ravel().view("i8")) == {3}

    def test_lifetime(self, jl):
        a = np.asarray(bb.eval("DateTime64{:ns}.(1:10^5)", jl))
        for _ in range(3):
            bb.eval("GC.gc(); zeros(Int, 10^5); nothing")
        assert (a.view("i8") == np.arange(1, 10**5 + 1)).all()

    def test_borrowed(self):
        a = np.arange(3).astype("M8[D]")
        with bb.borrow(a) as x:
            assert (np.asarray(x) == a).all()
        with pytest.raises(BufferError):
            np.asarray(x)

    @pytest.mark.parametrize("dtype", ["M8[ns]", "M8[25s]", "m8[as]", "m8", "m8[3M]"])
    @pytest.mark.parametrize("count", [0, -5, 2**62, NAT])
    def test_scalars(self, jl, dtype, count):
        scalar = np.int64(count).view(dtype)
        back = run(jl, "identity", scalar)
        assert type(back) is type(scalar)
        assert back.dtype == scalar.dtype
        assert int(back.view("i8")) == count
        assert run(jl, "x -> (qualified(typeof(x)), Dates.value(x))", scalar) == (
            "BufferBridge." + julia_type(np.dtype(dtype)),
            count,
        )

    def test_without_numpy(self, run_python):
        """NumPy's scalar also where nobody has imported NumPy; a JuliaValue where there is none."""
        run_python("""
            import sys, bufferbridge as bb
            x = bb.eval("using BufferBridge; DateTime64{:s}(5)")
            assert "numpy" in sys.modules and x == sys.modules["numpy"].datetime64(5, "s")
            for name in [n for n in sys.modules if n.split(".")[0] == "numpy"]:
                sys.modules[name] = None
            x = bb.eval("DateTime64{:s}(5)")
            assert type(x) is bb.JuliaValue and str(x) == "1970-01-01T00:00:05"
        """)


class TestAssignment:
    def test_values(self):
        a = np.zeros(4, "M8[ms]")
        x = bb.wrap(a)
        x[0] = np.datetime64("2020-01-01")
        x[1] = datetime.datetime(2020, 1, 2)
        x[2] = datetime.date(2020, 1, 3)
        x[3] = np.datetime64("NaT", "s")
        assert a.astype("M8[D]").astype(str).tolist() == [
            "2020-01-01",
            "2020-01-02",
            "2020-01-03",
            "NaT",
        ]
        x[:2] = np.array(["1999", "NaT"], "M8[Y]")
        assert a[:2].astype(str).tolist() == ["1999-01-01T00:00:00.000", "NaT"]

    @pytest.mark.parametrize("value", [np.datetime64(1, "us"), np.datetime64(2**62, "Y")])
    def test_inexact(self, value):
        a = np.zeros(1, "M8[ms]")
        with pytest.raises(ValueError, match="InexactError"):
            bb.wrap(a)[0] = value
        assert a.view("i8")[0] == 0

    @pytest.mark.parametrize("value", [5, None, "2020", np.timedelta64(5, "s")])
    def test_other_kinds(self, value):
        with pytest.raises(TypeError):
            bb.wrap(np.zeros(1, "M8[ms]"))[0] = value


class TestDatesOfJulia:
    @given(st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)))
    @settings(max_examples=40, deadline=None)
    def test_datetime(self, jl, t):
        t = t.replace(microsecond=t.microsecond // 1000 * 1000)
        for unit in ("ms", "us"):
            assert run(jl, "DateTime", np.datetime64(t, unit)) == t
            assert run(jl, f"DateTime64{{:{unit}}}", t) == np.datetime64(t, unit)
        code = "x -> (yearmonthday(x)..., hour(x), minute(x), second(x))"
        parts = run(jl, code, np.datetime64(t))
        assert datetime.datetime(*parts) == t.replace(microsecond=0)
        assert run(jl, "x -> hash(x) == hash(DateTime(x)) && x == DateTime(x)", np.datetime64(t))

    def test_date(self, jl):
        assert run(jl, "Date", np.datetime64("2020-02-29T00:00")) == datetime.date(2020, 2, 29)
        assert run(
            jl, "x -> Date(floor(DateTime64{:D}, x))", np.datetime64("1960-02-29T12:00", "ns")
        ) == (datetime.date(1960, 2, 29))
        with pytest.raises(ValueError, match="InexactError"):
            run(jl, "Date", np.datetime64("2020-02-29T12:00"))

    def test_nanoseconds(self, jl):
        t = np.datetime64("2020-01-01T00:00:00.123456789")
        assert run(jl, "x -> (millisecond(x), microsecond(x), nanosecond(x))", t) == (123, 456, 789)
        with pytest.raises(ValueError, match="InexactError"):
            run(jl, "DateTime", t)

    def test_nat(self, jl):
        for f in ("DateTime", "Date", "year", "hour"):
            with pytest.raises(ValueError, match="NaT"):
                run(jl, f, np.datetime64("NaT", "ms"))
        with pytest.raises(ValueError, match="NaT"):
            run(jl, "Nanosecond", np.timedelta64("NaT", "ns"))

    def test_vectors(self, jl):
        x = run(jl, "v -> DateTime64{:us}.(v)", run(jl, "() -> [DateTime(2020), DateTime(2021)]"))
        assert np.asarray(x).astype("M8[Y]").astype(str).tolist() == ["2020", "2021"]
        back = run(jl, "v -> DateTime.(v)", np.asarray(x))
        assert list(back) == [datetime.datetime(2020, 1, 1), datetime.datetime(2021, 1, 1)]

    def test_periods(self, jl):
        code = "all(P(TimeDelta64(P(3))) === P(3) == TimeDelta64(P(3)) for P in (%s))"
        assert bb.eval(code % "Year, Month, Week, Day, Hour, Minute, Second", jl)
        assert bb.eval(code % "Millisecond, Microsecond, Nanosecond", jl)
        assert run(jl, "t -> Hour(t) === Hour(48)", np.timedelta64(2, "D"))
        assert run(jl, "t -> Month(t) === Month(24)", np.timedelta64(2, "Y"))
        assert run(jl, "x -> x + Day(1)", np.datetime64("2020-01-31")) == np.datetime64(
            "2020-02-01"
        )
        with pytest.raises(ValueError, match="no fixed length"):
            run(jl, "Day", np.timedelta64(2, "Y"))

    def test_in_place_periods(self, jl):
        """Dates' own periods lie in memory as a timedelta64 does."""
        x = bb.eval("reinterpret(TimeDelta64{:s}, [Dates.Second(3)])", jl)
        assert np.asarray(x).tolist() == [datetime.timedelta(seconds=3)]

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("[Date(2020), Date(1)]", np.array(["2020-01-01", "0001-01-01"], "M8[D]")),
            ("[DateTime(2020, 1, 2, 3)]", np.array(["2020-01-02T03"], "M8[ms]")),
            ("Date(2020):Day(1):Date(2020, 1, 3)", np.arange(18262, 18265).astype("M8[D]")),
            ("[Dates.Time(1)]", np.array([3600 * 10**9], "m8[ns]")),
            ("Second.([1 2; 3 4])", np.array([[1, 2], [3, 4]], "m8[s]")),
            ("Month(1):Month(2):Month(5)", np.array([1, 3, 5], "m8[M]")),
        ],
    )
    def test_arrays(self, jl, code, expected):
        """Never as records, which NumPy casts to any time there is: 2020 would be 3989."""
        x = bb.eval(code, jl)
        same(x, expected)
        longer = f"{expected.dtype.str[1]}8[{'M' if 'Month' in code else 'ms'}]"
        assert (np.asarray(x, longer) == expected).all()
        with pytest.raises(BufferError, match="Dates"):
            memoryview(x)
        assert not hasattr(x, "__array_interface__")

    def test_periods_are_shared_and_dates_are_not(self, jl):
        x = bb.eval("[Second(1), Second(2)]", jl)
        np.asarray(x)[0] = np.timedelta64(1, "m")
        assert x[0] == datetime.timedelta(minutes=1)
        dates = bb.eval("[Date(2020)]", jl)
        with pytest.raises(ValueError, match="Dates"):
            np.array(dates, copy=False) if np.__version__ >= "2" else dates.__array__(copy=False)
        dates[...] = np.array(["1999-12-31"], "M8[s]")
        assert dates[0] == datetime.date(1999, 12, 31)
        union = bb.eval("[Date(2020), missing]", jl)
        assert np.asarray(union, "M8[D]").astype(str).tolist() == ["2020-01-01", "NaT"]

    def test_time_of_day(self, jl):
        assert run(jl, "Time", np.datetime64("2020-01-01T01:02:03")) == datetime.time(1, 2, 3)
        assert run(jl, "x -> string(Time(x))", np.datetime64(-1, "ns")) == "23:59:59.999999999"
        for t in (np.datetime64(1, "ps"), np.datetime64("NaT", "s")):
            with pytest.raises(ValueError, match="InexactError|NaT"):
                run(jl, "Time", t)

    def test_unknown_units(self, jl):
        for unit in (":foo", "5", "(0, :s)", "(1, :s)", "(2^40, :s)"):
            with pytest.raises(ValueError, match="no unit"):
                bb.eval(f"DateTime64{{{unit}}}(1)", jl)


# ------------------------------------------------------- as NumPy computes it

counts = st.lists(st.integers(-(10**5), 10**5), min_size=5, max_size=5)


def times(kind, unit, values):
    return np.array(values, "i8").view(f"{kind}8[{unit}]")


def same(julia, numpy):
    found = np.asarray(julia)
    assert found.dtype == numpy.dtype
    assert (found.view("i8") == numpy.view("i8")).all()


PAIRS = [("Y", "D"), ("s", "ns"), ("25s", "10m")]


@pytest.mark.parametrize(("a", "b"), PAIRS)
@given(i=counts, j=counts)
@settings(max_examples=10, deadline=None)
def test_arithmetic(jl, a, b, i, j):
    x, y = times("M", a, i), times("M", b, j)
    same(run(jl, "(x, y) -> x .- y", x, y), x - y)
    if b != "Y":
        same(run(jl, "(x, y) -> x .+ y", x, times("m", b, j)), x + times("m", b, j))
    less, equal = (np.asarray(run(jl, f"(x, y) -> x .{op} y", x, y)) for op in ("<", "=="))
    assert (less == (x < y)).all()
    assert (equal == (x == y)).all()
    assert run(jl, "(x, y) -> all((x .!= y) .| (hash.(x) .== hash.(y)))", x, y)


def test_what_does_not_mix(jl):
    for unit, kind in (("D", "M"), ("s", "m")):
        x = np.int64(3).view(f"{kind}8[{unit}]")
        with pytest.raises(TypeError):
            x + np.timedelta64(1, "M")
        with pytest.raises(ValueError, match="no fixed length"):
            run(jl, "+", x, np.timedelta64(1, "M"))


def test_not_comparable(jl):
    with pytest.raises(ValueError, match="no fixed length"):
        run(jl, "<", np.timedelta64(1, "Y"), np.timedelta64(365, "D"))
    assert run(jl, "==", np.timedelta64(1, "Y"), np.timedelta64(365, "D")) is False


def test_nat_compares_as_in_numpy(jl):
    nat, t = np.datetime64("NaT", "s"), np.datetime64(0, "s")
    for op in ("==", "<", "<=", ">", ">="):
        for x, y in ((nat, t), (t, nat), (nat, nat)):
            assert run(jl, op, x, y) is False
    assert run(jl, "isequal", nat, np.datetime64("NaT", "D"))
    a = np.array([3, "NaT", 1], "M8[s]")
    assert (np.asarray(run(jl, "sort", a)).view("i8") == np.sort(a).view("i8")).all()
    assert np.isnat(run(jl, "minimum", a))
    assert np.isnat(run(jl, "+", nat, np.timedelta64(1, "D")))


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [("M", "h", "W"), ("M", "s", "Y"), ("M", "M", "D"), ("m", "ns", "25s"), ("m", "M", "Y")],
)
@given(i=counts)
@settings(max_examples=10, deadline=None)
def test_floor_is_astype(jl, kind, a, b, i):
    x = times(kind, a, i)
    target = julia_type(np.dtype(f"{kind}8[{b}]"))
    same(run(jl, f"x -> floor.({target}, x)", x), x.astype(f"{kind}8[{b}]"))
    exact = x.astype(f"{kind}8[{b}]").astype(x.dtype) == x
    for value, fits in zip(x, exact):
        if fits:
            assert run(jl, f"x -> convert({target}, x)", value) == value
        else:
            with pytest.raises(ValueError, match="InexactError"):
                run(jl, f"x -> convert({target}, x)", value)


@pytest.mark.parametrize("unit", ["Y", "s"])
def test_extremes(jl, unit):
    """NumPy's own years overflow there; ours don't, and nothing goes round."""
    for value in (2**63 - 1, -(2**63) + 1):
        x = np.int64(value).view(f"M8[{unit}]")
        assert run(jl, "string", x).startswith("-") == (value < 0)
        for f in ("x -> floor(DateTime64{:ns}, x)", "x -> x + TimeDelta64{:ns}(1)"):
            with pytest.raises((ValueError, OverflowError)):
                run(jl, f, x)


@pytest.mark.parametrize("unit", [*UNITS, "25s", "7D"])
def test_text_is_numpys(jl, unit):
    for i in (0, 1, -1, 1000, 123456, -98765):
        x = np.int64(i).view(f"M8[{unit}]")
        if unit not in "YMW7D" or i in (0, 1, -1, 1000):
            assert run(jl, "string", x) == str(x)


def test_display():
    x = bb.wrap(np.array(["2020", "NaT"], "M8[D]"))
    assert repr(x).split("\n")[1:] == [" 2020-01-01", " NaT"]
    text = bb.eval("repr(BufferBridge.TimeDelta64{(25, :s)}(2))")
    assert text.endswith("TimeDelta64{(25, :s)}(50 s)")


@given(st.integers(-(10**6), 10**6), st.integers(1, 1000), st.floats(0.01, 1e3))
@settings(max_examples=25, deadline=None)
def test_products(jl, i, n, f):
    t = np.timedelta64(i, "ms")
    assert run(jl, "*", t, n) == t * n
    assert run(jl, "*", f, t) == t * f
    assert run(jl, "/", t, n) == t / n
    s = np.timedelta64(n, "s")
    assert run(jl, "/", t, s) == t / s
    assert run(jl, "fld", t, s) == t // s
    assert run(jl, "mod", t, s) == t % s
    assert run(jl, "abs", t) == abs(t)
    assert run(jl, "-", t) == -t
    assert run(jl, "/", t, f) == t / f


def test_quotients_of_periods(jl):
    t = np.timedelta64(50, "h")
    assert run(jl, "t -> (t / Day(1), t ÷ Day(1), Day(3) ÷ t)", t) == (50 / 24, 2, 1)
    assert run(jl, "t -> t % Day(1)", t) == np.timedelta64(2, "h")


@pytest.mark.parametrize(
    ("step", "n"), [("Day(1)", 7), ("TimeDelta64{:h}(36)", 5), ("Day(-1)", 0), ("Day(4)", 2)]
)
def test_ranges(jl, step, n):
    a, b = np.array(["2024-02-28", "2024-03-05"], "M8[D]")
    code = f"(a, b) -> (r = a:{step}:b; (length(r), length(collect(r)), a in r))"
    assert run(jl, code, a, b) == (n, n, n > 0)
    if n:
        assert run(jl, f"(a, b) -> (b:-{step}:a)[{n}]", a, b) == b - (n - 1) * run(
            jl, f"() -> {step}"
        )
    back = np.asarray(run(jl, "(a, b) -> collect(a:Day(1):b)", a, b))
    assert (back == np.arange(a, b + 1)).all()


def test_overflow(jl):
    with pytest.raises(OverflowError):
        run(jl, "+", np.timedelta64(2**63 - 1, "s"), np.timedelta64(1, "s"))
    with pytest.raises(OverflowError):
        run(jl, "*", np.timedelta64(2**62, "s"), 4)


def test_sum_and_mean(jl):
    a = np.array([1, 2, 6], "m8[s]")
    assert run(jl, "sum", a) == a.sum()
    assert run(jl, "x -> sum(x) / length(x)", a) == np.timedelta64(3, "s")
    d = a + np.datetime64("2020")
    assert run(jl, "x -> extrema(diff(x))", d) == (np.timedelta64(1, "s"), np.timedelta64(4, "s"))


def test_broadcast(jl):
    a = np.arange(3).astype("M8[h]")
    b = run(jl, "x -> x .+ Dates.Day(1)", a)
    assert (np.asarray(b) == a + np.timedelta64(1, "D")).all()
    run(jl, "x -> (x .+= TimeDelta64{:h}(1); nothing)", a)
    assert a.view("i8").tolist() == [1, 2, 3]


@pytest.mark.parametrize("format_", ["M[foo]", "M[", "M[0s]", "M[99999999999s]", "m[s", "M"])
def test_formats_that_are_none(format_):
    with pytest.raises(bb.JuliaError):
        bb.eval("f -> BufferBridge.memorytype(f, 8)")(format_)


def test_in_interfaces():
    class Other:
        """What has an array interface of its own."""

        def __init__(self, a):
            self.a = a

        @property
        def __array_interface__(self):
            return {k: v for k, v in self.a.__array_interface__.items() if k != "descr"}

    a = np.arange(3).astype("M8[10ms]")
    x = bb.wrap(Other(a))
    assert np.asarray(x).dtype == a.dtype
    assert np.shares_memory(np.asarray(x), a)
