"""The API as its users meet it: pages, columns, stored bytes, work that is asked for once, answers that fit what was seen."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from _seeds import META, ROOM, V1, pid, seeded
from _world import ADA, BOB, NOW
from hypothesis import given
from hypothesis import strategies as st

from gemel.core.code import Code
from gemel.core.errors import ConflictError, FormatError
from gemel.core.record import Exposure, Finding, Quantity
from gemel.core.time import DAY, HOUR, MINUTE, SECOND, iso
from gemel.platform.consent import Consent, Rule
from gemel.platform.store.consents import put_consent
from gemel.server.etags import etag, is_known, require_match
from gemel.server.paging import read_cursor, write_cursor
from gemel.server.resources import JobTold, PatientTold, SeriesTold, TwinTold


def get(world, path, role="physician", patient=ADA, headers=None, **rest):
    return world.client.get(V1 + path, headers=world.head(role, patient, **rest) | (headers or {}))


def post(world, path, body, role="physician", patient=ADA, headers=None):
    return world.client.post(V1 + path, json=body, headers=world.head(role, patient) | (headers or {}))


def test_patients_come_in_pages_of_one_snapshot(world):
    def enrol(store):
        for i in range(7):
            store.append(f"new-{i}", [Finding(code=Code.parse("loinc:4548-4"), value="x", time=NOW - DAY)], recorded=NOW)
            put_consent(store, f"new-{i}", Consent("c", "", True), recorded=NOW)

    world.write(enrol)
    seen, cursor = [], None
    for turn in range(10):
        page = get(world, "/patients?limit=4" + (f"&cursor={cursor}" if cursor else ""), "service").json()
        seen += [PatientTold.model_validate(row).pseudonym for row in page["items"]]
        world.write(lambda store, turn=turn: store.append(f"late-{turn}", [], recorded=NOW))
        if (cursor := page["next"]) is None:
            break
    assert seen == [ADA, BOB, *(f"new-{i}" for i in range(7))]
    assert [row["pseudonym"] for row in get(world, "/patients").json()["items"]] == [ADA]  # whom she treats
    assert get(world, "/patients?cursor=bm8").status_code == 400
    assert get(world, "/patients", purpose="HMARKT").status_code == 403


def test_a_patient_is_found_by_a_name_that_is_in_no_address(world):
    found = post(world, "/patients/search", {"pseudonym": ADA})
    assert found.json()["id"] == pid(world, ADA)
    assert post(world, "/patients/search", {"pseudonym": BOB}).content == post(world, "/patients/search", {"pseudonym": "nobody"}).content
    told = get(world, f"/patients/{pid(world, ADA)}")
    assert (told.json()["sex"], told.json()["series"]) == ("female", 1)
    again = get(world, f"/patients/{pid(world, ADA)}", headers={"If-None-Match": told.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_readings_come_in_columns_as_they_were_known(world):
    told = get(world, f"/patients/{pid(world, ADA)}/series?code=loinc:99504-3")
    series = SeriesTold.model_validate(told.json()["items"][0])
    assert (series.unit, len(series.value), series.value[0]) == ("mg/dL", 12, 100.0)
    assert series.time_us[0] == (NOW - 60 * MINUTE) // 1000
    at = NOW - 40 * MINUTE
    part = get(world, f"/patients/{pid(world, ADA)}/series?from={iso(at)}&to={iso(at + 10 * MINUTE)}").json()["items"][0]
    assert part["value"] == [104.0, 105.0]
    then = get(world, f"/patients/{pid(world, ADA)}/series?as_of={iso(at)}").json()["items"][0]
    assert max(then["time_us"]) == at // 1000
    assert get(world, f"/patients/{pid(world, ADA)}/series?code=loinc:8867-4").json()["items"] == []
    for wrong in (
        "from=2026-01-01T00:00:00",
        "as_of=yesterday",
        "from=9999-01-01T00:00:00Z",
        f"from={iso(NOW)}&to={iso(NOW - 1000)}",
        "code=glucose",
    ):
        assert get(world, f"/patients/{pid(world, ADA)}/series?{wrong}").status_code == 400


def test_exposures_and_findings_are_told_with_both_times(world):
    def add(store):
        meal = Exposure(
            code=Code.parse("loinc:9059-7"),
            quantity=Quantity(value=45.5, unit="g"),
            start=NOW - HOUR,
            recorded=NOW - HOUR + SECOND,
            id="m1",
        )
        store.append(
            ADA, [meal, Finding(code=Code.parse("loinc:4548-4"), value=Quantity(value=7.1, unit="%"), time=NOW - DAY)], recorded=NOW
        )

    world.write(add)
    meal = get(world, f"/patients/{pid(world, ADA)}/exposures").json()["items"][0]
    assert (meal["amount"], meal["unit"], meal["id"], meal["recorded"]) == (45.5, "g", "m1", iso(NOW - HOUR + SECOND))
    finding = get(world, f"/patients/{pid(world, ADA)}/findings").json()["items"][0]
    assert finding["value"] == {"value": 7.1, "unit": "%"}


def test_what_a_consent_withholds_is_not_there_and_neither_is_what_was_made_of_it(world):
    ids = seeded(world, ADA)
    assert get(world, f"/twins/{ids['twin']}/forecast").status_code == 200
    narrow = Consent(
        "c-patient-privacy", "", True, given=2, models=frozenset({"metabolic@1", "metabolic@0"}),
        rules=(Rule(False, data_period=(NOW - 40 * MINUTE, NOW - 30 * MINUTE)),),
    )  # fmt: skip
    world.write(lambda store: put_consent(store, ADA, narrow, recorded=NOW))
    values = get(world, f"/patients/{ids['patient']}/series").json()["items"][0]["value"]
    assert values == [100.0, 101.0, 102.0, 103.0, 106.0, 107.0, 108.0, 109.0, 110.0, 111.0]
    assert get(world, f"/twins/{ids['twin']}/forecast").status_code == 404
    assert get(world, f"/forecasts/{ids['forecast']}").status_code == 404
    assert get(world, f"/recommendations/{ids['proposal']}").status_code == 404
    assert get(world, f"/twins?patient={ids['patient']}").json()["items"] == []


def test_the_standing_forecast_is_the_bytes_that_were_stored(world):
    ids = seeded(world, ADA)
    told = get(world, f"/twins/{ids['twin']}/forecast")
    assert told.content == json.dumps({"twin": ROOM, "of": ADA}).encode()
    assert (told.headers["gemel-version"], told.headers["gemel-stale"], told.headers["gemel-superseded"]) == (
        ids["forecast"],
        "false",
        "false",
    )
    assert get(world, f"/twins/{ids['twin']}/forecast", headers={"If-None-Match": told.headers["etag"]}).status_code == 304
    between = iso(NOW + 5 * SECOND)
    newer = world.write(lambda store: store.put("forecast", ADA, ROOM, b'{"newer":1.00}', recorded=NOW + 10 * SECOND, meta=META))
    assert get(world, f"/twins/{ids['twin']}/forecast").content == b'{"newer":1.00}'
    old = get(world, f"/twins/{ids['twin']}/forecast?as_of={between}")
    assert (old.headers["gemel-version"], old.headers["gemel-superseded"]) == (ids["forecast"], "true")
    assert get(world, f"/forecasts/{newer}").content == b'{"newer":1.00}'
    world.write(lambda store: store.append(ADA, [Finding(code=Code.parse("loinc:4548-4"), value="x", time=NOW)], recorded=NOW))
    assert get(world, f"/forecasts/{newer}").headers["gemel-stale"] == "true"
    rows = get(world, f"/twins/{ids['twin']}/forecasts?limit=1").json()
    assert (rows["items"][0]["id"], rows["items"][0]["superseded"]) == (newer, False)
    rest = get(world, f"/twins/{ids['twin']}/forecasts?cursor={rows['next']}").json()
    assert ([row["id"] for row in rest["items"]], rest["next"]) == ([ids["forecast"]], None)


def test_how_a_forecast_did_is_told_with_it(world):
    ids = seeded(world, ADA)
    assert get(world, f"/forecasts/{ids['forecast']}/score").json() == {"crps": 1.0, "of": ADA}
    other = world.write(lambda store: store.put("forecast", ADA, ROOM, b"{}", recorded=NOW + 9, meta=META))
    assert get(world, f"/forecasts/{other}/score").status_code == 404
    done = json.dumps({"kind": "score", "id": "0" * 24, "name": ids["forecast"]})
    job = post(world, f"/forecasts/{ids['forecast']}/score", {}).json()["id"]
    world.write(lambda store: (store.claim("score", "w", now=NOW + HOUR), store.finish(job, "w", result=done)))
    assert get(world, f"/jobs/{job}").json()["href"] == f"{V1}/forecasts/{ids['forecast']}/score"


def test_twins_and_their_versions(world):
    ids = seeded(world, ADA)
    twin = TwinTold.model_validate(get(world, f"/twins?patient={ids['patient']}").json()["items"][0])
    assert (twin.id, twin.newest.id, twin.forecast) == (ids["twin"], ids["version"], f"{V1}/twins/{ids['twin']}/forecast")
    for i in range(3):
        world.write(lambda store, i=i: store.put("twin", ADA, ROOM, b"state %d" % i, recorded=NOW + i + 1, meta=META))
    page = get(world, f"/twins/{ids['twin']}/versions?limit=3").json()
    assert [row["version"] for row in page["items"]] == [4, 3, 2]
    world.write(lambda store: store.put("twin", ADA, ROOM, b"late", recorded=NOW + 9, meta=META))
    assert [row["version"] for row in get(world, f"/twins/{ids['twin']}/versions?cursor={page['next']}").json()["items"]] == [1]
    state = get(world, f"/twins/{ids['twin']}/versions/{ids['version']}/state")
    assert (state.content, state.headers["content-type"]) == (b"zip of " + ADA.encode(), "application/zip")
    assert get(world, f"/twins/{ids['patient']}.metabolic-t1d/versions/{ids['version']}/state").status_code == 404
    assert get(world, f"/twins/{ids['twin']}/versions/{ids['version']}/state", "nurse").status_code == 403  # the state is for physicians


def test_work_is_asked_for_once_and_answered_from_what_was_done(world):
    ids = seeded(world, ADA)
    asked = {"plan": {"scale": [{"channel": "insulin", "factor": 0.8}]}, "minutes": [30, 60], "n": 64, "seed": 7}
    first = post(world, f"/twins/{ids['twin']}/forecasts", asked)
    assert (first.status_code, first.headers["location"]) == (202, f"{V1}/jobs/{first.json()['id']}")
    assert post(world, f"/twins/{ids['twin']}/forecasts", asked).json()["id"] == first.json()["id"]
    assert post(world, f"/twins/{ids['twin']}/forecasts", asked | {"seed": 8}).json()["id"] != first.json()["id"]

    def done(store):
        while (job := store.claim("forecast", "w", now=NOW + HOUR)).id != first.json()["id"]:
            store.finish(job.id, "w", now=NOW + HOUR)
        body = json.loads(job.body)
        assert (body["patient"], body["twin"], body["plan"], body["minutes"], body["n"], body["seed"]) == (
            ADA,
            ROOM,
            asked["plan"],
            [30, 60],
            64,
            7,
        )
        store.progress(job.id, 1, 2, "draws", worker="w")
        store.finish(job.id, "w", result=json.dumps({"kind": "forecast", "id": ids["forecast"], "name": ROOM}), now=NOW + HOUR)

    world.write(done)
    again = post(world, f"/twins/{ids['twin']}/forecasts", asked)
    job = JobTold.model_validate(again.json())
    assert (again.status_code, job.state, job.href, job.done, job.total) == (200, "done", f"{V1}/forecasts/{ids['forecast']}", 1, 2)
    world.write(lambda store: store.put("twin", ADA, ROOM, b"a newer state", recorded=NOW + HOUR, meta=META))
    assert post(world, f"/twins/{ids['twin']}/forecasts", asked).status_code == 202  # of another version it was never asked


def test_too_much_is_refused_before_anybody_works_on_it(world):
    ids = seeded(world, ADA)
    path = f"/twins/{ids['twin']}/forecasts"
    assert post(world, path, {"n": 100_000, "minutes": list(range(1, 101))}).status_code == 413
    assert post(world, f"/twins/{ids['twin']}/comparisons", {"n": 60_000, "plans": {"a": None, "b": None}}).status_code == 413
    assert post(world, path, {"plan": {"events": ["x" * 300_000]}}).status_code == 413
    for minutes in ([0], [-5], [6_000_000], [], ["soon"]):
        assert post(world, path, {"minutes": minutes}).status_code == 422
    for i in range(199):  # one was seeded
        world.write(lambda store, i=i: store.enqueue("forecast", f"flood {i}", "{}", now=NOW, patient=ADA))
    full = post(world, path, {"seed": 1})
    assert (full.status_code, full.headers["retry-after"]) == (429, "5")


@pytest.mark.parametrize("kind", ["calibrate", "assimilate", "compare", "recommend", "score"])
def test_each_verb_is_a_job_with_the_body_that_a_worker_reads(world, kind):
    ids = seeded(world, ADA)
    path, body = {
        "calibrate": ("/twins", {"patient": ids["patient"], "twin": ROOM, "seed": 3, "method": "laplace"}),
        "assimilate": (f"/twins/{ids['twin']}/assimilate", {"now": iso(NOW)}),
        "compare": (f"/twins/{ids['twin']}/comparisons", {"plans": {"as known": None, "less": {"scale": []}}}),
        "recommend": (f"/twins/{ids['twin']}/recommendations", {}),
        "score": (f"/forecasts/{ids['forecast']}/score", {}),
    }[kind]
    told = post(world, path, body)
    assert (told.status_code, told.json()["kind"]) == (202, kind)
    assert post(world, path, body).json()["id"] == told.json()["id"]
    job = world.write(lambda store: store.claim(kind, "w", now=NOW + HOUR))
    plain = json.loads(job.body)
    assert plain.pop("now") >= NOW
    wanted = {
        "calibrate": {"patient": ADA, "twin": ROOM, "seed": 3, "method": "laplace"},
        "assimilate": {"patient": ADA, "twin": ROOM},
        "compare": {"patient": ADA, "twin": ROOM, "plans": {"as known": None, "less": {"scale": []}}, "minutes": None, "n": 512, "seed": 0},
        "recommend": {"patient": ADA, "twin": ROOM, "plans": None, "minutes": None, "n": 512, "seed": 0},
        "score": {"patient": ADA, "twin": ROOM, "forecast": ids["forecast"]},
    }[kind]
    assert plain == wanted


def test_jobs_are_listed_cancelled_and_put_back(world):
    ids = seeded(world, ADA)
    seeded(world, BOB)
    mine = get(world, "/jobs").json()["items"]
    assert {job["patient"] for job in mine} == {ids["patient"]}
    assert get(world, f"/jobs/{ids['job']}").headers["retry-after"] == "1"
    assert post(world, f"/jobs/{ids['job']}/cancel", None).json()["state"] == "cancelled"
    assert post(world, f"/jobs/{ids['job']}/cancel", None).json()["state"] == "cancelled"
    assert post(world, f"/jobs/{ids['job']}/redrive", None).status_code == 202
    assert post(world, f"/jobs/{ids['job']}/redrive", None).status_code == 409
    for i in range(5):
        world.write(lambda store, i=i: store.enqueue("forecast", f"more {i}", json.dumps({"twin": ROOM}), now=NOW + i, patient=ADA))
    seen, cursor = [], ""
    while cursor is not None:
        page = get(world, f"/jobs?limit=2{cursor}").json()
        seen += [job["id"] for job in page["items"]]
        cursor = page["next"] and f"&cursor={page['next']}"
    assert len(seen) == len(set(seen)) == 6
    world.write(lambda store: store.enqueue("housekeeping", "1", "{}", now=NOW))
    assert "housekeeping" not in {job["kind"] for job in get(world, "/jobs").json()["items"]}
    assert get(world, "/jobs?kind=housekeeping", "administrator").json()["items"][0]["kind"] == "housekeeping"


def test_an_answer_names_what_was_seen_and_an_outcome_follows(world):
    ids = seeded(world, ADA)
    seen = get(world, f"/recommendations/{ids['proposal']}")
    assert [d["answer"] for d in seen.json()["decisions"]] == ["accepted"]
    path = f"/recommendations/{ids['proposal']}/decisions"
    body = {"answer": "changed", "plan": "half of it", "reason": "eats less"}
    assert post(world, path, body).status_code == 412
    assert post(world, path, body, headers={"If-Match": '"another"'}).status_code == 412
    made = post(world, path, body, headers={"If-Match": seen.headers["etag"]})
    assert (made.status_code, made.json()["who"]) == (201, "Person/physician-of-ada")
    assert post(world, path, body, headers={"If-Match": seen.headers["etag"]}).status_code == 412  # somebody answered meanwhile
    assert post(world, path, {"answer": "changed"}, headers={"If-Match": "*"}).status_code == 400
    told = post(world, f"/decisions/{made.json()['id']}/outcomes", {"values": {"glucose": 6.1}})
    assert (told.status_code, told.json()["values"]) == (201, {"glucose": 6.1})
    assert post(world, f"/decisions/{made.json()['id']}/outcomes", {}).status_code == 400
    assert len(get(world, f"/outcomes?patient={ids['patient']}").json()["items"]) == 2
    assert get(world, made.headers["location"].removeprefix(V1)).json()["plan"] == "half of it"


def test_a_request_sent_again_with_its_key_has_one_effect_and_one_answer(world):
    ids = seeded(world, ADA)
    path, body, key = f"/decisions/{ids['decision']}/outcomes", {"note": "well"}, {"Idempotency-Key": "k-1"}
    first, again = post(world, path, body, headers=key), post(world, path, body, headers=key)
    assert (again.status_code, again.content, again.headers["idempotency-replayed"]) == (first.status_code, first.content, "true")
    assert "idempotency-replayed" not in first.headers
    assert len(get(world, f"/decisions/{ids['decision']}/outcomes").json()["items"]) == 2
    assert post(world, path, {"note": "not well"}, headers=key).status_code == 409
    other = post(world, path, {"note": "well, too"}, role="nurse", headers=key)  # keys belong to those who made them
    assert other.status_code == 201
    world.clock.now += 25 * HOUR
    assert "idempotency-replayed" not in post(world, path, {"note": "much later"}, headers=key).headers
    assert post(world, path, body, headers={"Idempotency-Key": "with space"}).status_code == 400


def test_what_is_not_there_and_what_is_wrong_are_problems(world):
    for path in ("/patients/xyz", "/twins/abc", "/forecasts/" + "G" * 24, "/jobs?limit=0", "/jobs?state=odd"):
        told = get(world, path)
        assert (told.status_code, told.headers["content-type"]) == (422, "application/problem+json")
        assert {"type", "title", "status", "code", "wrong"} <= set(told.json())
    told = post(world, "/twins", {"patient": pid(world, ADA), "twin": "nowhere"})
    assert (told.status_code, told.json()["code"]) == (404, "TwinNotFoundError")
    assert post(world, "/twins", {"patient": pid(world, ADA), "twin": ROOM, "extra": 1}).status_code == 422


def test_evidence_is_about_nobody_and_says_what_was_not_measured(world):
    rows = get(world, "/evidence", "administrator").json()["items"]
    found = next(row for row in rows if row["id"] == ROOM)
    assert (found["label"], found["is_twin"], found["runs"]) == ("not measured here", False, [])
    assert {row["status"] for row in get(world, f"/evidence/{ROOM}").json()["rows"]} == {"not shown"} or found["rows"]
    assert get(world, "/evidence/nowhere").status_code == 404


def test_bytes_of_a_patient_are_sent_by_their_hash(world):
    ids = seeded(world, ADA)
    told = get(world, f"/arrays/{ids['array']}?patient={ids['patient']}")
    assert (told.content, told.headers["content-type"]) == (b"bytes of " + ADA.encode(), "application/octet-stream")
    assert told.headers["content-disposition"].startswith("attachment")
    assert get(world, f"/arrays/{'0' * 64}?patient={ids['patient']}").status_code == 404


@given(st.lists(st.integers(-(2**62), 2**62) | st.text(max_size=50), max_size=4))
def test_a_cursor_comes_back_and_another_is_refused(place):
    text = write_cursor("a", *place)
    kinds = [type(value) for value in place]
    assert read_cursor("a", text, kinds) == tuple(place)
    with pytest.raises(FormatError):
        read_cursor("b", text, kinds)
    with pytest.raises(FormatError):
        read_cursor("a", text, [*kinds, int])


@given(st.text(max_size=600))
def test_no_text_breaks_a_cursor_or_a_tag(text):
    with suppress(FormatError):
        read_cursor("a", text, (int,))
    assert is_known(text, '"x"') in (True, False)
    with suppress(FormatError, ConflictError):
        require_match(text, '"x"')


def test_tags_are_compared_as_the_standard_says():
    assert etag("a", 1) == '"a.1"'
    assert is_known('W/"x", "y"', '"x"')
    assert is_known("*", '"x"')
    assert not is_known('"z"', '"x"')
    require_match('"y", "x"', '"x"')
    require_match("*", '"x"')
    for wrong in ('W/"x"', '"z"', None):
        with pytest.raises(ConflictError):
            require_match(wrong, '"x"')
