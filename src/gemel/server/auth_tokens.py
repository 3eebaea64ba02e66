"""Signed tokens: what makes one believed, and the server's own.

A token is believed when its algorithm is on the list, its key id is one of the issuer's keys and that key is of the algorithm's kind, the signature holds, issuer and
audience are exactly those expected, and it is neither too old nor too new. What else a header says (``jku``, ``jwk``, ``x5u``, ``x5c``) is never followed.

References
----------
RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best current practice), RFC 9068 (access tokens).
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwk, jws
from joserfc.errors import JoseError

from gemel.core.errors import AuthenticationError
from gemel.core.time import SECOND
from gemel.platform.crypto import Secret, derive

__all__ = ["ALGORITHMS", "Key", "Keys", "Tokens", "Trust", "read_keys", "thumbprint", "unverified", "verify"]

ALGORITHMS = {
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "RS256": ("RSA", ""), "RS384": ("RSA", ""), "RS512": ("RSA", ""),
    "PS256": ("RSA", ""), "PS384": ("RSA", ""), "PS512": ("RSA", ""),
}  # fmt: skip
"""What may be allowed at all -> kind of key, and its curve. No ``none``, and nothing with a shared secret."""

_MOST = 16_384
_LEAST_MODULUS = 342  # characters of base64url: 2,048 bits
_MOST_TEXT = 255
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256: FIPS 186-5, SP 800-186 section 3.2.1.3
_REGISTRY = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)

Key = Any
Keys = Mapping[str, Key]
"""Key id -> public key."""


def _refuse(reason: str) -> AuthenticationError:
    return AuthenticationError("the token is not believed", seen=reason, expected="a token of a configured issuer", fix="log in again")


@dataclass(frozen=True)
class Trust:
    """What is expected of a token: issuer, audiences of which one must be named, algorithms, and whether an id that is used once, and a subject, must be there."""

    issuer: str
    audience: frozenset[str]
    algorithms: frozenset[str]
    most_s: float | None = None
    has_id: bool = False
    has_subject: bool = True


def _part(text: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        told = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _refuse("it is not well formed") from error
    if not isinstance(told, dict):
        raise _refuse("it is not well formed")
    return told


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a token that nobody has verified: only to find whose it claims to be.

    Raises
    ------
    AuthenticationError
        When it is none.
    """
    parts = token.split(".")
    if len(token) > _MOST or len(parts) != 3 or not token.isascii():
        raise _refuse("it is not a signed token")
    return _part(parts[0]), _part(parts[1])


def verify(token: str, keys: Keys, trust: Trust, *, now: int, skew_s: float = 60.0) -> dict[str, Any]:
    """Return the claims of a token that is believed.

    Parameters
    ----------
    keys : of the issuer.
    now : ns UTC.
    skew_s : by how many seconds clocks may differ.

    Raises
    ------
    AuthenticationError
        With the first reason for which it is not; never with what stands in it.
    """
    header, claims = unverified(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in trust.algorithms or algorithm not in ALGORITHMS:
        raise _refuse("its algorithm is not on the list")
    if "crit" in header or header.get("b64", True) is not True:
        raise _refuse("its header asks for something that is not known here")
    key = keys.get(kid) if isinstance(kid, str) and len(kid) <= _MOST_TEXT else None
    if key is None:
        raise _refuse("its key is not one of the issuer's")
    kind, curve = ALGORITHMS[algorithm]
    if key.key_type != kind or (curve and key.curve_name != curve) or (kid_algorithm(key) not in (None, algorithm)):
        raise _refuse("its key is of another kind")
    try:
        jws.deserialize_compact(token, key, algorithms=[algorithm], registry=_REGISTRY)
    except (JoseError, ValueError) as error:
        raise _refuse("its signature does not hold") from error
    _check(claims, trust, now / SECOND, skew_s)
    return claims


def kid_algorithm(key: Key) -> str | None:
    """Return the algorithm that a key is bound to, if any."""
    return key.as_dict(private=False).get("alg")


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
        raise _refuse(f"its {name} is no time")
    return float(value)


def _check(claims: Mapping[str, Any], trust: Trust, now: float, skew: float) -> None:
    if claims.get("iss") != trust.issuer:
        raise _refuse("it is of another issuer")
    told = claims.get("aud")
    audience = {told} if isinstance(told, str) else {a for a in told if isinstance(a, str)} if isinstance(told, list) else set()
    if not audience & trust.audience:
        raise _refuse("it is for somebody else")
    expires, begins, issued = (_number(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None or expires + skew <= now:
        raise _refuse("it has expired" if expires is not None else "it never expires")
    if trust.most_s is not None and expires - now > trust.most_s + skew:
        raise _refuse("it expires too late")
    if (begins is not None and begins - skew > now) or (issued is not None and issued - skew > now):
        raise _refuse("it holds later only")
    subject = claims.get("sub")
    if (subject is not None or trust.has_subject) and (not isinstance(subject, str) or not 0 < len(subject) <= _MOST_TEXT):
        raise _refuse("it does not say who")
    number = claims.get("jti")
    if (number is not None or trust.has_id) and (not isinstance(number, str) or not 0 < len(number) <= _MOST_TEXT):
        raise _refuse("it has no id")


def read_keys(told: Any) -> dict[str, Key]:
    """Read a JWK set: public keys for signatures, by their ids. What is not such a key is left out.

    Raises
    ------
    AuthenticationError
        When it is no key set.
    """
    listed = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(listed, list) or len(listed) > 100:
        raise AuthenticationError("not a set of keys", expected='{"keys": [...]}, at most 100')
    found: dict[str, Key] = {}
    for entry in listed:
        if not isinstance(entry, dict) or entry.get("kty") not in ("EC", "RSA") or entry.get("use", "sig") != "sig":
            continue
        kid = entry.get("kid")
        if entry["kty"] == "RSA" and len(str(entry.get("n", ""))) < _LEAST_MODULUS:
            continue
        if not isinstance(kid, str) or not kid or "verify" not in entry.get("key_ops", ["verify"]):
            continue
        try:
            key = jwk.import_key(
                {name: value for name, value in entry.items() if name not in ("d", "p", "q", "dp", "dq", "qi", "x5u", "x5c")}
            )
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        found[kid] = key
    return found


def thumbprint(key: Key) -> str:
    """Return the id of a key (RFC 7638)."""
    return key.thumbprint()


def _own(secret: Secret, generation: int) -> Key:
    raw = derive(secret, f"signing key {generation}").reveal() + derive(secret, f"signing key {generation} more").reveal()
    number = int.from_bytes(raw, "big") % (_ORDER - 1) + 1  # 512 bits modulo the order: its bias is below 2**-256
    return jwk.ECKey.import_key(ec.derive_private_key(number, ec.SECP256R1()))


@dataclass
class Tokens:
    """The server's own tokens: signed ES256 under a key that follows from the store's, the same in every process that serves it.

    Parameters
    ----------
    secret : of the deployment.
    issuer : the server's address, which is issuer and audience.
    generation : of the key; the one before still verifies.
    clock : returns the time, ns UTC.
    """

    secret: Secret
    issuer: str
    generation: int
    clock: Callable[[], int]
    skew_s: float = 60.0
    _signing: Key = field(init=False, repr=False)
    keys: dict[str, Key] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._signing = _own(self.secret, self.generation)
        held = [self._signing] + ([_own(self.secret, self.generation - 1)] if self.generation > 1 else [])
        self.keys = {thumbprint(key): key for key in held}

    @property
    def trust(self) -> Trust:
        """Return what is expected of one of them."""
        return Trust(self.issuer, frozenset({self.issuer}), frozenset({"ES256"}), has_id=True)

    def issue(self, subject: str, *, seconds: float, role: str, scope: str | None = None, **claims: Any) -> str:
        """Sign a token.

        Parameters
        ----------
        subject : a reference, such as ``Practitioner/7``.
        seconds : how long it holds.
        scope : what it is narrowed to, separated by spaces; left out, the role alone decides.
        claims : what else it says.
        """
        now = self.clock() // SECOND
        told = {
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": subject,
            "iat": now,
            "exp": now + max(1, round(seconds)),
            "jti": secrets.token_urlsafe(16),
        }
        told |= {"gemel_role": role, **({} if scope is None else {"scope": scope}), **{k: v for k, v in claims.items() if v is not None}}
        header = {"alg": "ES256", "typ": "at+jwt", "kid": thumbprint(self._signing)}
        return jws.serialize_compact(header, json.dumps(told).encode(), self._signing, algorithms=["ES256"], registry=_REGISTRY)

    def public(self) -> dict[str, Any]:
        """Return the public keys, as a JWK set."""
        return {"keys": [{**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": "ES256"} for kid, key in self.keys.items()]}
