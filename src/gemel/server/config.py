"""What a server is told: one TOML file, and ``GEMEL_SECTION_KEY`` in the environment, which wins."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gemel.core.errors import ConfigurationError
from gemel.platform.live.settings import LiveSettings
from gemel.server.sections.devices import Dicom, Sdc
from gemel.server.sections.fhir import Fhir
from gemel.server.sections.hl7v2 import Mllp
from gemel.server.sections.hospital import Cds, Hospital, Notifications, Poll, ReturnPath
from gemel.server.sections.rights import Consents, Evidence, Imports
from gemel.server.sections.upkeep import Upkeep

__all__ = [
    "AuditTrail", "Auth", "Client", "Http", "Issuer", "Limits", "Logging", "Section", "ServerConfig", "Worker", "is_loopback", "read_config",
    "settings_of",
]  # fmt: skip

PREFIX = "GEMEL_"
OTHERS = frozenset({"GEMEL_KEY", "GEMEL_KEY_FILE", "GEMEL_DATA", "GEMEL_DEBUG", "GEMEL_NO_WORKER"})
"""Variables that are not settings of the server."""


class Section(BaseModel):
    """One section of the file: frozen, and strict about what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Http(Section):
    """``[server]``: where it listens, and what stands before it."""

    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65535)
    public_url: str = ""
    """The address by which others know it, such as ``https://twin.example.org``; it is the issuer and audience of its tokens."""
    hosts: tuple[str, ...] = ()
    """Names by which it may be called; left out, that of ``public_url`` and this machine's."""
    tls_proxy: bool = False
    """A proxy that speaks TLS stands before it, and nothing else reaches it."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose ``X-Forwarded-For`` is believed."""
    certificate: Path | None = None
    certificate_key: Path | None = None
    origins: tuple[str, ...] = ()
    """Pages elsewhere that may ask (CORS); none by default."""


class StorePlace(Section):
    """``[store]``: what it serves."""

    place: str = "gemel.sqlite"
    blobs: Path | None = None
    readers: int = Field(default=4, ge=1, le=64)


class AuditTrail(Section):
    """``[audit]``: where it is written down who saw what."""

    trail: Path | None = None
    """Left out: ``NAME.audit.jsonl`` beside an embedded store."""
    anchor: Path | None = None
    """A file on another file system to which every signed root is appended."""
    sign: bool = True
    every: int = Field(default=1000, ge=1)
    seconds: float = Field(default=60.0, gt=0)


class Issuer(Section):
    """``[[auth.issuers]]``: somebody whose tokens are believed."""

    issuer: str
    audience: str = ""
    """What must stand in ``aud``; left out, the server's own address."""
    jwks_url: str = ""
    jwks_file: Path | None = None
    algorithms: tuple[str, ...] = ("ES256", "ES384", "RS256", "RS384", "PS256", "PS384")
    role: str = ""
    """The role that its tokens carry, whatever they say; left out, the claim decides."""
    role_claim: str = "gemel_role"
    roles: dict[str, str] = Field(default_factory=dict)
    """Value of the claim -> role, where they are called otherwise there."""
    purpose_claim: str = "purpose_of_use"
    purpose: str = ""
    """The purpose of its tokens that name none, such as ``TREAT``."""
    patients_claim: str = "patient"
    patient_relation: bool = True
    """Whether the patients that a token names (SMART launch context) are those with whom there is a relation."""
    client_id: str = ""
    """With ``authorization_url`` and ``token_url``: people may log in there (authorization code, PKCE)."""
    authorization_url: str = ""
    token_url: str = ""
    client_secret_file: Path | None = None
    login_scopes: str = "openid profile"


class Client(Section):
    """``[[auth.clients]]``: a program that may ask this server for tokens, by signed assertions (SMART backend services)."""

    id: str
    jwks_url: str = ""
    jwks_file: Path | None = None
    scopes: str = "system/*.rs"
    role: Literal["service", "device", "researcher"] = "service"
    purpose: str = ""
    """The purpose of its requests that name none, such as ``TREAT``."""
    redirect_uris: tuple[str, ...] = ()
    """For a program with a person before it: where a code may be sent, letter by letter."""


class Auth(Section):
    """``[auth]``: who is believed."""

    issuers: tuple[Issuer, ...] = ()
    clients: tuple[Client, ...] = ()
    local: bool = False
    """Accounts of this server itself: on this machine's own address only."""
    skew_s: float = Field(default=60.0, ge=0, le=300)
    token_minutes: float = Field(default=15.0, gt=0, le=60)
    session_minutes: float = Field(default=480.0, gt=0, le=1440)
    key_generation: int = Field(default=1, ge=1)
    """Raise it to sign with a new key; tokens of the one before still hold until they expire."""


class Limits(Section):
    """``[limits]``: what is too much."""

    body_mib: float = Field(default=32.0, gt=0)
    json_depth: int = Field(default=64, ge=4, le=500)
    ratio: float = Field(default=100.0, gt=1)
    """Bytes of a compressed body for each that came: above it is refused as a bomb."""
    per_token: float = Field(default=100.0, gt=0)
    """Requests per second, and ``burst`` at once."""
    per_address: float = Field(default=200.0, gt=0)
    burst: int = Field(default=400, ge=1)


class Worker(Section):
    """``[worker]``: processes that compute."""

    count: int = Field(default=1, ge=0, le=256)


class Logging(Section):
    """``[log]``: what is written down of requests; never of patients."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    file: Path | None = None
    """Left out: standard error."""
    traces: str = ""
    """Address of an OTLP collector; empty: no traces."""


class ServerConfig(Section):
    """Everything that a server is told."""

    server: Http = Http()
    store: StorePlace = StorePlace()
    audit: AuditTrail = AuditTrail()
    auth: Auth = Auth()
    limits: Limits = Limits()
    worker: Worker = Worker()
    log: Logging = Logging()
    dicom: Dicom | None = None
    sdc: Sdc | None = None
    consents: Consents = Consents()
    fhir: Fhir = Fhir()
    imports: Imports = Imports()
    evidence: Evidence = Evidence()
    hospital: Hospital | None = None
    return_path: ReturnPath | None = None
    poll: Poll | None = None
    notifications: Notifications | None = None
    cds: Cds | None = None
    live: LiveSettings = LiveSettings.model_validate({})
    mllp: Mllp | None = None
    upkeep: Upkeep = Upkeep()


def is_loopback(host: str) -> bool:
    """Say whether an address reaches nobody but this machine."""
    return host in ("localhost", "::1") or host.startswith("127.")


def settings_of(config: type[BaseModel] = ServerConfig) -> dict[str, tuple[type[BaseModel], str]]:
    """Return ``section.key`` -> (model, key) of everything that may be set."""
    found = {}
    for section, told in config.model_fields.items():
        model = section_model(told.annotation)
        if model is not None:
            found |= {f"{section}.{key}": (model, key) for key in model.model_fields}
    return found


def section_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a section, which may be optional."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    known = {f"{PREFIX}{path.replace('.', '_').upper()}": path for path in settings_of()}
    sections = {path.partition(".")[0].upper() for path in known.values()}
    found: dict[str, dict[str, Any]] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name in OTHERS:
            continue
        path = known.get(name)
        if path is None:
            if name.removeprefix(PREFIX).partition("_")[0] in sections:
                raise ConfigurationError(
                    "a variable that is no setting", seen=name, expected="GEMEL_SECTION_KEY of the reference", fix="correct or unset it"
                )
            continue
        section, _, key = path.partition(".")
        try:
            parsed = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            parsed = value
        found.setdefault(section, {})[key] = parsed
    return found


def read_config(path: Path | None = None, environ: Mapping[str, str] | None = None) -> ServerConfig:
    """Read the settings of a server.

    Parameters
    ----------
    path : a TOML file; left out, everything is at its default.
    environ : variables such as ``GEMEL_SERVER_PORT``; a value is read as TOML where it is that, else as text.

    Raises
    ------
    ConfigurationError
        Which names each key that is not known or has a wrong value.
    """
    told: dict[str, Any] = {}
    if path is not None:
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError("the configuration cannot be read", seen=f"{path.name}: {error}", expected="a TOML file") from error
    for section, values in _from_environment(environ or {}).items():
        told[section] = {**(told.get(section) or {}), **values}
    try:
        return ServerConfig.model_validate(told)
    except ValidationError as error:
        raise ConfigurationError(
            "the configuration cannot be used", seen="; ".join(_wrong(told) for told in error.errors(include_input=False, include_url=False)),
            expected="the keys of the reference", fix="gemel config check FILE",
        ) from error  # fmt: skip


def _wrong(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: " + ("no such key" if error["type"] == "extra_forbidden" else error["msg"])
