"""Ids of tokens that may be used once, and of sessions that have ended: blind, and forgotten when the token would not be believed any more."""

from __future__ import annotations

from gemel.platform.store.store import Store

__all__ = ["is_used", "use"]


def use(store: Store, number: str, *, until: int, now: int) -> bool:
    """Note an id as used; return whether it was not before. Ids whose time is over are forgotten.

    Parameters
    ----------
    number : with who gave it, such as ``ISSUER|JTI``: two issuers may count alike.
    until : ns UTC, until when a token of this id could be believed.
    """
    with store._transaction("write") as database:
        database.execute("DELETE FROM token_use WHERE until_ns < ?", (now,))
        made = database.execute(
            "INSERT INTO token_use (token, until_ns) VALUES (?, ?) ON CONFLICT DO NOTHING", (store._sealing.token("token", number), until)
        )
        return made.rowcount == 1


def is_used(store: Store, number: str) -> bool:
    """Return whether an id was used."""
    with store._transaction("read") as database:
        return database.execute("SELECT 1 FROM token_use WHERE token = ?", (store._sealing.token("token", number),)).fetchone() is not None
