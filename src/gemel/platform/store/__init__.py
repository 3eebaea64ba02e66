"""The embedded store: append-only facts, twins and advice in one SQLite file. Unsealed: see :class:`Store`."""

from gemel.platform.store.check import StoreCheck
from gemel.platform.store.jobs import Job
from gemel.platform.store.migrate import HEAD, REVISIONS, migrate
from gemel.platform.store.sqlite import Event, Store
from gemel.platform.store.versions import Version

__all__ = ["HEAD", "REVISIONS", "Event", "Job", "Store", "StoreCheck", "Version", "migrate"]
