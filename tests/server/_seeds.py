"""A twin, its forecast, advice and its answer for Ada and Bob: what the routes of the API have to show."""

from __future__ import annotations

import json

from _world import NOBODY, NOW, World

from gemel.core.advice import Decision, Outcome
from gemel.platform.store import Store

V1 = "/api/v1"
ROOM = "metabolic"
META = {"model": "metabolic", "model_version": "1.0.0", "code_version": "0.1", "method": "laplace", "seed": 0, "status": "OK"}


def pid(world: World, patient: str) -> str:
    return world.ids.get(patient, "0" * 24)


def seeded(world: World, patient: str) -> dict[str, str]:
    """A twin, its forecast, a proposal, an answer and an outcome; ids of nobody's where there is nobody."""
    if patient == NOBODY:
        return {
            "patient": "0" * 24, "twin": f"{'0' * 24}.{ROOM}", "version": "1" * 24, "forecast": "2" * 24, "proposal": "3" * 24, "decision": "4" * 24,
            "job": "5" * 24, "consent": "c-patient-privacy", "array": "0" * 64,
        }  # fmt: skip
    known = getattr(world, "seeds", {})
    if patient in known:
        return known[patient]

    def change(store: Store) -> dict[str, str]:
        version = store.put("twin", patient, ROOM, b"zip of " + patient.encode(), recorded=NOW, meta=META)
        forecast = store.put("forecast", patient, ROOM, json.dumps({"twin": ROOM, "of": patient}).encode(), recorded=NOW, meta=META)
        store.put("score", patient, forecast, json.dumps({"crps": 1.0, "of": patient}).encode(), recorded=NOW, meta=META)
        proposal = store.put("proposal", patient, ROOM, json.dumps({"choice": "as known", "of": patient}).encode(), recorded=NOW, meta=META)
        decision = store.decide(Decision(proposal=proposal, time=NOW, recorded=NOW, who="Person/x", answer="accepted"))
        store.outcome(Outcome(decision=decision, time=NOW, recorded=NOW, values={"glucose": 5.0}))
        job = store.enqueue("forecast", f"seed {patient}", json.dumps({"patient": patient, "twin": ROOM}), now=NOW, patient=patient)
        array = store.add_bytes(patient, b"bytes of " + patient.encode())
        subject = store.subject(patient)
        return {
            "patient": subject, "twin": f"{subject}.{ROOM}", "version": version, "forecast": forecast, "proposal": proposal, "decision": decision, "job": job,
            "consent": "c-patient-privacy", "array": array,
        }  # fmt: skip

    known[patient] = world.write(change)
    world.seeds = known  # type: ignore[attr-defined]
    return known[patient]
