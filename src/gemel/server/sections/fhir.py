"""Settings of the FHIR server."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Fhir"]


class Fhir(BaseModel):
    """``[fhir]``: what ``/fhir/R4`` takes, and what becomes of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    validation: Literal["strict", "off"] = "strict"
    """*strict*: a resource with an error is refused (422). *off*: it only has to be JSON or XML of a type of FHIR R4."""
    facts: bool = True
    """Whether what is written also becomes facts of the record, in the same transaction."""
    site: str = "fhir"
    """Name of the sender, part of the source of every fact; the same server is always called the same."""
    zone: str = "UTC"
    """IANA zone of dates, which carry none."""
    page: int = Field(default=50, ge=1, le=1000)
    """Resources on a page when ``_count`` does not say."""
    most_page: int = Field(default=1000, ge=1, le=1000)
    most_entries: int = Field(default=10_000, ge=1)
    """Entries of a transaction or batch."""
