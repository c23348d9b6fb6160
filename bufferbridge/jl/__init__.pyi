# Any Julia package, file or module, at any depth: type checkers know none of them.
from typing import Any

def __getattr__(name: str) -> Any: ...
