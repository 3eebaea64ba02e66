"""The official Consent examples, random consents, and a second reading of the rules, written from the words of the decision record."""

from __future__ import annotations

import json
import tarfile
from functools import cache

from hypothesis import strategies as st

from _data import require_dataset
from gemel.platform.consent import Ask, Consent, Datum, Rule

EXAMPLES = (
    "basic", "notOrg", "notThem", "notThis", "notTime", "notAuthor", "Out", "Emergency", "grantor", "pkb", "signature", "smartonfhir",
)  # fmt: skip


@cache
def _examples() -> dict[str, str]:
    found = {}
    with tarfile.open(require_dataset("fhir-r4-examples") / "r4-examples-583.tar.gz") as archive:
        for member in archive:
            head, sign, tail = member.name.rpartition("Consent-consent-example-")
            if sign and not head.endswith("-"):
                body = archive.extractfile(member)
                assert body is not None
                found[tail.removesuffix(".json")] = body.read().decode()
    return found


def resource(name: str) -> dict:
    """One of the twelve official examples."""
    return json.loads(_examples()[name])


# --- a second reading: every chain of rules that fit, from the outside in, ends somewhere; all ends must permit ---


def _fits(rule: Rule, ask: Ask, datum: Datum) -> bool:
    kinds = {"TREAT": ["TREAT"], "ETREAT": ["ETREAT", "TREAT"], "BTG": ["BTG", "ETREAT", "TREAT"], "HRESCH": ["HRESCH"]}
    purposes = kinds.get(ask.purpose, [ask.purpose] if ask.purpose else [])
    parts = [
        rule.period is None or (ask.time >= rule.period[0] and ask.time < rule.period[1]),
        len(rule.recipients) == 0 or any(actor in rule.recipients for actor in ask.actors),
        len(rule.purposes) == 0 or any(p in rule.purposes for p in purposes),
        len(rule.actions) == 0 or ask.action in rule.actions,
        len(rule.kinds) == 0 or datum.kind in rule.kinds,
        len(rule.codes) == 0 or any(code in rule.codes for code in datum.codes),
        len(rule.labels) == 0 or any(label in rule.labels for label in datum.labels),
    ]
    if rule.data_period is not None:
        parts.append((not rule.permit) if datum.time is None else rule.data_period[0] <= datum.time < rule.data_period[1])
    if len(rule.authors):
        parts.append((not rule.permit) if datum.author is None else datum.author in rule.authors)
    if len(rule.data):
        hits = []
        for meaning, ref in rule.data:
            if meaning == "authoredby":
                hits.append((not rule.permit) if datum.author is None else datum.author == ref)
            elif meaning == "instance":
                hits.append(datum.ref == ref)
            else:
                hits.append(ref in {datum.ref, *datum.basis})
        parts.append(any(hits))
    return all(parts)


def second_reading(consent: Consent, ask: Ask, datum: Datum) -> bool:
    """Whether the rules of a consent permit, by following every chain."""
    ends = []

    def follow(rule: Rule) -> None:
        inner = [r for r in rule.rules if _fits(r, ask, datum)]
        for part in inner:
            follow(part)
        if not inner:
            ends.append(rule.permit)

    for rule in consent.rules:
        if _fits(rule, ask, datum):
            follow(rule)
    return False not in ends if ends else consent.base


# --- random worlds: few values, so that things meet ---

ACTORS = ("Practitioner/1", "Organization/1", "Patient/p1", "Device/1")
KINDS = ("Observation", "MedicationRequest", "Forecast")
CODES = ("http://loinc.org|4548-4", "http://loinc.org|8480-6", "|x'y")
LABELS = ("N", "R", "V", "PSY")
REFS = ("Observation/1", "Task/2")
TIMES = st.integers(0, 5)
SPANS = st.tuples(TIMES, TIMES)


def _some(values, most=2):
    return st.frozensets(st.sampled_from(values), max_size=most)


DATA = st.frozensets(
    st.tuples(st.sampled_from(("instance", "related", "dependents", "authoredby")), st.sampled_from((*REFS, ACTORS[0]))), max_size=1
)


def rules(depth: int = 2):
    inner = st.lists(st.deferred(lambda: rules(depth - 1)), max_size=2).map(tuple) if depth else st.just(())
    return st.builds(
        Rule, permit=st.booleans(), period=st.none() | SPANS, data_period=st.none() | SPANS, recipients=_some(ACTORS, 1), authors=_some(ACTORS, 1),
        purposes=_some(("TREAT", "ETREAT", "HRESCH"), 1), actions=_some(("access", "use"), 1), kinds=_some(KINDS, 1), codes=_some(CODES, 1),
        labels=_some(LABELS, 1), data=DATA, rules=inner,
    )  # fmt: skip


consents = st.builds(
    Consent, id=st.sampled_from(("c1", "c2", "c3")), patient=st.sampled_from(("p1", "p2")), base=st.booleans(),
    status=st.sampled_from(("active", "active", "inactive")), scope=st.sampled_from(("patient-privacy", "treatment", "research")),
    given=st.none() | TIMES, rules=st.lists(rules(), max_size=2).map(tuple), valid=st.none() | SPANS, recipients=_some(ACTORS, 1),
    models=_some(("m@1", "m@2"), 1), is_ambiguous=st.sampled_from((False, False, False, True)),
)  # fmt: skip
asks = st.builds(
    Ask, actors=_some(ACTORS), purpose=st.sampled_from(("TREAT", "ETREAT", "BTG", "HRESCH", "")), action=st.sampled_from(("access", "use")), time=TIMES,
    model=st.sampled_from(("", "", "m@1.4", "m@2.0")),
)  # fmt: skip
data = st.builds(
    Datum, pid=st.sampled_from(("p1", "p2")), ref=st.sampled_from((*REFS, "Observation/9")), kind=st.sampled_from(KINDS), codes=_some(CODES),
    labels=_some(LABELS), time=st.none() | TIMES, author=st.none() | st.sampled_from(ACTORS), basis=_some(REFS), is_research=st.booleans(),
)  # fmt: skip
