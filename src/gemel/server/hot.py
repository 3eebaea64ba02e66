"""What is read again and again: the newest forecasts, as the bytes that were stored.

Which version is the newest, whether it may be shown, and that it was shown, is asked and written down at every read; held here is only what follows from its id, which never changes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from gemel.platform.store import Store, Version, lookup

__all__ = ["Held", "HotVersions"]


@dataclass(frozen=True)
class Held:
    """A version and its bytes."""

    version: Version
    body: bytes = field(repr=False)


class HotVersions:
    """Holds the versions read last, for all threads.

    Parameters
    ----------
    most : versions. largest : bytes above which one is not held.
    """

    def __init__(self, *, most: int = 512, largest: int = 1 << 20) -> None:
        self._most, self._largest = most, largest
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._lock = threading.Lock()
        self._age = 0

    def get(self, store: Store, kind: str, found: str) -> Held:
        """Return a version by its id; one that is not held is read, opened and held."""
        with self._lock:
            known, age = self._held.get(found), self._age
            if known is not None:
                self._held.move_to_end(found)
                return known
        made = Held(lookup.version(store, kind, found), lookup.version_body(store, kind, found))
        with self._lock:
            if len(made.body) <= self._largest and age == self._age:  # nobody was erased meanwhile
                self._held[found] = made
                while len(self._held) > self._most:
                    self._held.popitem(last=False)
        return made

    def forget(self, subject: str | None = None) -> int:
        """Let go of what is held of a patient (random id), or of everything; return how many versions."""
        with self._lock:
            self._age += 1
            gone = [key for key, held in self._held.items() if subject is None or held.version.patient == subject]
            for key in gone:
                del self._held[key]
        return len(gone)

    def __len__(self) -> int:
        return len(self._held)
