"""The whole way round with ``gemel serve`` and its worker as processes of their own: a value into a FHIR server that we did not write, and everything that follows from it.

The values of the past were drawn once from the toy twin's own model (``simulate_linear``); what is measured and judged is what the processes make of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gemel.core.time import DAY, HOUR, iso
from gemel.platform.consent import Consent
from gemel.platform.store import Store
from gemel.platform.store.consents import put_consent

OWN, UCUM = "urn:gemel:vocabulary", "http://unitsofmeasure.org"
PAST = (
    6.33,
    7.653,
    7.93,
    7.152,
    6.696,
    9.911,
    8.902,
    8.966,
    10.015,
    11.858,
    9.698,
    8.461,
    7.919,
    8.964,
    10.571,
    11.573,
    10.251,
    9.645,
    9.55,
    10.022,
)
DOSES = ((19.4, 4.0), (56.2, 0.9))
START_HOUR = 6 * HOUR  # of the day: the toy has a rhythm
ROOM = "toy-linear"

CONFIG = """
[store]
place = "{place}"
[audit]
sign = false
[worker]
count = 1
[hospital]
base = "{base}"
paging = "offset"
[return_path]
interval_s = {interval}
outcome_min = 1.0
outcome_within_min = 1.0
tolerance_min = 0.01
[poll]
types = ["Patient", "Observation", "MedicationAdministration"]
interval_s = {interval}
[live]
debounce_ms = 10.0
poll_ms = 20.0
lease_s = 3.0
[live.standing.toy-linear]
minutes = [0.05, 60.0, 240.0, 480.0, 720.0, 1440.0]
plans = ["*"]
proposal_min = 0.0001
score_min = 0
"""


def observation(patient: str, value: float, when: int) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "status": "final", "code": {"coding": [{"system": OWN, "code": "toy-signal"}]},
        "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": iso(when),
        "valueQuantity": {"value": value, "unit": "arb", "system": UCUM, "code": "[arb'U]"},
    }  # fmt: skip


def administration(patient: str, dose: float, when: int) -> dict[str, Any]:
    return {
        "resourceType": "MedicationAdministration", "status": "completed", "medicationCodeableConcept": {"coding": [{"system": OWN, "code": "toy-dose"}]},
        "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": iso(when),
        "dosage": {"dose": {"value": dose, "unit": "mg", "system": UCUM, "code": "mg"}},
    }  # fmt: skip


@dataclass
class Round:
    """One patient, one FHIR server, one server of ours that may be killed and started again."""

    medplum: Any
    folder: Path
    patient: str
    interval: float = 0.05
    process: subprocess.Popen[str] | None = None
    http: httpx.Client = field(default_factory=httpx.Client)

    @property
    def place(self) -> Path:
        return self.folder / "s.sqlite"

    def prepare(self) -> None:
        """The past goes into the FHIR server, the consent into the store."""
        now = time.time_ns()
        begin = (now - 76 * HOUR - START_HOUR) // DAY * DAY + START_HOUR
        self.medplum.put({"resourceType": "Patient", "id": self.patient})
        for number, value in enumerate(PAST):
            self.medplum.post(observation(self.patient, value, begin + 4 * number * HOUR))
        for hours, dose in DOSES:
            self.medplum.post(administration(self.patient, dose, begin + round(hours * HOUR)))
        config = CONFIG.format(place=self.place, base=self.medplum.url, interval=self.interval)
        (self.folder / "gemel.toml").write_text(config, encoding="utf-8")
        with Store(self.place) as store:
            store.append(self.patient, [], recorded=1)
            put_consent(
                store, self.patient, Consent(id="c", patient=self.patient, base=True, given=1, models=frozenset({f"{ROOM}@0"})), recorded=1
            )

    def start(self) -> None:
        command = [sys.executable, "-m", "gemel.cli", "serve", "--config", str(self.folder / "gemel.toml"), "--port", "0"]
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("http"), line + (self.folder / "log").read_text()[-2000:]

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            assert self.process.stdout is not None
            self.process.stdout.close()
        self.http.close()

    def calibrate(self) -> None:
        """Wait for the past to arrive, then ask for a twin."""
        with Store(self.place) as store:
            self.until(
                lambda: (
                    sum(len(s) for s in store.record(self.patient).series) == len(PAST)
                    and len(store.record(self.patient).exposures) == len(DOSES)
                )
            )
            now = time.time_ns()
            job = store.enqueue("calibrate", f"first/{self.patient}", json.dumps({"patient": self.patient, "twin": ROOM, "now": now, "seed": 1}), now=now,
                                patient=self.patient)  # fmt: skip
            self.until(lambda: store.job(job).state in ("done", "dead"))
            assert store.job(job).state == "done", store.job(job).result

    def until(self, what: Any, seconds: float = 120.0, pause: float = 0.005) -> Any:
        """Wait for something; only a defect lets it wait so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(pause)
        raise AssertionError((self.folder / "log").read_text()[-3000:])

    def tasks(self, status: str = "") -> list[dict[str, Any]]:
        query = {"patient": f"Patient/{self.patient}", "_count": "1000"} | ({"status": status} if status else {})
        answer = self.http.get(f"{self.medplum.url}/Task", params=query).json()
        return [entry["resource"] for entry in answer.get("entry", [])]

    def once(self, value: float) -> dict[str, float]:
        """One way round: seconds until the Task is there, and until our answer to its acceptance is."""
        known = {task["id"] for task in self.tasks()}
        when = time.time_ns() // 1_000_000 * 1_000_000
        self.medplum.post(observation(self.patient, value, when))
        posted = time.perf_counter()
        task = self.until(lambda: next((one for one in self.tasks("requested") if one["id"] not in known), None))
        shown = time.perf_counter()
        answer = self.answer(task)
        return {"to_task": shown - posted, "to_answer": answer, "round": time.perf_counter() - posted}

    def answer(self, task: dict[str, Any]) -> float:
        """Accept a Task; return the seconds until our server says there that the decision is recorded."""
        place = f"{self.medplum.url}/Task/{task['id']}"
        accepted = self.http.put(place, json=task | {"status": "accepted", "owner": {"reference": "Practitioner/3"}})
        accepted.raise_for_status()
        answered = time.perf_counter()
        self.until(lambda: self.http.get(place).json().get("businessStatus"))
        return time.perf_counter() - answered


@contextlib.contextmanager
def going(medplum: Any, folder: Path, patient: str, **settings: Any) -> Iterator[Round]:
    made = Round(medplum, folder, patient, **settings)
    made.prepare()
    try:
        made.start()
        made.calibrate()
        yield made
    finally:
        made.stop()
