"""The log: one JSON object a line, with the number of the request; only fields that are known to say nothing of a patient are written."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from gemel.core.time import SECOND, iso

__all__ = ["FIELDS", "JsonLines", "start_logging"]

FIELDS = ("request", "method", "route", "status", "bytes", "ms", "error", "what", "service", "job", "source", "seconds", "count")
"""What a line may carry beside time, level, logger and event. Anything else that is handed in is left out."""


class JsonLines(logging.Formatter):
    """Writes a record as JSON. The message is written as it stands in the code, without its arguments, and no traceback: both may hold data."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        event = record.msg if record.name.startswith("gemel") and isinstance(record.msg, str) and not record.args else record.name
        told = {"time": iso(round(record.created * SECOND)), "level": record.levelname.lower(), "logger": record.name, "event": event}
        for name in FIELDS:
            value = getattr(record, name, None)
            if isinstance(value, (str, int, float)):
                told[name] = value if not isinstance(value, str) else value[:300]
        if record.exc_info and record.exc_info[0] is not None:
            told["error"] = record.exc_info[0].__name__
        return json.dumps(told, ensure_ascii=False)


def start_logging(level: str, file: Path | None = None) -> logging.Handler:
    """Let ``gemel`` and ``uvicorn`` write JSON lines to a file, or to standard error; return the handler, to be taken off again."""
    handler = logging.StreamHandler(sys.stderr) if file is None else logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(JsonLines())
    for name, least in (("gemel", level.upper()), ("uvicorn.error", "WARNING"), ("asyncio", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(least)
        logger.propagate = False
    return handler
