"""Values of classes beyond the language's own: to Julia and back.

The C layer asks :func:`find` once for each class of an argument that is neither plain nor a list or
dict, and remembers the answer in `_start.conversions` (``from_converted`` in ``csrc/values.c``). A
conversion is called with the object, and what it returns takes the object's place; NotImplemented
leaves the object as it is. The functions named ``make_...`` are the other way:
``jlsrc/src/conversions.jl`` calls them.

Nothing is lost on the way: a value that the other language's type can't hold exactly stays an
object of its own language.
"""

from __future__ import annotations

import sys

from . import _start
from ._core import JuliaValue

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    import datetime
    import enum
    import fractions
    from collections.abc import Sequence
    from typing import Any, Callable, TypeVar

    Conversion = Callable[[Any], Any]
    F = TypeVar("F", bound=Callable[[Any], Any])

_MANY = 1000  # classes remembered, which stay alive for that

_added: dict[type, Conversion] = {}


def find(class_: type) -> Conversion | int | None:
    """The conversion for instances of a class: that of the first class in its MRO with one.

    Else the protocols that the class has, as a sum of those in _PROTOCOLS, or None.
    """
    conversion: Conversion | int | None = None
    for base in type.__dict__["__mro__"].__get__(class_):
        conversion = _own(base) or _built_in(base)
        if conversion is not None:
            break
    else:
        conversion = _by_protocol(class_) or _protocols(class_) or None
    if len(_start.conversions) >= _MANY:
        _start.conversions.clear()
    _start.conversions[class_] = conversion
    return conversion


# enum bb_protocol in csrc/bufferbridge.h
_PROTOCOLS = {"__array_interface__": 1, "__array_struct__": 2, "__dlpack__": 4}


def _protocols(class_: type) -> int:
    """Which ways to its memory a class offers, so that objects without any are not asked for each.

    What only the instance has counts for none but __array_interface__ (see bb_acquire), so that
    objects that have every attribute one asks for are not taken for tensors.
    """
    found = 0
    for base in type.__dict__["__mro__"].__get__(class_):
        for name in type.__dict__["__dict__"].__get__(base).keys() & _PROTOCOLS.keys():
            found |= _PROTOCOLS[name]
    return found


def _by_protocol(class_: type) -> Conversion | None:
    from . import _arrow

    return _arrow.argument if _arrow.has_values(class_) else None


def _own(class_: type) -> Conversion | None:
    try:
        return _added.get(class_)
    except TypeError:  # its metaclass has an __eq__ and no __hash__
        return None


def _built_in(class_: type) -> Conversion | None:
    # Their modules are not imported for that: without them there is no such object.
    name = type.__dict__["__name__"].__get__(class_)
    entry = _BUILT_IN.get(name)
    if entry is None:
        return None
    module, conversion = entry
    return conversion if getattr(sys.modules.get(module), name, None) is class_ else None


# ------------------------------------------------------------------ to Julia


def _date(d: datetime.date) -> Any:
    return _start.ensure().bridge.makedate.raw(d.year, d.month, d.day)


def _datetime(d: datetime.datetime) -> Any:
    if d.tzinfo is not None or d.microsecond % 1000 or _has_nanoseconds(d):
        return NotImplemented
    date, time = (d.year, d.month, d.day), (d.hour, d.minute, d.second)
    return _start.ensure().bridge.makedatetime.raw(*date, *time, d.microsecond // 1000)


def _has_nanoseconds(x: Any) -> bool:
    # pandas' Timestamp and Timedelta are subclasses of datetime's, and finer.
    return bool(getattr(x, "nanosecond", 0) or getattr(x, "nanoseconds", 0))


def _time(t: datetime.time) -> Any:
    if t.tzinfo is not None:
        return NotImplemented
    return _start.ensure().bridge.maketime.raw(t.hour, t.minute, t.second, t.microsecond)


def _timedelta(t: datetime.timedelta) -> Any:
    microseconds = (t.days * 86400 + t.seconds) * 1_000_000 + t.microseconds
    if not -(2**63) <= microseconds < 2**63 or _has_nanoseconds(t):
        return NotImplemented
    return _start.ensure().bridge.makeperiod.raw(microseconds)


def _fraction(f: fractions.Fraction) -> Any:
    return _start.ensure().bridge.makefraction.raw(f.numerator, f.denominator)


def _time64(t: Any) -> Any:
    return _start.ensure().bridge.maketime64.raw(t.dtype.str[1:], int(t.view("i8")))


def _masked(m: Any) -> Any:
    from ._masked import from_numpy

    return from_numpy(m)


def _module(m: Any) -> Any:
    return m.__julia__


_BUILT_IN: dict[str, tuple[str, Conversion]] = {
    "ImportedModule": ("bufferbridge._modules", _module),
    "date": ("datetime", _date),
    "datetime": ("datetime", _datetime),
    "time": ("datetime", _time),
    "timedelta": ("datetime", _timedelta),
    "Fraction": ("fractions", _fraction),
    "MaskedArray": ("numpy.ma", _masked),
    "datetime64": ("numpy", _time64),
    "timedelta64": ("numpy", _time64),
}


def hint(x: Any) -> str | None:
    """Why an object did not become a value of Julia's though others of its class do."""
    module = sys.modules.get("datetime")
    if module is not None and isinstance(x, (module.datetime, module.time)):
        if x.tzinfo is not None:
            return "it has a time zone, which Julia's Dates have not; pass x.replace(tzinfo=None)"
        if _has_nanoseconds(x):
            return "it has nanoseconds, and Julia's DateTime milliseconds; pass x.floor('ms')"
        return (
            "it has microseconds, and Julia's DateTime milliseconds; pass x.replace(microsecond=0)"
        )
    if module is not None and isinstance(x, module.timedelta):
        if _has_nanoseconds(x):
            return "it has nanoseconds, and Python's timedelta microseconds; pass x.floor('us')"
        return "it is longer than the 292,000 years that fit into Julia's Microsecond"
    if _is_decimal(x):
        return "pass float(x), or bufferbridge.convert(bufferbridge.Base.BigFloat, x)"
    from . import _arrow

    return _arrow.hint(x)


# ---------------------------------------------------------------- from Julia


def make_date(year: int, month: int, day: int) -> datetime.date:
    import datetime

    return datetime.date(year, month, day)


def make_datetime(*parts: int) -> datetime.datetime:
    import datetime

    return datetime.datetime(*parts)  # type: ignore[arg-type]


def make_time(*parts: int) -> datetime.time:
    import datetime

    return datetime.time(*parts)  # type: ignore[arg-type]


def make_timedelta(days: int, microseconds: int) -> datetime.timedelta:
    import datetime

    return datetime.timedelta(days=days, microseconds=microseconds)


def make_fraction(numerator: int, denominator: int) -> fractions.Fraction:
    import fractions

    return fractions.Fraction(numerator, denominator)


def make_time64(dtype: str, count: int) -> Any:
    """NumPy's scalar; None without NumPy."""
    try:
        import numpy as np
    except ImportError:
        return None
    return np.int64(count).view(dtype)


def make_enum(
    name: str,
    module: str,
    names: tuple[str, ...],
    numbers: tuple[int, ...],
    values: tuple[JuliaValue, ...],
) -> Sequence[enum.IntEnum]:
    """The members of a new IntEnum for a Julia enum; none if Python can't have these names."""
    import enum

    try:
        class_ = enum.IntEnum(name, list(zip(names, numbers)), module=module)  # type: ignore[misc]
        members = [class_[n] for n in names]
    except (ValueError, TypeError, KeyError):  # names such as mro and _order_
        return ()
    class_.__doc__ = f"Julia's enum {module}.{name}."
    julia = dict(zip(members, values))
    _added[class_] = julia.__getitem__
    return members


# --------------------------------------------------- conversions that users add

_OWN = frozenset(
    (bool, int, float, complex, str, tuple, list, dict, set, frozenset, range, type(None), object)
)


def conversion(source: type | JuliaValue) -> Callable[[F], F]:
    """Decorator: the function converts values of a Python class, or of a Julia type.

    source: a Python class: the function gets its instances (and those of subclasses) when they go
        to Julia, and returns what goes there in their place: anything that has a conversion, or a
        JuliaValue. Or a Julia type: the function gets values of that type (and of its subtypes) as
        JuliaValues when they come to Python, and what it returns is the result.

    Either returns NotImplemented for an object that it leaves as it is. Conversions hold for all
    ways across: arguments, results, items, attributes. A new one replaces the one of before.

    Raises ValueError for types whose conversion is fixed: numbers, text, tuples, lists, Julia's
    Arrays and the like; TypeError if source is neither a class nor a Julia type.
    """

    def decorate(function: F) -> F:
        if not callable(function):
            raise TypeError(f"a conversion is a function, not '{type(function).__name__}'")
        if isinstance(source, type):
            if source in _OWN or _is_numpy_array(source):
                raise ValueError(f"how '{source.__name__}' goes to Julia can't be changed")
            _added[source] = function
            _start.conversions.clear()
        elif isinstance(source, JuliaValue):
            _start.ensure().bridge.convertresults(source, function)
        else:
            raise TypeError(
                f"a conversion is for a class or a Julia type, not for '{type(source).__name__}'"
            )
        return function

    return decorate


def add_julia_function(class_: type, function: JuliaValue) -> None:
    """What Julia's pyconversion! calls: the function gets PyObjects."""
    from . import pyobject

    conversion(class_)(lambda x: function.raw(pyobject(x)))


def remove_conversion(source: type | JuliaValue) -> None:
    """End a conversion of :func:`conversion`. Raises KeyError if there is none for this type."""
    if isinstance(source, JuliaValue):
        if not _start.ensure().bridge.keepresults(source):
            raise KeyError(f"there is no conversion for Julia's {source}")
    else:
        if _added.pop(source, None) is None:
            raise KeyError(f"there is no conversion for {source!r}")
        _start.conversions.clear()


def _is_numpy_array(class_: type) -> bool:
    return class_ is getattr(sys.modules.get("numpy"), "ndarray", None)


# ------------------------------------------------------------------ on request


def convert(type_: Any, value: Any) -> Any:
    """`value` as a value of `type_`, a Python class or a Julia type.

    To a Julia type (a JuliaValue such as ``bb.Base.BigFloat``) by Julia's ``convert``; the result
    is not converted back: a JuliaValue, JuliaArray, ... A decimal.Decimal becomes the nearest
    number of the type, an exact one if it is a Rational.

    To a Python class by the conversions there are, else by calling the class with the value:
    ``bb.convert(list, x)``, ``bb.convert(float, x)``. A BigFloat becomes the decimal.Decimal of
    Julia's decimal display, which gives the same BigFloat back, or the very fractions.Fraction.

    Raises what Julia's convert or the class raise.
    """
    from . import pyobject

    bridge = _start.ensure().bridge
    if isinstance(type_, JuliaValue):
        if _is_decimal(value):
            return bridge.fromdecimal.raw(type_, str(value))
        return bridge.convertto.raw(type_, value, pyobject(value))
    if not isinstance(type_, type):
        raise TypeError(f"convert wants a class or a Julia type, not '{type(type_).__name__}'")
    if isinstance(value, JuliaValue):
        value = bridge.converted(value)
    if isinstance(value, type_):
        return value
    if isinstance(value, JuliaValue):
        if _is(type_, "decimal", "Decimal"):
            return type_(bridge.decimaltext(value))
        if _is(type_, "fractions", "Fraction"):
            return type_(*bridge.ratio(value))
    return type_(value)


def _is(class_: type, module: str, name: str) -> bool:
    return class_ is getattr(sys.modules.get(module), name, None)


def _is_decimal(value: Any) -> bool:
    return _is(type(value), "decimal", "Decimal")
