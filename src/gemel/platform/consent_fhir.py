"""A FHIR Consent (R4 or R5) as rules. Where its structure allows two readings the narrower is taken and noted; where none is narrower it is refused.

The reading, and what it makes of the twelve official examples, is the decision record 13.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from gemel.core.errors import FormatError
from gemel.core.time import to_ns
from gemel.platform.consent import Consent, Rule

__all__ = ["MODEL", "Profile", "read_consent"]

Profile = Literal["validity", "exception"]

MODEL = "urn:gemel:consent:model"
"""Extension of a Consent: ``id@major`` of a model that it was asked for, as ``valueString``; one for each model."""

BASES = {"OPTIN": True, "OPTINR": True, "OPTOUT": False, "OPTOUTE": False}
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
_EVER = (-(2**63), 2**63 - 1)


class _Reader:
    """Collects what was noted on the way."""

    def __init__(self, tz: str) -> None:
        self.tz, self.notes, self.ambiguous = tz, [], False

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def refuse(self, text: str) -> None:
        self.note(text)
        self.ambiguous = True


def _span(text: str, tz: str) -> tuple[int, int]:
    """Return [start, end) ns UTC of a FHIR date or dateTime, which may be a year, a month, a day, or to the second."""
    try:
        if _DATE.fullmatch(text):
            parts = [int(p) for p in text.split("-")]
            begin = dt.datetime(*([*parts, 1, 1])[:3])  # type: ignore[arg-type]
            if len(parts) == 3:
                end = begin + dt.timedelta(days=1)
            else:
                end = (
                    dt.datetime(begin.year + 1, 1, 1)
                    if len(parts) == 1
                    else dt.datetime(begin.year + begin.month // 12, begin.month % 12 + 1, 1)
                )
            return to_ns(begin, tz=tz), to_ns(end, tz=tz)
        moment = to_ns(text)
    except ValueError as error:
        raise FormatError("a date of a consent cannot be read", seen=text, expected="a FHIR date or dateTime with its zone") from error
    return moment, moment + (1 if "." in text else 1_000_000_000)


def _period(table: Mapping[str, Any] | None, tz: str) -> tuple[int, int] | None:
    if not table:
        return None
    start = _span(table["start"], tz)[0] if table.get("start") else _EVER[0]
    end = _span(table["end"], tz)[1] if table.get("end") else _EVER[1]
    return (start, end) if (start, end) != _EVER else None


def _codings(items: Iterable[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    """Flatten Codings and CodeableConcepts."""
    found: list[Mapping[str, Any]] = []
    for item in items or ():
        found += item.get("coding", [item] if "code" in item else [])
    return found


def _plain(items: Iterable[Mapping[str, Any]] | None) -> frozenset[str]:
    return frozenset(c["code"] for c in _codings(items) if c.get("code"))


def _actors(table: Mapping[str, Any], reader: _Reader) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {"recipient": set(), "author": set(), "custodian": set()}
    for actor in table.get("actor") or ():
        ref = (actor.get("reference") or {}).get("reference")
        if not ref:
            reader.refuse("an actor without a reference: nobody can tell who is meant")
            continue
        roles = _plain([actor["role"]] if "role" in actor else ())
        place = "author" if "AUT" in roles else "custodian" if "CST" in roles else "recipient"
        found[place].add(ref)
    return {place: frozenset(refs) for place, refs in found.items()}


def _rule(table: Mapping[str, Any], otherwise: bool, reader: _Reader, *, nested: bool, is_r5: bool) -> Rule:
    """Read one provision; ``otherwise`` is what holds around it."""
    if table.get("modifierExtension"):
        reader.refuse("a rule has a modifier extension, which must not be ignored and is not known")
    told = table.get("type")
    if told not in (None, "permit", "deny"):
        reader.refuse(f"a rule of type {told!r}")
    permit = told == "permit"
    if told is None:
        permit = not otherwise
        if nested and not is_r5:
            permit = False
            reader.note("a nested rule without a type denies")
    who = _actors(table, reader)
    recipients, authors = who["recipient"], who["author"]
    if who["custodian"]:
        if permit:
            reader.note("the custodian of a rule that permits holds the data, and limits nothing")
        elif told is None:
            authors |= who["custodian"]
            reader.note("the custodian of a rule without a type made the data")
        else:
            recipients |= who["custodian"]
            reader.note("the custodian of a rule that denies is the one who asks")
    kinds = _plain(table.get("class")) | _plain(table.get("resourceType")) | _plain(table.get("documentType"))
    codes = frozenset(f"{c.get('system', '')}|{c['code']}" for c in _codings(table.get("code")) if c.get("code"))
    data = frozenset(
        (entry.get("meaning", "related"), (entry.get("reference") or {}).get("reference", "")) for entry in table.get("data") or ()
    )
    if any(not ref for _, ref in data):
        reader.refuse("data without a reference: nobody can tell what is meant")
    for name in ("purpose", "action", "class", "resourceType", "documentType", "code", "securityLabel"):
        if any(not _plain([entry]) for entry in table.get(name) or ()):
            reader.refuse(f"{name} in words only: nobody can tell what is meant")
    for name in ("period", "dataPeriod"):
        if table.get(name) and not {"start", "end"} & set(table[name]):
            reader.refuse(f"{name} without a start or an end")
    if table.get("expression"):
        reader.refuse("a rule with an expression, which is not evaluated")
    made = Rule(
        permit=permit, period=_period(table.get("period"), reader.tz), data_period=_period(table.get("dataPeriod"), reader.tz), recipients=recipients,
        authors=authors, purposes=_plain(table.get("purpose")), actions=_plain(table.get("action")), kinds=kinds, codes=codes,
        labels=_plain(table.get("securityLabel")), data=data,
    )  # fmt: skip
    inner = []
    for part in table.get("provision") or ():
        below = _rule(part, permit, reader, nested=True, is_r5=is_r5)
        if part.get("type") is None and not is_r5 and replace(below, permit=permit, rules=()).criteria == made.criteria and not below.rules:
            reader.note("a nested rule without a type repeats the rule around it, and excepts nothing")
            continue
        inner.append(below)
    return replace(made, rules=tuple(inner))


def _only_period(rule: Rule) -> bool:
    return rule.period is not None and not any(c for c in rule.criteria[1:]) and not rule.rules


def read_consent(resource: Mapping[str, Any], *, profile: Profile | None = None, tz: str = "UTC") -> Consent:
    """Read a Consent.

    Parameters
    ----------
    resource : the resource, as its JSON was parsed. One with ``decision`` is R5, any other R4.
    profile : what a root without a type that has a period only means at this site: *validity*, the consent holds in it; *exception*, data of it are
        excepted. Without one such a consent is ambiguous, and denies.
    tz : zone of dates that have none.

    Raises
    ------
    FormatError
        When it is no Consent, or a date cannot be read.
    """
    if resource.get("resourceType") != "Consent":
        raise FormatError("not a Consent", seen=resource.get("resourceType"), expected="resourceType Consent")
    try:
        return _read(resource, profile, tz)
    except (AttributeError, TypeError, KeyError, IndexError) as error:
        raise FormatError(
            "a Consent that is not built as one", seen=type(error).__name__, expected="a resource that holds to FHIR"
        ) from error


def _read(resource: Mapping[str, Any], profile: Profile | None, tz: str) -> Consent:
    reader = _Reader(tz)
    if resource.get("modifierExtension"):
        reader.refuse("the consent has a modifier extension, which must not be ignored and is not known")
    is_r5 = "decision" in resource
    if is_r5:
        base: bool | None = {"permit": True, "deny": False}.get(resource["decision"])
    else:
        codes = _plain([resource["policyRule"]] if "policyRule" in resource else ())
        told = {BASES[code] for code in codes if code in BASES}
        base = told.pop() if len(told) == 1 else None
    if base is None:
        reader.refuse("neither opt-in nor opt-out: it has no base")
        base = False
    roots = resource.get("provision") or []
    roots = [roots] if isinstance(roots, Mapping) else list(roots)
    valid, recipients, rules = _period(resource.get("period"), tz), frozenset(), []
    for root in roots:
        rule = _rule(root, base, reader, nested=False, is_r5=is_r5)
        typed = root.get("type") is not None
        if not typed and not is_r5 and _only_period(rule):
            if profile == "validity" and base:
                valid, rule = rule.period, None
            elif profile == "exception":
                rule = replace(rule, period=None, data_period=rule.period)
            else:
                reader.refuse("a root without a type that has a period only: when the consent holds, or which data it excepts?")
        elif not typed and not is_r5 and not rule.permit and rule.rules and all(r.permit for r in rule.rules):
            reader.note(
                "rules that permit inside a root without a type: the root bounds the consent, and what they do not name is not permitted"
            )
            valid, recipients = rule.period, rule.recipients
            rule = replace(rule, period=None, recipients=frozenset())
        elif typed and rule.permit and base and not rule.is_bare:
            reader.note("a root that permits under opt-in: nothing else is permitted")
            base = False
        if rule is not None and rule.permit and rule.is_bare and not rule.rules and not typed:
            reader.note("a root that excepts nothing")
            rule = None
        if rule is not None:
            rules.append(rule)
    patient = (resource.get("patient") or resource.get("subject") or {}).get("reference", "")
    if not patient:
        reader.refuse("nobody can tell whose consent it is")
    when = resource.get("dateTime") or resource.get("date")
    if not when:
        reader.note("it has no date, and is older than any that has one")
    scope = next(iter(_plain([resource["scope"]] if "scope" in resource else ())), "patient-privacy")
    models = frozenset(e["valueString"] for e in resource.get("extension") or () if e.get("url") == MODEL and e.get("valueString"))
    return Consent(
        id=resource.get("id", ""), patient=patient.removeprefix("Patient/"), base=base, status=resource.get("status", ""), scope=scope,
        given=_span(when, tz)[0] if when else None, rules=tuple(rules), valid=valid, recipients=recipients, models=models,
        notes=tuple(reader.notes), is_ambiguous=reader.ambiguous,
    )  # fmt: skip
