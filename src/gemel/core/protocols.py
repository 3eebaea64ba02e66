"""What a floor needs from above, as protocols. ``cli`` and ``server`` put the pieces together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from gemel.core.record import Fact, PatientRecord

__all__ = ["Audit", "Executor", "Progress", "Store"]


@runtime_checkable
class Progress(Protocol):
    """Told how far long work is. Return ``False`` from ``update`` to ask for a clean stop."""

    def start(self, label: str, total: int | None) -> None:
        """Begin a stretch of work of ``total`` steps."""
        ...

    def update(self, done: int, note: str = "") -> bool:
        """Report that ``done`` steps are complete."""
        ...

    def finish(self) -> None:
        """End the stretch."""
        ...


@runtime_checkable
class Store(Protocol):
    """Keeps facts, twin versions, forecasts, proposals, decisions and outcomes. Append only."""

    def append(self, patient: str, facts: Iterable[Fact], *, recorded: int) -> int:
        """Append facts; return how many were new."""
        ...

    def record(self, patient: str, *, as_of: int | None = None) -> PatientRecord:
        """Return the record as it was known at ``as_of``."""
        ...

    def put(self, kind: str, patient: str, name: str, body: bytes, *, recorded: int, meta: Mapping[str, Any]) -> str:
        """Append a version of a named blob (twin, forecast, …); return its id."""
        ...

    def get(self, kind: str, patient: str, name: str, *, as_of: int | None = None) -> bytes:
        """Return the newest version of a named blob known at ``as_of``."""
        ...


@runtime_checkable
class Audit(Protocol):
    """Writes who did what to whom, when and why; never edits."""

    def write(self, *, who: str, action: str, patient: str, purpose: str, time: int, detail: Mapping[str, Any]) -> str:
        """Append one entry; return its id."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Runs a named task over many items, anywhere, with results in the order of the items."""

    def run(self, task: Callable[[Any], Any], items: Iterable[Any], *, progress: Progress | None = None) -> list[Any]:
        """Run ``task`` on every item."""
        ...
