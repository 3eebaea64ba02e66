"""The store: append-only facts, twins and advice, sealed, in one SQLite file or a PostgreSQL database: see :class:`Store`."""

from gemel.platform.store.answers import Kept
from gemel.platform.store.check import StoreCheck
from gemel.platform.store.inbox import Message
from gemel.platform.store.jobs import Job, JobStatus
from gemel.platform.store.migrate import HEAD, REVISIONS, migrate
from gemel.platform.store.store import Event, Store
from gemel.platform.store.versions import Version

__all__ = ["HEAD", "REVISIONS", "Event", "Job", "JobStatus", "Kept", "Message", "Store", "StoreCheck", "Version", "migrate"]
