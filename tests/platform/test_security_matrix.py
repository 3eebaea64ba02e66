"""10 roles x 7 purposes x 8 consents x 19 surfaces: the decision, its SQL and the Cedar oracle show the same rows in every cell."""

import json
from dataclasses import replace

import pytest

from _consents import EXAMPLES, resource
from _security_matrix import CONSENTS, NOW, POLICIES, PURPOSES, SURFACES, WORLD, Cell, cells, decided, entities, request, selected, table
from gemel.core.time import to_ns
from gemel.platform import access
from gemel.platform.access import ACTIONS, ROLES, Resource, Subject, decide
from gemel.platform.access_sql import compile_predicate
from gemel.platform.consent import Datum
from gemel.platform.consent_fhir import read_consent


def oracle(chosen):
    import cedarpy

    policies = cedarpy.PolicySet.from_str(POLICIES)
    known = cedarpy.Entities.from_json_str(json.dumps(entities()))
    for begin in range(0, len(chosen), 500):
        part = chosen[begin : begin + 500]
        told = cedarpy.is_authorized_batch([request(cell, d.ref) for cell in part for d in WORLD], policies, known)
        assert not any(t.diagnostics.errors for t in told)
        answers = iter(told)
        for cell in part:
            yield cell, {d.ref for d in WORLD if next(answers).allowed}


def test_there_are_10640_cells():
    assert (len(ROLES), len(PURPOSES), len(CONSENTS), len(SURFACES)) == (10, 7, 8, 19)
    assert len(set(cells())) == 10_640
    assert set(SURFACES.values()) == set(ACTIONS) - {"create", "update", "delete"}


def test_the_sql_condition_shows_the_same_rows_in_every_cell():
    connection = table(WORLD)
    wrong = [cell for cell in cells() if decided(cell) != selected(cell, connection)]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.peer
def test_cedar_shows_the_same_rows_in_every_cell():
    wrong = [cell for cell, shown in oracle(list(cells())) if decided(cell) != shown]
    assert wrong == []


@pytest.mark.peer
@pytest.mark.parametrize("broken", range(len(access.GRANTS)))
def test_each_grant_that_widens_is_noticed_by_the_oracle(monkeypatch, broken):
    """The comparison can fail: one grant that asks for no consent, or reaches anybody, disagrees somewhere."""
    grant = access.GRANTS[broken]
    if grant.reach == "nobody's" or (grant.reach == "any" and grant.consent == "not asked"):
        wider = replace(grant, actions=grant.actions | {"read"})
    else:
        wider = replace(grant, reach="any", consent="not asked", is_research=False)
    monkeypatch.setattr(access, "GRANTS", (*access.GRANTS[:broken], wider, *access.GRANTS[broken + 1 :]))
    chosen = [cell for cell in cells() if cell.role == grant.role and cell.consent == "none" and cell.purpose in grant.purposes]
    assert any(decided(cell) != shown for cell, shown in oracle(chosen))


def test_nobody_sees_anything_without_a_purpose_or_for_marketing():
    assert not any(decided(cell) for cell in cells() if cell.purpose in ("", "HMARKT"))
    assert not any(decided(cell) for cell in cells() if cell.role == "anonymous")


def test_every_role_but_anonymous_has_cells_of_both_kinds():
    shown = {role: {bool(decided(cell)) for cell in cells() if cell.role == role} for role in ROLES}
    assert shown.pop("anonymous") == {False}
    assert all(kinds == {True, False} for kinds in shown.values())


@pytest.mark.parametrize("profile", [None, "validity", "exception"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_official_examples_decide_alike_in_python_and_sql(name, profile):
    """Rows as of 2015-2017, seen by everybody for every purpose."""
    consent = read_consent(resource(name), profile=profile)
    pid, day = consent.patient, to_ns("2015-01-15T00:00:00Z")
    rows = tuple(
        replace(d, pid=pid if d.pid == "p1" else "other", ref=f"{d.ref}{i}", **changes)
        for d in WORLD
        for i, changes in enumerate(
            (
                {"time": day, "author": "Organization/f001"}, {"time": day * 2, "author": None, "basis": frozenset({"Task/example3"})},
                {"kind": "MedicationRequest", "codes": frozenset({"http://loinc.org|34133-9"}), "author": "Practitioner/xcda-author"},
            )
        )
    )  # fmt: skip
    connection, seen = table(rows), set()
    for role in ROLES:
        for actors in ((), ("Organization/f001",), ("Practitioner/f204",), ("Patient/example",), ("Practitioner/13",)):
            subject = Subject(f"Person/{role}", role, frozenset(actors), frozenset({pid}))
            for purpose in ("TREAT", "HRESCH", "PATRQT"):
                for time in ("2015-06-01", "2016-06-23T07:15:00Z", "2017-01-01"):
                    now = to_ns(time, tz="UTC")
                    made = compile_predicate(subject, "search", purpose, [consent], now)
                    got = {ref for (ref,) in connection.execute(f"SELECT ref FROM r WHERE {made.sql}", made.parameters)}
                    assert got == {d.ref for d in rows if decide(subject, "search", Resource(d), purpose, [consent], now)}
                    seen.add(len(got))
    assert len(seen) > 1


def test_an_emergency_without_a_reason_or_after_an_hour_shows_nothing():
    cell = Cell("physician", "ETREAT", "none", "read")
    assert decided(cell) == {"a", "b", "c", "e", "f", "g", "h", "i"}
    subject, datum = cell.subject(), Datum("p1")
    assert subject.glass is not None
    for time, expected in ((NOW - 2, False), (NOW - 1, True), (NOW - 2 + access.GLASS, True), (NOW - 1 + access.GLASS, False)):
        assert decide(subject, "read", Resource(datum), "ETREAT", (), time).permit is expected
    assert not decide(replace(subject, glass=None), "read", Resource(datum), "ETREAT", (), NOW)
    assert not decide(subject, "read", Resource(Datum("p2")), "ETREAT", (), NOW)
    assert not decide(subject, "read", Resource(datum), "BTG", CONSENTS["deny"], NOW)
    assert decide(subject, "read", Resource(datum), "BTG", (), NOW).obligations == {"log", "alert", "review"}
