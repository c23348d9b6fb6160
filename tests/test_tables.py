"""Tables of pandas, polars, pyarrow and NumPy in Julia, and Julia's in the first three."""

from __future__ import annotations

import datetime
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bufferbridge as bb

from .conftest import collect_both

np = pytest.importorskip("numpy", reason="needs NumPy")
pd = pytest.importorskip("pandas", reason="needs pandas, which this platform has no wheel of")
pa = pytest.importorskip("pyarrow", reason="needs pyarrow, which this platform has no wheel of")
pl = pytest.importorskip("polars", reason="needs polars, which this platform has no wheel of")

PANDAS_3 = int(pd.__version__.split(".")[0]) >= 3


@pytest.fixture(scope="module")
def julia():
    return bb.eval(
        """
        module TableTests
        isnamed(t) = t isa NamedTuple
        names(t) = map(string, collect(keys(t)))
        types(t) = [anytype(c) for c in t]
        kinds(t) = [string(nameof(typeof(c))) for c in t]
        sums(t) = [sum(skipmissing(c)) for c in t]
        anytype(x::AbstractVector) = sprint(show, eltype(x); context = :module => Base)
        pair(n) = (x = collect(1.0:n), y = Union{Int,Missing}[i == 2 ? missing : i for i in 1:n])
        total(x::AbstractVector) = sum(x)
        elements(x) = collect(Any, x)
        column(@nospecialize(t), name) = getfield(t, Symbol(name))
        end
        """
    )


@pytest.fixture(scope="module")
def dates():
    module = bb.newmodule("TableDates")
    bb.eval("import BufferBridge; const D = BufferBridge.Dates", module)
    return module


def address(array):
    return np.asarray(array).__array_interface__["data"][0]


# ---------------------------------------------------------------- pandas in


def test_a_frame_is_a_namedtuple(julia):
    df = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4]})
    t = bb.table(df)
    assert type(t) is bb.JuliaValue
    assert julia.isnamed(t)
    assert julia.names(t).__len__() == 2
    assert list(julia.names(t)) == ["a", "b"]
    assert list(julia.sums(t)) == [3, 7]
    assert list(t.a) == [1, 2]
    assert type(t.b) is bb.JuliaArray


@pytest.mark.parametrize("order", ["C", "F"])
def test_numeric_columns_are_shared(order):
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], order=order)
    df = pd.DataFrame(values, columns=["a", "b", "c"], copy=False)
    t = bb.table(df)
    for name in df:
        column = getattr(t, name)
        assert column._address == address(df[name])
        assert np.shares_memory(np.asarray(column), df[name].to_numpy())
        assert column.strides == df[name].to_numpy().strides


def test_dtypes(julia):
    df = pd.DataFrame(
        {
            "f4": np.array([1, 2], "f4"),
            "u1": np.array([1, 2], "u1"),
            "bool": [True, False],
            "c16": [1j, 2j],
            "Int64": pd.array([1, None], "Int64"),
            "Float32": pd.array([1.5, None], "Float32"),
            "boolean": pd.array([True, None], "boolean"),
            "str": ["a", None],
            "string": pd.array(["a", None], "string"),
            "arrow": pd.array([1, None], "int32[pyarrow]"),
            "arrow text": pd.array(["a", None], pd.ArrowDtype(pa.string())),
            "days": pd.to_datetime(["2024-01-01", None]),
            "UTC": pd.to_datetime(["2024-01-01", None]).tz_localize("Europe/Berlin"),
            "delta": pd.to_timedelta([1, None], "s"),
        }
    )
    t = bb.table(df)
    missing = "Union{Missing, %s}"
    unit = df["days"].dtype.str[4:-1] if hasattr(df["days"].dtype, "str") else "ns"
    delta = df["delta"].dtype.str[4:-1]
    assert list(julia.types(t)) == [
        "Float32",
        "UInt8",
        "Bool",
        "Complex{Float64}" if bb.julia_version < (1, 6) else "ComplexF64",
        missing % "Int64",
        missing % "Float32",
        missing % "Bool",
        missing % "String",
        missing % "String",
        missing % "Int32",
        missing % "String",
        f"BufferBridge.DateTime64{{:{unit}}}",
        f"BufferBridge.DateTime64{{:{df['UTC'].dtype.unit}}}",
        f"BufferBridge.TimeDelta64{{:{delta}}}",
    ]
    back = bb.to_pandas(t)
    assert list(back.columns) == list(df.columns)
    assert back["UTC"][0] == df["UTC"][0].tz_convert("UTC").tz_localize(None)
    for name in df.columns.drop("UTC"):
        assert [None if pd.isna(v) else v for v in back[name]] == [
            None if pd.isna(v) else v for v in df[name]
        ]


def test_masked_columns_share_data_and_mask():
    column = pd.array([1, None, 3], "Int64")
    series = pd.Series(column, copy=False)
    x = bb.wrap(series)
    assert list(x) == [1, None, 3]
    data, mask = bb.eval("x -> (x.data, x.mask)")(x)
    assert data._address == address(series.array._data)
    assert mask._address == address(series.array._mask)
    assert data.readonly == PANDAS_3
    back = bb.to_pandas(x)
    assert address(back.array._data) == data._address
    assert address(back.array._mask) == mask._address


@pytest.mark.skipif(not PANDAS_3, reason="copy-on-write is pandas 3's")
def test_memory_that_pandas_may_share_with_others_is_read_only(julia):
    df = pd.DataFrame({"a": [1.0, 2.0]})
    t = bb.table(df)
    assert t.a.readonly
    with pytest.raises(bb.JuliaError, match="read-only"):
        bb.Base.fill_b(t.a, 0.0)
    own = df["a"].to_numpy(copy=True)
    bb.Base.fill_b(bb.table({"a": own}).a, 7.0)
    assert own.tolist() == [7, 7]


def test_text_of_python_objects(julia):
    df = pd.DataFrame({"s": np.array(["a", None, "c"], dtype=object), "o": [1, "a", None]})
    df["o"] = df["o"].astype(object)
    t = bb.table(df)
    assert julia.types(t)[0] == "Union{Missing, String}"
    assert list(t.s) == ["a", None, "c"]
    assert list(t.o) == [1, "a", None]
    assert julia.kinds(t)[1] == "PyStridedArray"
    assert list(julia.types(bb.table(df[["s"]].dropna()))) == ["String"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: pd.Categorical(["a", "b"]), "category.*codes"),
        (lambda: pd.period_range("2020", periods=2, freq="D"), r"period.*to_timestamp"),
        (lambda: pd.arrays.SparseArray([0, 1]), r"Sparse.*to_dense"),
        (lambda: pd.interval_range(0, 2), r"interval.*to_numpy"),
        (lambda: pd.array([[1], [2]], pd.ArrowDtype(pa.list_(pa.int64()))), "lists"),
    ],
)
def test_columns_that_have_no_memory_to_share(julia, make, says):
    df = pd.DataFrame({"ok": [1, 2], "wrong one": make()})
    with pytest.raises(TypeError, match=f"'wrong one' can't be shared with Julia.*{says}"):
        bb.table(df)
    with pytest.raises(TypeError, match=says):
        bb.wrap(df["wrong one"])
    with pytest.raises(TypeError, match=f"Argument 1 stays a Python object.*{says}"):
        julia.anytype(df["wrong one"])
    t = bb.table(df, copy=True)
    assert len(bb.eval('t -> t[Symbol("wrong one")]')(t)) == 2


def test_what_to_do_is_what_the_object_has():
    """Series have accessors for what arrays and indices have themselves."""
    for array, remedy in (
        (pd.Categorical(["a"]), "codes "),
        (pd.CategoricalIndex(["a"]), "codes "),
        (pd.period_range("2020", periods=2, freq="D"), "to_timestamp()"),
        (pd.arrays.SparseArray([0, 1]), "to_dense()"),
    ):
        with pytest.raises(TypeError, match=re.escape(f"pass x.{remedy}")):
            bb.wrap(array)


def test_categories_are_decoded_into_a_copy(julia):
    t = bb.table(pd.DataFrame({"c": pd.Categorical(["a", "b", None])}), copy=True)
    assert list(julia.types(t)) == ["Union{Missing, String}"]
    assert list(t.c) == ["a", "b", None]


def test_a_copy_is_julias_own(julia):
    df = pd.DataFrame({"a": [1.0, 2.0], "s": ["x", None], "i": pd.array([1, None], "Int64")})
    t = bb.table(df, copy=True)
    assert set(julia.kinds(t)) <= {"Array", "Vector"}
    t.a[0] = 9.0
    assert df["a"][0] == 1.0
    bb.Base.push_b(t.a, 3.0)


def test_chunks_of_a_column(julia):
    chunked = pa.chunked_array([["a"], ["b", None]])
    df = pd.DataFrame({"s": pd.Series(chunked, dtype=pd.ArrowDtype(pa.string()))})
    with pytest.raises(TypeError, match="2 chunks.*copy=True"):
        bb.table(df)
    assert list(bb.table(df, copy=True).s) == ["a", "b", None]


def test_the_index(julia):
    df = pd.DataFrame({"a": [1, 2]}, index=pd.Index([10, 20], name="k"))
    assert list(julia.names(bb.table(df))) == ["a"]
    t = bb.table(df, index=True)
    assert list(julia.names(t)) == ["k", "a"]
    assert list(t.k) == [10, 20]


def test_names(julia):
    df = pd.DataFrame([[1, 2, 3]], columns=["not a name", 7, "größe"])
    t = bb.table(df)
    assert list(julia.names(t)) == ["not a name", "7", "größe"]
    assert list(bb.to_pandas(t).columns) == ["not a name", "7", "größe"]
    assert bb.to_polars(t).columns == ["not a name", "7", "größe"]
    with pytest.raises(ValueError, match="two columns have the name 'a'"):
        bb.table(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(ValueError, match="two columns have the name '1'"):
        bb.table(pd.DataFrame([[1, 2]], columns=[1, "1"]))
    with pytest.raises(ValueError, match="several levels"):
        bb.table(pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])))


def test_empty_tables(julia):
    assert julia.isnamed(bb.table(pd.DataFrame()))
    assert julia.isnamed(bb.table({}))
    text = pd.ArrowDtype(pa.string())
    for empty in (
        pd.DataFrame({"a": [1.0], "s": pd.array(["x"], text)})[:0],
        pl.DataFrame({"a": [1.0], "s": ["x"]})[:0],
        pl.DataFrame(schema={"a": pl.Float64, "s": pl.String}),
        pa.table({"a": [1.0], "s": ["x"]})[:0],
        pa.schema([("a", pa.float64()), ("s", pa.string())]).empty_table(),
    ):
        t = bb.table(empty)
        assert list(julia.types(t)) == ["Float64", "String"]
        assert len(t.a) == len(t.s) == 0
        assert bb.to_pandas(t).shape == (0, 2)
        assert bb.to_polars(t).shape == (0, 2)
        assert bb.to_arrow(t).num_rows == 0


def test_thousands_of_columns(julia):
    df = pd.DataFrame(np.ones((2, 3000)))
    t = bb.table(df)
    assert julia.isnamed(t)
    assert list(getattr(t, "2999")) == [1, 1]
    assert bb.to_pandas(t).shape == (2, 3000)


# ------------------------------------------------------------------- Series


def test_series_are_their_values(julia):
    series = pd.Series([1.0, 2.0, 3.0], index=[5, 6, 7])
    assert julia.total(series) == 6
    assert bb.wrap(series)._address == address(series)
    assert julia.total(series[::2]) == 4
    text = pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string()))
    assert julia.anytype(text) == "Union{Missing, String}"
    assert bb.Base.sum(pl.Series([1, 2])) == 3
    nothing = bb.wrap(pd.Series([], dtype="f8"))
    assert nothing.shape == (0,)


def test_frames_stay_what_they_are(julia):
    for frame in (pd.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]}), pa.table({"a": [1]})):
        assert bb.Base.identity(frame) is frame


# --------------------------------------------------- other tables, into Julia


def test_polars_frames(julia):
    df = pl.DataFrame(
        {
            "a": [1.0, 2.0],
            "b": [1, None],
            "s": ["x", None],
            "t": [True, None],
            "d": [datetime.date(2024, 2, 29), None],
            "when": [datetime.datetime(2024, 2, 29, 1), None],
        }
    )
    t = bb.table(df)
    assert list(julia.names(t)) == df.columns
    assert t.a._address == df["a"].to_numpy(allow_copy=False).__array_interface__["data"][0]
    assert list(t.b) == [1, None]
    assert list(t.s) == ["x", None]
    assert list(t.t) == [True, None]
    assert list(t.d) == [datetime.date(2024, 2, 29), None]
    assert bb.to_polars(t).equals(df)
    two = pl.concat([df, df], rechunk=False)
    with pytest.raises(TypeError, match=r"this table is in 2 chunks.*rechunk\(\).*copy=True"):
        bb.table(two)
    assert list(bb.table(two, copy=True).b) == [1, None, 1, None]
    assert list(bb.table(two.rechunk()).s) == ["x", None] * 2
    with pytest.raises(TypeError, match=r"'c' can't.*cast\(pl.String\)"):
        bb.table(pl.DataFrame({"c": pl.Series(["a"], dtype=pl.Categorical)}))
    with pytest.raises(TypeError, match="'LazyFrame' is no table"):
        bb.table(df.lazy())
    with pytest.raises(TypeError, match="one column and no table"):
        bb.table(df["a"])


def test_pyarrow_tables(julia):
    table = pa.table({"a": [1.0, 2.0], "s": ["x", None]})
    for data in (table, table.to_batches()[0], table.to_reader()):
        t = bb.table(data)
        assert list(t.a) == [1, 2]
        assert list(t.s) == ["x", None]
    assert bb.table(table).a._address == table["a"].chunk(0).buffers()[1].address
    assert list(bb.table(table[1:]).a) == [2]
    assert list(bb.table(table.to_batches()[0][1:]).s) == [None]
    two = pa.concat_tables([table, table])
    with pytest.raises(TypeError, match=r"2 chunks.*combine_chunks"):
        bb.table(two)
    assert list(bb.table(two, copy=True).s) == ["x", None] * 2


def test_structs_with_an_offset_and_nulls():
    batch = pa.record_batch({"a": [1, 2, 3], "b": ["x", None, "z"]})
    part = batch.to_struct_array()[1:]
    t = bb.table(part)
    assert list(t.a) == [2, 3]
    assert list(t.b) == [None, "z"]
    with pytest.raises(TypeError, match="rows of this table have nulls"):
        bb.table(pa.array([{"a": 1}, None]))


def test_other_tables(julia):
    records = np.zeros(3, [("x", "f8"), ("n", "i2"), ("s", "S3")])
    t = bb.table(records)
    assert t.x._address == address(records)
    bb.Base.fill_b(t.n, 5)
    assert records["n"].tolist() == [5, 5, 5]
    t = bb.table({"a": np.arange(3), "b": [1, 2, 3], "c": bb.eval("1:3")})
    assert list(julia.sums(t)) == [3, 6, 6]
    assert julia.names(bb.table(bb.table(t)))[2] == "c"
    result = julia.pair(3)
    assert list(bb.table(result).y) == [1, None, 3]
    assert list(bb.table(bb.eval("[(a = 1, b = 2.0), (a = 3, b = 4.0)]")).b) == [2, 4]
    assert list(bb.table(bb.eval("Dict(:a => [1, 2])")).a) == [1, 2]
    with pytest.raises(ValueError, match="one length"):
        bb.table({"a": np.arange(3), "b": np.arange(2)})
    with pytest.raises(TypeError, match="no vector"):
        bb.table({"a": 1})
    with pytest.raises(TypeError, match="'a' is no vector but an array of 2 axes"):
        bb.table({"a": np.zeros((2, 2))})
    for no_table in (1, "abc", None, [1, 2], np.zeros(3), pd.DataFrame, bb.eval("[1]")):
        with pytest.raises(TypeError, match="is no table"):
            bb.table(no_table)


@pytest.mark.parametrize(
    ("column", "says", "eltype"),
    [
        (pd.Series(pd.Categorical(["a", None])), "category.*codes", "Union{Missing, String}"),
        (pd.Series(["a", None], dtype=object), None, "Union{Missing, String}"),
        (pd.RangeIndex(2), "no memory", "Int64"),
        (pl.Series([1]).append(pl.Series([2])), "2 chunks", "Int64"),
        (pa.chunked_array([[1], [None]]), "2 chunks", "Union{Missing, Int64}"),
        (pa.chunked_array([], pa.int64()), None, "Int64"),
    ],
)
def test_a_dict_of_columns_is_as_good_as_a_frame(julia, column, says, eltype):
    if says is not None:
        with pytest.raises(TypeError, match=f"column 'c' can't be shared with Julia: .*{says}"):
            bb.table({"c": column})
    else:
        assert list(julia.types(bb.table({"c": column}))) == [eltype]
    t = bb.table({"c": column}, copy=True)
    assert list(julia.types(t)) == [eltype]
    assert len(t.c) == len(column)


def test_tables_of_the_tables_package():
    """What other packages' tables are asked; a stand-in for the package, with its names."""
    mine = bb.eval(
        """
        module TablesStandIn
            struct Mine end
            istable(x) = x isa Mine
            columns(x::Mine) = x
            columnnames(x::Mine) = (:a, :b)
            getcolumn(x::Mine, n::Symbol) = n === :a ? [1, 2] : (n for n in ("x", "y"))
        end
        id = Base.PkgId(Base.UUID("bd369af6-aec1-5ad0-b16a-f7cc5008161c"), "Tables")
        Base.loaded_modules[id] = TablesStandIn
        TablesStandIn.Mine()
        """
    )
    try:
        assert bb.to_pandas(mine).to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}
        assert bb.table(mine).a[1] == 2
        with pytest.raises(TypeError, match="vector or a table"):
            bb.to_pandas(bb.eval("Ref(1)"))
    finally:
        bb.eval("filter!(p -> p.second !== TablesStandIn, Base.loaded_modules); nothing")


# ---------------------------------------------------------------- from Julia


def test_to_pandas(julia):
    t = bb.eval("t = (x = collect(1.0:3), i = Int8[1, 2, 3], b = [true, false, true])", raw=True)
    df = bb.to_pandas(t)
    assert [str(d) for d in df.dtypes] == ["float64", "int8", "bool"]
    for name in df:
        assert address(df[name]) == getattr(t, name)._address
    t.x[0] = 9.0
    assert df["x"][0] == 9.0
    assert list(df.index) == [0, 1, 2]


def test_missing_values_to_pandas(julia):
    raw = julia.pair.raw(3)
    df = bb.to_pandas(raw)
    assert str(df["y"].dtype) == "Int64"
    assert df["y"].isna().tolist() == [False, True, False]
    raw.y[0] = 100
    assert df["y"][0] == 100  # the values are shared, the mask is a copy
    table = bb.to_pandas(julia.pair(3))  # a named tuple
    assert table.columns.tolist() == ["x", "y"]
    df = bb.to_pandas(
        bb.eval(
            '(a = [1.5, missing], b = [missing, true], c = ["x", missing], d = [missing, missing])'
        )
    )
    assert [str(d) for d in df.dtypes][:2] == ["Float64", "boolean"]
    assert df.isna().to_numpy().tolist() == [[False, True, False, True], [True, False, True, True]]


def test_dates_to_pandas(dates):
    df = bb.to_pandas(
        bb.eval(
            "let (Date, DateTime, Time) = (D.Date, D.DateTime, D.Time)\n"
            "(d = [Date(1969), Date(2024, 2, 29)], t = [DateTime(2024), missing],"
            " p = D.Millisecond.(1:2), o = [Time(1), Time(2)]) end",
            dates,
        )
    )
    assert df["d"].tolist() == [pd.Timestamp("1969-01-01"), pd.Timestamp("2024-02-29")]
    assert df["t"][0] == pd.Timestamp("2024-01-01")
    assert df["t"].isna().tolist() == [False, True]
    assert df["p"][1] == pd.Timedelta("2ms")
    assert df["o"].tolist() == [datetime.time(1), datetime.time(2)]


def test_objects_to_pandas():
    df = bb.to_pandas(bb.eval('(a = Any[1, "x"], b = [(1, 2), (3, 4)], c = [1//2, 3//4])'))
    assert df["a"].tolist() == [1, "x"]
    assert df["b"].tolist() == [(1, 2), (3, 4)]
    assert str(df["c"].dtype) == "object"


@pytest.mark.parametrize(
    ("code", "arrow", "values"),
    [
        ("Any[1, missing]", "int64", [1, None]),
        ("[1, nothing]", "int64", [1, None]),
        ("[nothing, nothing]", "null", [None, None]),
        ("Any[]", "null", []),
        ('Any["a", nothing, missing]', "large_string", ["a", None, None]),
        ("[true, nothing]", "bool", [True, None]),
    ],
)
def test_nothing_is_none_too(code, arrow, values):
    """And vectors of wider types are what is in them, as in Julia's own functions."""
    array = bb.to_arrow(bb.eval(code))
    array.validate(full=True)
    assert str(array.type) == arrow
    assert array.to_pylist() == bb.to_polars(bb.eval(code)).to_list() == values
    series = bb.to_pandas(bb.eval(code))
    assert [None if pd.isna(v) else v for v in series] == values
    if code == "[1, nothing]":
        assert str(series.dtype) == "Int64"


def test_times_of_other_units(dates):
    bb.eval("using BufferBridge: DateTime64, TimeDelta64, nat", dates)
    for code, arrow in (
        ("[DateTime64{:h}(5), nat(DateTime64{:h})]", "timestamp[s]"),
        ("[DateTime64{(25, :ms)}(2), missing]", "timestamp[ms]"),
        ("[TimeDelta64{:D}(5), missing]", "duration[s]"),
    ):
        x = bb.eval(code, dates)
        array = bb.to_arrow(x)
        assert str(array.type) == arrow
        assert array.to_numpy(zero_copy_only=False)[0] == x[0]
        assert array.null_count == 1
    for code in ("[DateTime64{:ps}(5)]", "[TimeDelta64{:M}(5)]", "[D.Month(5)]"):
        with pytest.raises(ValueError, match="no type for elements"):
            bb.to_arrow(bb.eval(code, dates))


def test_other_elements_to_pandas(dates):
    assert bb.to_pandas(bb.eval("[UInt8[1, 2], missing]")).tolist() == [b"\1\2", None]
    months = bb.to_pandas(bb.eval("[D.Month(1), D.Month(2)]", dates))
    assert (
        months.dtype == object
    )  # pandas would make 30 days, 10 hours, 29 minutes and 6 seconds of it
    seconds = bb.eval("[D.Second(1), D.Second(2)]", dates)
    series = bb.to_pandas(seconds)
    assert series.dtype == "m8[s]"
    assert np.shares_memory(series.to_numpy(), np.asarray(seconds))
    assert bb.to_pandas(bb.eval("[D.Day(1), missing]", dates)).isna().tolist() == [False, True]


def test_vectors_to_series():
    x = bb.eval("collect(1.0:3.0)")
    series = bb.to_pandas(x)
    assert isinstance(series, pd.Series)
    assert address(series) == x._address
    series = bb.to_polars(x)
    assert isinstance(series, pl.Series)
    assert series.to_numpy(allow_copy=False).__array_interface__["data"][0] == x._address
    assert bb.to_polars(bb.eval("[true, missing]")).to_list() == [True, None]
    assert bb.to_pandas(bb.eval('["a", missing]')).isna().tolist() == [False, True]


def test_to_polars_and_arrow(julia, dates):
    t = bb.eval(
        """
        (x = collect(1.0:2), s = ["a", missing], b = [true, false], d = [D.Date(2024), missing])
        """,
        dates,
        raw=True,
    )
    df = bb.to_polars(t)
    assert df.to_dict(as_series=False) == {
        "x": [1.0, 2.0],
        "s": ["a", None],
        "b": [True, False],
        "d": [datetime.date(2024, 1, 1), None],
    }
    assert df["x"].to_numpy(allow_copy=False).__array_interface__["data"][0] == t.x._address
    table = bb.to_arrow(t)
    table.validate(full=True)
    assert table.to_pydict() == df.to_dict(as_series=False)
    assert table["x"].chunk(0).buffers()[1].address == t.x._address
    assert bb.to_arrow({"a": [1, 2], "b": t.x}).to_pydict() == {"a": [1, 2], "b": [1.0, 2.0]}
    assert bb.to_polars({"a": [1, 2], "b": t.x}).shape == (2, 2)
    with pytest.raises(ValueError, match="column 'c'.*no type for elements"):
        bb.to_arrow(bb.eval("(c = [1im],)", raw=True))
    with pytest.raises(ValueError, match="different lengths"):
        bb.to_arrow(bb.eval("(a = [1], b = [1, 2])", raw=True))
    with pytest.raises(TypeError, match="2 axes"):
        bb.to_polars(bb.eval("zeros(2, 2)"))
    for function in (bb.to_arrow, bb.to_pandas, bb.to_polars):
        with pytest.raises(TypeError, match="vector or a table"):
            function(3)


def test_nothing_stays_held(julia):
    collect_both()
    before = collect_both()
    df = pd.DataFrame({"a": [1.0, 2.0], "s": ["x", None], "i": pd.array([1, None], "Int64")})
    t = bb.table(df)
    frames = [f(t) for f in (bb.to_pandas, bb.to_polars, bb.to_arrow)]
    assert bb.stats()["pinned_buffers"] > before["pinned_buffers"]
    assert bb.stats()["exports"] > before["exports"]
    del t, frames, df
    after = collect_both()
    assert {k: after[k] for k in before} == before


def test_frames_keep_julias_memory():
    df = bb.to_pandas(bb.eval("(a = collect(1.0:100_000.0),)", raw=True))
    frame = bb.to_polars(bb.eval("(a = collect(1.0:100_000.0),)", raw=True))
    collect_both()
    assert df["a"].sum() == frame["a"].sum() == 100_000 * 100_001 / 2


def test_importing_takes_no_library(run_python):
    run_python(
        """
        import sys, bufferbridge as bb
        bb.eval("1")
        bb.table({"a": bb.eval("[1, 2]")})
        assert not {"pandas", "polars", "pyarrow", "numpy"} & set(sys.modules)
        """
    )


# ------------------------------------------------------------------- any table

NUMBERS = {
    "Int8": st.integers(-128, 127),
    "UInt16": st.integers(0, 65535),
    "Int64": st.integers(-(2**63), 2**63 - 1),
    "UInt64": st.integers(0, 2**64 - 1),
    "Float64": st.floats(allow_nan=False),
    "Boolean": st.booleans(),
    "String": st.text(st.characters(codec="utf-8"), max_size=20),
    "Date": st.dates(),
}


@st.composite
def columns(draw):
    length = draw(st.integers(0, 20))
    result = {}
    for name in draw(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4),
            max_size=4,
            unique=True,
        )
    ):
        dtype = draw(st.sampled_from(sorted(NUMBERS)))
        nulls = draw(st.booleans())
        values = NUMBERS[dtype] if not nulls else st.none() | NUMBERS[dtype]
        result[name] = (dtype, draw(st.lists(values, min_size=length, max_size=length)))
    return result, draw(st.integers(0, length)), draw(st.integers(0, length))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(columns())
def test_any_table(julia, data):
    made, start, stop = data
    df = pl.DataFrame([pl.Series(n, v, dtype=getattr(pl, d)) for n, (d, v) in made.items()])
    df = df[min(start, stop) : max(start, stop)].rechunk()
    arrow = df.to_arrow()
    for table in (df, arrow):
        t = bb.table(table)
        for name in df.columns:
            assert list(julia.column(t, name)) == df[name].to_list()
        assert bb.to_polars(t).equals(df)
        back = bb.to_arrow(t)
        back.validate(full=True)
        assert back.to_pydict() == arrow.to_pydict()
    frame = bb.to_pandas(t)
    for name in df.columns:
        got = [None if v is None or v is pd.NA or v is pd.NaT else v for v in frame[name]]
        want = df[name].to_list()
        if made[name][0] == "Date":
            want = [None if v is None else pd.Timestamp(v) for v in want]
        elif made[name][0] == "String":
            got = [None if pd.isna(v) else v for v in got]
        assert got == want


# ------------------------------------------------- indices and arrays of pandas


@pytest.mark.parametrize(
    "make, eltype",
    [
        (lambda: pd.Index([1, 2, 3]), "Int64"),
        (lambda: pd.array(np.arange(3.0), dtype="Float64"), "Union{Missing, Float64}"),
        (lambda: pd.array([1, 2, None], dtype="Int64"), "Union{Missing, Int64}"),
        (lambda: pd.arrays.NumpyExtensionArray(np.arange(3.0)), "Float64"),
        (lambda: pd.DatetimeIndex(["2020-01-01", "NaT", "2021-01-01"]), "DateTime64"),
    ],
)
def test_indices_and_arrays(julia, make, eltype):
    if not hasattr(pd.arrays, "NumpyExtensionArray"):
        pytest.skip("pandas before 2.1 calls it PandasArray")
    x = make()
    assert eltype in str(julia.anytype(x))
    held = getattr(x, "_data", x)
    wrapped = bb.wrap(x)
    parts = bb.to_masked(wrapped).data if "Missing" in eltype else wrapped
    assert address(parts) == address(held if isinstance(held, np.ndarray) else x.to_numpy())


@pytest.mark.parametrize("x", [pd.RangeIndex(3), pd.MultiIndex.from_tuples([(1, 2)])], ids=repr)
def test_indices_without_memory(x):
    assert bb.eval("x -> x isa BufferBridge.PyObject")(x)
    with pytest.raises(TypeError, match=r"pass x\.to_numpy\(\)"):
        bb.wrap(x)
