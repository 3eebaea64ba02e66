"""TLS of the listeners."""

from __future__ import annotations

import ssl
from pathlib import Path

__all__ = ["listening"]


def listening(certificate: Path | None, key: Path | None, client_authority: Path | None) -> ssl.SSLContext | None:
    """Return how a listener speaks TLS; ``None`` when it does not.

    Parameters
    ----------
    certificate, key : PEM files. client_authority : who must have signed the certificates of those who connect; left out, anybody may.
    """
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    if client_authority is not None:
        context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
