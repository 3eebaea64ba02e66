"""People drawn from the toys in a store, and a way to run a command as the shell would."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PEOPLE = ("simulated-00000000", "simulated-00000001", "simulated-00000002")


@dataclass(frozen=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> Path:
    """A store with three people of toy-growth."""
    import jax

    from gemel.platform.store import Store
    from gemel.verbs import room

    path = tmp_path_factory.mktemp("people") / "growth.sqlite"
    with Store(path) as store:
        for i in range(len(PEOPLE)):
            record, now, _ = room("toy-growth").simulate_record(jax.random.key(i))
            store.append(record.id, record.facts(), recorded=now, demographics=record.demographics)
    return path


@pytest.fixture(autouse=True)
def _aside(monkeypatch, tmp_path):
    """No worker, no shared compile cache: the tests' own is set by the root conftest."""
    import gemel.engine.compile

    monkeypatch.setenv("GEMEL_NO_WORKER", "1")
    monkeypatch.delenv("GEMEL_DEBUG", raising=False)
    monkeypatch.setattr(gemel.engine.compile, "use_cache", lambda path: path)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def gemel(capfd):
    """Run a command in this process."""
    from gemel.cli.app import run

    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        code = run([str(a) for a in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Ran(code, out, err)

    return call


@pytest.fixture(scope="session")
def twin_file(people, tmp_path_factory) -> Path:
    """The twin of the first person, half a day before the last reading."""
    from gemel.cli.app import run

    path = tmp_path_factory.mktemp("twin") / "a.twin"
    os.environ["GEMEL_NO_WORKER"] = "1"
    assert run(["calibrate", "toy-growth", str(people), "--id", PEOPLE[0], "--now", "2026-01-05T20:00:00Z", "-o", str(path)]) == 0
    return path


@pytest.fixture
def table(tmp_path) -> Path:
    """A day of glucose as the generic table."""
    path = tmp_path / "ann.csv"
    rows = [
        f"2026-01-05T{h:02d}:{m:02d}:00Z,{110 + 10 * (h % 3) + m / 10:g},{40 if (h, m) in ((8, 0), (13, 0)) else ''}"
        for h in range(24)
        for m in range(0, 60, 5)
    ]
    path.write_text("time,glucose_mg_dl,carbs_g\n" + "\n".join(rows) + "\n")
    return path
