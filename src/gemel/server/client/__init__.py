"""The API from Python: see :class:`Client`."""

from gemel.server.client.client import Client, Pages
from gemel.server.client.errors import ApiError, JobFailed, Unreachable

__all__ = ["ApiError", "Client", "JobFailed", "Pages", "Unreachable"]
