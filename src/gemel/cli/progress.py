"""Progress on standard error, when somebody is looking."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Bar"]


class Bar:
    """Draws a bar on standard error if that is a terminal; implements :class:`gemel.core.protocols.Progress`."""

    def __init__(self) -> None:
        self._bars: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, label: str, total: int | None) -> None:
        """Begin a stretch of work; a second one gets a line of its own."""
        if not sys.stderr.isatty():
            return
        if self._bars is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bars = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                TextColumn("{task.fields[note]}", markup=False), console=Console(file=sys.stderr), transient=True,
            )  # fmt: skip
            self._bars.start()
        self._task = self._bars.add_task(label, total=total, note="")

    def update(self, done: int, note: str = "") -> bool:
        """Report that ``done`` steps are complete; never asks for a stop."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, note=note)
        return True

    def finish(self) -> None:
        """End the stretch and take the bar away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
