"""faulthandler and Julia share SIGSEGV: Julia's collector stops threads with it.

So Julia's handler has to stay in front; faulthandler's gets what is really a crash
(csrc/signals.c). Whoever switches faulthandler on or off after the start would put its handlers
first, or take Julia's away.
"""

from __future__ import annotations

import faulthandler

from ._core import lib

TYPE_CHECKING = False  # typing's own would take longer to import than this package
if TYPE_CHECKING:
    from typing import Any, Callable


def _followed(switch: Callable[..., None]) -> Callable[..., None]:
    from functools import wraps

    @wraps(switch)
    def follow(*args: Any, **kwargs: Any) -> None:
        switch(*args, **kwargs)
        lib.bb_keep_faults()

    return follow


def share() -> None:
    """Keep Julia's fault handlers in front from now on. Called once, when Julia has started."""
    faulthandler.enable = _followed(faulthandler.enable)
    faulthandler.disable = _followed(faulthandler.disable)
