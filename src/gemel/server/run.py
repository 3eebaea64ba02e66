"""``gemel serve``: everything in one process but the computing, from a configuration to its orderly end."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from gemel.core.errors import StoreError
from gemel.platform.access import Subject
from gemel.platform.guard import Caller
from gemel.platform.store import Store
from gemel.server.app import make_app
from gemel.server.auth_logins import Person
from gemel.server.config import ServerConfig
from gemel.server.logs import start_logging
from gemel.server.services import Services, open_services
from gemel.server.workers import worker_command, working

__all__ = ["DEMO", "demo_link", "run_server"]

DEMO = Person("Practitioner/demo", "physician")
_GRACE_S = 20


def demo_link(services: Services) -> str:
    """Return an address at which one person logs in, once, as the physician of everybody in the store."""
    return f"{services.tokens.issuer}/auth/once?code={services.state['logins'].links.give(DEMO)}"


def _listen(config: ServerConfig) -> socket.socket:
    host, port = config.server.host, config.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # who comes while the application is put together waits
    except OSError as error:
        listener.close()
        raise StoreError(
            "the server cannot listen there", seen=f"port {port}: {error.strerror}", fix="choose another --port; 0 takes any that is free"
        ) from error
    return listener


def _http(app: FastAPI, config: ServerConfig) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # ours says the route, not the path
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=20,
        h11_max_incomplete_event_size=65_536,
        limit_concurrency=2000,
        ws_max_size=2**20,
        proxy_headers=False,  # the gate believes X-Forwarded-For of named proxies only
        ssl_certfile=config.server.certificate,
        ssl_keyfile=config.server.certificate_key,
    )


def run_server(
    config: ServerConfig, *, config_file: Path | None = None, is_demo: bool = False, prepare: Callable[[Store], None] | None = None,
    ready: Callable[[Services, str], None] | None = None,
) -> int:  # fmt: skip
    """Serve until SIGTERM or SIGINT: then nothing new is taken, what was begun is finished and written, the audit trail is anchored.

    Parameters
    ----------
    config_file : what workers read too.
    prepare : done with the store before anybody is let in.
    ready : told the address when the server listens.

    Returns
    -------
    0; 130 when it was interrupted from the keyboard.

    Raises
    ------
    StoreError
        When the store, the trail or the port cannot be had.
    """
    handler = start_logging(config.log.level, config.log.file)
    log = logging.getLogger("gemel.server")
    listener = _listen(config)
    port = listener.getsockname()[1]
    config = config.model_copy(update={"server": config.server.model_copy(update={"port": port})})
    try:
        with contextlib.ExitStack() as stack:
            services = stack.enter_context(open_services(config))
            if prepare is not None:
                services.writer.submit(prepare).result()
            more = [] if config_file is None else ["--config", str(config_file)]
            command = worker_command(config.store.place, more) if config.worker.count else None
            workers = stack.enter_context(working(command, config.worker.count))
            if workers is not None:
                services.state["worker"] = lambda _since: workers.alive()
            app = make_app(services)
            http = config.server
            server = uvicorn.Server(_http(app, config))
            told = _handle_signals(stack, server)
            services.audit.write(**_about("start", services))
            log.info("serving")
            if ready is not None:
                scheme = "https" if http.certificate else "http"
                host = f"[{http.host}]" if ":" in http.host else http.host
                ready(services, demo_link(services) if is_demo else f"{scheme}://{host}:{port}/")
            server.run(sockets=[listener])
            services.audit.write(**_about("stop", services))
            log.info("stopped")
            return 130 if told == [signal.SIGINT] else 0
    finally:
        listener.close()
        handler.flush()


def _about(action: str, services: Services) -> dict[str, object]:
    from gemel import __version__

    who = Caller(Subject("Device/gemel", "service"), "HOPERAT", "")
    return {
        "who": who.subject.id,
        "action": action,
        "patient": "",
        "purpose": who.purpose,
        "time": services.clock(),
        "detail": {"version": __version__},
    }


def _handle_signals(stack: contextlib.ExitStack, server: uvicorn.Server) -> list[int]:
    """Let the first signal end the server in order, the second at once; return the list of those that came. Put back what was there at the end."""
    told: list[int] = []

    def hear(number: int, _frame: object) -> None:
        told.append(number)
        server.should_exit = True
        server.force_exit = len(told) > 1

    for number in (signal.SIGTERM, signal.SIGINT):
        stack.callback(signal.signal, number, signal.signal(number, hear))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]  its own would end the process before the store is closed
    return told
