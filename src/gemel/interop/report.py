"""What became of every item of a message, file or study: read = mapped + kept + refused + duplicates, checked, not hoped for."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gemel.core.errors import DataError

__all__ = ["MessageReport", "Refusal", "Tally"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Refusal(_Frozen):
    """One item that could not be placed: it goes to quarantine with its bytes.

    Parameters
    ----------
    reason : a short code, the same for the same cause.
    place : where in the source: message and segment, or file.
    what : what was wrong; never a value of a patient.
    fix : what to do next.
    items : how many items it stands for.
    """

    reason: str
    place: str
    what: str
    fix: str = ""
    items: int = Field(default=1, ge=1)


class MessageReport(_Frozen):
    """What was read, mapped, kept, repaired, refused and seen twice.

    Parameters
    ----------
    read : items seen: results, events, images.
    mapped : items that became facts.
    kept : why an item gives no fact, though nothing is wrong with it -> how often; it is kept as it came.
    repaired : what was put right or assumed -> how often. A repaired item is also a mapped one, or refused for another reason.
    refused : what could not be placed.
    duplicates : items that had been read before, without effect.
    warnings : what a person should look at, such as references that lead nowhere.

    Raises
    ------
    DataError
        When the items do not add up.

    Examples
    --------
    >>> MessageReport(source="a.hl7", format="hl7v2", read=2, mapped=1, duplicates=1).mapped
    1
    """

    source: str
    format: str
    read: int = 0
    mapped: int = 0
    repaired: dict[str, int] = Field(default_factory=dict)
    refused: tuple[Refusal, ...] = ()
    duplicates: int = 0
    kept: dict[str, int] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _adds_up(self) -> MessageReport:
        if lost := self.read - self.mapped - self.refusals - self.duplicates - sum(self.kept.values()):
            raise DataError(
                "items of an import do not add up", seen=f"{lost} of {self.read}", expected="read = mapped + kept + refused + duplicates"
            )
        return self

    @property
    def refusals(self) -> int:
        """How many items were refused."""
        return sum(r.items for r in self.refused)

    def to_text(self) -> str:
        """Write the report for a person: counts, repairs, then refusals by reason with their first place.

        Examples
        --------
        >>> print(MessageReport(source="a.hl7", format="hl7v2", read=1, mapped=1).to_text())
        a.hl7: read as hl7v2, 1 item: 1 mapped, 0 refused, 0 duplicates
        """
        items = "item" if self.read == 1 else "items"
        head = f"{self.source}: read as {self.format}, {self.read} {items}: {self.mapped} mapped, {self.refusals} refused, {self.duplicates} duplicates"
        lines = [head, *(f"  repaired: {what} ({count})" for what, count in self.repaired.items())]
        lines += [f"  kept, not mapped: {why} ({count})" for why, count in sorted(self.kept.items(), key=lambda one: (-one[1], one[0]))]
        kinds: dict[str, list[Refusal]] = {}
        for refusal in self.refused:
            kinds.setdefault(refusal.reason, []).append(refusal)
        for reason, found in kinds.items():
            first = found[0]
            count = sum(r.items for r in found)
            lines.append(f"  refused: {reason} ({count}), first at {first.place}: {first.what}{'; ' + first.fix if first.fix else ''}")
        return "\n".join((*lines, *(f"  warning: {what}" for what in self.warnings)))


class Tally:
    """Counts while reading; becomes the report."""

    def __init__(self, source: str, format: str) -> None:
        self.source, self.format = source, format
        self.read = self.mapped = self.duplicates = 0
        self.repaired: dict[str, int] = {}
        self.refused: list[Refusal] = []
        self.kept: dict[str, int] = {}
        self.warnings: list[str] = []

    def keep(self, why: str, count: int = 1) -> None:
        """Note items that give no fact, though nothing is wrong with them."""
        self.kept[why] = self.kept.get(why, 0) + count

    def repair(self, what: str, count: int = 1) -> None:
        """Note that something was put right or assumed."""
        self.repaired[what] = self.repaired.get(what, 0) + count

    def refuse(self, reason: str, place: str, what: str, fix: str = "", items: int = 1) -> None:
        """Note items that cannot be placed."""
        self.refused.append(Refusal(reason=reason, place=place, what=what, fix=fix, items=items))

    def add(self, other: MessageReport) -> None:
        """Take in the counts of a part."""
        self.read += other.read
        self.mapped += other.mapped
        self.duplicates += other.duplicates
        self.refused += other.refused
        self.warnings += other.warnings
        for what, count in other.repaired.items():
            self.repair(what, count)
        for why, count in other.kept.items():
            self.keep(why, count)

    def extend(self, others: Iterable[MessageReport]) -> None:
        """Take in the counts of several parts."""
        for other in others:
            self.add(other)

    def report(self) -> MessageReport:
        """Freeze; the items must add up."""
        return MessageReport(
            source=self.source, format=self.format, read=self.read, mapped=self.mapped, repaired=dict(self.repaired),
            refused=tuple(self.refused), duplicates=self.duplicates, kept=dict(self.kept), warnings=tuple(dict.fromkeys(self.warnings)),
        )  # fmt: skip
