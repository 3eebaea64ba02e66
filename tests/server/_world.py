"""Ada and Bob: each treated by a physician of their own, with consents that permit; and whoever else may ask."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _client import Client

from gemel.core import Demographics
from gemel.core.code import Code
from gemel.core.series import Series
from gemel.core.time import MINUTE
from gemel.platform.consent import Consent
from gemel.platform.store import Store
from gemel.platform.store.consents import put_consent
from gemel.platform.store.relations import Relation, put_care
from gemel.server.app import make_app
from gemel.server.config import ServerConfig
from gemel.server.services import Services, open_services

NOW = 1_790_000_000_000_000_000
ADA, BOB = "ada-canary-7781", "bob-canary-9915"
NOBODY = "nobody-canary-1234"
PURPOSES = {
    "patient": "PATRQT", "proxy": "PATRQT", "nurse": "TREAT", "physician": "TREAT", "other-physician": "ETREAT", "researcher": "HRESCH", "device": "TREAT",
    "service": "TREAT", "administrator": "HOPERAT",
}  # fmt: skip
MODELS = frozenset({"metabolic@1", "metabolic@0", "metabolic-t1d@1", "metabolic-t1d@0", "toy-linear@1", "toy-linear@0"})


def whose(role: str, patient: str) -> str:
    """The reference of somebody of a role who stands in a relation to a patient."""
    return f"{'Device' if role == 'device' else 'Person'}/{role}-of-{patient.partition('-')[0]}"


_KINDS = {"patient": "self", "proxy": "proxy", "nurse": "care", "physician": "care", "device": "device"}


@dataclass
class Clock:
    """Time that moves by a microsecond with every look, and when it is told to."""

    now: int = NOW

    def __call__(self) -> int:
        self.now += 1000
        return self.now


@dataclass
class World:
    services: Services
    client: Client
    clock: Clock
    ids: dict[str, str] = field(default_factory=dict)

    def look(self, what: Callable[[Store], Any]) -> Any:
        return self.services.readers.submit(what).result(60)

    def write(self, what: Callable[[Store], Any]) -> Any:
        return self.services.writer.submit(what).result(60)

    def token(
        self, role: str, patient: str = ADA, *, who: str | None = None, seconds: float = 600, scope: str | None = None, **claims: Any
    ) -> str:
        """A token of somebody of a role who treats (is, acts for, is attached to) a patient."""
        return self.services.tokens.issue(who or whose(role, patient), seconds=seconds, role=role, scope=scope, **claims)

    def head(self, role: str, patient: str = ADA, *, purpose: str | None = None, **rest: Any) -> dict[str, str]:
        """Headers of a request by somebody of a role, for the purpose that the role usually has."""
        told = PURPOSES[role] if purpose is None else purpose
        return {"Authorization": f"Bearer {self.token(role, patient, **rest)}", **({"X-Purpose-Of-Use": told} if told else {})}


def readings(n: int = 12, start: int = NOW - 60 * MINUTE) -> Series:
    import numpy as np

    time = start + np.arange(n) * 5 * MINUTE
    return Series(
        code=Code(system="loinc", code="99504-3"), unit="mg/dL", time=time, value=100.0 + np.arange(n), recorded=time, source="cgm"
    )


def people(store: Store, *, has_consents: bool = True) -> dict[str, str]:
    if set(store.patients()) >= {ADA, BOB}:
        return {patient: store.subject(patient) for patient in (ADA, BOB)}
    ids = {}
    for patient in (ADA, BOB):
        store.append(patient, [readings()], recorded=NOW - 1, demographics=Demographics(sex="female", age=50.0))
        for scope in ("patient-privacy", "research") if has_consents else ():
            put_consent(
                store, patient, Consent(id=f"c-{scope}", patient=patient, base=True, scope=scope, given=1, models=MODELS), recorded=NOW - 1
            )
        for role, kind in _KINDS.items():
            put_care(store, patient, Relation(whose(role, patient), kind), recorded=NOW - 1)
        ids[patient] = store.subject(patient)
    return ids


def copy_template(config: ServerConfig, template: Path) -> None:
    """Put a store with both people where the settings say: making one takes half a second."""
    place = Path(config.store.place)
    if not place.exists():
        for name in ("", ".key"):
            shutil.copy2(f"{template}{name}", f"{place}{name}")


def make_template(folder: Path) -> Path:
    with Store(folder / "template.sqlite") as store:
        people(store)
    return folder / "template.sqlite"


@contextlib.contextmanager
def make_world(config: ServerConfig, template: Path | None = None) -> Iterator[World]:
    clock = Clock()
    if template is not None:
        copy_template(config, template)
    with open_services(config, clock=clock) as services:
        ids = services.writer.submit(people).result(60)
        with Client(make_app(services, has_background=False)) as client:
            yield World(services, client, clock, ids)
