"""An interrupt that lands inside a callback of the garbage collector still stops the command."""

from __future__ import annotations

import _thread
import gc
import sys
import time

import pytest

from gemel.cli import interrupts


def swallowed() -> None:
    """Interrupt the main thread inside a callback of the collector, where Python forgets it; then work on for a while."""

    def callback(phase, _):
        if phase == "start":
            _thread.interrupt_main()
            for _ in range(10_000):  # the signal is seen within this frame
                pass

    gc.callbacks.append(callback)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        time.sleep(0.001)


def test_it_is_raised_again():
    hook = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), interrupts.kept():
        swallowed()
    assert sys.unraisablehook is hook


def test_other_errors_of_callbacks_are_reported_as_ever():
    seen = []

    class Falls:
        def __del__(self):
            raise ValueError("in a finaliser")

    before, sys.unraisablehook = sys.unraisablehook, seen.append
    try:
        with interrupts.kept():
            Falls()
    finally:
        sys.unraisablehook = before
    assert [type(x.exc_value) for x in seen] == [ValueError]
