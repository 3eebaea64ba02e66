"""The API from Python: see :class:`Client`."""

from gemel.server.client.answers import Pages
from gemel.server.client.client import Client
from gemel.server.client.errors import ApiError, JobFailed, Unreachable

__all__ = ["ApiError", "Client", "JobFailed", "Pages", "Unreachable"]
