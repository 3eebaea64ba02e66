"""A folder of people under the prior of the others: kept, resumed, saved for the next person."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gemel.cli.files import read_twin
from gemel.core.record import Exposure, Quantity
from gemel.platform.store import Store


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Six people of toy-linear, in a store."""
    import jax

    from gemel.verbs import room

    path = tmp_path_factory.mktemp("cohort") / "linear.sqlite"
    with Store(path) as store:
        for i in range(6):
            record, now, _ = room("toy-linear").simulate_record(jax.random.key(i))
            store.append(record.id, record.facts(), recorded=now, demographics=record.demographics)
    return path


def prior_of(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    prior = read_twin(Path(path))[0].model.prior
    return np.asarray(prior.mean), np.asarray(prior.cholesky)


def test_each_person_under_the_prior_of_the_others(gemel, cohort, tmp_path):
    ran = gemel("calibrate", "toy-linear", cohort, "--hierarchical", "--save-prior", "cohort.json", "-o", "out", "--json")
    told = ran.json()
    assert ran.code == 0
    assert told["hierarchy"]["people"] == 6
    assert told["prior"] == "cohort.json"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["hierarchical"] is True
    files = [row["file"] for row in told["people"]]
    means = np.array([prior_of(f)[0] for f in files])
    assert (np.ptp(means, axis=0) > 1e-3).all()  # each has another prior
    # again: nothing is done twice, and the same prior is kept
    again = gemel("calibrate", "toy-linear", cohort, "--hierarchical", "--save-prior", "again.json", "-o", "out", "--json").json()
    assert all(row["skipped"] for row in again["people"])
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "cohort.json").read_bytes()
    # a twin that is lost is made again as it was
    before = Path(files[2]).read_bytes()
    Path(files[2]).unlink()
    third = gemel("calibrate", "toy-linear", cohort, "--hierarchical", "-o", "out", "--json").json()
    assert [row["skipped"] for row in third["people"]] == [True, True, False, True, True, True]
    assert Path(files[2]).read_bytes() == before
    # a plain run does not walk into the folder
    other = gemel("calibrate", "toy-linear", cohort, "-o", "out")
    assert other.code == 2
    assert "hierarchical differ" in other.err


def test_the_kept_prior_serves_the_next_person(gemel, cohort, tmp_path):
    gemel("calibrate", "toy-linear", cohort, "--hierarchical", "--save-prior", "cohort.json", "-o", "out")
    with Store(cohort) as store:
        first = store.patients()[0]
    assert gemel("calibrate", "toy-linear", cohort, "--id", first, "--prior", "cohort.json", "-o", "next.twin").code == 0
    told = json.loads((tmp_path / "cohort.json").read_text())
    np.testing.assert_allclose(prior_of("next.twin")[0], told["mean"], rtol=1e-12)  # only written and read
    assert told["about"]["people"] == 6


def test_what_is_told_of_a_parameter_is_beside_the_prior_that_was_used(gemel, cohort):
    """diagnose: the prior's interval and the mark *prior-dominated* are the hierarchical prior's, not the room's."""
    told = gemel("calibrate", "toy-linear", cohort, "--hierarchical", "-o", "out", "--json").json()
    place = told["people"][0]["file"]
    ran = gemel("diagnose", place, "--json")
    twin, _ = read_twin(Path(place))
    used, room = twin.model.prior, type(twin.model)().prior
    _, covariance = twin.posterior.moments()
    sd, sd_used, sd_room = (np.sqrt(np.diag(np.asarray(c))) for c in (covariance, used.covariance, room.covariance))
    marks = [p["prior_dominated"] for p in ran.json()["parameters"].values()]
    assert marks == (sd / sd_used > 0.8).tolist()
    # the people are alike in something that one of them hardly shows: beside the room's wide prior it would look learnt
    assert (sd_used < sd_room).any()
    assert ran.json()["prior"] == "hierarchical, fitted on 5 other people"
    assert "prior: hierarchical, fitted on 5 other people" in gemel("diagnose", place).out


def test_new_facts_of_one_change_the_prior_of_the_others(gemel, cohort, tmp_path):
    mine = shutil.copy(cohort, tmp_path / "mine.sqlite")
    shutil.copy(f"{cohort}.key", tmp_path / "mine.sqlite.key")
    gemel("calibrate", "toy-linear", mine, "--hierarchical", "-o", "out")
    with Store(mine) as store:
        old = store.record(store.patients()[0])
        dose, later = old.exposures[0], int(old.series[0].time[-1])
        fact = Exposure(code=dose.code, quantity=Quantity(value=3.0, unit="mg"), start=later - 30 * 3600 * 10**9, source="simulated")
        store.append(old.id, [fact], recorded=later)
    told = gemel("calibrate", "toy-linear", mine, "--hierarchical", "-o", "out", "--json").json()
    assert not any(row["skipped"] for row in told["people"])


def test_too_few_people_are_refused(gemel, people, tmp_path):
    ran = gemel("calibrate", "toy-growth", people, "--hierarchical", "-o", "out")
    assert ran.code == 2
    assert "too few people for a hierarchical prior" in ran.err
    assert not (tmp_path / "out").exists()
    assert gemel("calibrate", "toy-growth", people, "--save-prior", "p.json", "-o", "out").code == 2
