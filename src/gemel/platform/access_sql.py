"""The decision of :func:`gemel.platform.access.decide` as a condition of SQL, for SQLite and PostgreSQL alike.

It reads nine columns, which a row of any table that is searched must have:

========  =======  ======================================================================
pid       TEXT     whose it is
ref       TEXT     its reference; empty when it has none
kind      TEXT     its class
codes     TEXT     ``system|code``, a set (:func:`packed`)
labels    TEXT     security labels, a set
time_ns   INTEGER  of what it says; NULL when not known
author    TEXT     reference; NULL when not known
basis     TEXT     references that it was made from or belongs to, a set
research  INTEGER  1 when it was made for research, else 0
========  =======  ======================================================================

No other column is NULL. Values enter as named parameters (``:a0``), never as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gemel.core.errors import DataError
from gemel.platform.access import LEVELS, Grant, Subject, asks, fitting, glass_opens
from gemel.platform.consent import Ask, Consent, Rule, asked, frame, is_for, newest

__all__ = ["COLUMNS", "DERIVED", "Predicate", "compile_predicate", "derived", "packed"]

COLUMNS = ("pid", "ref", "kind", "codes", "labels", "time_ns", "author", "basis", "research")
"""The columns that a condition reads."""

YES, NO = "1=1", "1=0"
_MARK = "\x1f"
_MOST = 30_000  # SQLite takes 32,766 parameters, PostgreSQL 65,535


@dataclass(frozen=True)
class Predicate:
    """A condition and its parameters."""

    sql: str
    parameters: Mapping[str, str | int] = field(default_factory=dict)


def packed(values: Iterable[str]) -> str:
    """Return a set as the text of one column: each value between two marks (U+001F), in order.

    Raises
    ------
    DataError
        When a value contains the mark.
    """
    values = sorted(values)
    if any(_MARK in value for value in values):
        raise DataError("a value with the mark that separates values", seen="U+001F", expected="a code, label or reference without it")
    return "".join(f"{_MARK}{value}{_MARK}" for value in values)


def _all(parts: Iterable[str]) -> str:
    kept = [part for part in dict.fromkeys(parts) if part != YES]
    return NO if NO in kept else f"({' AND '.join(kept)})" if len(kept) > 1 else kept[0] if kept else YES


def _any(parts: Iterable[str]) -> str:
    kept = [part for part in dict.fromkeys(parts) if part != NO]
    return YES if YES in kept else f"({' OR '.join(kept)})" if len(kept) > 1 else kept[0] if kept else NO


def _not(part: str) -> str:
    return NO if part == YES else YES if part == NO else f"NOT {part}" if part.startswith("(") else f"NOT ({part})"


class _Writer:
    """Turns rules into text; the same value is the same parameter."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.column = {name: columns.get(name, name) for name in COLUMNS}
        self.known: dict[str | int, str] = {}

    def value(self, value: str | int) -> str:
        return ":" + self.known.setdefault(value, f"a{len(self.known)}")

    def parameters(self) -> dict[str, str | int]:
        return {name: value for value, name in self.known.items()}

    def among(self, name: str, values: Iterable[str]) -> str:
        values = sorted(values)
        if not values:
            return NO
        if len(values) == 1:
            return f"{self.column[name]} = {self.value(values[0])}"
        return f"{self.column[name]} IN ({', '.join(self.value(v) for v in values)})"

    def holds(self, name: str, value: str) -> str:
        """Say that a set has a value: taking it out changes the text. Case counts, as it does not for LIKE in SQLite."""
        column = self.column[name]
        return f"replace({column}, {self.value(packed([value]))}, '') <> {column}"

    def span(self, span: tuple[int, int], unknown: bool) -> str:
        time = self.column["time_ns"]
        inside = f"({time} >= {self.value(span[0])} AND {time} < {self.value(span[1])})"
        return f"({time} IS NULL OR {inside})" if unknown else f"({time} IS NOT NULL AND {inside})"

    def author(self, refs: Iterable[str], unknown: bool) -> str:
        found, author = self.among("author", refs), self.column["author"]
        return f"({author} IS NULL OR {found})" if unknown else f"({author} IS NOT NULL AND {found})"

    def fits(self, rule: Rule, ask: Ask) -> str:
        if not asked(rule, ask):
            return NO
        unknown, parts = not rule.permit, []
        if rule.data_period:
            parts.append(self.span(rule.data_period, unknown))
        if rule.authors:
            parts.append(self.author(rule.authors, unknown))
        if rule.kinds:
            parts.append(self.among("kind", rule.kinds))
        for name, values in (("codes", rule.codes), ("labels", rule.labels)):
            if values:
                parts.append(_any(self.holds(name, value) for value in sorted(values)))
        if rule.data:
            parts.append(_any(self.meant(meaning, ref, unknown) for meaning, ref in sorted(rule.data)))
        return _all(parts)

    def meant(self, meaning: str, ref: str, unknown: bool) -> str:
        if meaning == "authoredby":
            return self.author((ref,), unknown)
        same = self.among("ref", (ref,))
        return same if meaning == "instance" else _any((same, self.holds("basis", ref)))

    def inside(self, rules: tuple[Rule, ...], otherwise: bool, ask: Ask) -> str:
        fits = [(self.fits(rule, ask), rule) for rule in rules]
        fits = [(text, rule) for text, rule in fits if text != NO]
        held = [_any((_not(text), self.inside(rule.rules, rule.permit, ask))) for text, rule in fits]
        return _all((*held, YES if otherwise else _any(text for text, _ in fits)))

    def consent(self, consents: tuple[Consent, ...], patient: str, ask: Ask, needed: bool) -> str:
        """Return where the consents of one person permit, or do not deny."""
        scopes, silent = [], []
        for same in newest(consents, patient, ask).values():
            told = [frame(consent, ask) for consent in same]
            rulings = {t.ruling for t in told if t is not None}
            if rulings == {"none"} and None not in told:
                continue
            asked_for = {is_for(consent, ask.model) for consent in same}
            text = NO if rulings else _all(self.inside(c.rules, c.base, ask) for c in same)
            if rulings or asked_for == {True}:
                scopes.append(text)
            elif asked_for == {False}:  # it permits nothing of this model, and denies where it denies the data
                silent.append(text)
            else:  # of one time, one permits where another says nothing: they must agree
                scopes.append(NO)
        return _all(((NO if needed else YES) if not scopes else _all(scopes), *silent))

    def clearance(self, grant: Grant) -> str:
        top = LEVELS.index(grant.clearance)
        if top == len(LEVELS) - 1:
            return YES
        if top >= LEVELS.index("R"):  # what is not a level counts as R
            return _all(_not(self.holds("labels", label)) for label in LEVELS[top + 1 :])
        rest = self.column["labels"]
        for label in LEVELS[: top + 1]:
            rest = f"replace({rest}, {self.value(packed([label]))}, '')"
        return f"{rest} = ''"

    def grant(
        self, grant: Grant, subject: Subject, consents: Mapping[str, tuple[Consent, ...]], questions: tuple[Ask, ...], time: int
    ) -> str:
        if grant.reach == "nobody's":
            return YES
        parts, people = [], None
        if grant.reach == "own":
            people = sorted(subject.patients)
        elif grant.reach == "glass":
            people = [p for p in (glass_opens(subject, time),) if p]
        parts += [self.clearance(grant), f"{self.column['research']} = 1" if grant.is_research else YES]
        if grant.consent == "not asked":
            return _all((*parts, YES if people is None else self.among("pid", people)))
        needed = grant.consent == "needed"
        groups: dict[str, list[str]] = {}
        for person in people if people is not None else sorted(consents):
            text = _all(self.consent(consents.get(person, ()), person, ask, needed) for ask in questions)
            groups.setdefault(text, []).append(person)
        reached = [_all((self.among("pid", persons), text)) for text, persons in groups.items()]
        if people is None and not needed:
            reached.append(_not(self.among("pid", sorted(consents))))
        return _all((*parts, _any(reached)))


def compile_predicate(
    subject: Subject,
    action: str,
    purpose: str,
    consents: Iterable[Consent],
    time: int,
    *,
    model: str = "",
    columns: Mapping[str, str] | None = None,
) -> Predicate:
    """Return the condition that a row fulfils exactly when :func:`gemel.platform.access.decide` permits it.

    Parameters
    ----------
    consents : of everybody whose rows may be met: a person without one has none.
    columns : names of the columns where they are others, such as ``{"pid": "r.pid"}``. They are put into the text: never from outside.

    Raises
    ------
    DataError
        When there is no such action or role, or more people than a statement has room for.
    """
    people: dict[str, tuple[Consent, ...]] = {}
    for consent in consents:
        people[consent.patient] = (*people.get(consent.patient, ()), consent)
    writer = _Writer(columns or {})
    questions = asks(subject, action, purpose, time, model)
    sql = _any(writer.grant(grant, subject, people, questions, time) for grant in fitting(subject, action, purpose))
    found = writer.parameters()
    if len(found) > _MOST:
        raise DataError(
            "more people than one statement has room for",
            seen=f"{len(found)} parameters",
            expected=f"<= {_MOST}",
            fix="ask for fewer at a time",
        )
    used = set(re.findall(r":(a\d+)", sql))
    return Predicate(sql, {name: value for name, value in found.items() if name in used})


DERIVED = "source"
"""Alias of the table of sources inside :func:`derived`."""


def derived(predicate: Predicate, *, sources: str, key: str, of: str) -> Predicate:
    """Return the condition for what was derived: it has sources, and each of them may be read.

    Parameters
    ----------
    predicate : compiled for the columns of the table of sources, each as ``source.NAME``, which also carry the labels and the research flag of what was derived.
    sources : a table with one row per derived thing and source. key : its column that names the derived thing. of : that name in the outer query.
    """
    rows = f"SELECT 1 FROM {sources} AS {DERIVED} WHERE {DERIVED}.{key} = {of}"
    return Predicate(f"(EXISTS ({rows}) AND NOT EXISTS ({rows} AND NOT ({predicate.sql})))", predicate.parameters)
