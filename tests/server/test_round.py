"""THE test: a value in a hospital's FHIR server, and back again as advice, a person's decision, its outcome and a score; each program a process of its own."""

from __future__ import annotations

import time

import pytest
from _round import going, observation

import _medplum
from gemel.platform.store import Store
from gemel.platform.store.deliveries import deliveries

pytestmark = [pytest.mark.peer, pytest.mark.node, pytest.mark.slow]


@pytest.fixture
def medplum():
    yield from _medplum.serve()


def test_a_value_goes_all_the_way_round(medplum, tmp_path):
    with going(medplum, tmp_path, "round-1") as made:
        took = made.once(10.4)
        assert set(took) == {"to_task", "to_answer", "round"}
        with Store(made.place) as store:
            (one,) = deliveries(store, "hospital", ("decided", "scoring", "closed"))
            made.until(lambda: time.time_ns() > one.told["until"])
            medplum.post(observation("round-1", 10.6, one.told["until"]))
            made.until(lambda: [kind for kind, _ in store.answers("round-1")] == ["decision", "outcome"])
            (_, decision), (_, outcome) = store.answers("round-1")
            assert (decision.answer, decision.who, decision.proposal) == ("accepted", "Practitioner/3", one.proposal)
            assert outcome.values["signal+0.05min"] == 10.6
            assert outcome.values["crps"] > 0
            assert outcome.note == ""
            (scored,) = [d for d in deliveries(store, "hospital", ("closed",)) if d.proposal == one.proposal]
            behind = next(v for v in store.versions("forecast", "round-1") if v.id == scored.told["forecast"])
            assert behind.meta["plan"] == decision.plan  # scored against what was accepted, not against what would have been
            risks = medplum.found("RiskAssessment", patient="Patient/round-1")
            basis = {reference["reference"] for risk in risks for reference in risk["basis"]}
            assert all(
                medplum.get(reference)["subject"]["reference"] == "Patient/round-1" for reference in basis if "Patient/" not in reference
            )
            assert len(basis) >= 20
            codes = {finding.code.code for finding in store.record("round-1").findings}
            assert codes == {"decision", "outcome"}
            assert store.check().sound
        (waiting,) = made.until(lambda: made.tasks("requested"))  # the newest value brought new advice
        made.kill()
        made.start()
        made.answer(waiting)  # after a death it goes on where it was
        made.once(10.1)
        assert len({task["identifier"][0]["value"] for task in made.tasks()}) == len(made.tasks())
