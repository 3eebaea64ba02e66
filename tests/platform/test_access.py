"""Access: the SQL condition shows what the decision permits, on random worlds; derived data, labels, obligations."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from _consents import ACTORS, CODES, LABELS, asks, consents, data
from _security_matrix import table, values
from gemel.core.errors import DataError
from gemel.platform.access import ACTIONS, GRANTS, LEVELS, ROLES, BreakGlass, Resource, Subject, decide, propagated
from gemel.platform.access_sql import COLUMNS, compile_predicate, derived, packed
from gemel.platform.consent import Consent, Datum, Rule

glasses = st.none() | st.builds(BreakGlass, patient=st.sampled_from(("p1", "p2")), reason=st.just("unconscious"), opened=st.integers(0, 6))
subjects = st.builds(
    Subject, id=st.sampled_from(ACTORS), role=st.sampled_from(ROLES), actors=st.frozensets(st.sampled_from(ACTORS), max_size=1),
    patients=st.frozensets(st.sampled_from(("p1", "p2")), max_size=2), glass=glasses,
)  # fmt: skip
roles = {"nurse": "TREAT", "physician": "TREAT", "researcher": "HRESCH", "service": "TREAT", "proxy": "PATRQT"}


@pytest.mark.slow
@given(
    subjects, st.sampled_from(sorted(ACTIONS)), asks, st.lists(consents, max_size=4), st.lists(data, min_size=1, max_size=8), st.booleans()
)
@settings(max_examples=150, deadline=None)
def test_the_condition_shows_what_the_decision_permits(subject, action, ask, kept, rows, usual):
    """A purpose that belongs to the role in half of the worlds, so that consents are reached."""
    purpose = roles.get(subject.role, ask.purpose) if usual else ask.purpose
    rows = [replace(row, ref=f"{row.ref}#{i}" if i else row.ref) for i, row in enumerate(rows)]
    made = compile_predicate(subject, action, purpose, kept, ask.time, model=ask.model)
    shown = {ref for (ref,) in table(tuple(rows)).execute(f"SELECT ref FROM r WHERE {made.sql}", made.parameters)}
    assert shown == {d.ref for d in rows if decide(subject, action, Resource(d, model=ask.model), purpose, kept, ask.time)}


def test_the_random_worlds_are_not_all_dark():
    """Of the worlds that the property above draws some are shown, some are not: counted on a fixed draw."""
    from random import Random

    rng, shown = Random(1), 0
    for _ in range(300):
        rule = Rule(rng.random() < 0.5, labels=frozenset({rng.choice(LABELS)}), codes=frozenset({rng.choice(CODES)}))
        consent = Consent("c", "p1", rng.random() < 0.7, rules=(rule,))
        datum = Datum("p1", labels=frozenset({rng.choice(LABELS)}), codes=frozenset({rng.choice(CODES)}))
        subject = Subject("Practitioner/1", "physician", patients=frozenset({"p1"}))
        told = decide(subject, "read", Resource(datum), "TREAT", [consent], 1)
        made = compile_predicate(subject, "read", "TREAT", [consent], 1)
        (found,) = table((datum,)).execute(f"SELECT count(*) FROM r WHERE {made.sql}", made.parameters).fetchone()
        assert found == told.permit
        shown += told.permit
    assert 100 < shown < 280


PHYSICIAN = Subject("Practitioner/1", "physician", patients=frozenset({"p1"}))
OPEN = Consent("c1", "p1", True, models=frozenset({"m@1"}))


def test_values_never_become_text():
    hostile = "x' OR 1=1 --"
    consent = replace(
        OPEN, rules=(Rule(False, kinds=frozenset({hostile}), codes=frozenset({hostile}), data=frozenset({("related", hostile)})),)
    )
    made = compile_predicate(
        replace(PHYSICIAN, patients=frozenset({"p1", hostile})), "read", "TREAT", [consent, replace(OPEN, patient=hostile)], 1
    )
    assert hostile not in made.sql
    assert hostile in made.parameters.values()
    table((Datum("p1"),)).execute(f"SELECT * FROM r WHERE {made.sql}", made.parameters)


def test_case_counts_in_labels_and_codes():
    consent = replace(OPEN, rules=(Rule(False, labels=frozenset({"psy"})),))
    made = compile_predicate(PHYSICIAN, "read", "TREAT", [consent], 1)
    rows = (
        Datum("p1", "a", labels=frozenset({"PSY"})),
        Datum("p1", "b", labels=frozenset({"psy"})),
        Datum("p1", "c", labels=frozenset({"psyche"})),
    )
    assert [r for (r,) in table(rows).execute(f"SELECT ref FROM r WHERE {made.sql}", made.parameters)] == ["a", "c"]


def test_a_set_is_packed_in_order_and_the_mark_is_refused():
    assert packed({"b", "a"}) == "\x1fa\x1f\x1fb\x1f"
    assert packed(()) == ""
    with pytest.raises(DataError, match="separates"):
        packed({"a\x1fb"})


def test_people_of_one_consent_share_a_condition_and_too_many_are_refused():
    some = [replace(OPEN, id=f"c{i}", patient=f"p{i}") for i in range(1000)]
    service = Subject("Device/1", "service")
    made = compile_predicate(service, "search", "TREAT", some, 1)
    assert made.sql.count(" IN (") == 1
    with pytest.raises(DataError, match="more people"):
        compile_predicate(service, "search", "TREAT", [replace(OPEN, patient=f"p{i}") for i in range(30_100)], 1)


def test_what_is_derived_is_read_only_where_every_source_is():
    mine, other = Datum("p1", "Observation/1"), Datum("p2", "Observation/2")
    forecast = Datum("p1", "Forecast/1", "Forecast")

    def may(*sources, **changes):
        return decide(PHYSICIAN, "forecast", Resource(forecast, sources, model="m@1.0", **changes), "TREAT", [OPEN], 1).permit

    assert may(mine)
    assert not may(mine, other)  # no relation to the second
    secret = replace(OPEN, rules=(Rule(False, labels=frozenset({"PSY"})),))
    told = decide(
        PHYSICIAN, "forecast", Resource(forecast, (mine, replace(mine, labels=frozenset({"PSY"}))), model="m@1.0"), "TREAT", [secret], 1
    )
    assert (told.permit, told.reason) == (False, "not permitted")
    assert not decide(PHYSICIAN, "forecast", Resource(forecast, (mine,), model="m@2.0"), "TREAT", [OPEN], 1)
    assert may(mine, other, is_released=True)


def test_the_labels_of_the_derived_itself_count_too():
    nurse = replace(PHYSICIAN, role="nurse")
    forecast = Datum("p1", "Forecast/1", "Forecast", labels=frozenset({"V"}))
    assert not decide(nurse, "forecast", Resource(forecast, (Datum("p1"),), model="m@1.0"), "TREAT", [OPEN], 1)


def test_sources_in_sql():
    connection = table((Datum("p1", "f1"), Datum("p1", "f2"), Datum("p1", "f3")))
    connection.execute("CREATE TABLE made_of AS SELECT *, '' AS thing FROM r WHERE 1=0")
    rows = [("f1", Datum("p1", "a")), ("f1", Datum("p1", "b")), ("f2", Datum("p1", "c")), ("f2", Datum("p2", "d"))]
    connection.executemany("INSERT INTO made_of VALUES (?,?,?,?,?,?,?,?,?,?)", [(*values(d), thing) for thing, d in rows])
    inner = compile_predicate(PHYSICIAN, "forecast", "TREAT", [OPEN], 1, model="m@1.0", columns={c: f"source.{c}" for c in COLUMNS})
    made = derived(inner, sources="made_of", key="thing", of="r.ref")
    assert [r for (r,) in connection.execute(f"SELECT ref FROM r WHERE {made.sql}", made.parameters)] == ["f1"]  # f3 has no sources


def test_labels_propagate_the_highest_wins():
    low, high = Datum("p1", labels=frozenset({"N", "PSY"})), Datum("p1", labels=frozenset({"R"}))
    assert propagated([low, high]) == {"R", "PSY"}
    assert propagated([Datum("p1")]) == frozenset()
    assert [level for level in LEVELS if level not in propagated([Datum("p", labels=frozenset(LEVELS))])] == ["U", "L", "M", "N", "R"]


def test_obligations_come_with_the_answer():
    told = decide(Subject("Person/1", "administrator"), "audit", Resource(Datum("p1")), "HOPERAT", (), 1)
    assert told.obligations == {"log", "redact"}
    research = replace(OPEN, scope="research", models=frozenset())
    told = decide(Subject("Person/1", "researcher"), "search", Resource(Datum("p1", is_research=True)), "CLINTRCH", [research], 1)
    assert (told.permit, told.obligations, told.consents) == (True, {"log", "de-identify"}, ("c1",))
    assert all("log" in grant.obligations for grant in GRANTS)
    assert decide(PHYSICIAN, "read", Resource(Datum("p2")), "TREAT", (), 1).obligations == {"log"}


def test_an_export_needs_what_the_consent_calls_disclosing():
    service = Subject("Device/1", "service")
    consent = replace(OPEN, rules=(Rule(False, actions=frozenset({"disclose"})),))
    assert decide(service, "search", Resource(Datum("p1")), "TREAT", [consent], 1)
    assert not decide(service, "export", Resource(Datum("p1")), "TREAT", [consent], 1)


def test_what_there_is_not_is_named():
    with pytest.raises(DataError, match="no such action or role"):
        decide(PHYSICIAN, "dance", Resource(Datum("p1")), "TREAT", (), 1)
    with pytest.raises(DataError, match="no such action or role"):
        compile_predicate(replace(PHYSICIAN, role="king"), "read", "TREAT", (), 1)
    with pytest.raises(DataError, match="for a reason"):
        BreakGlass("p1", "  ", 1)


@pytest.mark.slow
@pytest.mark.postgres
def test_postgresql_shows_the_same_rows(tmp_path):
    """A server of its own, stopped by its process; the condition with its values written in, since no driver is needed for that."""
    tools = shutil.which("initdb") or next((str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if tools is None or shutil.which("psql") is None:
        if os.environ.get("CI"):
            pytest.fail("no PostgreSQL: initdb and psql are not installed")
        pytest.skip("no PostgreSQL: initdb and psql are not installed")
    home = os.path.dirname(os.path.realpath(tools))
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    place = tmp_path / "pg"
    place.mkdir()
    for folder in (place, *place.parents):
        if str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)
    if user:
        shutil.chown(place, "postgres")

    def call(*command, **settings):
        return subprocess.run([*user, *command], check=True, capture_output=True, text=True, cwd="/", **settings).stdout

    call(f"{home}/initdb", "-D", f"{place}/d", "-U", "gemel", "--auth=trust", "-E", "UTF8", "--locale=C")
    call(
        f"{home}/pg_ctl",
        "-D",
        f"{place}/d",
        "-w",
        "-l",
        f"{place}/log",
        "-o",
        f"-c listen_addresses='' -c unix_socket_directories={place}",
        "start",
    )
    try:
        script, expected = [], []

        def literal(value):
            return (
                "NULL"
                if value is None
                else str(value)
                if isinstance(value, int)
                else "E'" + value.replace("'", "''").replace("\x1f", "\\x1f") + "'"
            )

        @given(subjects, st.sampled_from(sorted(ACTIONS)), asks, st.lists(consents, max_size=3), st.lists(data, min_size=1, max_size=6))
        @settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def world(subject, action, ask, kept, rows):
            purpose = roles.get(subject.role, ask.purpose)
            rows = [replace(row, ref=f"{row.ref}#{i}" if i else row.ref) for i, row in enumerate(rows)]
            made = compile_predicate(subject, action, purpose, kept, ask.time, model=ask.model)
            sql = made.sql
            for name in sorted(made.parameters, key=len, reverse=True):
                sql = sql.replace(f":{name}", literal(made.parameters[name]))
            lines = ", ".join("(" + ", ".join(f"{literal(v)}{kind}" for v, kind in zip(values(d), kinds, strict=True)) + ")" for d in rows)
            script.append(
                f"SELECT coalesce(string_agg(ref, ' ' ORDER BY ref), '') FROM (VALUES {lines}) AS r({', '.join(COLUMNS)}) WHERE {sql};"
            )
            shown = sorted(d.ref for d in rows if decide(subject, action, Resource(d, model=ask.model), purpose, kept, ask.time))
            expected.append(" ".join(shown))

        kinds = ("", "", "", "", "", "::bigint", "::text", "", "::int")
        world()
        assert any(expected)
        told = call("psql", "-h", str(place), "-U", "gemel", "-d", "postgres", "-XqAt", "-v", "ON_ERROR_STOP=1", input="\n".join(script))
        assert told.split("\n")[:-1] == expected
    finally:
        call(f"{home}/pg_ctl", "-D", f"{place}/d", "-m", "immediate", "stop")
