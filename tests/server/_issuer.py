"""An OIDC provider of our own: keys, tokens of every kind of wrongness, and where keys are fetched from, on this machine."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from joserfc import jwk, jws

ES, RS = "ES256", "RS256"
_REGISTRY = jws.JWSRegistry(algorithms=["ES256", "ES384", "RS256", "RS384", "PS256", "HS256", "none"], strict_check_header=False)
_MADE: dict[str, Any] = {}


def key(name: str, kind: str = "EC") -> Any:
    """A key, made once per process: RSA takes a tenth of a second."""
    mark = f"{kind} {name}"
    if mark not in _MADE:
        parameters = {"kid": name, "use": "sig"}
        _MADE[mark] = (
            jwk.RSAKey.generate_key(2048, parameters)
            if kind == "RSA"
            else jwk.ECKey.generate_key("P-384" if kind == "EC384" else "P-256", parameters)
        )
    return _MADE[mark]


def signed(claims: dict[str, Any], signer: Any, algorithm: str = ES, **header: Any) -> str:
    """A token; what the header says besides is what a test wants it to say."""
    told = {"alg": algorithm, "kid": signer.kid, **header}
    return jws.serialize_compact(
        {k: v for k, v in told.items() if v is not None}, json.dumps(claims).encode(), signer, algorithms=[algorithm], registry=_REGISTRY
    )


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any], algorithm: str = "none") -> str:
    return f"{b64(json.dumps({'alg': algorithm, 'kid': 'k1'}).encode())}.{b64(json.dumps(claims).encode())}."


def public(*keys: Any) -> dict[str, Any]:
    return {"keys": [{**one.as_dict(private=False), "kid": one.kid, "use": "sig"} for one in keys]}


class Provider:
    """Serves ``/jwks`` and ``/token`` on this machine; counts who came."""

    def __init__(self, *keys: Any) -> None:
        self.keys, self.asked, self.forms = list(keys), [], []
        self.id_token: Any = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self._tell(public(*outer.keys))

            def do_POST(self) -> None:
                outer.asked.append(self.path)
                form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                outer.forms.append(form)
                self._tell({"id_token": outer.id_token(form), "token_type": "Bearer", "access_token": "unused"})

            def _tell(self, what: Any) -> None:
                body = json.dumps(what).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
