"""The tables of the store, as SQLAlchemy Core knows them, for SQLite and PostgreSQL. Migrations make them; a test holds the two together."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

__all__ = ["APPEND_ONLY", "FACTS", "metadata"]

FACTS = ("exposure", "finding", "document", "geometry")
"""Tables of single facts; series lie in chunks."""

VERSIONED = ("twin_version", "forecast", "proposal", "score")
"""Tables of named blobs of which every version is kept."""

APPEND_ONLY = (
    "patient",
    "demographics",
    "event",
    "series",
    "series_chunk",
    *FACTS,
    *VERSIONED,
    "decision",
    "outcome",
    "blob",
    "erasure",
    "consent",
    "care",
    "glass",
    "joined",
    "superseded",
    "resource",
    "resource_body",
    "image",
)
"""Tables in which triggers forbid UPDATE and DELETE, but for rows of a patient who stands in ``erasure``."""

metadata = sa.MetaData()
_Integer = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _table(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, *columns, sqlite_strict=True)


def _text(name: str, *rest: sa.schema.SchemaItem, nullable: bool = False, **settings: bool) -> sa.Column[str]:
    return sa.Column(name, sa.Text, *rest, nullable=nullable, **settings)


def _integer(name: str, *rest: sa.schema.SchemaItem, nullable: bool = False, **settings: Any) -> sa.Column[int]:
    return sa.Column(name, _Integer, *rest, nullable=nullable, autoincrement=False, **settings)


def _bytes(name: str, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=nullable)


patient = _table(
    "patient",
    _text("pid", primary_key=True),
    _text("token", nullable=True),
    _bytes("name", nullable=True),
    _integer("number"),
    _integer("recorded_ns"),
    sa.UniqueConstraint("token", name="uq_patient_token"),
    sa.UniqueConstraint("number", name="uq_patient_number"),
)
event = _table(
    "event",
    _integer("seq", primary_key=True),
    _text("kind"),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("ref"),
    _integer("recorded_ns"),
    sa.Index("ix_event_pid", "pid", "kind", "seq"),
)
demographics = _table(
    "demographics",
    _text("pid", sa.ForeignKey("patient.pid"), primary_key=True),
    _integer("rev", primary_key=True),
    _integer("seq", sa.ForeignKey("event.seq")),
    _integer("recorded_ns"),
    _bytes("body"),
)
series = _table(
    "series",
    _integer("sid", primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("token"),
    _bytes("head"),
    _integer("seq", sa.ForeignKey("event.seq")),
    sa.UniqueConstraint("pid", "token", name="uq_series_token"),
)
series_chunk = _table(
    "series_chunk",
    _integer("sid", sa.ForeignKey("series.sid"), primary_key=True),
    _integer("day", primary_key=True),
    _integer("rev", primary_key=True),
    _integer("seq", sa.ForeignKey("event.seq")),
    _integer("n"),
    _bytes("block"),
    _integer("covers", server_default="0"),
)

for _name in FACTS:
    _table(
        _name,
        _text("pid", sa.ForeignKey("patient.pid"), primary_key=True),
        _text("token", primary_key=True),
        _integer("seq", sa.ForeignKey("event.seq")),
        _integer("place"),
        _bytes("body"),
    )

for _name in VERSIONED:
    _table(
        _name,
        _text("id", primary_key=True),
        _text("pid", sa.ForeignKey("patient.pid")),
        _text("token"),
        _integer("version"),
        _integer("recorded_ns"),
        _integer("upto_event"),
        _text("model", nullable=True),
        _text("model_version", nullable=True),
        _text("code_version", nullable=True),
        _text("method", nullable=True),
        _integer("seed", nullable=True),
        _text("inputs", nullable=True),
        _text("status", nullable=True),
        _bytes("head"),
        _text("content"),
        _bytes("body"),
        sa.UniqueConstraint("pid", "token", "version", name=f"uq_{_name}_token"),
    )

decision = _table(
    "decision",
    _text("id", primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("proposal", sa.ForeignKey("proposal.id")),
    _text("content"),
    _integer("time_ns"),
    _integer("recorded_ns"),
    _bytes("body"),
    sa.UniqueConstraint("pid", "content", name="uq_decision_content"),
    sa.Index("ix_decision_proposal", "proposal"),
)
outcome = _table(
    "outcome",
    _text("id", primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("decision", sa.ForeignKey("decision.id")),
    _text("content"),
    _integer("time_ns"),
    _integer("recorded_ns"),
    _bytes("body"),
    sa.UniqueConstraint("pid", "content", name="uq_outcome_content"),
    sa.Index("ix_outcome_decision", "decision"),
)
job = _table(
    "job",
    _text("id", primary_key=True),
    _text("kind"),
    _text("token"),
    _text("pid", nullable=True),
    _bytes("body"),
    _integer("created_ns"),
    _text("state"),
    _text("worker"),
    _integer("lease_ns"),
    _integer("attempts"),
    _bytes("result", nullable=True),
    _integer("changed_ns", server_default="0"),
    _integer("ready_ns", server_default="0"),
    _integer("steps_done", server_default="0"),
    _integer("steps_total", server_default="0"),
    _bytes("note", nullable=True),
    sa.UniqueConstraint("kind", "token", name="uq_job_token"),
    sa.Index("ix_job_state", "kind", "state", "created_ns"),
    sa.Index("ix_job_changed", "changed_ns"),
    sa.Index("ix_job_pid", "pid"),
)
answer = _table(
    "answer",
    _text("token", primary_key=True),
    _text("pid", nullable=True),
    _text("content"),
    _integer("made_ns"),
    _bytes("body"),
    sa.Index("ix_answer_made", "made_ns"),
)
checkpoint = _table("checkpoint", _text("consumer", primary_key=True), _integer("seq"))
source = _table("source", _text("name", primary_key=True), _text("place"), _integer("recorded_ns"))
inbox = _table(
    "inbox",
    _integer("seq", primary_key=True),
    _text("subject"),
    _text("source"),
    _text("content"),
    _integer("received_ns"),
    _text("state"),
    _integer("attempts"),
    _bytes("told"),
    _bytes("body"),
    sa.UniqueConstraint("subject", name="uq_inbox_subject"),
    sa.UniqueConstraint("content", name="uq_inbox_content"),
)
inbox_patient = _table(
    "inbox_patient",
    _integer("seq", sa.ForeignKey("inbox.seq"), primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid"), primary_key=True),
)
blob = _table("blob", _text("pid", sa.ForeignKey("patient.pid"), primary_key=True), _text("token", primary_key=True), _integer("size"))
key_wrap = _table(
    "key_wrap", _text("subject", primary_key=True), _integer("number", primary_key=True), _text("kek"), _bytes("wrapped"), _integer("seals")
)
erasure = _table("erasure", _text("pid", primary_key=True), _integer("recorded_ns"))
key_backup = _table("key_backup", _text("path", primary_key=True), _integer("made_ns"))
consent = _table(
    "consent",
    _text("pid", sa.ForeignKey("patient.pid"), primary_key=True),
    _integer("rev", primary_key=True),
    _text("token"),
    _integer("recorded_ns"),
    _bytes("body"),
)
care = _table(
    "care",
    _text("pid", sa.ForeignKey("patient.pid"), primary_key=True),
    _integer("rev", primary_key=True),
    _text("who"),
    _integer("recorded_ns"),
    _bytes("body"),
    sa.Index("ix_care_who", "who"),
)
glass = _table(
    "glass",
    _text("id", primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("who"),
    _text("kind"),
    _integer("time_ns"),
    _bytes("body"),
    sa.Index("ix_glass_who", "who", "time_ns"),
)
account = _table(
    "account",
    _text("id", primary_key=True),
    _text("token"),
    _integer("changed_ns"),
    _bytes("body"),
    sa.UniqueConstraint("token", name="uq_account_token"),
)
token_use = _table("token_use", _text("token", primary_key=True), _integer("until_ns"))

# Resources of FHIR, and what a search may find them by. The tables ``idx_*`` follow from the resources: they are in no backup, and are made again at restore.
resource = _table(
    "resource",
    _integer("num", sa.ForeignKey("event.seq"), primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("ref"),
    _integer("vid"),
    _text("kind"),
    _text("codes"),
    _text("labels"),
    _integer("time_ns", nullable=True),
    _text("author", nullable=True),
    _text("basis"),
    _integer("research"),
    _integer("recorded_ns"),
    _integer("deleted"),
    sa.UniqueConstraint("ref", "vid", name="uq_resource_version"),
    sa.Index("ix_resource_kind", "kind", "num"),
    sa.Index("ix_resource_pid", "pid", "num"),
)
resource_body = _table(
    "resource_body",
    _integer("num", sa.ForeignKey("resource.num"), primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("content"),
    _bytes("body"),
)

_Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # ranges of prefixes are ranges of code points
_Real = sa.Double().with_variant(sa.REAL, "sqlite")


def _index(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, *columns, sqlite_strict=True, sqlite_with_rowid=False)


def _real(name: str) -> sa.Column[float]:
    return sa.Column(name, _Real, nullable=False)


idx_token = _index(
    "idx_token", _integer("param"), _bytes("value"), _integer("num"), _integer("grp"), _bytes("system"),
    sa.PrimaryKeyConstraint("param", "value", "num", "grp", "system"),
)  # fmt: skip
idx_string = _index(
    "idx_string", _integer("param"), sa.Column("value", _Text, nullable=False), _integer("num"), _integer("grp"), _text("exact"),
    sa.PrimaryKeyConstraint("param", "value", "num", "grp", "exact"),
)  # fmt: skip
idx_date = _index(
    "idx_date", _integer("param"), _integer("low"), _integer("high"), _integer("num"), _integer("grp"),
    sa.PrimaryKeyConstraint("param", "low", "high", "num", "grp"), sa.Index("ix_date_num", "num", "param"),
)  # fmt: skip
idx_ref = _index(
    "idx_ref", _integer("param"), _text("value"), _integer("num"), _integer("grp"), sa.PrimaryKeyConstraint("param", "value", "num", "grp")
)
idx_quantity = _index(
    "idx_quantity", _integer("param"), _integer("num"), _integer("grp"), _real("low"), _real("value"), _real("high"), _real("base_low"), _real("base"),
    _real("base_high"), _bytes("base_unit"), _bytes("unit"), sa.PrimaryKeyConstraint("param", "num", "grp"), sa.Index("ix_quantity_base", "param", "base"),
)  # fmt: skip
receipt = _table("receipt", _text("token", primary_key=True), _integer("seq"))
joined = _table(
    "joined",
    _integer("seq", sa.ForeignKey("event.seq"), primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("survivor", nullable=True),
    _integer("recorded_ns"),
)
delivery = _table(
    "delivery",
    _text("proposal", sa.ForeignKey("proposal.id"), primary_key=True),
    _text("server", primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("state"),
    _integer("rev"),
    _integer("sent_ns"),
    _integer("expires_ns"),
    _integer("due_ns", nullable=True),
    _bytes("told"),
    sa.Index("ix_delivery_state", "server", "state"),
)
live = _table(
    "live",
    _text("pid", sa.ForeignKey("patient.pid"), primary_key=True),
    _text("token", primary_key=True),
    _bytes("name"),
    _integer("wanted"),
    _integer("done"),
    _text("state"),
    _text("worker"),
    _integer("lease_ns"),
    _integer("ready_ns"),
    _integer("attempts"),
    _bytes("told", nullable=True),
)
superseded = _table(
    "superseded", _text("id", primary_key=True), _text("pid", sa.ForeignKey("patient.pid")), _integer("seq"), _integer("recorded_ns")
)
image = _table(
    "image",
    _text("token", primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("study"),
    _text("series"),
    _integer("seq", sa.ForeignKey("event.seq")),
    _integer("recorded_ns"),
    _bytes("body"),
    sa.Index("ix_image_study", "study", "series"),
    sa.Index("ix_image_pid", "pid"),
)
