"""An interrupt is never lost.

Python raises ``KeyboardInterrupt`` wherever the main thread happens to be. Inside a callback of the garbage collector or a finaliser the exception
is printed and forgotten (JAX registers such a callback), and the command runs on as if nobody had asked it to stop.
"""

from __future__ import annotations

import _thread
import contextlib
import sys
import threading
from collections.abc import Iterator

__all__ = ["kept"]

_AGAIN_S = 0.01


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Raise an interrupt again, a moment later, when it was swallowed inside a callback; other unraisable errors are reported as ever."""
    before, waiting = sys.unraisablehook, []

    def hook(unraisable: sys.UnraisableHookArgs, /) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            timer = threading.Timer(_AGAIN_S, _thread.interrupt_main)
            timer.daemon = True
            waiting.append(timer)
            timer.start()
        else:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in waiting:
            timer.cancel()
