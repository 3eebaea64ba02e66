"""A view: one document of figures, scenes, words, numbers, tables and forms, with its arrays beside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, TypeAdapter, model_validator

from gemel.core.advice import ShownOn
from gemel.core.errors import ViewError

from .array import Array, attach, encode
from .base import Described
from .figure import Figure
from .notebook import mimebundle
from .parts import LineageId, Link, Status, Table, Unit, Words
from .scene import Scene

SCHEMA = "gemel-view/1"


class Text(Described):
    """Plain words; an empty line begins a paragraph, a line that begins with "- " an item. No markup."""

    type: Literal["text"] = "text"
    body: Words
    title: str = ""
    tone: Literal["plain", "note", "warning", "limit"] = "plain"
    links: tuple[Link, ...] = ()


class Number(Described):
    """One number that matters, with unit, interval, state and lineage; `value` None when abstained, `note` says why.

    Without an interval, `certain_because` says why there is none (a count, a dose given).
    """

    type: Literal["number"] = "number"
    label: Words
    value: float | None
    unit: Unit
    lower: float | None = None
    upper: float | None = None
    level: Annotated[float | None, Field(gt=0, lt=1)] = None
    certain_because: str = ""
    note: str = ""
    sides: tuple[float, ...] = ()
    status: Status
    lineage: LineageId
    shown_on: ShownOn | None = None

    @model_validator(mode="after")
    def _check(self) -> Number:
        if self.value is None:
            if not self.note:
                raise ValueError("note must say why there is no value")
        elif None in (self.lower, self.upper, self.level) and not self.certain_because:
            raise ValueError("an interval is missing; pass lower, upper and level, or certain_because='...'")
        return self


class FormField(Described):
    """One thing asked for, with its unit and limits."""

    name: Words
    label: Words
    kind: Literal["number", "choice", "time", "text", "flag"]
    unit: str = ""
    value: float | str | bool | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    why: str = ""

    @model_validator(mode="after")
    def _check(self) -> FormField:
        if self.kind == "number" and not self.unit:
            raise ValueError("unit of a number field is missing (expected a UCUM unit, '1' if there is none)")
        return self


class Form(Described):
    """What a person can set: plans, decisions. A paper shows it; a workspace sends it to `action`, a relative address."""

    type: Literal["form"] = "form"
    title: Words
    action: Words
    fields: tuple[FormField, ...]
    submit: Words = "Send"


Section = Annotated[Figure | Scene | Text | Number | Table | Form, Field(discriminator="type")]


class View(Described):
    """One document, schema "gemel-view/1": a title and sections, in reading order.

    Examples
    --------
    >>> view = View(id="hello", title="Hello", sections=(Text(body="A first page."),))
    >>> View.from_json(view.to_json()) == view
    True
    """

    id: Words
    title: Words
    subtitle: str = ""
    schema_: Annotated[Literal["gemel-view/1"], Field(alias="schema")] = "gemel-view/1"
    sections: tuple[Section, ...]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The numbers of all sections by content hash, read-only; those not in memory are left out."""
        return {array.ref: array.numpy() for array in walk(self) if array.is_held}

    def to_json(self, *, arrays: Literal["inline", "apart"] = "inline", indent: int | None = None) -> str:
        """Write the document as JSON.

        Parameters
        ----------
        arrays : "inline" adds `arrays`: hash -> base64 of little-endian bytes; "apart" leaves them to `View.arrays`.
        """
        document = self.model_dump(mode="json", exclude_defaults=False)
        if arrays == "inline":
            document["arrays"] = {array.ref: encode(array.numpy()) for array in walk(self)}
        return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes, *, arrays: Mapping[str, NDArray[Any] | str] | None = None) -> View:
        """Read a document written by `to_json`; every array is checked against its hash.

        Parameters
        ----------
        text : the JSON.
        arrays : hash -> numbers (or base64), where they travelled apart. Descriptions without numbers stay descriptions.

        Raises
        ------
        ViewError : not JSON, another schema, a refused description, or numbers that do not have their hash.
        """
        try:
            document = json.loads(text)
        except ValueError:
            raise ViewError("View: the text is not JSON; expected a document of schema gemel-view/1") from None
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            seen = document.get("schema") if isinstance(document, dict) else type(document).__name__
            raise ViewError(f"View: schema is {str(seen)[:60]!r}, expected {SCHEMA!r}; write the document again with this version")
        found = {**document.pop("arrays", {}), **(arrays or {})}
        view = cls(**document)
        for array in walk(view):
            if array.ref in found:
                attach(array, found[array.ref])
        return view

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002  named by IPython
        words = [self.title, *(section.alt for section in self.sections if isinstance(section, Figure | Scene))]
        return mimebundle(self, "\n".join(words))


def walk(thing: Any) -> Iterator[Array]:
    """Yield every array described anywhere in a description."""
    if isinstance(thing, Array):
        yield thing
    elif isinstance(thing, BaseModel):
        for name in type(thing).model_fields:
            yield from walk(getattr(thing, name))
    elif isinstance(thing, tuple | list):
        for item in thing:
            if not isinstance(item, str | int | float):
                yield from walk(item)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a view as written by `to_json`, arrays included."""
    schema = TypeAdapter(View).json_schema(by_alias=True, mode="serialization")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = SCHEMA
    schema["properties"]["arrays"] = {
        "type": "object",
        "description": "content hash -> base64 of little-endian bytes",
        "additionalProperties": {"type": "string", "contentEncoding": "base64"},
    }
    return schema


def times(values: Any) -> NDArray[np.int64]:
    """Return nanoseconds since 1970-01-01 UTC from `datetime64` or integers, shape kept.

    Raises
    ------
    ViewError : floating-point times, which cannot hold nanoseconds.
    """
    array = np.asarray(values)
    if array.dtype.kind == "M":
        return array.astype("datetime64[ns]").astype(np.int64)
    if array.dtype.kind not in "iu":
        raise ViewError(
            f"times of type {array.dtype} are refused; expected datetime64 or int64 nanoseconds, or pass time_unit=... for durations"
        )
    return array.astype(np.int64)
