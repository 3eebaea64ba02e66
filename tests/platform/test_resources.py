"""Resources of FHIR in the store: every version, nothing lost; searches held against a plain reading of the same values; erasing, backups, access."""

from __future__ import annotations

import datetime as dt
import json
import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import _canaries
from _fhir import synthea
from gemel.core.errors import ConflictError, FormatError
from gemel.interop.fhir.codec import decode
from gemel.interop.fhir.index import search_values
from gemel.interop.fhir.search_query import read_query
from gemel.interop.fhir.search_values import DateValue, QuantityValue, ReferenceValue, TokenValue
from gemel.platform.access import Resource as Asked
from gemel.platform.access import Subject, decide
from gemel.platform.access_sql import Predicate, compile_predicate
from gemel.platform.consent import Consent, Rule
from gemel.platform.crypto import new_key
from gemel.platform.erase import erase
from gemel.platform.keys import FileMaster
from gemel.platform.store import Store
from gemel.platform.store.backup import backup, restore
from gemel.platform.store.resources import Change, Resources, id_of
from gemel.platform.store.search import history, search

NOW = 1_790_000_000_000_000_000
ALL = Predicate("1=1")
BASE = {"resourceType": "Observation", "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}}


def change(kind: str, rid: str, **members) -> Change:
    match = members.pop("match", None)
    return Change(kind, rid, decode(json.dumps({"resourceType": kind, **members})), match=match)


def observation(rid: str, patient: str, value: float = 70, day: str = "2024-05-01", **more) -> Change:
    body = {**BASE, "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": day}
    body["valueQuantity"] = {"value": value, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}
    return Change("Observation", rid, decode(json.dumps(body | more)))


def name(stored, body: bytes) -> str:
    return f"{stored.kind}/{id_of(body)}"


def refs(resources: Resources, kind: str, *given: tuple[str, str], **settings) -> list[str]:
    found = search(resources, read_query(kind, given, **settings), lambda _: ALL, now=NOW)
    return [name(stored, body) for stored, body in found.matches]


@pytest.fixture
def resources(place):
    with Store(place) as store:
        yield Resources(store)


def test_versions_follow_each_other_and_a_stale_change_is_refused(resources):
    first = resources.write([observation("o1", "ada", 70)], recorded=NOW)[0]
    assert (first.created, first.stored.vid) == (True, 1)
    second = resources.write([observation("o1", "ada", 71)], recorded=NOW + 10**9)[0]
    assert (second.created, second.stored.vid) == (False, 2)
    with pytest.raises(ConflictError, match=r"version 2.*version 1"):
        resources.write([Change("Observation", "o1", decode(json.dumps(BASE)), match=1)], recorded=NOW + 2)
    with pytest.raises(ConflictError, match="twice"):
        resources.write([observation("o2", "ada"), observation("o2", "ada")], recorded=NOW)
    assert resources.find("Observation", "o2") is None  # the transaction left nothing
    gone = resources.write([Change("Observation", "o1", None)], recorded=NOW + 3 * 10**9)[0]
    assert (gone.stored.vid, gone.stored.deleted) == (3, True)
    assert refs(resources, "Observation", ("code", "8867-4")) == []
    assert json.loads(resources.body(resources.find("Observation", "o1", 1)))["valueQuantity"]["value"] == 70
    told, total, _ = history(resources, lambda _: ALL, kind="Observation", rid="o1")
    assert ([stored.vid for stored, _ in told], total) == ([3, 2, 1], 3)
    back = resources.write([observation("o1", "ada", 72)], recorded=NOW + 4 * 10**9)[0]
    assert (back.created, back.stored.vid) == (True, 4)
    events = resources.store.events()
    assert [(e.kind, e.patient, e.ref) for e in events] == [("resource", "ada", "Observation")] * 4
    assert resources.store.check().problems == ()


def test_what_becomes_anothers_is_not_brought_back_when_that_one_is_erased(resources, tmp_path):
    resources.write([observation("o1", "ada", 70)], recorded=NOW)
    moved = resources.write([observation("o1", "bob", 71)], recorded=NOW + 10**9)[0]
    assert (moved.stored.vid, moved.created) == (3, False)
    assert refs(resources, "Observation", ("patient", "ada")) == []
    assert refs(resources, "Observation", ("patient", "bob")) == ["Observation/o1"]
    told, _, _ = history(resources, lambda _: ALL, kind="Observation", rid="o1")
    assert [(stored.vid, stored.deleted) for stored, _ in told] == [(3, False), (2, True), (1, False)]
    erase(resources.store, "bob", recorded=NOW, log=tmp_path / "log.erased")
    assert resources.find("Observation", "o1").deleted
    assert refs(resources, "Observation") == []
    assert resources.store.check().problems == ()


def plain_match(tree, code: str, test) -> bool:
    return any(test(value) for name, value in search_values(tree) if name == code)


@pytest.mark.data
def test_a_search_finds_what_a_plain_reading_of_the_values_finds(place):
    bundle = decode(next(raw for _, raw in synthea()))
    with Store(place) as store:
        resources = Resources(store)
        trees = [entry["resource"] for entry in bundle["entry"]]
        resources.write([Change(tree["resourceType"], f"r{i}", tree, is_new=True) for i, tree in enumerate(trees)], recorded=NOW)
        kept = {f"{tree['resourceType']}/r{i}": tree for i, tree in enumerate(trees)}
        draw, tried = random.Random(7), 0
        for kind in ("Observation", "Condition", "Encounter", "Patient", "MedicationRequest", "Claim", "Immunization"):
            of_kind = {ref: tree for ref, tree in kept.items() if ref.startswith(f"{kind}/")}
            values = sorted({(code, value) for tree in of_kind.values() for code, value in search_values(tree)}, key=repr)
            for code, value in draw.sample(values, min(25, len(values))):
                if isinstance(value, TokenValue) and value.code and code not in ("_id",):
                    asked = f"{value.system or ''}|{value.code}".replace(",", "\\,").replace("$", "\\$")
                    asks = [(code, asked, lambda v, w=value: isinstance(v, TokenValue) and (v.system, v.code) == (w.system, w.code))]
                    asks.append((code, value.code.replace(",", "\\,"), lambda v, w=value: isinstance(v, TokenValue) and v.code == w.code))
                    asks.append((f"{code}:not", value.code.replace(",", "\\,"), None))
                elif isinstance(value, ReferenceValue) and value.id and not value.url:
                    asks = [(code, f"{value.type}/{value.id}", lambda v, w=value: (v.type, v.id) == (w.type, w.id))]
                elif isinstance(value, DateValue) and code not in ("birthdate", "death-date", "_lastUpdated") and value.low > 0:
                    day = dt.datetime.fromtimestamp(value.low / 1e9, dt.UTC).date().isoformat()
                    low = int(dt.datetime.fromisoformat(day + "T00:00:00+00:00").timestamp()) * 10**9
                    high = low + 86_400 * 10**9 - 1
                    asks = [
                        (code, day, lambda v, a=low, b=high: v.low >= a and v.high <= b),
                        (code, f"gt{day}", lambda v, b=high: v.high > b),
                        (code, f"lt{day}", lambda v, a=low: v.low < a),
                        (code, f"sa{day}", lambda v, b=high: v.low > b),
                        (code, f"eb{day}", lambda v, a=low: v.high < a),
                        (code, f"ge{day}", lambda v, a=low, b=high: v.high > b or (v.low >= a and v.high <= b)),
                        (code, f"le{day}", lambda v, a=low, b=high: v.low < a or (v.low >= a and v.high <= b)),
                    ]  # fmt: skip
                elif isinstance(value, QuantityValue) and value.system:
                    asks = [
                        (code, f"gt{value.value!r}", lambda v, w=value: v.value > w.value),
                        (code, f"le{value.value!r}", lambda v, w=value: v.value <= w.value),
                        (code, f"ge{value.value!r}|{value.system}|{value.code}", lambda v, w=value: v.canonical_unit == w.canonical_unit and v.canonical is not None and v.canonical >= w.canonical - 1e-9 * abs(w.canonical)),
                    ] if value.canonical is not None else []  # fmt: skip
                else:
                    continue
                for name, text, test in asks:
                    if test is None:
                        plain = name.partition(":")[0]
                        expected = {
                            ref
                            for ref, t in of_kind.items()
                            if not plain_match(t, plain, lambda v, w=value: getattr(v, "code", None) == w.code)
                        }
                    else:
                        expected = {ref for ref, tree in of_kind.items() if plain_match(tree, name, test)}
                    assert set(refs(resources, kind, (name, text), ("_count", "1000"))) == expected, (kind, name, text)
                    tried += 1
        assert tried > 150


@pytest.fixture
def people(resources):
    blood = {"system": "http://unitsofmeasure.org", "code": "mm[Hg]", "unit": "mmHg"}
    panel = {
        "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
        "component": [
            {"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}, "valueQuantity": {"value": 142, **blood}},
            {"code": {"coding": [{"system": "http://loinc.org", "code": "8462-4"}]}, "valueQuantity": {"value": 81, **blood}},
        ],
    }
    resources.write([
        change("Patient", "ada", name=[{"family": "Lovelace", "given": ["Ada", "Élise"]}], birthDate="1815-12-10", gender="female",
               identifier=[{"system": "urn:mrn", "value": "77"}]),
        change("Patient", "bob", name=[{"family": "Byron"}], birthDate="1958", gender="male", managingOrganization={"reference": "Organization/ward"}),
        change("Organization", "ward", name="Ward Seven"),
        observation("o1", "ada", 61, "2024-05-01"), observation("o2", "ada", 93.5, "2024-06-01T10:00:00Z"), observation("o3", "bob", 72, "2024"),
        Change("Observation", "bp", decode(json.dumps({**BASE, **panel, "subject": {"reference": "Patient/bob"}, "effectiveDateTime": "2024-03-03"}))),
        change("Provenance", "p1", target=[{"reference": "Observation/o1"}], recorded="2024-05-01T00:00:00Z", agent=[{"who": {"reference": "Practitioner/x"}}]),
        change("Encounter", "e1", status="finished", **{"class": {"code": "AMB"}}, subject={"identifier": {"system": "urn:mrn", "value": "77"}}),
    ], recorded=NOW)  # fmt: skip
    return resources


ANSWERS = [
    ("Patient?name=love", "ada"), ("Patient?given=elise", "ada"), ("Patient?name:exact=Byron", "bob"), ("Patient?name:exact=byron", ""),
    ("Patient?identifier=urn:mrn|77", "ada"), ("Patient?identifier=urn:mrn|", "ada"), ("Patient?identifier=|77", ""), ("Patient?gender:not=male", "ada"),
    ("Patient?birthdate=1815", "ada"), ("Patient?birthdate=1815-12-10", "ada"), ("Patient?birthdate=gt1815-12-09", "ada bob"), ("Patient?birthdate=lt1900", "ada"),
    ("Patient?birthdate=1958-03", ""), ("Patient?birthdate=le1958-03", "ada bob"), ("Patient?birthdate=sa1958-03", ""), ("Patient?birthdate:missing=true", ""),
    ("Patient?organization:missing=true", "ada"), ("Patient?organization.name=ward", "bob"), ("Patient?_has:Observation:patient:value-quantity=gt90", "ada"),
    ("Observation?code=8480-6", ""), ("Observation?combo-code=8480-6", "bp"), ("Observation?combo-code-value-quantity=8480-6$gt140|http://unitsofmeasure.org|mm[Hg]", "bp"),
    ("Observation?combo-code-value-quantity=8462-4$gt140|http://unitsofmeasure.org|mm[Hg]", ""), ("Observation?combo-value-quantity=gt18||kPa", "bp"),
    ("Observation?component-value-quantity=142", "bp"), ("Observation?value-quantity=93.5", "o2"), ("Observation?value-quantity=93", ""), ("Observation?value-quantity=9e1", "o2"),
    ("Observation?value-quantity=ne61", "o2 o3"), ("Observation?date=2024", "o1 o2 o3 bp"), ("Observation?date=2024-05", "o1"), ("Observation?date=ge2024-05", "o1 o2 o3"),
    ("Observation?date=ap2024-05-02", "o1 o2 o3 bp"), ("Observation?patient=ada", "o1 o2"), ("Observation?subject=Patient/ada&date=lt2024-06", "o1"),
    ("Observation?patient.name=byron", "o3 bp"), ("Observation?subject:Patient.birthdate=1815", "o1 o2"), ("Observation?patient.organization.name=ward", "o3 bp"),
    ("Observation?_has:Provenance:target:agent=Practitioner/x", "o1"), ("Observation?code=http://loinc.org|8867-4,85354-9&patient=ada,bob", "o1 o2 o3 bp"),
    ("Observation?_id=o1,bp", "o1 bp"), ("Organization?name:contains=seven", "ward"), ("Organization?name=seven", ""), ("Organization?name:exact=Ward Seven", "ward"),
    ("Encounter?subject:identifier=urn:mrn|77", "e1"), ("Encounter?subject:missing=false", "e1"), ("Encounter?class=AMB", "e1"), ("Observation?_lastUpdated=gt2020", "o1 o2 o3 bp"),
    ("Observation?_sort=-date&date=gt2023", "o2 o1 bp o3"), ("Observation?_sort=value-quantity&code=8867-4", "o1 o3 o2"), ("Observation?_sort=value-quantity", "o1 o3 o2 bp"),
]  # fmt: skip


def test_searches_with_known_answers(people):
    wrong = []
    for asked, found in ANSWERS:
        kind, _, rest = asked.partition("?")
        given = [tuple(part.split("=", 1)) for part in rest.split("&")]
        told, found = [ref.partition("/")[2] for ref in refs(people, kind, *given)], found.split()
        if "_sort" not in asked:
            told, found = sorted(told), sorted(found)
        if told != found:
            wrong.append((asked, told, found))
    assert wrong == []


REFUSED = [
    ("Patient", "nmae", "eleanor", "no such search parameter here.*nmae"), ("Patient", "name:contains", "eleanor", ":contains is not supported here"),
    ("Observation", "code:text", "heart", ":text is not supported"), ("Observation", "date", "yesterday", "not a date"), ("Observation", "_sort", "code", "cannot be sorted"),
    ("Observation", "_cursor", "bm90", "not a page of this search"), ("Observation", "subject.name", "x", "to which type"), ("Observation", "_text", "x", "no such"),
    ("Observation", "value-quantity", "1;DROP TABLE patient", "not a number"), ("Observation", "_sort", "date;--", "cannot be sorted"), ("Observation", "_count", "-1", "not a count"),
]  # fmt: skip


def test_what_is_not_understood_is_refused_by_its_name_and_no_value_is_repeated(people):
    for kind, name, text, message in REFUSED:
        with pytest.raises(FormatError, match=message) as told:
            search(people, read_query(kind, [(name, text)]), lambda _: ALL, now=NOW)
        assert "eleanor" not in str(told.value)
        if "sort" not in name and "cursor" not in name and "contains" not in name:
            assert read_query(kind, [(name, text)], lenient=True).ignored == (name,)


def test_pages_are_of_one_snapshot_whatever_is_written_meanwhile(resources):
    resources.write([observation(f"o{i:03d}", "ada", 60 + i % 7, f"2024-01-{1 + i % 28:02d}") for i in range(60)], recorded=NOW)
    for sort in ((), (("_sort", "-date"),), (("_sort", "value-quantity,-date"),)):
        before = refs(resources, "Observation", ("code", "8867-4"), *sort, ("_count", "1000"))
        asked, seen, step = [("code", "8867-4"), *sort, ("_count", "7")], [], 0
        cursor: str | None = None
        while True:
            given = [*asked, *([("_cursor", cursor)] if cursor else [])]
            found = search(resources, read_query("Observation", given), lambda _: ALL, now=NOW)
            seen += [stored.ref for stored, _ in found.matches]
            assert found.total == len(before)
            cursor, step = found.cursor, step + 1
            if cursor is None:
                break
            deleted = Change("Observation", seen[-1].partition("/")[2], None)
            ahead = [ref for ref in before if ref not in seen]
            moved = [observation(ahead[-1].partition("/")[2], "ada", 99, "1999-01-01")] if ahead else []
            resources.write(
                [deleted, observation(f"new-{len(sort)}-{sort}-{step}".translate(dict.fromkeys(b"(),' _", "x")), "ada", 1), *moved],
                recorded=NOW + step * 10**9,
            )
        assert seen == before
    assert search(resources, read_query("Observation", [("_count", "2"), ("_total", "none")]), lambda _: ALL, now=NOW).total is None
    other = search(resources, read_query("Observation", [("_count", "2")]), lambda _: ALL, now=NOW).cursor
    with pytest.raises(FormatError, match="not a page of this search"):
        search(resources, read_query("Observation", [("code", "1"), ("_count", "2"), ("_cursor", other)]), lambda _: ALL, now=NOW)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["put", "put", "delete"]), st.integers(50, 60)), min_size=1, max_size=4),
        max_size=8,
    )
)
def test_a_search_as_of_any_event_is_what_a_replay_of_the_changes_says(tmp_path_factory, steps):
    """Whatever is put and deleted in whatever transactions: at each event the search, the versions and the history are those of a plain replay."""
    with Store(tmp_path_factory.mktemp("replay") / "a.sqlite") as store:
        resources, now, states, versions = Resources(store), {}, {}, 0
        for n, step in enumerate(steps):
            changes = {i: (what, value) for i, what, value in step}  # one change of each in a transaction
            made = [
                observation(f"o{i}", "ada", value) if what == "put" else Change("Observation", f"o{i}", None)
                for i, (what, value) in changes.items()
            ]
            placed = resources.write(made, recorded=NOW + n * 10**9)
            for i, (what, value) in changes.items():
                versions += what == "put" or f"o{i}" in now
                if what == "put":
                    now[f"o{i}"] = value
                else:
                    now.pop(f"o{i}", None)
            assert len(placed) <= len(made)
            states[resources.last()] = dict(now)
        for upto, state in states.items():
            for value in range(50, 61, 5):
                found = search(
                    resources,
                    read_query("Observation", [("value-quantity", f"ge{value}"), ("patient", "ada")]),
                    lambda _: ALL,
                    now=NOW,
                    upto=upto,
                )
                assert {id_of(body) for _, body in found.matches} == {rid for rid, kept in state.items() if kept >= value}
                assert found.total == len(found.matches)
        told, total, _ = history(resources, lambda _: ALL, kind="Observation", count=1000)
        assert len(told) == total == versions
        by_id: dict[str, list[int]] = {}
        for stored, body in reversed(told):
            by_id.setdefault(id_of(body), []).append(stored.vid)
        assert all(vids == list(range(1, len(vids) + 1)) for vids in by_id.values())
        assert store.check().problems == ()


def test_includes_go_both_ways_and_again(people):
    def included(*given):
        found = search(people, read_query(given[0], given[1:]), lambda _: ALL, now=NOW)
        return sorted(name(*one) for one in found.included)

    assert included("Observation", ("_id", "o3"), ("_include", "Observation:subject")) == ["Patient/bob"]
    assert included("Observation", ("_id", "o3"), ("_include", "*"), ("_include:iterate", "Patient:organization")) == [
        "Organization/ward",
        "Patient/bob",
    ]
    assert included("Patient", ("_id", "bob"), ("_revinclude", "Observation:subject")) == ["Observation/bp", "Observation/o3"]
    assert included("Observation", ("_id", "o1"), ("_revinclude", "*")) == ["Provenance/p1"]
    assert included("Patient", ("_id", "bob"), ("_revinclude", "*")) == ["Observation/bp", "Observation/o3"]
    assert included("Observation", ("_id", "o3"), ("_include", "Observation:subject:Group")) == []
    with pytest.raises(FormatError, match="starts at what is searched"):
        read_query("Observation", [("_include", "Patient:organization")])


def test_what_may_not_be_seen_is_not_found_counted_chained_or_included(people):
    """The condition of the guard, in each part of a search, agrees with the decision on each resource."""
    store = people.store
    ada, bob = store.subject("ada"), store.subject("bob")
    consents = [
        Consent("c1", ada, True, rules=(Rule(False, codes=frozenset({"http://loinc.org|8867-4"}), data_period=(0, 1_715_000_000_000_000_000)),), scope="patient-privacy", given=1),
        Consent("c2", bob, False, scope="patient-privacy", given=1),
    ]  # fmt: skip
    who = Subject("Practitioner/7", "service")

    def access(action):
        return compile_predicate(who, action, "TREAT", consents, NOW)

    def found(kind, *given):
        told = search(people, read_query(kind, given), access, now=NOW)
        return {name(*one) for one in told.matches}, {name(*one) for one in told.included}, told.total

    rows = {
        ref: people.find(*ref.split("/"))
        for ref in ("Observation/o1", "Observation/o2", "Observation/o3", "Observation/bp", "Patient/ada", "Patient/bob")
    }
    allowed = {ref for ref, row in rows.items() if decide(who, "search", Asked(row.datum), "TREAT", consents, NOW)}
    assert allowed == {"Observation/o2", "Patient/ada"}
    assert found("Observation") == ({"Observation/o2"}, set(), 1)
    assert found("Patient", ("_has:Observation:patient:value-quantity", "lt90"))[0] == set()  # o1 would tell of Ada, o3 of Bob
    assert found("Observation", ("patient.name", "byron")) == (set(), set(), 0)
    assert found("Patient", ("_revinclude", "Observation:subject"))[1] == {"Observation/o2"}
    assert found("Observation", ("_include", "Observation:subject"))[1] == {"Patient/ada"}
    told, total, _ = history(people, access, kind="Observation")
    assert ([stored.ref for stored, _ in told], total) == (["Observation/o2"], 1)


WORD, NUMBER = "Quintessa-Vorhersage", 8712.53125


def test_an_erased_patients_resources_are_nowhere_and_no_backup_brings_them_back(places, tmp_path, request):
    place, master = places(), FileMaster(new_key())
    with Store(place, keys=master) as store:
        resources = Resources(store)
        members = [{"entity": {"reference": f"Patient/{name}"}} for name in ("ada", WORD)]
        resources.write([
            change("Patient", WORD, name=[{"family": WORD}], identifier=[{"system": "urn:x", "value": WORD}]),
            observation("x1", WORD, NUMBER, note=[{"text": WORD}]), observation("x2", "ada", 70),
            change("Group", "g", type="person", actual=True, member=members), change("Group", "h", type="person", actual=True, member=members[:1]),
        ], recorded=NOW)  # fmt: skip
        resources.write([change("Group", "g", type="person", actual=True, member=members[:1])], recorded=NOW + 10**9)
        before = resources.body(resources.find("Observation", "x2"))
        backup(store, tmp_path / "b", tmp_path / "k.json", made=1)
        shutil.copy(tmp_path / "k.json", tmp_path / "vault.json")
        assert store.check().problems == ()
        assert refs(resources, "Observation", ("value-quantity", f"{NUMBER}")) == ["Observation/x1"]
        erase(store, WORD, recorded=NOW, log=tmp_path / "log.erased")
        assert store.check().problems == ()
        assert resources.find("Observation", "x1") is None
        assert resources.find("Group", "g") is None
        assert resources.find("Group", "h") is not None
        assert resources.body(resources.find("Observation", "x2")) == before
        files = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "vault.json"]
        if "postgres" in request.node.name:
            files += [p for p in request.getfixturevalue("server").files() if "pg_wal" not in p.parts]
        assert _canaries.find(files, [WORD, NUMBER]) == []
    told = restore(tmp_path / "b", tmp_path / "k.json", target := places(), master=master, recorded=NOW)
    assert told.problems == ()
    with Store(target, keys=master) as store:
        resources = Resources(store)
        assert resources.body(resources.find("Observation", "x2")) == before
        assert resources.find("Observation", "x1") is None
        assert resources.find("Group", "g") is None
        assert refs(resources, "Observation", ("patient", "ada")) == ["Observation/x2"]
        assert refs(resources, "Group", ("member", "Patient/ada")) == ["Group/h"]


@pytest.mark.postgres
def test_searches_of_many_shapes_do_not_pile_up(server, monkeypatch):
    """PostgreSQL keeps every prepared statement until it is told not to."""
    monkeypatch.setattr("gemel.platform.store.postgres._PREPARED", 20)
    with Store(server.new(), keys=FileMaster(new_key())) as store:
        resources = Resources(store)
        resources.write([observation("o1", "ada")], recorded=NOW)
        for i in range(1, 40):
            given = [("_count", "5"), *[("code", "8867-4")] * i]
            assert refs(resources, "Observation", *given) == ["Observation/o1"]
        assert store._database.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0] <= 25


def test_an_index_that_was_tampered_with_is_told(resources):
    resources.write([observation("o1", "ada")], recorded=NOW)
    with resources.store.batch():
        resources.store._database.execute("DELETE FROM idx_date")
    assert resources.store.check().problems == ("idx_date: 0 rows, and 1 follow from the resources",)


def test_nothing_about_a_person_stands_open(tmp_path):
    with Store(tmp_path / "a.sqlite") as store:
        Resources(store).write(
            [change("Patient", "p", name=[{"family": WORD}], birthDate="1977-07-07", telecom=[{"system": "phone", "value": "555-0199-2233"}], address=[{"city": "Xanthopolis"}]),
             observation("o", "p", note=[{"text": WORD}], code={"coding": [{"system": "http://loinc.org", "code": "99999-7"}], "text": WORD})], recorded=NOW
        )  # fmt: skip
        store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert refs(Resources(store), "Patient", ("address-city", "xantho")) == ["Patient/p"]
    assert (
        _canaries.find([p for p in tmp_path.iterdir() if p.is_file()], [WORD, "1977-07-07", "555-0199-2233", "Xanthopolis", "xanthopolis"])
        == []
    )
