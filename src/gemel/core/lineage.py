"""Lineage: a hash of record, model, code, method and seed, on every number that leaves."""

from __future__ import annotations

import hashlib
import struct
import weakref
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from gemel.core.errors import DataError

__all__ = ["Lineage", "digest", "digest_once"]


def _feed(sink: Any, item: Any) -> None:
    if item is None:
        sink.update(b"N")
    elif isinstance(item, (bool, np.bool_)):
        sink.update(b"T" if item else b"F")
    elif isinstance(item, Enum):
        _feed(sink, item.value)
    elif isinstance(item, (int, np.integer)):
        text = str(int(item)).encode()
        sink.update(b"i%d:" % len(text) + text)
    elif isinstance(item, (float, np.floating)):
        sink.update(b"f" + struct.pack("<d", float(item)))
    elif isinstance(item, Fraction):
        _feed(sink, [item.numerator, item.denominator])
    elif isinstance(item, str):
        raw = item.encode()
        sink.update(b"s%d:" % len(raw) + raw)
    elif isinstance(item, bytes):
        sink.update(b"b%d:" % len(item) + item)
    elif isinstance(item, BaseModel):
        later = getattr(type(item), "ADDED_LATER", ())
        told = {name: getattr(item, name) for name in type(item).model_fields}
        _feed(
            sink,
            {
                name: value
                for name, value in told.items()
                if not (name in later and (value is None or (isinstance(value, tuple) and not value)))
            },
        )
    elif is_dataclass(item) and not isinstance(item, type):
        _feed(sink, {f.name: getattr(item, f.name) for f in fields(item)})
    elif isinstance(item, Mapping):
        sink.update(b"d%d:" % len(item))
        for key in sorted(item, key=str):
            _feed(sink, str(key))
            _feed(sink, item[key])
    elif isinstance(item, (list, tuple)):
        sink.update(b"l%d:" % len(item))
        for part in item:
            _feed(sink, part)
    elif hasattr(item, "__array__"):
        array = np.asarray(item)
        if array.dtype.hasobject:
            raise DataError("cannot hash an array of objects", seen=array.dtype)
        array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
        _feed(sink, [array.dtype.str, list(array.shape)])
        sink.update(array.tobytes())
    else:
        raise DataError("cannot hash this", seen=type(item).__name__, expected="numbers, text, arrays, mappings, sequences, frozen types")


def digest(item: Any) -> str:
    """Return the SHA-256 of any plain value, the same on every platform and in every process.

    A field that a type got after facts of it had been stored is named in its ``ADDED_LATER``: while it is empty it is left out, and what was stored keeps its hash.

    Examples
    --------
    >>> digest({"b": 1, "a": [2.0, None]}) == digest({"a": [2.0, None], "b": 1})
    True
    """
    sink = hashlib.sha256()
    _feed(sink, item)
    return sink.hexdigest()


_KNOWN: dict[int, tuple[weakref.ref[BaseModel], str]] = {}


def digest_once(fact: BaseModel) -> str:
    """Return :func:`digest` of a frozen object, computed once in its life: a record of a thousand facts is hashed at every new reading."""
    place = id(fact)
    known = _KNOWN.get(place)
    if known is not None and known[0]() is fact:
        return known[1]
    found = digest(fact)
    _KNOWN[place] = weakref.ref(fact, lambda _: _KNOWN.pop(place, None)), found
    return found


class Lineage(BaseModel):
    """Where a number comes from. ``id`` is what stands beside it.

    Examples
    --------
    >>> a = Lineage(record="r", model="m", model_version="1", code_version="0.1", method="laplace", seed=7)
    >>> a.id == a.model_copy().id and len(a.id) == 16
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    record: str
    model: str
    model_version: str
    code_version: str
    method: str
    seed: int
    parents: tuple[str, ...] = ()
    note: str = ""

    @property
    def id(self) -> str:
        """First 16 hexadecimal digits of the hash of all fields."""
        return digest(self)[:16]

    def then(self, note: str, *, record: str | None = None, seed: int | None = None) -> Lineage:
        """Return the lineage of what was made from this: same model and method, this one as parent."""
        return self.model_copy(
            update={"record": record or self.record, "seed": self.seed if seed is None else seed, "parents": (self.id,), "note": note}
        )
