"""A client of an application in this process: each request goes through the gate and everything behind it, without a socket."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx


class Client:
    """Asks an ASGI application; runs its lifespan in a loop of its own. Answers are whole: for streams start a server (``served``)."""

    def __init__(self, app: Any, base_url: str = "http://127.0.0.1:8765") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._app = app
        self._lifespan = app.router.lifespan_context(app)
        self.run(self._lifespan.__aenter__())
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=base_url)

    def run(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(120)

    def request(self, method: str, url: str, **rest: Any) -> httpx.Response:
        return self.run(self._client.request(method, url, **rest))

    def get(self, url: str, **rest: Any) -> httpx.Response:
        return self.request("GET", url, **rest)

    def post(self, url: str, **rest: Any) -> httpx.Response:
        return self.request("POST", url, **rest)

    def put(self, url: str, **rest: Any) -> httpx.Response:
        return self.request("PUT", url, **rest)

    def delete(self, url: str, **rest: Any) -> httpx.Response:
        return self.request("DELETE", url, **rest)

    def close(self) -> None:
        self.run(self._client.aclose())
        self.run(self._lifespan.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
