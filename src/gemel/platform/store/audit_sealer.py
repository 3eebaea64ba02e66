"""Entries of the audit trail under the keys of the store: when a patient is erased theirs cannot be read, and the trail still verifies."""

from __future__ import annotations

from gemel.core.errors import StoreError
from gemel.platform.store.sealing import DEPLOYMENT
from gemel.platform.store.store import Store

__all__ = ["AuditSealer"]

_PATIENT, _DEPLOYMENT = b"p", b"d"


class AuditSealer:
    """Seals for :class:`gemel.platform.audit.AuditLog`; its ``patient`` is what :meth:`gemel.platform.store.Store.subject` returns.

    An entry about nobody, or about somebody who was erased, is sealed under the deployment's key: an erasure itself is about somebody who has no key any more.

    Parameters
    ----------
    store : open, and used by one thread.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def seal(self, patient: str, plain: bytes, bound: bytes) -> bytes:
        """Seal under the patient's key, bound to the entry's place."""
        if patient:
            try:
                return _PATIENT + self._store._sealing.seal("audit", patient, bound.decode(), 0, plain)
            except StoreError as error:
                if not self._store.is_erased(patient):
                    raise StoreError(
                        "an audit entry names nobody of this store", seen=patient, expected="what Store.subject returns"
                    ) from error
        return _DEPLOYMENT + self._store._sealing.seal("audit", DEPLOYMENT, bound.decode(), 0, plain)

    def open(self, patient: str, sealed: bytes, bound: bytes) -> bytes:
        """Open; a key that was destroyed raises ``StoreError``."""
        subject = patient if sealed[:1] == _PATIENT else DEPLOYMENT
        return self._store._sealing.open("audit", subject, bound.decode(), 0, sealed[1:])
