"""A register of processing and a data-protection impact sheet, written from what is installed: twins, what they read, who may see what.

What only a site can know (who is responsible, on what legal ground, for how long) is a question that stays open until the site answers it; nothing is guessed.

References
----------
Regulation (EU) 2016/679, article 30(1), records of processing activities; article 35(7), data protection impact assessment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gemel.core.errors import DataError
from gemel.core.manifest import TwinManifest
from gemel.platform.access import GRANTS

__all__ = ["MEASURES", "QUESTIONS", "Activity", "Register", "processing_register"]

QUESTIONS: Mapping[str, str] = {
    "controller": "Name and contact details of the controller, of joint controllers and of a representative (article 30(1)(a))",
    "officer": "Name and contact details of the data protection officer (article 30(1)(a))",
    "ground": "Legal ground, and the ground for health data (articles 6 and 9)",
    "retention": "Time limits for erasure (article 30(1)(f))",
    "transfers": "Transfers to third countries; Gemel itself makes none (article 30(1)(e))",
    "recipients": "Recipients outside the roles listed here (article 30(1)(d))",
    "scale": "How many people, for how long, from where",
    "consulted": "Views of the people concerned or of those who speak for them (article 35(9))",
    "residual": "Which risks remain after the measures, and who accepts them (article 35(7)(d))",
}
"""What the site must answer; the keys are those of its file."""

MEASURES = (
    "Every person's data are sealed with a key of their own (AES-256-GCM); erasing destroys the key, in backups too: gemel erase",
    "Access denies by default, by role and purpose, and in searches and counts alike (decision record 14)",
    "Consent is read narrowly, bound to purpose and to the major version of a model, and asked at each decision (decision record 13)",
    "Emergency access needs a reason, holds an hour, and is alerted and reviewed",
    "Who did what is chained, signed and anchored elsewhere: gemel audit verify",
    "A forecast carries its lineage, and may be read only where all of its sources may",
    "Proposals go to a person, who accepts, changes or refuses; outside its validated domain a twin abstains with its reason",
    "Exports are de-identified by a list of what may stay; releases about groups are k-anonymous or differentially private",
)
"""What the software offers."""


@dataclass(frozen=True)
class Activity:
    """What one installed twin does with data.

    Parameters
    ----------
    needed, optional : name and code of what it reads; what is optional should be left out where it is not used.
    produces : name and code of what it says.
    influence, consequence : 1 to 3, of the manifest's risk; ``None`` where it declares none.
    """

    id: str
    version: str
    title: str
    purpose: str
    context: str
    needed: tuple[str, ...]
    optional: tuple[str, ...]
    produces: tuple[str, ...]
    not_for: tuple[str, ...]
    thin: str
    influence: int | None
    consequence: int | None
    rationale: str


@dataclass(frozen=True)
class Register:
    """The register, with the answers of the site and the questions that are open."""

    activities: tuple[Activity, ...]
    answers: Mapping[str, str]

    @property
    def unanswered(self) -> tuple[str, ...]:
        """Questions that the site has not answered, by key."""
        return tuple(key for key in QUESTIONS if not self.answers.get(key, "").strip())

    def to_markdown(self) -> str:
        """Return the register and the impact sheet as one document."""
        lines = ["# Register of processing and data protection impact sheet", ""]
        lines += [
            "Made from what is installed. It describes; whether the processing is lawful, the controller must judge.",
            "",
            "## The site",
            "",
        ]
        lines += [
            f"- {text}: **{self.answers.get(key, '').strip() or 'OPEN: to be answered by the site'}**" for key, text in QUESTIONS.items()
        ]
        lines += [
            "",
            "## Who may see what",
            "",
            "| role | purposes | actions | whose data | consent | up to |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {g.role} | {', '.join(sorted(g.purposes))} | {', '.join(sorted(g.actions))} | {g.reach} | {g.consent} | {g.clearance} |"
            for g in GRANTS
        ]
        lines += [
            "",
            "## Measures",
            "",
            "What the software offers; that each is switched on, and lies on every path on which data are read here, the site must check.",
            "",
        ]
        lines += [*(f"- {measure}" for measure in MEASURES)]
        for a in self.activities:
            lines += ["", f"## {a.title} (`{a.id}` {a.version})", "", f"- Purpose: {a.purpose}", f"- Context of use: {a.context}"]
            lines += ["- People: patients. Data: health data (article 9)"]
            for label, values in (
                ("Needed", a.needed),
                ("Optional: leave out what is not used", a.optional),
                ("Produces", a.produces),
                ("Not for", a.not_for),
            ):
                lines.append(f"- {label}: {'; '.join(values) or 'nothing'}")
            risk = (
                "not declared" if a.influence is None else f"influence {a.influence} of 3, consequence {a.consequence} of 3. {a.rationale}"
            )
            lines += [f"- Risk when it is wrong: {risk}", f"- What nobody can know yet: {a.thin or 'not declared'}"]
        return "\n".join(lines) + "\n"


def processing_register(manifests: Iterable[TwinManifest], answers: Mapping[str, str]) -> Register:
    """Return the register of these twins.

    Parameters
    ----------
    answers : what the site says, by the keys of :data:`QUESTIONS`.

    Raises
    ------
    DataError
        When an answer belongs to no question.
    """
    unknown = sorted(set(answers) - set(QUESTIONS))
    if unknown:
        raise DataError("answers to questions that are not asked", seen=", ".join(unknown), expected=", ".join(QUESTIONS))
    made = [
        Activity(
            m.id, m.version, m.title, m.question, m.context_of_use, tuple(f"{v.name} ({v.code})" for v in m.inputs if v.required),
            tuple(f"{v.name} ({v.code})" for v in m.inputs if not v.required), tuple(f"{v.name} ({v.code})" for v in m.outputs), m.not_for, m.thin,
            None if m.risk is None else m.risk.influence, None if m.risk is None else m.risk.consequence, "" if m.risk is None else m.risk.rationale,
        )
        for m in sorted(manifests, key=lambda m: m.id)
    ]  # fmt: skip
    return Register(tuple(made), dict(answers))
