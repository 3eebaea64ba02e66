"""Shared by all tests: this folder is on the path (pyproject.toml), so that tests can import its helpers (``_data``).

What is done here for every run:

- compiled programs are kept in the user's cache folder, mode 0700, so that a second run does not pay for them again;
- seconds and compiled programs are counted per room (folder of ``tests/``) and printed last. A room of ``twins/`` that compiles more programs than
  its ``twin.toml`` allows fails the run: counts do not flake, times do;
- compiled programs are let go when they hold too many memory maps;
- where ``CI`` is set, a test with a marker of :data:`MUST_RUN` that is skipped has failed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TWINS = HERE.parent / "src" / "gemel" / "twins"
MOST_MAPS = 30_000
"""Memory maps of this process at which compiled programs are let go between two files of tests: half of Linux's usual limit."""
MUST_RUN = ("data", "browser", "postgres")
"""What CI has: a skip there is a hole in the net, not a courtesy."""


def _prepare(environ: dict[str, str] | os._Environ[str]) -> None:
    """Set JAX's flags before anything imports it; what the caller has set stays. Subprocesses inherit them."""
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gemel" / "jax-tests"
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        cache.chmod(0o700)  # a writable cache is arbitrary code execution
    except OSError:
        pass  # a read-only home: compile every time
    else:
        environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


_prepare(os.environ)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in the background: what tests start would never hear an interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class Room:
    """What the tests of one folder cost."""

    tests: int = 0
    seconds: float = 0.0
    programs: int = 0


@dataclass
class Meter:
    """Counts seconds and compiled programs per room."""

    rooms: dict[str, Room] = field(default_factory=dict)

    @staticmethod
    def _programs() -> int:
        """Return the engine's count; none before a test has imported JAX: the tests of ``core`` and ``interop`` must run without it."""
        if "jax" not in sys.modules:
            return 0
        from gemel.engine.compile import compilations

        return compilations()

    def measure(self, path: Path, tests: int) -> Iterator[None]:
        """Charge the room of ``path`` with what happens until the generator is resumed."""
        room = self.rooms.setdefault(room_of(path), Room())
        began, before = time.perf_counter(), self._programs()
        yield
        room.tests += tests
        room.seconds += time.perf_counter() - began
        room.programs += self._programs() - before

    def excess(self) -> dict[str, tuple[int, int]]:
        """Return the rooms that compiled more than they may: name -> (compiled, allowed)."""
        limits = {name: allowed(name) for name in self.rooms}
        return {
            name: (self.rooms[name].programs, limit)
            for name, limit in limits.items()
            if limit is not None and self.rooms[name].programs > limit
        }


METER = pytest.StashKey[Meter]()


def room_of(path: Path) -> str:
    """Return the folder of a test file: ``core``, ``engine``, ``twins/metabolic``; ``.`` for files at the top."""
    try:
        parts = path.resolve().relative_to(HERE).parts[:-1]
    except ValueError:
        return "elsewhere"
    return "/".join(parts[: 2 if parts[:1] == ("twins",) else 1]) or "."


def allowed(room: str, twins: Path = TWINS) -> int | None:
    """Return how many programs a room of ``twins/`` may compile: the sum over the twins that it registers, those of its
    sub-rooms included. Other folders have no limit.
    """
    here = twins / room.removeprefix("twins/")
    if not room.startswith("twins/") or not (here / "twin.toml").is_file():
        return None
    from gemel.core.manifest import load_manifest

    return sum(twin.max_compilations for manifest in here.rglob("twin.toml") for twin in load_manifest(manifest).values())


def pytest_configure(config: pytest.Config) -> None:
    config.stash[METER] = Meter()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    if not isinstance(collector, pytest.Module):
        return (yield)
    meter = collector.config.stash[METER].measure(collector.path, 0)
    next(meter)
    try:
        return (yield)
    finally:
        next(meter, None)


def _release() -> None:
    """Let go of compiled programs before the process runs out of memory maps: each holds several, and at the kernel's limit XLA crashes."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            held = sum(1 for _ in maps)
    except OSError:
        return  # no such limit here
    if held > MOST_MAPS:
        import gc

        import jax

        jax.clear_caches()
        gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None):
    meter = item.config.stash[METER].measure(item.path, 1)
    next(meter)
    try:
        return (yield)
    finally:
        next(meter, None)
        if nextitem is not None and nextitem.path != item.path:
            _release()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report: pytest.TestReport = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        marks = [name for name in MUST_RUN if item.get_closest_marker(name)]
        if marks:
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: a test marked {', '.join(marks)} must run where CI is set; {why}"
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.stash[METER].excess() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    meter = config.stash[METER]
    rooms = {name: room for name, room in meter.rooms.items() if room.tests}
    if not rooms:
        return
    terminalreporter.section("rooms")
    wide = max(len(name) for name in (*rooms, "room"))
    terminalreporter.write_line(f"{'room':{wide}}  {'tests':>6}  {'seconds':>8}  {'programs':>8}  {'allowed':>7}")
    for name in sorted(rooms):
        room, limit = rooms[name], allowed(name)
        terminalreporter.write_line(
            f"{name:{wide}}  {room.tests:6d}  {room.seconds:8.1f}  {room.programs:8d}  {'' if limit is None else limit:>7}"
        )
    for name, (programs, limit) in meter.excess().items():
        terminalreporter.write_line(
            f"FAILED {name}: {programs} programs compiled, {limit} allowed by max_compilations in its twin.toml: "
            "find what is compiled per patient or per size, before raising the number",
            red=True,
        )
