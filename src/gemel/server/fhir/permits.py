"""What the guard says, for resources: of people as it decides about any datum; of places, organisations, staff and definitions by role and scope alone.

Decision record 24.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemel.core.errors import AccessDenied
from gemel.platform.access import Resource, fitting
from gemel.platform.access_sql import NO, Predicate
from gemel.platform.consent import Datum
from gemel.platform.guard import Caller, Guard
from gemel.platform.rights import require_right
from gemel.platform.scopes import LETTERS, allows
from gemel.platform.store import Store
from gemel.platform.store.consents import epoch_of
from gemel.platform.store.resources import Stored
from gemel.platform.store.sealing import DEPLOYMENT

__all__ = ["Permits"]

_WRITERS = frozenset({"service", "physician", "nurse"})


class Permits:
    """The guard's answers to one caller."""

    def __init__(self, guard: Guard, caller: Caller) -> None:
        self.guard, self.caller = guard, caller

    def check(self, action: str, kind: str) -> None:
        """Refuse what role, purpose and scope alone refuse, before anything is looked up."""
        self.guard.check(self.caller, "update" if action == "delete" else action, kind)

    def of_nobody(self, action: str, kind: str) -> bool:
        """Say whether something about nobody may be read or written. A list of people is for those who may see anybody."""
        action = "update" if action == "delete" else action
        grants = fitting(self.caller.subject, action, self.caller.purpose)
        if not grants or not allows(self.caller.scopes, action, Datum("", kind=kind)):
            return False
        if kind == "Group" and not any(grant.reach == "any" for grant in grants):
            return False
        return action not in ("create", "update") or self.caller.subject.role in _WRITERS

    def require(self, store: Store, stored: Stored | None, action: str, kind: str, **detail: Any) -> Stored:
        """Return a version that may be seen; write down that it was, or that it was refused.

        Raises
        ------
        AccessDenied
            When it is not there, or not for this caller: in the same words.
        """
        if stored is None:
            self.guard.log(self.caller, "deny", detail={"asked": action, "reason": "no such resource", "resource": kind, **detail})
            raise AccessDenied()
        if not stored.is_nobodys:
            self.guard.require(store, self.caller, action, Resource(stored.datum), detail=detail)
        elif self.of_nobody(action, stored.kind):
            self.guard.log(self.caller, action, detail={"resource": stored.ref, **detail})
        else:
            self.guard.log(
                self.caller,
                "deny",
                detail={"asked": action, "reason": "about nobody, and not for this role", "resource": stored.ref, **detail},
            )
            raise AccessDenied()
        return stored

    def allow(self, store: Store, action: str, datum: Datum) -> None:
        """Refuse a change that may not be made: inside the transaction that makes it, so that nothing is written down here.

        What a service sends about somebody of whom no consent is known is taken in, and can be read by nobody before there is one.

        Raises
        ------
        AccessDenied
        """
        if datum.pid == DEPLOYMENT:
            if not self.of_nobody(action, datum.kind):
                raise AccessDenied(f"{self.caller.subject.role} may not {action} {datum.kind}", is_open=True)
            return
        asked = "update" if action == "delete" else action
        if action == "delete" and not allows(self.caller.scopes, "delete", datum):
            raise AccessDenied(f"the token has no scope to delete {datum.kind}", is_open=True)
        if self.guard.decide(store, self.caller, asked, Resource(datum)):
            return
        is_unknown = self.caller.subject.role == "service" and not epoch_of(store, datum.pid)
        if is_unknown and fitting(self.caller.subject, asked, self.caller.purpose) and allows(self.caller.scopes, asked, datum):
            return
        raise AccessDenied()

    def consent(self, subject: str) -> None:
        """Refuse whoever may not give consent for somebody.

        Raises
        ------
        AccessDenied
        """
        require_right(self.caller.subject, "consent", self.caller.purpose, subject, scopes=self.caller.scopes, launch=self.caller.launch)

    def predicate(self, store: Store, action: str, *, is_write: bool = False) -> Predicate:
        """Return the condition of what of an action may be seen.

        Parameters
        ----------
        is_write : what a conditional change looks for: a service also finds those of whom no consent is known, as it may write them.
        """
        made = self.guard.predicate(store, self.caller, action)
        parts, more = [made.sql], dict(made.parameters)
        grants = fitting(self.caller.subject, action, self.caller.purpose)
        if is_write and action == "search" and self.caller.subject.role == "service" and grants:
            parts.append(f"(pid <> '{DEPLOYMENT}' AND NOT EXISTS (SELECT 1 FROM consent WHERE consent.pid = r.pid))")
        if grants:
            own, extra = self._about_nobody(action, any(grant.reach == "any" for grant in grants))
            parts.append(own)
            more |= extra
        kept = [part for part in parts if part != NO]
        return Predicate(f"({' OR '.join(kept)})" if kept else NO, more)

    def _about_nobody(self, action: str, sees_lists: bool) -> tuple[str, Mapping[str, str]]:
        sql, more = f"pid = '{DEPLOYMENT}'", {}
        if not sees_lists:
            sql += " AND kind <> 'Group'"
        if self.caller.scopes is not None:
            needed = set(LETTERS.get(action, "x"))
            kinds = sorted({scope.kind for scope in self.caller.scopes if needed <= scope.letters and not scope.filters})
            if "*" not in kinds:
                if not kinds:
                    return NO, {}
                more = {f"s9{i:03d}": kind for i, kind in enumerate(kinds)}
                sql += f" AND kind IN ({', '.join(':' + name for name in more)})"
        return f"({sql})", more
