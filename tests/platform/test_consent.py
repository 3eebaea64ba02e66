"""Consent: the twelve official examples decide as the decision record says, and the rules as a second reading of them does."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _consents import EXAMPLES, asks, consents, data, resource, second_reading
from gemel.core.errors import DataError, FormatError
from gemel.core.time import DAY, to_ns
from gemel.platform.consent import Ask, Consent, ConsentBook, Datum, Rule, covers, judge, ruling
from gemel.platform.consent_fhir import MODEL, read_consent


def at(text):
    return to_ns(text, tz="UTC")


def ask(*actors, purpose="TREAT", action="access", time="2017-01-01", model=""):
    return Ask(frozenset(actors or ("Practitioner/other",)), purpose, action, at(time), model)


ORG, NURSE, OTHER = "Organization/f001", "Practitioner/f204", "Organization/other"
CDA = {"kind": "application/hl7-cda+xml", "author": "Practitioner/xcda-author", "codes": frozenset({"http://loinc.org|34133-9"})}
IN_OCTOBER = {"time": "2016-07-01"}

TABLE = [
    # example, profile, question, data, decision
    ("basic", "validity", ask(time="2017-01-01"), {}, "none"),  # it is dated after its own period: nothing is left of it
    ("basic", "exception", ask(), {"time": at("2015-12-31")}, "deny"),
    ("basic", "exception", ask(), {"time": at("2016-01-02")}, "permit"),
    ("basic", None, ask(), {}, "deny"),
    ("notOrg", None, ask(ORG), {}, "deny"),
    ("notOrg", None, ask(ORG, action="correct"), {}, "deny"),
    ("notOrg", None, ask(ORG, action="collect"), {}, "permit"),
    ("notOrg", None, ask(OTHER), {}, "permit"),
    ("notThem", None, ask(NURSE), {}, "deny"),
    ("notThem", None, ask("Practitioner/f205", ORG), {}, "permit"),
    ("notThis", None, ask(), {"ref": "Task/example3"}, "deny"),
    ("notThis", None, ask(), {"ref": "Observation/9", "basis": frozenset({"Task/example3"})}, "deny"),
    ("notThis", None, ask(), {"ref": "Observation/9"}, "permit"),
    ("notTime", "exception", ask(), {"time": at("2015-01-15")}, "deny"),
    ("notTime", "exception", ask(), {"time": at("2015-02-01T23:59:59Z")}, "deny"),  # the last day belongs to it
    ("notTime", "exception", ask(), {"time": at("2015-02-02")}, "permit"),
    ("notTime", "exception", ask(), {"time": None}, "deny"),
    ("notTime", "validity", ask(time="2016-01-15"), {}, "none"),
    ("notTime", None, ask(), {"time": at("2015-06-01")}, "deny"),
    ("notAuthor", None, ask(), {"author": ORG}, "deny"),
    ("notAuthor", None, ask(), {"author": OTHER}, "permit"),
    ("notAuthor", None, ask(ORG), {"author": OTHER}, "permit"),
    ("notAuthor", None, ask(), {"author": None}, "deny"),
    ("Out", None, ask(), {}, "deny"),
    ("Out", None, ask(ORG, purpose="ETREAT"), {}, "deny"),
    ("Emergency", None, ask(OTHER, purpose="ETREAT"), {}, "permit"),
    ("Emergency", None, ask(ORG, purpose="ETREAT"), {}, "deny"),
    ("Emergency", None, ask(OTHER), {}, "deny"),
    ("grantor", None, ask("Patient/example", purpose="PATRQT"), {}, "permit"),
    ("grantor", None, ask("Patient/example", purpose="PATRQT", action="correct"), {}, "deny"),
    ("grantor", None, ask(OTHER), {}, "deny"),
    ("pkb", None, ask(ORG), {"labels": frozenset({"N"})}, "permit"),
    ("pkb", None, ask(ORG), {"labels": frozenset({"N", "PSY"})}, "deny"),
    ("pkb", None, ask(ORG), {"labels": frozenset({"SEX", "N"})}, "deny"),
    ("pkb", None, ask(ORG), {"labels": frozenset({"R"})}, "deny"),
    ("pkb", None, ask(OTHER), {"labels": frozenset({"N"})}, "deny"),
    ("signature", None, ask("Practitioner/13", **IN_OCTOBER), CDA, "permit"),
    ("signature", None, ask("Practitioner/13", **IN_OCTOBER), CDA | {"author": OTHER}, "deny"),
    ("signature", None, ask("Practitioner/13", **IN_OCTOBER), CDA | {"codes": frozenset({"http://loinc.org|4548-4"})}, "deny"),
    ("signature", None, ask("Practitioner/13", time="2016-10-11"), CDA, "none"),
    ("signature", None, ask("Practitioner/14", **IN_OCTOBER), CDA, "none"),
    ("smartonfhir", None, ask(time="2016-06-23T07:10:00Z"), {"kind": "MedicationRequest"}, "permit"),
    ("smartonfhir", None, ask(time="2016-06-23T07:10:00Z"), {"kind": "Observation"}, "deny"),
    ("smartonfhir", None, ask(time="2016-06-23T07:10:00Z", action="correct"), {"kind": "MedicationRequest"}, "deny"),
    ("smartonfhir", None, ask(time="2016-06-23T07:32:33Z"), {"kind": "MedicationRequest"}, "permit"),
    ("smartonfhir", None, ask(time="2016-06-23T07:32:34Z"), {"kind": "MedicationRequest"}, "none"),
]


@pytest.mark.parametrize(("name", "profile", "question", "datum", "expected"), TABLE)
def test_the_official_examples_decide_as_the_table(name, profile, question, datum, expected):
    consent = read_consent(resource(name), profile=profile)
    told = ruling([consent], question, Datum(**{"pid": consent.patient, "author": OTHER, **datum}))
    assert told.ruling == expected


def test_every_example_is_in_the_table():
    assert {row[0] for row in TABLE} == set(EXAMPLES)


def test_a_permit_within_the_validity_of_basic_before_it_was_dated():
    """The example is dated 2016-05-11, after its period: only an earlier date shows that the period permits."""
    consent = replace(read_consent(resource("basic"), profile="validity"), given=at("1990-01-01"))
    datum = Datum(consent.patient)
    assert judge(consent, ask(time="2015-06-01"), datum).ruling == "permit"
    assert judge(consent, ask(time="2016-01-01T12:00:00Z"), datum).ruling == "permit"  # the last day belongs to it
    assert judge(consent, ask(time="2016-01-02"), datum).ruling == "none"


@pytest.mark.parametrize(
    ("name", "flagged"),
    [("basic", True), ("notTime", True), ("Emergency", False), ("notOrg", False), ("pkb", False), ("Out", False), ("signature", False)],
)
def test_what_is_ambiguous_is_flagged(name, flagged):
    assert read_consent(resource(name)).is_ambiguous is flagged


@pytest.mark.parametrize("name", EXAMPLES)
def test_arrays_may_be_tuples(name):
    def frozen(value):
        if isinstance(value, dict):
            return {k: frozen(v) for k, v in value.items()}
        return tuple(frozen(v) for v in value) if isinstance(value, list) else value

    assert read_consent(frozen(resource(name))) == read_consent(resource(name))


def test_what_was_narrowed_is_noted():
    assert any("custodian" in note for note in read_consent(resource("Emergency")).notes)
    assert any("repeats" in note for note in read_consent(resource("pkb")).notes)
    assert read_consent(resource("notOrg")).notes == ()
    for profile in ("validity", "exception"):
        assert read_consent(resource("notTime"), profile=profile).notes == ()


@given(consents, asks, data)
@settings(max_examples=200, deadline=None)
def test_the_rules_decide_as_a_second_reading_of_them(consent, question, datum):
    consent = replace(
        consent,
        patient=datum.pid,
        status="active",
        scope="patient-privacy",
        given=None,
        valid=None,
        recipients=frozenset(),
        is_ambiguous=False,
    )
    told = judge(consent, replace(question, model=""), datum).ruling
    assert told == ("permit" if second_reading(consent, question, datum) else "deny")


def made(**changes):
    return Consent(**{"id": "c", "patient": "p", "base": True, "given": 0, **changes})


NOW = Ask(frozenset({"Practitioner/1"}), "TREAT", "access", 10)
HERE = Datum("p", author="Practitioner/2", time=3)


def test_the_newest_of_a_scope_wins_and_contradictions_deny():
    old, new = made(id="a", given=1), made(id="b", given=2, base=False)
    assert ruling([old, new], NOW, HERE).ruling == "deny"
    assert ruling([new, replace(old, given=3)], NOW, HERE).ruling == "permit"
    same = ruling([old, replace(new, given=1)], NOW, HERE)
    assert (same.ruling, same.consents) == ("deny", ("a", "b"))
    assert ruling([old, replace(old, id="d")], NOW, HERE).ruling == "permit"


def test_what_is_not_active_not_yet_given_or_somebody_else_s_counts_for_nothing():
    for status in ("draft", "proposed", "rejected", "inactive", "entered-in-error", ""):
        assert ruling([made(status=status)], NOW, HERE).ruling == "none"
    assert ruling([made(given=11)], NOW, HERE).ruling == "none"
    assert ruling([made(given=None)], NOW, HERE).ruling == "permit"
    assert ruling([made(patient="q")], NOW, HERE).ruling == "none"
    assert ruling([], NOW, HERE).ruling == "none"


def test_scopes_speak_of_their_purposes_and_any_that_denies_wins():
    research = made(id="r", scope="research")
    assert ruling([research], NOW, HERE).ruling == "none"
    assert ruling([research], replace(NOW, purpose="HRESCH"), HERE).ruling == "permit"
    assert ruling([research, made(base=False)], replace(NOW, purpose="HRESCH"), HERE).ruling == "deny"
    assert ruling([made(scope="adr")], NOW, HERE).ruling == "none"
    assert ruling([made(scope="treatment")], replace(NOW, purpose="ETREAT"), HERE).ruling == "permit"
    assert not covers(frozenset({"ETREAT"}), "TREAT")
    assert not covers(frozenset({"TREAT"}), "")


def test_side_by_side_one_that_denies_wins_and_inside_the_innermost_does():
    permit, deny = Rule(True, labels=frozenset({"R"})), Rule(False, kinds=frozenset({"Observation"}))
    datum = replace(HERE, kind="Observation", labels=frozenset({"R"}))
    assert judge(made(rules=(permit, deny)), NOW, datum).ruling == "deny"
    assert judge(made(rules=(replace(deny, rules=(permit,)),)), NOW, datum).ruling == "permit"
    # an exception excepts from the rule around it only: beside a rule that denies it changes nothing
    assert judge(made(rules=(deny, Rule(False, labels=frozenset({"R"}), rules=(Rule(True),)))), NOW, datum).ruling == "deny"


def test_a_consent_is_for_the_model_and_major_version_that_it_was_asked_for():
    consent = made(models=frozenset({"metabolic@1"}))
    for model, expected in (("metabolic@1.9", "permit"), ("metabolic@2.0", "none"), ("coronary@1.0", "none"), ("metabolic@10.0", "none")):
        told = ruling([consent], replace(NOW, model=model), HERE)
        assert told.ruling == expected
    assert "not asked for coronary 1" in ruling([consent], replace(NOW, model="coronary@1.0"), HERE).reason
    assert ruling([made()], replace(NOW, model="metabolic@1.0"), HERE).ruling == "none"


def test_a_consent_that_denies_denies_what_every_twin_says_whether_it_names_a_model_or_not():
    named = made(models=frozenset({"metabolic@1"}))
    unnamed = replace(made(base=False, id="d"), scope="treatment")
    ask = replace(NOW, model="metabolic@1.0", purpose="TREAT")
    assert ruling([named], ask, HERE).ruling == "permit"
    assert ruling([named, unnamed], ask, HERE).ruling == "deny"
    part = replace(unnamed, base=True, rules=(Rule(False, labels=frozenset({"R"})),))
    assert ruling([named, part], ask, HERE).ruling == "permit"
    assert ruling([named, part], ask, replace(HERE, labels=frozenset({"R"}))).ruling == "deny"


def test_a_withdrawal_moves_the_counter_and_hides_what_was_derived():
    book = ConsentBook().record(made())
    seen = {"p": book.epoch("p")}
    assert ruling(book.of("p"), NOW, HERE).ruling == "permit"
    assert book.is_current(seen)
    after = book.withdraw("p", "c")
    assert ruling(after.of("p"), NOW, HERE).ruling == "none"
    assert not after.is_current(seen)
    assert after.is_current({"q": 0})
    assert book.is_current(seen)  # the old book is as it was
    assert len(after.record(made(status="active")).of("p")) == 1
    with pytest.raises(DataError, match="no such consent"):
        book.withdraw("p", "d")


def plain(**changes):
    return {
        "resourceType": "Consent", "id": "x", "status": "active", "patient": {"reference": "Patient/p"}, "dateTime": "1970-01-01",
        "policyRule": {"coding": [{"code": "OPTIN"}]}, **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"policyRule": {"coding": [{"code": "other"}]}}, {"modifierExtension": [{"url": "u"}]}, {"provision": {"modifierExtension": [{"url": "u"}]}},
        {"provision": {"type": "maybe"}}, {"provision": {"actor": [{"role": {}, "reference": {"display": "the nurse"}}]}}, {"patient": {}},
        {"provision": {"code": [{"text": "alcohol"}]}}, {"provision": {"securityLabel": [{"code": "R"}, {"display": "very"}]}},
        {"provision": {"type": "permit", "dataPeriod": {"extension": []}}}, {"provision": {"purpose": [{"system": "s"}]}}, {"provision": {"data": [{"meaning": "related", "reference": {}}]}},
        {"provision": {"period": {"end": "2020"}}},
    ],
)  # fmt: skip
def test_what_cannot_be_read_denies_and_is_flagged(changes):
    consent = read_consent(plain(**changes))
    assert consent.is_ambiguous
    assert consent.notes
    assert judge(consent, NOW, replace(HERE, pid=consent.patient)).ruling == "deny"


def test_a_root_that_permits_under_opt_in_permits_nothing_else():
    consent = read_consent(plain(provision={"type": "permit", "class": [{"code": "Observation"}]}))
    assert judge(consent, NOW, replace(HERE, kind="Observation")).ruling == "permit"
    assert judge(consent, NOW, replace(HERE, kind="Condition")).ruling == "deny"


def test_partial_dates_are_the_whole_of_what_they_name():
    consent = read_consent(plain(provision={"type": "deny", "dataPeriod": {"start": "1974", "end": "1974-12"}}))
    (rule,) = consent.rules
    assert rule.data_period == (at("1974-01-01"), at("1975-01-01"))
    (rule,) = read_consent(plain(provision={"type": "deny", "period": {"start": "2020-02-29"}})).rules
    assert rule.period is not None
    assert rule.period[0] == at("2020-02-29")
    assert read_consent(plain(dateTime="1970-01-02T00:00:00.5+01:00")).given == DAY - 3_600_000_000_000 + 500_000_000
    for text in ("1974-13", "yesterday", "2020-01-01T00:00:00"):
        with pytest.raises(FormatError, match="date of a consent"):
            read_consent(plain(dateTime=text))
    with pytest.raises(FormatError, match="not a Consent"):
        read_consent({"resourceType": "Patient"})


def test_r5_has_a_decision_rules_without_types_and_several_roots():
    told = {
        "resourceType": "Consent", "id": "x", "status": "active", "subject": {"reference": "Patient/p"}, "date": "1970-01-01", "decision": "deny",
        "provision": [
            {"purpose": [{"code": "TREAT"}], "provision": [{"resourceType": [{"code": "Condition"}]}]},
            {"purpose": [{"code": "HRESCH"}]},
        ],
    }  # fmt: skip
    consent = read_consent(told)
    assert not consent.is_ambiguous
    assert judge(consent, NOW, replace(HERE, kind="Observation")).ruling == "permit"
    assert judge(consent, NOW, replace(HERE, kind="Condition")).ruling == "deny"
    assert judge(consent, replace(NOW, purpose="HRESCH"), HERE).ruling == "permit"
    assert judge(consent, replace(NOW, purpose="HMARKT"), HERE).ruling == "deny"
    assert read_consent({**told, "decision": "perhaps"}).is_ambiguous


def test_the_models_stand_in_an_extension():
    consent = read_consent(plain(extension=[{"url": MODEL, "valueString": "metabolic@1"}, {"url": "other", "valueString": "x@1"}]))
    assert consent.models == {"metabolic@1"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)


@given(
    st.dictionaries(
        st.sampled_from(("status", "scope", "provision", "policyRule", "dateTime", "patient", "decision", "extension")), JSON, max_size=4
    )
)
@settings(max_examples=200, deadline=None)
def test_rubbish_is_a_named_error_or_denies(changes):
    """Never another exception, and never a permit."""
    try:
        consent = read_consent({"resourceType": "Consent", **changes})
    except FormatError:
        return
    assert judge(consent, NOW, HERE).ruling != "permit"
