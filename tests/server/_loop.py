"""One patient whose proposals go to a FHIR server that we did not write: what the tests of the way back share, and the writer that is killed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemel.core import AbstentionReason, Code, ForecastTable, Lineage, PlanScore, Proposal, Series
from gemel.core.time import HOUR, MINUTE
from gemel.platform.advice import write_forecast, write_proposal
from gemel.platform.consent import Consent
from gemel.platform.store import Store
from gemel.platform.store.consents import put_consent
from gemel.server.config import ServerConfig
from gemel.server.hospital import connect
from gemel.server.return_path import ReturnPath
from gemel.server.services import Services, open_services

NOW = 1_790_000_000_000_000_000
LINEAGE = Lineage(record="r" * 64, model="toy-linear", model_version="0.1.0", code_version="0.1.0", method="laplace", seed=7)
SIGNAL = Code.parse("gemel:toy-signal")
MODELS = frozenset({"toy-linear@0"})


@dataclass
class Clock:
    now: int = NOW

    def __call__(self) -> int:
        self.now += 1000
        return self.now


def proposal(choice: str | None = "2 mg", issued: int = NOW) -> Proposal:
    ranking = (
        PlanScore(plan="2 mg", utility=1.2, utility_error=0.1, probability_best=0.8, violations={"signal above 30": 0.02}),
        PlanScore(plan="6 mg", utility=0.2, utility_error=0.1, probability_best=0.2, violations={"signal above 30": 0.4}, feasible=False),
    )
    return Proposal(
        twin="p1", issued=issued, choice=choice, reason=None if choice else AbstentionReason.DATA_TOO_OLD, sentence="Two milligrams in an hour.",
        ranking=ranking if choice else (), limits={"signal above 30": "at most 5 %"}, lineage=LINEAGE.then(f"recommend at {issued}"),
    )  # fmt: skip


def table(issued: int = NOW) -> ForecastTable:
    quantiles = np.array([[[9.0], [8]], [[11], [12]], [[13], [18]]])
    return ForecastTable(
        twin="p1", issued=issued, times=issued + np.array([1, 4]) * HOUR, outputs=("signal",), units=("[arb'U]",), levels=(0.05, 0.5, 0.95),
        quantiles=quantiles, mean=quantiles[1], probabilities={"signal above 30": [0.0, 0.23]}, lineage=LINEAGE,
    )  # fmt: skip


def readings(*points: tuple[int, float], source: str = "lab") -> Series:
    return Series(code=SIGNAL, unit="[arb'U]", time=[t for t, _ in points], value=[v for _, v in points], source=source)


def advise(store: Store, patient: str, choice: str | None = "2 mg", issued: int = NOW, forecast: bool = True, **meta: Any) -> str:
    """Put a forecast and a proposal, as a worker does."""
    if forecast:
        store.put("forecast", patient, "toy-linear", write_forecast(table(issued)), recorded=issued, meta={"model": "toy-linear", "model_version": "0.1.0"})  # fmt: skip
    told = {"model": "toy-linear", "model_version": "0.1.0", **meta}
    return store.put("proposal", patient, "toy-linear", write_proposal(proposal(choice, issued)), recorded=issued, meta=told)


def enrol(store: Store, patient: str, *, permit: bool = True) -> None:
    store.append(patient, [readings((NOW - HOUR, 10.0))], recorded=NOW - MINUTE)
    if permit:
        put_consent(store, patient, Consent(id="c", patient=patient, base=True, given=1, models=MODELS), recorded=NOW - MINUTE)


def settings(place: Any, base: str, **path: Any) -> ServerConfig:
    return ServerConfig.model_validate(
        {
            "store": {"place": str(place), "readers": 2}, "audit": {"sign": False}, "worker": {"count": 0},
            "hospital": {"base": base, "paging": "offset"}, "return_path": path,
        }
    )  # fmt: skip


@dataclass
class Loop:
    services: Services
    path: ReturnPath
    clock: Clock

    def look(self, what: Any) -> Any:
        return self.services.readers.submit(what).result(60)

    def write(self, what: Any) -> Any:
        return self.services.writer.submit(what).result(60)


@contextlib.contextmanager
def opened(config: ServerConfig, clock: Clock | None = None, client: Any = None) -> Iterator[Loop]:
    clock = clock or Clock()
    with contextlib.ExitStack() as stack:
        services = stack.enter_context(open_services(config, clock=clock))
        made = client or stack.enter_context(connect(config.hospital, clock=clock))
        yield Loop(services, ReturnPath(services, config.return_path, made, server="hospital"), clock)


def work(loop: Loop) -> list[str]:
    """Do what a worker would: the forecast under the plan that was accepted; scores are left out. Return the keys of what was done."""

    def one(store: Store) -> str | None:
        for kind in ("forecast", "score"):
            job = store.claim(kind, "w", now=loop.clock())
            if job is None:
                continue
            result = {}
            if kind == "forecast":
                body = json.loads(job.body)
                made = table(body["now"]).model_copy(update={"plan": body["plan"]})
                title = f"{body['twin']}:{body['plan']}"
                found = store.put("forecast", body["patient"], title, write_forecast(made), recorded=loop.clock(), meta={"model": "toy-linear", "model_version": "0.1.0"})  # fmt: skip
                result = {"kind": "forecast", "id": found, "name": title}
            store.finish(job.id, "w", result=json.dumps(result))
            return job.key
        return None

    done = []
    while key := loop.write(one):
        done.append(key)
    return done
