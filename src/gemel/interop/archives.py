"""What may go wrong while something packed is read: one list for every reader."""

from __future__ import annotations

import zipfile
import zlib

__all__ = ["UNREADABLE"]

UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""Damaged, cut off, on a bad disk; and what :mod:`zipfile` raises for a password (``RuntimeError``) or a way of packing that it does not know (a kind of it)."""
