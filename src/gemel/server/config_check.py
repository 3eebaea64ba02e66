"""Settings that are not safe, or contradict each other: named before the server starts, which it then does not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from gemel.core.errors import GemelError
from gemel.platform.access import ROLES
from gemel.platform.keys import FILE_VARIABLE, VARIABLE, beside, read_master
from gemel.platform.store.base import is_postgres
from gemel.server.auth_tokens import ALGORITHMS
from gemel.server.config import ServerConfig, is_loopback
from gemel.server.services import public_url

__all__ = ["Trouble", "troubles"]


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong with the settings. An *error* keeps the server from starting."""

    severity: Literal["error", "warning"]
    key: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.key}: {self.what}; {self.fix}"


def troubles(config: ServerConfig, environ: Mapping[str, str] | None = None, *, is_demo: bool = False) -> tuple[Trouble, ...]:
    """Return everything that is wrong with settings that could be read.

    Parameters
    ----------
    environ : environment variables; left out, those of the process.
    is_demo : whether a demonstration is wanted, with its link that lets anybody in once.
    """
    environ = os.environ if environ is None else environ
    return (*_listening(config, is_demo), *_keeping(config, environ), *_trusting(config), *_logging(config), *_exchanging(config))


def _exchanging(config: ServerConfig) -> Iterator[Trouble]:
    """Name what is wrong with the ways to and from the hospital's server."""
    hospital, cds = config.hospital, config.cds
    for key in ("return_path", "poll"):
        if getattr(config, key) is not None and hospital is None:
            yield Trouble("error", key, "there is no server to speak to", "[hospital] base")
    if config.notifications is not None and not config.notifications.secret_file.is_file():
        yield Trouble("error", "notifications.secret_file", "there is no such file", "a file with one long random word")
    if hospital is not None:
        parts = urlsplit(hospital.base)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
            yield Trouble("error", "hospital.base", "not the address of a FHIR server", "https://HOST/PATH")
        elif parts.scheme == "http" and not is_loopback(parts.hostname):
            yield Trouble("error", "hospital.base", "patients over a line that anybody reads", "https://")
        if (
            hospital.token_url
            and urlsplit(hospital.token_url).scheme != "https"
            and not is_loopback(urlsplit(hospital.token_url).hostname or "")
        ):
            yield Trouble("error", "hospital.token_url", "an assertion over a line that anybody reads", "https://")
        for key, path in (("hospital.key_file", hospital.key_file), ("hospital.certificates", hospital.certificates)):
            if path is not None and not path.is_file():
                yield Trouble("error", key, "there is no such file", "name the file")
    for number, client in enumerate(cds.clients if cds is not None else ()):
        if (client.jwks_file is None) == (not client.jwks_url):
            yield Trouble("error", f"cds.clients.{number}", "its keys are needed, once", "jwks_url or jwks_file")
        if client.jwks_url and urlsplit(client.jwks_url).scheme != "https" and not is_loopback(urlsplit(client.jwks_url).hostname or ""):
            yield Trouble("error", f"cds.clients.{number}.jwks_url", "keys over an open line", "https://")
    if cds is not None and not cds.clients:
        yield Trouble("warning", "cds.clients", "nobody may ask", "[[cds.clients]]")


def _listening(config: ServerConfig, is_demo: bool) -> Iterator[Trouble]:
    http = config.server
    is_public = not is_loopback(http.host)
    if (http.certificate is None) != (http.certificate_key is None):
        yield Trouble("error", "server.certificate", "a certificate and its key go together", "name both, or neither")
    for key, path in (("server.certificate", http.certificate), ("server.certificate_key", http.certificate_key)):
        if path is not None and not path.is_file():
            yield Trouble("error", key, "there is no such file", "name the PEM file")
    if http.certificate is not None and http.tls_proxy:
        yield Trouble("warning", "server.tls_proxy", "there is a certificate as well: two that speak TLS", "leave one out")
    if is_public and http.certificate is None and not http.tls_proxy:
        yield Trouble(
            "error",
            "server.host",
            "others reach it, and nothing speaks TLS",
            "a certificate, or tls_proxy = true where a proxy does; or host = 127.0.0.1",
        )
    if is_public and not http.public_url:
        yield Trouble(
            "error",
            "server.public_url",
            "others reach it, and do not know by which name",
            "public_url = https://NAME, which its tokens carry",
        )
    if http.public_url:
        parts = urlsplit(http.public_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
            yield Trouble("error", "server.public_url", "not an address", "https://NAME")
        elif parts.scheme == "http" and not is_loopback(parts.hostname):
            yield Trouble("error", "server.public_url", "tokens and patients over a line that anybody reads", "https://")
    if http.trusted_proxies and not http.tls_proxy:
        yield Trouble(
            "error",
            "server.trusted_proxies",
            "addresses are believed of a proxy that is not there",
            "tls_proxy = true, or no trusted_proxies",
        )
    if http.tls_proxy and is_public and not http.trusted_proxies:
        yield Trouble(
            "warning",
            "server.trusted_proxies",
            "every request seems to come from the proxy, and shares one rate",
            "name the proxy's address",
        )
    for origin in http.origins:
        parts = urlsplit(origin)
        if origin == "*" or parts.scheme not in ("http", "https") or parts.path or not parts.hostname:
            yield Trouble("error", "server.origins", "any page might ask", "scheme://host of each page that may")
    if "*" in http.hosts:
        yield Trouble("error", "server.hosts", "any name is taken", "the names of this server")
    if is_public and config.auth.local:
        yield Trouble(
            "error",
            "auth.local",
            "accounts of the server's own are for this machine only",
            "host = 127.0.0.1, or a provider under [[auth.issuers]]",
        )
    if is_public and is_demo:
        yield Trouble("error", "server.host", "the demonstration lets anybody in who has its link", "host = 127.0.0.1")


def _keeping(config: ServerConfig, environ: Mapping[str, str]) -> Iterator[Trouble]:
    place = config.store.place
    if environ.get(VARIABLE) and environ.get(FILE_VARIABLE):
        yield Trouble("error", "store", f"two master keys: {VARIABLE} and {FILE_VARIABLE}", "unset one of them")
    if is_postgres(place):
        if not environ.get(VARIABLE) and not environ.get(FILE_VARIABLE):
            yield Trouble(
                "error", "store.place", "no master key: nothing can be sealed", f"gemel keys make FILE, then {FILE_VARIABLE}=FILE"
            )
        if config.audit.trail is None:
            yield Trouble("error", "audit.trail", "an audit trail needs a file on this machine", "name one")
        if config.store.blobs is None:
            yield Trouble(
                "warning", "store.blobs", "large bytes (images, letters) have no folder", "a folder that all servers and workers reach"
            )
    else:
        if not environ.get(VARIABLE) and not environ.get(FILE_VARIABLE) and Path(place).exists():
            yield Trouble(
                "warning",
                "store.place",
                "the master key lies beside the store: who copies both reads everything",
                f"{FILE_VARIABLE}=FILE on another volume",
            )
    named = environ.get(FILE_VARIABLE) or ("" if is_postgres(place) or environ.get(VARIABLE) else str(beside(Path(place))))
    if named and (environ.get(FILE_VARIABLE) or Path(named).exists()):
        try:
            read_master(Path(named))
        except GemelError as error:
            yield Trouble("error", FILE_VARIABLE, error.what, error.fix or "gemel keys make FILE")
    yield from _auditing(config)
    if config.worker.count == 0:
        yield Trouble("warning", "worker.count", "nothing computes here", "gemel worker run --db STORE elsewhere, or count = 1")


def _auditing(config: ServerConfig) -> Iterator[Trouble]:
    audit = config.audit
    if not audit.sign:
        yield Trouble("warning", "audit.sign", "a trail without signed roots can be cut at its end unseen", "sign = true")
        return
    if audit.anchor is None:
        yield Trouble(
            "warning", "audit.anchor", "whoever can write here can cut the trail and its roots together", "a file on another file system"
        )
        return
    trail = audit.trail or (None if is_postgres(config.store.place) else Path(config.store.place))
    devices = {_device(path) for path in (audit.anchor, trail) if path is not None}
    if len(devices) == 1 and None not in devices:
        yield Trouble("warning", "audit.anchor", "it is on the same file system as the trail", "a file on another one")


def _device(path: Path) -> int | None:
    for folder in (path.resolve().parent, *path.resolve().parents):
        if folder.exists():
            return folder.stat().st_dev
    return None


def _trusting(config: ServerConfig) -> Iterator[Trouble]:
    own = public_url(config)
    names = [issuer.issuer for issuer in config.auth.issuers]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Trouble("error", "auth.issuers", f"{name} stands twice", "one entry for each issuer")
    for i, issuer in enumerate(config.auth.issuers):
        key = f"auth.issuers.{i}"
        if issuer.issuer == own:
            yield Trouble("error", f"{key}.issuer", "that is this server itself", "the address of the provider")
        yield from _keys(key, issuer.jwks_url, issuer.jwks_file)
        for algorithm in issuer.algorithms:
            if algorithm not in ALGORITHMS:
                yield Trouble("error", f"{key}.algorithms", f"{algorithm} is never believed", f"of {', '.join(ALGORITHMS)}")
        for role in {issuer.role, *issuer.roles.values()} - {""}:
            if role not in ROLES or role == "anonymous":
                yield Trouble("error", f"{key}.roles", f"there is no role {role}", f"of {', '.join(ROLES[1:])}")
        told = [issuer.client_id, issuer.authorization_url, issuer.token_url]
        if any(told) and not all(told):
            yield Trouble("error", key, "a login there needs all three", "client_id, authorization_url and token_url")
        for name in ("authorization_url", "token_url"):
            yield from _address(f"{key}.{name}", getattr(issuer, name))
    ids = [client.id for client in config.auth.clients]
    for name in sorted({name for name in ids if ids.count(name) > 1}):
        yield Trouble("error", "auth.clients", f"{name} stands twice", "one entry for each client")
    for i, client in enumerate(config.auth.clients):
        key = f"auth.clients.{i}"
        if client.jwks_url or client.jwks_file or not client.redirect_uris:
            yield from _keys(key, client.jwks_url, client.jwks_file)
        for address in client.redirect_uris:
            if "#" in address or "*" in address:
                yield Trouble("error", f"{key}.redirect_uris", "a fragment or a pattern", "the whole address, letter by letter")
            yield from _address(f"{key}.redirect_uris", address)
    if not config.auth.issuers and not config.auth.clients and not config.auth.local:
        yield Trouble(
            "warning",
            "auth",
            "nobody can log in but by a link of --demo",
            "[[auth.issuers]], [[auth.clients]], or local = true on this machine",
        )


def _keys(key: str, url: str, file: Path | None) -> Iterator[Trouble]:
    if bool(url) == (file is not None):
        yield Trouble("error", f"{key}.jwks_url", "its keys come from one place", "jwks_url or jwks_file")
    yield from _address(f"{key}.jwks_url", url)
    if file is not None and not file.is_file():
        yield Trouble("error", f"{key}.jwks_file", "there is no such file", "a JWK set")


def _address(key: str, url: str) -> Iterator[Trouble]:
    parts = urlsplit(url)
    if url and not (parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)))):
        yield Trouble("error", key, "a line that anybody reads, or no address", "https://")


def _logging(config: ServerConfig) -> Iterator[Trouble]:
    if config.log.level == "debug" and not is_loopback(config.server.host):
        yield Trouble("warning", "log.level", "debug says more than is needed where others are served", "info")
    if config.log.traces:
        yield from _address("log.traces", config.log.traces)
