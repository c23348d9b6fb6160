"""JuliaValue and its kinds but JuliaArray, as csrc/juliavalue.c and csrc/numbers.c.

Lifetime: the root slot keeps the Julia object. ``__del__``, which any thread may run at any time,
only puts the slot's number on a queue.
"""

from __future__ import annotations

from . import _values
from ._calls import ask, call, freed, ready
from ._memory import DICTIONARY, FUNCTION, IO, MODULE, SET_, VALUE

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

_set = object.__setattr__


def is_dunder(name: str) -> bool:
    return len(name) > 4 and name[:2] == "__" and name[-2:] == "__"


class _Raw:
    """The method `raw`; on a plain JuliaValue a property of that name hides it."""

    def __get__(self, x: Any, class_: Any = None) -> Any:
        if x is None:
            return self
        if type(x) is JuliaValue:
            try:
                return ask("getattr", x, "raw")
            except AttributeError:
                pass

        def raw(*args: Any, **kwargs: Any) -> Any:
            """Call it, and get the result as Julia has it, unconverted."""
            if not ready():
                return ask("callraw")
            return call(_helper("callraw"), (x, *args), kwargs)

        return raw


def _helper(name: str) -> int:
    from ._calls import helper

    return helper(name)


class JuliaValue:
    """A Julia object. Attributes are Julia's properties; calling it calls it in Julia;
    comparison and hash are Julia's."""

    # Names that no Julia object is asked for, so that they hide none of its properties.
    __slots__ = ("__jl__", "__slot__", "__weakref__")

    __jl__: int  # the address of the Julia object
    __slot__: int  # its place in the table of roots

    raw = _Raw()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"a {cls.__name__} comes from Julia: use bufferbridge.eval, a call, or"
            " bufferbridge.wrap"
        )

    def __del__(self) -> None:
        freed.append(self.__slot__)

    def __current__(self) -> int:
        """The address of the Julia object, which Julia code may use."""
        return self.__jl__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return call(self.__current__(), args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if is_dunder(name):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if is_dunder(name):  # our own slots among them: only _set writes those
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}' to set")
        ask("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        raise TypeError(f"names and fields of Julia objects can't be deleted ('{name}')")

    def __dir__(self) -> list[str]:
        return [*ask("dirof", self), *object.__dir__(self)]

    def __repr__(self) -> str:
        return _display("reprof", self)

    def __str__(self) -> str:
        return _display("strof", self)

    def __hash__(self) -> int:
        return ask("hashof", self)  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        return ask("truth", self)  # type: ignore[no-any-return]

    def __len__(self) -> int:
        n: int = ask("lengthof", self)
        if n < 0:
            raise ValueError("the length of this Julia object is negative")
        return n

    def __getitem__(self, key: Any) -> Any:
        return ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        ask("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        ask("deleteitem", self, key)

    def __contains__(self, item: Any) -> bool:
        return bool(ask("contains", self, item))

    def __iter__(self) -> Any:
        return _Iterator(ask("iteration", self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"cannot pickle '{type(self).__name__}' object: pickle a copy, such as dict(d)"
        )

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        if modulus is not None:
            raise TypeError("pow(a, b, m) of Julia objects is bufferbridge.Base.powermod(a, b, m)")
        return operate("**", self, other)

    def __rpow__(self, other: Any) -> Any:
        return operate("**", other, self)

    def __ipow__(self, other: Any) -> Any:  # type: ignore[misc]
        return in_place("**", self, other)


def _display(name: str, x: JuliaValue) -> str:
    # It must work for every object that lives: without Julia, and for a view that no longer fits.
    if ready():
        try:
            return ask(name, x)  # type: ignore[no-any-return]
        except BufferError:
            pass
    return object.__repr__(x)


class _Iterator:
    """Julia's iteration protocol: the callable raises StopIteration at the end."""

    def __init__(self, step: Any) -> None:
        self._step = step

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self._step is None:
            raise StopIteration
        try:
            return self._step()
        except StopIteration:
            self._step = None
            raise


# ---------------------------------------------------------------- operators

_PLAIN = (int, float, bool, complex)
array_class: Any = None  # JuliaArray; _arrays sets it


def _is_for_arrays(x: Any) -> bool:
    return isinstance(x, JuliaValue) or type(x) in _PLAIN


def operate(op: str, a: Any, b: Any) -> Any:
    if (type(a) is array_class and not _is_for_arrays(b)) or (
        type(b) is array_class and not _is_for_arrays(a)
    ):
        return NotImplemented
    return ask("operate", op, a, b)


def in_place(op: str, a: Any, b: Any) -> Any:
    """Only arrays change; for others ``x += y`` is ``x = x + y``."""
    if type(a) is not array_class:
        return operate(op, a, b)
    ask("operate", op + "=", a, b)
    return a


def _define(name: str, method: Any) -> None:
    method.__name__ = name
    method.__qualname__ = f"JuliaValue.{name}"
    setattr(JuliaValue, name, method)


def _define_binary(name: str, op: str) -> None:
    _define(f"__{name}__", lambda self, other: operate(op, self, other))
    _define(f"__r{name}__", lambda self, other: operate(op, other, self))
    if op not in ("divmod", "@"):
        _define(f"__i{name}__", lambda self, other: in_place(op, self, other))


def _define_unary(name: str, op: str) -> None:
    _define(f"__{name}__", lambda self: ask("operate", op, self))


def _define_number(name: str, type_: type) -> None:
    def number(self: Any) -> Any:
        r = ask("tonumber", name, self)
        if not isinstance(r, type_):
            raise TypeError(f"Julia gave no number for {name}(): '{type(r).__name__}'")
        return r

    _define(f"__{name}__", number)


def _define_comparison(name: str, op: str) -> None:
    def compare(self: Any, other: Any) -> Any:
        if op in ("==", "!="):
            if isinstance(other, JuliaValue):
                if self.__jl__ == other.__jl__:
                    return op == "=="
            elif not ready():  # whether they are equal may be asked at any time
                return NotImplemented
        return ask("compare", self, op, other)

    _define(f"__{name}__", compare)


for _name, _op in {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%",
    "divmod": "divmod", "matmul": "@", "lshift": "<<", "rshift": ">>", "and": "&", "or": "|",
    "xor": "^",
}.items():  # fmt: skip
    _define_binary(_name, _op)
for _name, _op in {"neg": "neg", "pos": "pos", "abs": "abs", "invert": "~"}.items():
    _define_unary(_name, _op)
for _name in ("int", "float", "index"):
    _define_number(_name, float if _name == "float" else int)
for _name, _op in {"lt": "<", "le": "<=", "eq": "==", "ne": "!=", "gt": ">", "ge": ">="}.items():
    _define_comparison(_name, _op)


# --------------------------------------------------------------------- kinds


class JuliaFunction(JuliaValue):
    """A Julia function: call it with positional and keyword arguments."""

    __slots__ = ()


class JuliaModule(JuliaValue):
    """A Julia module: its names are attributes, names that end in ! with _b (push_b)."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        # Julia's names come first: a module may well define `raw`.
        if is_dunder(name):
            return object.__getattribute__(self, name)
        return ask("getattr", self, name)


class JuliaDict(JuliaValue):
    """A Julia dictionary (AbstractDict), as a mutable mapping of Python's."""

    __slots__ = ()


class JuliaSet(JuliaValue):
    """A Julia set (AbstractSet), as a mutable set of Python's."""

    __slots__ = ()


class JuliaIO(JuliaValue):
    """A Julia stream (IO), as a binary file of Python's."""

    __slots__ = ()


classes: dict[int, Any] = {
    VALUE: JuliaValue,
    FUNCTION: JuliaFunction,
    MODULE: JuliaModule,
    DICTIONARY: JuliaDict,
    SET_: JuliaSet,
    IO: JuliaIO,
}

for _class in classes.values():
    _class.__module__ = "bufferbridge"


def new_julia(class_: int, slot: int, jl: int) -> Any:
    """The Python object for a root slot, which is its own from now on."""
    x = object.__new__(classes[class_])
    _set(x, "__slot__", slot)
    _set(x, "__jl__", jl)
    return x


_values.julia_value = JuliaValue
