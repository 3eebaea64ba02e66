"""An array described by its content: the description travels in the document, the numbers beside it."""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, PrivateAttr

from gemel.core.errors import ViewError

from .base import Described

DTYPES = ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


class Array(Described):
    """Describe an n-dimensional array of numbers by content hash, type, shape, unit and named axes.

    The numbers themselves are held in memory beside the description, and are never part of its JSON.
    Two arrays are equal when their descriptions are.

    Examples
    --------
    >>> glucose = Array.of([142.0, 139.5], unit="mg/dL", axes=("time",))
    >>> glucose.shape, glucose.numpy()[1].item()
    ((2,), 139.5)
    """

    ref: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="sha256 of type, shape and little-endian bytes")]
    dtype: Annotated[str, Field(pattern=r"^(f[48]|[iu][1248])$", description="kind and bytes, little-endian")]
    shape: tuple[int, ...]
    unit: Annotated[str, Field(min_length=1, description="UCUM; '1' without unit; 'ns' for times since 1970-01-01 UTC")]
    axes: tuple[str, ...] = ()

    _values: NDArray[Any] | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, values: ArrayLike, *, unit: str, axes: tuple[str, ...] = ()) -> Array:
        """Describe numbers and hold them.

        Parameters
        ----------
        values : any shape; `datetime64` becomes int64 nanoseconds since 1970-01-01 UTC, booleans become u1.
        unit : UCUM unit of the values.
        axes : one name per dimension, or nothing.

        Raises
        ------
        ViewError : not numbers, or the number of names differs from the number of dimensions.
        """
        array = np.asarray(values)
        if array.dtype.kind == "M":
            array = array.astype("datetime64[ns]").astype(np.int64)
        if array.dtype.kind == "b":
            array = array.astype(np.uint8)
        kind = f"{array.dtype.kind}{array.dtype.itemsize}"
        if kind not in DTYPES:
            raise ViewError(f"Array: values of type {array.dtype} cannot be shown; expected real numbers or datetime64; convert them first")
        if axes and len(axes) != array.ndim:
            raise ViewError(f"Array: {len(axes)} axis names for {array.ndim} dimensions; name each dimension or none")
        held = np.array(array, dtype=f"<{kind}", order="C", copy=True)
        described = cls(ref=content_hash(held), dtype=kind, shape=held.shape, unit=unit, axes=axes)
        described._hold(held)
        return described

    def numpy(self) -> NDArray[Any]:
        """Return the numbers, read-only.

        Raises
        ------
        ViewError : only the description is here; read the document with its arrays.
        """
        if self._values is None:
            raise ViewError(f"Array {self.ref[:12]}: the numbers are not in memory; pass them to View.from_json(text, arrays=...)")
        return self._values

    @property
    def is_held(self) -> bool:
        """True when the numbers are in memory."""
        return self._values is not None

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and self._description() == other._description()

    def __hash__(self) -> int:
        return hash(self._description())

    def _description(self) -> tuple[object, ...]:
        return self.ref, self.dtype, self.shape, self.unit, self.axes

    def _hold(self, values: NDArray[Any]) -> None:
        values.setflags(write=False)
        self._values = values


def content_hash(values: NDArray[Any]) -> str:
    """Return the sha256 of type, shape and little-endian bytes of an array, as 64 hexadecimal digits."""
    kind = f"{values.dtype.kind}{values.dtype.itemsize}"
    little = np.ascontiguousarray(values, dtype=f"<{kind}")
    return hashlib.sha256(f"{kind}{tuple(values.shape)}".encode() + little.tobytes()).hexdigest()


def encode(values: NDArray[Any]) -> str:
    """Write an array as base64 of its little-endian bytes."""
    kind = f"{values.dtype.kind}{values.dtype.itemsize}"
    return base64.b64encode(np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()).decode("ascii")


def attach(array: Array, data: str | NDArray[Any]) -> None:
    """Give a described array its numbers, checked against its hash.

    Parameters
    ----------
    array : description read from a document.
    data : base64 of little-endian bytes, or the numbers.

    Raises
    ------
    ViewError : the numbers are not those that the description names.
    """
    if isinstance(data, str):
        try:
            values = np.frombuffer(base64.b64decode(data, validate=True), dtype=f"<{array.dtype}").reshape(array.shape).copy()
        except ValueError:
            raise ViewError(f"Array {array.ref[:12]}: the bytes do not fill {array.dtype} {array.shape}; fetch them again") from None
    else:
        values = np.array(data, dtype=f"<{array.dtype}", order="C", copy=True)
    if values.shape != array.shape or content_hash(values) != array.ref:
        raise ViewError(f"Array {array.ref[:12]}: the numbers do not have this hash; they were changed on the way, fetch them again")
    array._hold(values)
