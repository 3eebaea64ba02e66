"""A status page on this machine only: version, installed twins, how many rows a store holds. No patient values, no names."""

from __future__ import annotations

import html
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gemel import __version__
from gemel.core.errors import GemelError, StoreError

__all__ = ["make_server", "status"]

_HEADERS = {
    "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
}  # fmt: skip
_STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}td,th{text-align:left;padding:.2rem 1rem .2rem 0}"


def status(store: Path | None = None) -> dict[str, Any]:
    """Return what the page shows, as plain values."""
    from gemel.platform.registry import twins

    found = [
        {
            "id": t.id,
            "version": t.manifest.version if t.manifest else None,
            "title": t.manifest.title if t.manifest else None,
            "error": t.error.what if t.error else None,
        }
        for t in twins()
    ]
    return {"version": __version__, "twins": found, "store": None if store is None else _counts(store)}


def _counts(store: Path) -> dict[str, Any]:
    from gemel.platform.store import Store

    try:
        with Store(store, busy_ms=500) as opened:
            return {"rows": opened.counts(), "error": None}
    except StoreError as error:
        return {"rows": {}, "error": error.what}


def _page(told: dict[str, Any]) -> str:
    def rows(entries: list[tuple[object, ...]]) -> str:
        return "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in entry) + "</tr>" for entry in entries)

    twins = rows([(t["id"], t["version"] or "", t["title"] or t["error"]) for t in told["twins"]])
    store = ""
    if told["store"] is not None:
        counts = rows(list(told["store"]["rows"].items()))
        store = f"<h2>Store</h2><table>{counts}</table>" if counts else f"<h2>Store</h2><p>{html.escape(str(told['store']['error']))}</p>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Gemel</title><style>{_STYLE}</style></head><body><h1>Gemel {html.escape(told["version"])}</h1>'
        f"<p>Research software: no output is a medical device's.</p><h2>Twins</h2><table><tr><th>twin</th><th>version</th><th>what it is</th></tr>{twins}</table>"
        f"{store}</body></html>"
    )


class _Handler(BaseHTTPRequestHandler):
    server_version = "gemel"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        """Answer ``/``, ``/status.json`` and ``/health``."""
        assert isinstance(self.server, _Server)
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in ("127.0.0.1", "localhost"):  # another name that resolves to this machine: a page elsewhere is asking
            self._answer(403, "text/plain", "this page is for this machine only\n")
            return
        try:
            if self.path == "/health":
                self._answer(200, "text/plain", "ok\n")
            elif self.path == "/status.json":
                self._answer(200, "application/json", json.dumps(status(self.server.store)) + "\n")
            elif self.path == "/":
                self._answer(200, "text/html", _page(status(self.server.store)))
            else:
                self._answer(404, "text/plain", "not here: / /status.json /health\n")
        except GemelError as error:
            self._answer(500, "text/plain", f"{error.what}\n")

    def _answer(self, code: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log: requests are nobody's business."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    store: Path | None = None


def make_server(port: int = 0, store: Path | None = None) -> ThreadingHTTPServer:
    """Return a server bound to 127.0.0.1; the caller runs ``serve_forever`` and closes it.

    Raises
    ------
    StoreError
        When the port cannot be had.
    """
    try:
        server = _Server(("127.0.0.1", port), _Handler)
    except OSError as error:
        raise StoreError(
            "the status page cannot be shown", seen=f"port {port}: {error.strerror}", fix="choose another --port; 0 takes any that is free"
        ) from error
    server.store = store
    return server
