"""Settings of the listener for HL7 v2."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Mllp"]


class Mllp(BaseModel):
    """``[mllp]``: listen for HL7 v2 messages. The protocol names nobody: bind it to a network that is the hospital's own, or ask for certificates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(2575, ge=0, le=65535)
    source: str = "mllp"
    """By which the store remembers what came this way."""
    zone: str = "UTC"
    """IANA zone of times that name none."""
    charset: str = "utf-8"
    """Of messages that name none (MSH-18)."""
    codes: dict[str, str] = Field(default_factory=dict)
    """The site's code, such as ``99LAB:GLU`` -> ours, such as ``loinc:2345-7``."""
    units: dict[str, str] = Field(default_factory=dict)
    """The site's spelling of a unit -> UCUM."""
    identifier_types: tuple[str, ...] = ("MR", "PI", "PT")
    """Types of PID-3 in order of preference."""
    authority: str = ""
    """The assigning authority whose identifier names the patient; empty: any."""
    accept_tests: bool = False
    """Whether messages that are no production (MSH-11) are taken."""
    rate: float = Field(200.0, gt=0)
    """Messages per second of one sender; above it, its answers come later."""
    burst: int = Field(1000, ge=1)
    """Messages that it may send at once."""
    connections: int = Field(64, ge=1)
    message_mib: float = Field(16.0, gt=0, le=256)
    patience_s: float = Field(30.0, gt=0)
    idle_s: float = Field(600.0, gt=0)
    certificate: Path | None = None
    certificate_key: Path | None = None
    client_authority: Path | None = None
    """Who must have signed the certificates of those who connect."""
