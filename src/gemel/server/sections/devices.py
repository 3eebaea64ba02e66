"""Settings of what devices and archives speak to."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Dicom", "Sdc"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Dicom(_Section):
    """``[dicom]``: listen for objects (C-STORE). Titles are names, not proof: bind it to a network that is the hospital's own, or ask for certificates."""

    host: str = "127.0.0.1"
    port: int = Field(default=11112, ge=0, le=65535)
    title: str = "GEMEL"
    senders: tuple[str, ...] = ()
    """Titles that may connect; left out, any."""
    zone: str = "UTC"
    """IANA zone of times for which an object names none."""
    object_mib: float = Field(default=256.0, gt=0, le=256)
    associations: int = Field(default=10, ge=1)
    patience_s: float = Field(default=30.0, gt=0)
    idle_s: float = Field(default=60.0, gt=0)
    certificate: Path | None = None
    certificate_key: Path | None = None
    client_authority: Path | None = None
    """Who must have signed the certificates of those who connect."""


class Sdc(_Section):
    """``[sdc]``: follow devices at the bedside (ISO/IEEE 11073 SDC)."""

    address: str = "127.0.0.1"
    """Address of the network card on which devices are looked for."""
    devices: tuple[str, ...] = ()
    """Their endpoint references (``urn:uuid:...``); left out, none is followed."""
    root: str = ""
    """The root of patient identifications that are pseudonyms of this store; one of another root is not taken."""
    fresh_s: float = Field(default=10.0, gt=0)
    """Without a sign for so long, a device is stale."""
    batch_s: float = Field(default=1.0, gt=0)
    certificate: Path | None = None
    certificate_key: Path | None = None
    authority: Path | None = None
    """With these three it speaks TLS, and only to devices whose certificate this authority has signed."""
