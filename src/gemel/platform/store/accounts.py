"""Local accounts, for an embedded server: names are blind, passwords are kept as Argon2id only, everything else is sealed.

References
----------
RFC 9106 (Argon2). Memory and passes are those of the OWASP password storage cheat sheet: 19 MiB, 2 passes, 1 lane.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, replace

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from gemel.core.errors import DataError, StoreError
from gemel.platform.access import ROLES, Role
from gemel.platform.store.sealing import DEPLOYMENT
from gemel.platform.store.store import Store

__all__ = ["LEAST", "Account", "accounts", "check_account", "put_account", "remove_account"]

LEAST, _MOST = 12, 256
"""Characters of a password."""

_MEMORY_KIB, _PASSES, _LANES = 19_456, 2, 1
_NOTHING = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""What a password is held against when there is no such account, so that it takes as long."""


@dataclass(frozen=True)
class Account:
    """Somebody who may log in here.

    Parameters
    ----------
    who : the reference that relations and consents name, such as ``Practitioner/7``.
    password : Argon2id in its own notation; empty: nobody logs in with one.
    """

    name: str
    who: str
    role: Role
    password: str = ""
    is_active: bool = True

    def __repr__(self) -> str:
        return f"Account({self.name!r}, {self.who!r}, {self.role!r})"


def _hash(password: str) -> str:
    machine = Argon2id(salt=os.urandom(16), length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return machine.derive_phc_encoded(password.encode())


def _token(store: Store, name: str) -> str:
    return store._sealing.token("account", name.strip().casefold())


def put_account(store: Store, account: Account, *, password: str | None = None, now: int) -> Account:
    """Keep an account, or change it; return it.

    Parameters
    ----------
    password : a new one; left out, the old one stays.
    now : ns UTC.

    Raises
    ------
    DataError
        When name, role or password will not do.
    """
    if account.role not in ROLES or account.role == "anonymous" or not 0 < len(account.name) <= 100 or not 0 < len(account.who) <= 200:
        raise DataError("an account needs a name, a reference and a role", seen=account.role, expected=", ".join(ROLES[1:]))
    if password is not None and not LEAST <= len(password) <= _MOST:
        raise DataError("the password is too short or too long", seen=f"{len(password)} characters", expected=f"{LEAST} to {_MOST}")
    hashed = None if password is None else _hash(password)
    with store._transaction("write") as database:
        token = _token(store, account.name)
        kept = _find(store, token)
        made = replace(account, password=hashed if hashed is not None else kept.password if kept else "")
        key = database.execute("SELECT id FROM account WHERE token = ?", (token,)).fetchone()
        found = key[0] if key else secrets.token_hex(12)
        body = store._sealing.seal("account", DEPLOYMENT, found, now, json.dumps(asdict(made)).encode())
        database.execute(
            "INSERT INTO account (id, token, changed_ns, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET changed_ns = excluded.changed_ns, body = excluded.body",
            (found, token, now, body),
        )
    return made


def _find(store: Store, token: str) -> Account | None:
    row = store._database.execute("SELECT id, changed_ns, body FROM account WHERE token = ?", (token,)).fetchone()
    return None if row is None else _opened(store, *row)


def _opened(store: Store, key: str, changed: int, body: bytes) -> Account:
    return Account(**json.loads(store._sealing.open("account", DEPLOYMENT, key, changed, body)))


def accounts(store: Store) -> tuple[Account, ...]:
    """Return every account."""
    with store._transaction("read") as database:
        rows = database.execute("SELECT id, changed_ns, body FROM account ORDER BY id").fetchall()
        return tuple(sorted((_opened(store, *row) for row in rows), key=lambda account: account.name))


def remove_account(store: Store, name: str) -> None:
    """Remove an account.

    Raises
    ------
    StoreError
        When there is none of that name.
    """
    with store._transaction("write") as database:
        if database.execute("DELETE FROM account WHERE token = ?", (_token(store, name),)).rowcount != 1:
            raise StoreError("the store has no such account", fix="gemel config account list")


def check_account(store: Store, name: str, password: str) -> Account | None:
    """Return the account when the password is its own, else ``None``. It takes as long when there is no such account."""
    with store._transaction("read"):
        found = _find(store, _token(store, name))
    kept = found.password if found is not None and found.password else _NOTHING
    try:
        Argon2id.verify_phc_encoded(password[:_MOST].encode(), kept)
    except InvalidKey:
        return None
    return found if found is not None and found.is_active and found.password else None
