"""The one way in: raw bytes are kept first, then read, and what they say is appended, all in one transaction; what cannot be placed waits in quarantine.

A source sends again what it saw no answer to, so every message may come several times. The store knows it by its content and, where the source numbers its messages, by
that number: the second time has no effect and the same answer. Under the same number with another content it is kept and set aside, for nobody can tell which is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gemel.core.errors import DataError, FormatError, GemelError
from gemel.core.record import Demographics, Fact
from gemel.interop.report import MessageReport, Refusal
from gemel.platform.store import Store, merges
from gemel.platform.store.writing import sort_facts

__all__ = ["Adapter", "Context", "Intake", "Joined", "Normalised", "Taken"]


@dataclass(frozen=True)
class Context:
    """What an adapter may know of the circumstances.

    Parameters
    ----------
    source : who sent it, in the words of the site's configuration.
    name : what the source calls this message.
    received : ns UTC, by our clock.
    """

    source: str
    name: str
    received: int


@dataclass(frozen=True)
class Joined:
    """Two pseudonyms are one person; with ``undone`` they turned out not to be."""

    survivor: str
    prior: str
    undone: bool = False


@dataclass(frozen=True, repr=False)
class Normalised:
    """What a message says.

    Parameters
    ----------
    report : read = mapped + refused + duplicates.
    facts : by pseudonym; one that only names a person has none.
    retractions : facts taken back: each with the key of what it takes back, and status entered-in-error.
    demographics : by pseudonym.
    documents : large bytes by pseudonym, which a ``Document`` among the facts names by their hash.
    merges : in order.
    sent : ns UTC by the source's clock, where it says so: a clock that is wrong is found by it.
    """

    report: MessageReport
    facts: Mapping[str, Sequence[Fact]] = field(default_factory=dict)
    retractions: Mapping[str, Sequence[Fact]] = field(default_factory=dict)
    demographics: Mapping[str, Demographics] = field(default_factory=dict)
    documents: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    merges: Sequence[Joined] = ()
    sent: int | None = None

    @property
    def patients(self) -> tuple[str, ...]:
        """Everybody it is about, in the order in which they were named."""
        named = (*self.demographics, *self.facts, *self.retractions, *self.documents)
        return tuple(dict.fromkeys((*named, *(one for join in self.merges for one in (join.survivor, join.prior)))))

    def __repr__(self) -> str:
        return f"Normalised({len(self.patients)} patients, {self.report.mapped} of {self.report.read} items)"


@dataclass(frozen=True)
class Adapter:
    """Reads one kind of message.

    Parameters
    ----------
    kind : such as ``hl7v2``, ``fhir``, ``sdc``, ``dicom``; stands in the inbox, so that a message is read by the same adapter again.
    read : bytes and circumstances into facts; deterministic, without any effect. What it cannot read is an error of :mod:`gemel.core.errors`.
    is_numbered : whether a source may use a name once only.
    """

    kind: str
    read: Callable[[bytes, Context], Normalised]
    is_numbered: bool = True


@dataclass(frozen=True)
class Taken:
    """What became of a message.

    Parameters
    ----------
    message : its number in the inbox.
    state : ``done``, or ``quarantined``: kept, but (some of it) not placed.
    is_new : false when it had come before: there was no effect.
    facts : how many were new; every reading of a series counts.
    patients : pseudonyms of those it was about.
    report : ``None`` when it had come before, or could not be read at all.
    reason : why it was set aside; without any value of a patient.
    sent : ns UTC by the source's clock, where it says so.
    """

    message: int
    state: str
    is_new: bool
    facts: int = 0
    patients: tuple[str, ...] = field(default=(), repr=False)
    report: MessageReport | None = None
    reason: str = ""
    sent: int | None = None

    @property
    def is_placed(self) -> bool:
        """Whether anything of it was placed: nothing to send again."""
        return self.state == "done" or (self.report is not None and self.report.mapped + self.report.duplicates > 0)


def _worded(refused: Sequence[Refusal]) -> str:
    kinds: dict[str, Refusal] = {}
    for one in refused:
        kinds.setdefault(one.reason, one)
    return "; ".join(f"{one.reason} at {one.place}: {one.what}" + (f" ({one.fix})" if one.fix else "") for one in kinds.values())


_SETTLED = frozenset({"no-result-yet", "empty"})
"""Refusals that ask for nothing: the message said that there is nothing to say."""


class Intake:
    """Takes messages into a store.

    Parameters
    ----------
    store : where to; inside its :meth:`~gemel.platform.store.Store.batch`, or a change of a ``GroupWriter``, many messages share one transaction.
    adapters : who reads what.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from gemel.platform.adapters import hl7v2
    >>> from gemel.platform.store import Store
    >>> from gemel.testing.messages import Result, result_message
    >>> body = result_message([Result("8867-4", "Heart rate", "/min", 61.0, 10**18)], patient="17", control="1", sent=10**18)
    >>> with tempfile.TemporaryDirectory() as folder, Store(pathlib.Path(folder) / "a.sqlite") as store:
    ...     intake = Intake(store, [hl7v2.adapter()])
    ...     first = intake.take("ward", "hl7v2", body, name="LAB|HOSP|1", received=10**18)
    ...     again = intake.take("ward", "hl7v2", body, name="LAB|HOSP|1", received=10**18 + 5)
    >>> first.facts, first.state, again.is_new, again.message == first.message
    (1, 'done', False, True)
    """

    def __init__(self, store: Store, adapters: Sequence[Adapter]) -> None:
        self._store = store
        self._adapters = {adapter.kind: adapter for adapter in adapters}

    def _adapter(self, kind: str) -> Adapter:
        if kind not in self._adapters:
            raise FormatError(
                "no adapter reads this kind of message",
                seen=kind,
                expected=", ".join(sorted(self._adapters)) or "an adapter",
                fix="register one",
            )
        return self._adapters[kind]

    def take(self, source: str, kind: str, body: bytes, *, name: str = "", received: int) -> Taken:
        """Keep, read and place one message; when this returns (outside a batch) it may be acknowledged.

        Parameters
        ----------
        source : who sent it, in the words of the site's configuration.
        kind : which adapter reads it.
        body : as it came.
        name : what the source calls it: its number, identity and version, or file name.
        received : ns UTC.

        Raises
        ------
        StoreError
            When the store cannot keep it: then it must not be acknowledged.
        FormatError
            When no adapter is of this kind.
        """
        adapter, place = self._adapter(kind), f"{kind}/{source}"
        with self._store.batch():
            seq, is_new = self._store.receive(place, body, received=received, name=name)
            if not is_new:
                return self._again(seq)
            if adapter.is_numbered and name and not merges.claim_name(self._store, place, name, seq):
                reason = "this number was used before with another content: which of the two is right cannot be told (have the source number its messages)"
                self._store.settle(seq, "quarantined", reason=reason)
                return Taken(seq, "quarantined", True, reason=reason)
            return self._place(seq, adapter, body, Context(source, name, received))

    def drive(self, seq: int) -> Taken:
        """Read a message of the inbox again, as it came: what can be placed now enters once."""
        message, body = self._store.message(seq)
        kind, _, source = message.source.partition("/")
        adapter = self._adapter(kind)
        with self._store.batch():
            if adapter.is_numbered and message.name and not merges.claim_name(self._store, message.source, message.name, seq):
                return Taken(seq, "quarantined", False, reason=message.reason)
            return self._place(seq, adapter, body, Context(source, message.name, message.received))

    def _again(self, seq: int) -> Taken:
        message, _ = self._store.message(seq)
        return Taken(seq, message.state, False, reason=message.reason)

    def _place(self, seq: int, adapter: Adapter, body: bytes, context: Context) -> Taken:
        try:
            found = adapter.read(body, context)
            for facts in (*found.facts.values(), *found.retractions.values()):
                sort_facts(facts)  # what cannot be stored is found before anything is written
            if found.documents and self._store.blobs is None:
                raise DataError(
                    "the store has no folder for large bytes", expected="a folder", fix="name one in the configuration and drive it again"
                )
        except GemelError as error:
            return self._aside(seq, f"{error.what}" + (f" ({error.fix})" if error.fix else ""))
        except Exception as error:  # whatever an adapter does with bytes from outside, they are kept and the process lives
            return self._aside(seq, f"the adapter failed: {type(error).__name__}")
        new, store = 0, self._store
        for patient in found.patients:
            facts = (*found.facts.get(patient, ()), *found.retractions.get(patient, ()))
            new += store.append(patient, facts, recorded=context.received, demographics=found.demographics.get(patient))
            for document in found.documents.get(patient, ()):
                store.add_bytes(patient, document)
        for join in found.merges:
            (merges.undo if join.undone else merges.merge)(store, join.survivor, join.prior, recorded=context.received)
        open_ = [one for one in found.report.refused if one.reason not in _SETTLED]
        state, reason = ("quarantined", _worded(open_)) if open_ else ("done", "")
        store.settle(seq, state, reason=reason, patients=found.patients)
        return Taken(seq, state, True, new, found.patients, found.report, reason, found.sent)

    def _aside(self, seq: int, reason: str) -> Taken:
        self._store.settle(seq, "quarantined", reason=reason)
        return Taken(seq, "quarantined", True, reason=reason)
