"""What Python's tools ask of Julia objects, as methods attached to JuliaValue at import.

help() and inspect.signature, notebooks (``_repr_mimebundle_``), complex(), round(), math.floor()
and the like, format(), the copy and pickle modules.
"""

from __future__ import annotations

from . import _start
from ._core import JuliaArray, JuliaFunction, JuliaModule, JuliaValue

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    import inspect
    from collections.abc import Collection
    from typing import Any


def _complex(self: JuliaValue) -> complex:
    result: complex = _start.ensure().bridge.tocomplex(self)
    return result


def _round(self: JuliaValue, ndigits: int | None = None) -> Any:
    return _start.ensure().bridge.torounded(self, ndigits, "round")


def _floor(self: JuliaValue) -> Any:
    return _start.ensure().bridge.torounded(self, None, "floor")


def _ceil(self: JuliaValue) -> Any:
    return _start.ensure().bridge.torounded(self, None, "ceil")


def _trunc(self: JuliaValue) -> Any:
    return _start.ensure().bridge.torounded(self, None, "trunc")


def _format(self: JuliaValue, spec: str) -> str:
    if not spec:
        return str(self)
    text = _start.ensure().bridge.decimaltext(self)
    if text is None:
        return format(str(self), spec)
    import decimal

    return format(decimal.Decimal(text), spec)


def _copy(self: JuliaValue) -> Any:
    return _start.ensure().bridge.shallowcopy.raw(self)


def _deepcopy(self: JuliaValue, memo: Any) -> Any:
    return _start.ensure().bridge.deepcopied.raw(self)


def _reduce_ex(self: JuliaValue, protocol: Any) -> Any:
    from ._pickle import reduce  # only who pickles needs it

    return reduce(self, int(protocol))


def _sizeof(self: JuliaArray) -> int:
    """For sys.getsizeof, and so for Dask: with the memory of the items, if that can be shared."""
    try:
        return object.__sizeof__(self) + self.nbytes
    except BufferError:
        return object.__sizeof__(self)


def _repr_mimebundle_(
    self: JuliaValue,
    include: Collection[str] | None = None,
    exclude: Collection[str] | None = None,
    **_: Any,
) -> dict[str, str]:
    """What Julia's show has for this object, by MIME type; images in base64."""
    bridge = _start.ensure().bridge
    wanted = [None if m is None else list(m) for m in (include, exclude)]
    bundle = {}
    for mime, data in bridge.mimebundle(self, *wanted):
        bundle[mime] = data if isinstance(data, str) else _base64(data)
    return bundle


def _base64(data: Any) -> str:
    import base64

    return base64.b64encode(memoryview(data)).decode()


class _Documentation:
    """``x.__doc__``: Julia's documentation of x; of the class, its own."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __get__(self, instance: JuliaValue | None, owner: type) -> str | None:
        if instance is None or _start.session() is None:
            return self._text
        try:
            text: str = _start.ensure().bridge.docof(instance)
        except RuntimeError:  # another thread than Julia allows, a fork, Julia's end
            return self._text
        return text


def _signature(self: JuliaFunction) -> inspect.Signature:
    """For inspect.signature. Positional arguments have no names for Julia's callers."""
    from inspect import Parameter, Signature
    from keyword import iskeyword

    kinds = (
        Parameter.POSITIONAL_ONLY,
        Parameter.KEYWORD_ONLY,
        Parameter.VAR_POSITIONAL,
        Parameter.VAR_KEYWORD,
    )
    unknown = Signature([Parameter("args", kinds[2]), Parameter("kwargs", kinds[3])])
    parameters: list[Parameter] = []
    described = _start.ensure().bridge.signatureof(self)
    if described is None:
        return unknown
    names: set[str] = set()
    for i, (given, kind, has_default, annotation) in enumerate(described):
        usable = given.isidentifier() and not iskeyword(given) and given not in names
        if kind == 1 and not usable:
            return unknown
        name = given if usable else f"arg{i + 1}"
        names.add(name)
        default = ... if has_default else Parameter.empty
        parameters.append(
            Parameter(name, kinds[kind], default=default, annotation=annotation or Parameter.empty)
        )
    try:
        return Signature(sorted(parameters, key=lambda p: p.kind))
    except ValueError:
        return unknown


for _name, _method in {
    "__complex__": _complex,
    "__round__": _round,
    "__floor__": _floor,
    "__ceil__": _ceil,
    "__trunc__": _trunc,
    "__format__": _format,
    "__copy__": _copy,
    "__deepcopy__": _deepcopy,
    "__reduce_ex__": _reduce_ex,
    "_repr_mimebundle_": _repr_mimebundle_,
}.items():
    setattr(JuliaValue, _name, _method)
JuliaArray.__sizeof__ = _sizeof  # type: ignore[assignment,method-assign]
JuliaFunction.__signature__ = property(_signature)  # type: ignore[attr-defined]


def _document(*types: type) -> None:
    for type_ in types:
        type_.__doc__ = _Documentation(type_.__doc__)  # type: ignore[assignment]


_document(JuliaValue, JuliaFunction, JuliaModule)
