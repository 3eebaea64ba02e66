"""``gemel consent``: how a FHIR Consent is read, what it says to one question, and the consents of a store."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import FilePath, as_json, common, existing
from gemel.cli.output import echo, plain, print_json, print_table
from gemel.cli.stores import StorePlace, now, open_store

if TYPE_CHECKING:
    from gemel.platform.consent import Consent, Rule
    from gemel.platform.rights import Withdrawal

__all__ = ["consent"]

profile_option = click.option(
    "--profile",
    type=click.Choice(["validity", "exception"]),
    help="What a root rule with a period only means here: the consent holds in it, or data of it are withheld. Without one it is ambiguous, and denies.",
)


@click.group()
def consent() -> None:
    """Show how a FHIR Consent is read, and what it says to a question; keep, list and withdraw the consents of a store."""


def _read(path: Path, profile: Any) -> Consent:
    from gemel.core.errors import FormatError
    from gemel.platform.consent_fhir import read_consent

    try:
        resource = json.loads(existing(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError("not a JSON document", seen=path.name, expected="a FHIR Consent as JSON") from error
    if not isinstance(resource, dict):
        raise FormatError("not a Consent", seen=path.name, expected="resourceType Consent")
    return read_consent(resource, profile=profile)


def _span(span: tuple[int, int]) -> str:
    from gemel.core.time import iso

    start, end = (iso(t) if abs(t) < 2**63 - 1 else "ever" for t in span)
    return f"{start} until {end}"


def _words(rule: Rule) -> str:
    parts = [f"{name.replace('_', ' ')} {_span(span)}" for name in ("period", "data_period") if (span := getattr(rule, name))]
    for name in ("recipients", "authors", "purposes", "actions", "kinds", "codes", "labels"):
        if getattr(rule, name):
            parts.append(f"{name}: {', '.join(sorted(getattr(rule, name)))}")
    parts += [f"{meaning} {ref}" for meaning, ref in sorted(rule.data)]
    return "; ".join(parts) or "anything"


def _tell(rules: tuple[Rule, ...], depth: int) -> None:
    for rule in rules:
        echo(f"{'  ' * depth}except: {'permit' if rule.permit else 'deny'} {_words(rule)}")
        _tell(rule.rules, depth + 1)


@consent.command()
@click.argument("file", type=FilePath)
@profile_option
@as_json
@common
def show(file: Path, profile: str | None, json_: bool) -> int:
    """Show FILE, a Consent as JSON, as the rules that it is read as. Exit code 1: it is ambiguous, and denies."""
    found = _read(file, profile)
    if json_:
        print_json(plain(asdict(found)))
        return 1 if found.is_ambiguous else 0
    echo(f"{found.id or 'without id'}: {found.status or 'no status'}, scope {found.scope}, base {'permit' if found.base else 'deny'}")
    if found.valid is not None:
        echo(f"  holds {_span(found.valid)}")
    if found.recipients:
        echo(f"  for {', '.join(sorted(found.recipients))} only")
    echo(f"  models: {', '.join(sorted(found.models)) or 'none: what a twin says is not covered'}")
    _tell(found.rules, 1)
    for note in found.notes:
        echo(f"  note: {note}")
    if found.is_ambiguous:
        echo("AMBIGUOUS: it denies until a person has resolved it")
    return 1 if found.is_ambiguous else 0


@consent.command()
@click.argument("files", type=FilePath, nargs=-1, required=True, metavar="FILE...")
@profile_option
@click.option("--actor", "actors", multiple=True, help="A reference of who asks, such as Practitioner/7; may be given again.")
@click.option("--purpose", default="", help="A code of v3-ActReason, such as TREAT.")
@click.option(
    "--action",
    type=click.Choice(["collect", "access", "use", "disclose", "correct"]),
    default="access",
    show_default=True,
    help="What is done.",
)
@click.option("--time", required=True, help="When it is asked, ISO 8601 with its zone.")
@click.option("--model", default="", help="ID@VERSION, for what a twin says.")
@click.option("--patient", required=True, help="Whose data they are: an id, without Patient/.")
@click.option("--ref", default="", help="Reference of the data.")
@click.option("--class", "kind", default="", help="Class of the data, such as Observation.")
@click.option("--code", "codes", multiple=True, help="SYSTEM|CODE of the data; may be given again.")
@click.option("--label", "labels", multiple=True, help="A security label of the data; may be given again.")
@click.option("--data-time", help="Of the data, ISO 8601 with its zone. Left out, it is not known.")
@click.option("--author", help="Reference of who made the data. Left out, it is not known.")
@click.option("--basis", multiple=True, help="A reference that the data were made from or belong to; may be given again.")
@as_json
@common
def decide(files: tuple[Path, ...], profile: str | None, json_: bool, **asked: Any) -> int:
    """Say what the consents in FILEs say to one question: permit, deny, or none when none speaks of it. Exit code 1: not permit."""
    from gemel.core.time import to_ns
    from gemel.platform.consent import Ask, Datum, ruling

    question = Ask(frozenset(asked["actors"]), asked["purpose"], asked["action"], to_ns(asked["time"]), asked["model"])
    datum = Datum(
        asked["patient"], asked["ref"], asked["kind"], frozenset(asked["codes"]), frozenset(asked["labels"]),
        None if asked["data_time"] is None else to_ns(asked["data_time"]), asked["author"], frozenset(asked["basis"]),
    )  # fmt: skip
    told = ruling([_read(path, profile) for path in files], question, datum)
    if json_:
        print_json(asdict(told))
    else:
        echo(f"{told.ruling}: {told.reason}" + (f" ({', '.join(told.consents)})" if told.consents else ""))
        for note in told.notes:
            echo(f"  note: {note}")
    return 0 if told.ruling == "permit" else 1


@consent.command("list")
@click.argument("store", type=StorePlace)
@click.argument("patient")
@as_json
@common
def list_(store: str | Path, patient: str, json_: bool) -> int:
    """List the consents of PATIENT in STORE, and how each is read."""
    from gemel.platform.store.consents import consents_of

    with open_store(store) as opened:
        epoch, found = consents_of(opened, opened.subject(patient))
    if json_:
        print_json({"epoch": epoch, "consents": [plain(asdict(one)) for one in found]})
        return 0
    rows = [
        (
            one.id,
            one.status,
            one.scope,
            "permit" if one.base else "deny",
            ", ".join(sorted(one.models)),
            "AMBIGUOUS" if one.is_ambiguous else "",
        )
        for one in found
    ]
    print_table("", ("consent", "status", "scope", "base", "models", ""), rows)
    return 0


@consent.command()
@click.argument("store", type=StorePlace)
@click.argument("patient")
@click.argument("file", type=FilePath)
@profile_option
@as_json
@common
def give(store: str | Path, patient: str, file: Path, profile: str | None, json_: bool) -> int:
    """Keep the Consent in FILE as one of PATIENT in STORE; one of the same id is superseded. Work that is not permitted any more ends. Exit code 1: it is ambiguous, and denies."""
    from gemel.core.errors import FormatError
    from gemel.platform.rights import settle_consents
    from gemel.platform.store.consents import put_consent

    found = _read(file, profile)
    if not found.id:
        raise FormatError("a consent that is kept has an id", seen=file.name, expected="id of the resource")
    if found.patient not in ("", patient):
        raise FormatError("the consent is of another patient", seen=file.name, expected=f"Patient/{patient}")
    with open_store(store) as opened, opened.batch():
        put_consent(opened, patient, found, recorded=now(), resource=json.loads(file.read_text(encoding="utf-8")))
        done = settle_consents(opened, patient, now=now())
    _settled(f"kept: {found.id}", done, json_)
    return 1 if found.is_ambiguous else 0


@consent.command()
@click.argument("store", type=StorePlace)
@click.argument("patient")
@click.argument("name", metavar="CONSENT")
@as_json
@common
def withdraw(store: str | Path, patient: str, name: str, json_: bool) -> int:
    """Withdraw CONSENT of PATIENT in STORE: from now on it permits nothing, work that rested on it ends, what was derived under it is hidden."""
    from gemel.platform.rights import withdraw as take_back

    with open_store(store) as opened:
        done = take_back(opened, patient, name, now=now())
    _settled(f"withdrawn: {name}", done, json_)
    return 0


@consent.command("object")
@click.argument("store", type=StorePlace)
@click.argument("patient")
@click.option(
    "--purpose", type=click.Choice(["TREAT", "HRESCH", "HOPERAT", "HMARKT"]), help="For one purpose; left out, any that asks for consent."
)
@click.option("--reason", default="", help="In words.")
@as_json
@common
def object_(store: str | Path, patient: str, purpose: str | None, reason: str, json_: bool) -> int:
    """Keep that PATIENT of STORE objects to processing: it wins over every consent."""
    from gemel.platform.rights import object_to

    with open_store(store) as opened:
        made, done = object_to(opened, patient, purpose=purpose, reason=reason, now=now())
    _settled(f"kept: {made.id}", done, json_)
    return 0


def _settled(what: str, done: Withdrawal, json_: bool) -> None:
    if json_:
        print_json({"epoch": done.epoch, "cancelled": list(done.cancelled), "hidden": done.hidden})
    else:
        echo(f"{what}; {len(done.cancelled)} pieces of work ended, {done.hidden} results hidden from those who need consent")
