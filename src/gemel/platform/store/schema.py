"""The tables of the store, as SQLAlchemy Core knows them. Migrations make them; a test holds the two together."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["APPEND_ONLY", "FACTS", "metadata"]

FACTS = ("exposure", "finding", "document", "geometry")
"""Tables of single facts; series lie in chunks."""

VERSIONED = ("twin_version", "forecast", "proposal")
"""Tables of named blobs of which every version is kept."""

APPEND_ONLY = ("patient", "demographics", "event", "series", "series_chunk", *FACTS, *VERSIONED, "decision", "outcome")
"""Tables in which triggers forbid UPDATE and DELETE."""

metadata = sa.MetaData()


def _table(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, *columns, sqlite_strict=True)


def _text(name: str, *rest: sa.schema.SchemaItem, nullable: bool = False, **settings: bool) -> sa.Column[str]:
    return sa.Column(name, sa.Text, *rest, nullable=nullable, **settings)


def _integer(name: str, *rest: sa.schema.SchemaItem, nullable: bool = False, **settings: bool) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, *rest, nullable=nullable, **settings)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


patient = _table("patient", _text("pid", primary_key=True), _text("name", unique=True), _integer("recorded_ns"))
event = _table(
    "event",
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    _text("kind"),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("ref"),
    _integer("recorded_ns"),
)
demographics = _table(
    "demographics",
    _text("pid", sa.ForeignKey("patient.pid"), primary_key=True),
    _integer("rev", primary_key=True),
    _integer("seq", sa.ForeignKey("event.seq")),
    _integer("recorded_ns"),
    _text("body"),
)
series = _table(
    "series",
    sa.Column("sid", sa.Integer, primary_key=True, autoincrement=False),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("code"),
    _text("display"),
    _text("unit"),
    _text("source"),
    _integer("seq", sa.ForeignKey("event.seq")),
    sa.UniqueConstraint("pid", "code", "unit", "source", name="uq_series_place"),
)
series_chunk = _table(
    "series_chunk",
    _integer("sid", sa.ForeignKey("series.sid"), primary_key=True),
    _integer("day", primary_key=True),
    _integer("rev", primary_key=True),
    _integer("seq", sa.ForeignKey("event.seq")),
    _integer("n"),
    _bytes("block"),
)

for _name in FACTS:
    _table(
        _name,
        _text("pid", sa.ForeignKey("patient.pid"), primary_key=True),
        _text("digest", primary_key=True),
        _integer("seq", sa.ForeignKey("event.seq")),
        _integer("place"),
        _text("key"),
        _integer("time_ns"),
        _integer("recorded_ns"),
        _bytes("body"),
    )

for _name in VERSIONED:
    _table(
        _name,
        _text("id", primary_key=True),
        _text("pid", sa.ForeignKey("patient.pid")),
        _text("name"),
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
        _text("meta"),
        _text("sha256"),
        _bytes("body"),
        sa.UniqueConstraint("pid", "name", "version", name=f"uq_{_name}_version"),
    )

decision = _table(
    "decision",
    _text("id", primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("proposal", sa.ForeignKey("proposal.id")),
    _integer("time_ns"),
    _integer("recorded_ns"),
    _text("who"),
    _text("answer"),
    _text("plan"),
    _text("reason"),
)
outcome = _table(
    "outcome",
    _text("id", primary_key=True),
    _text("pid", sa.ForeignKey("patient.pid")),
    _text("decision", sa.ForeignKey("decision.id")),
    _integer("time_ns"),
    _integer("recorded_ns"),
    _text("body"),
    _text("note"),
)
job = _table(
    "job",
    _text("id", primary_key=True),
    _text("kind"),
    _text("key"),
    _text("body"),
    _integer("created_ns"),
    _text("state"),
    _text("worker"),
    _integer("lease_ns"),
    _integer("attempts"),
    _text("result"),
    sa.UniqueConstraint("kind", "key", name="uq_job_key"),
)
checkpoint = _table("checkpoint", _text("consumer", primary_key=True), _integer("seq"))
