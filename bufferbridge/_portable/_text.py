"""Text between the languages, as in csrc/text.c: any str and any bytes lead there and back."""

from __future__ import annotations

import codecs

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any

_ESCAPE = 0xDC00


def _is_escape(code: int) -> bool:
    return 0xDC80 <= code <= 0xDCFF


def _outside(error: UnicodeError) -> tuple[Any, int]:
    if isinstance(error, UnicodeEncodeError):
        code = ord(error.object[error.start])
        if _is_escape(code):
            return bytes([code - _ESCAPE]), error.start + 1
        return chr(code).encode("utf-8", "surrogatepass"), error.start + 1
    if isinstance(error, UnicodeDecodeError):
        raw = bytes(error.object[error.start : error.start + 3])
        if len(raw) == 3 and raw[0] == 0xED and 0xA0 <= raw[1] <= 0xBF and 0x80 <= raw[2] <= 0xBF:
            char = raw.decode("utf-8", "surrogatepass")
            if not _is_escape(ord(char)):
                return char, error.start + 3
        return chr(_ESCAPE + raw[0]), error.start + 1
    raise error


codecs.register_error("bufferbridge", _outside)


def decode(data: bytes) -> str:
    return data.decode("utf-8", "bufferbridge")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "bufferbridge")
