"""Settings of the FHIR server that we read from and write to, of the way back, of polling, notifications and decision support."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Cds", "CdsClient", "Hospital", "Notifications", "Poll", "ReturnPath"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hospital(_Section):
    """``[hospital]``: the FHIR R4 server of the site."""

    base: str
    """Its address, such as ``https://hospital.example/fhir/R4``; nothing else is spoken to."""
    name: str = "hospital"
    """By which the store remembers what came from there and went there."""
    client_id: str = ""
    """As registered there (SMART backend services); empty: it asks for no log-in."""
    key_file: Path | None = None
    """The private key, PEM or JWK."""
    key_id: str = "gemel"
    algorithm: Literal["RS384", "ES384"] = "ES384"
    scope: str = "system/*.cruds"
    token_url: str = ""
    """Left out: what its ``.well-known/smart-configuration`` says."""
    certificates: Path | None = None
    """Of the authority that signed its certificate; left out, those of this machine."""
    paging: Literal["links", "offset"] = "links"
    patient_system: str = ""
    """System of the identifier that is our pseudonym there; empty: the pseudonym is the logical id of the Patient."""
    seconds: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> Hospital:
        if self.client_id and self.key_file is None:
            raise ValueError("client_id needs key_file, the private key of the client")
        return self


class ReturnPath(_Section):
    """``[return_path]``: proposals go to the hospital's server, answers and outcomes come back."""

    interval_s: float = Field(1.0, gt=0)
    """Between two looks for new proposals and answers."""
    expires_min: float = Field(60.0, gt=0)
    """How long a Task may be accepted."""
    outcome_min: float = Field(1440.0, gt=0)
    """How long after the last time of a forecast its outcome may arrive; then it is recorded as missing."""
    outcome_within_min: float | None = Field(None, gt=0)
    """Only the times of a forecast up to so many minutes ahead are its outcome; left out, all."""
    tolerance_min: float = Field(3.0, gt=0)
    """Between a reading and the time that was forecast."""
    recipients: tuple[str, ...] = ()
    """References of those for whom messages are, such as ``PractitionerRole/7``."""
    purpose: Literal["TREAT", "HOPERAT"] = "TREAT"


class Poll(_Section):
    """``[poll]``: what changed at the hospital's server is fetched."""

    types: tuple[str, ...] = (
        "Patient",
        "Observation",
        "MedicationAdministration",
        "MedicationStatement",
        "MedicationRequest",
        "Condition",
        "Procedure",
    )
    interval_s: float = Field(1.0, gt=0)
    overlap_s: float = Field(30.0, ge=0)
    """How far each look goes back behind the last: a server may show a change later than it dates it."""
    since: str = ""
    """Where the first look begins (ISO 8601); left out, everything."""


class Notifications(_Section):
    """``[notifications]``: the hospital's server tells us that something changed (rest-hook); the poll then looks at once."""

    secret_file: Path
    """A word that each notification must carry, ``Authorization: Bearer WORD``."""


class CdsClient(_Section):
    """``[[cds.clients]]``: a system that may ask for decision support."""

    issuer: str
    """``iss`` of its tokens."""
    jwks_url: str = ""
    jwks_file: Path | None = None
    algorithms: tuple[Literal["ES384", "RS384", "ES256", "RS256"], ...] = ("ES384", "RS384")
    fhir_servers: tuple[str, ...] = ()
    """Values of ``fhirServer`` that it may send; none of them is ever called, unless it is the hospital's own."""


class Cds(_Section):
    """``[cds]``: decision support by CDS Hooks."""

    clients: tuple[CdsClient, ...]
    stale_min: float = Field(60.0, gt=0)
    """A forecast older than this is called stale on its card."""
    patient_system: str = ""
    """System of the Patient identifier that is our pseudonym; empty: the logical id is."""
