"""Patients, events and facts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gemel.platform.store.migrations.guard import drop_guard, guard, make_guard

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_FACTS = ("exposure", "finding", "document", "geometry")
_TABLES = ("patient", "event", "demographics", "series", "series_chunk", *_FACTS)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=False, nullable=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


def upgrade() -> None:
    """Make the tables, and triggers that forbid changing what stands in them."""
    to_patient, to_event = [sa.ForeignKeyConstraint(["pid"], ["patient.pid"])], [sa.ForeignKeyConstraint(["seq"], ["event.seq"])]
    op.create_table(
        "patient",
        _text("pid"),
        _text("name"),
        _integer("recorded_ns"),
        sa.PrimaryKeyConstraint("pid"),
        sa.UniqueConstraint("name"),
        sqlite_strict=True,
    )
    op.create_table(
        "event",
        _integer("seq"),
        _text("kind"),
        _text("pid"),
        _text("ref"),
        _integer("recorded_ns"),
        sa.PrimaryKeyConstraint("seq"),
        *to_patient,
        sqlite_strict=True,
    )
    op.create_table(
        "demographics",
        _text("pid"),
        _integer("rev"),
        _integer("seq"),
        _integer("recorded_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("pid", "rev"),
        sa.ForeignKeyConstraint(["pid"], ["patient.pid"]),
        sa.ForeignKeyConstraint(["seq"], ["event.seq"]),
        sqlite_strict=True,
    )
    op.create_table(
        "series",
        _integer("sid"),
        _text("pid"),
        _text("code"),
        _text("display"),
        _text("unit"),
        _text("source"),
        _integer("seq"),
        sa.PrimaryKeyConstraint("sid"),
        sa.ForeignKeyConstraint(["pid"], ["patient.pid"]),
        *to_event,
        sa.UniqueConstraint("pid", "code", "unit", "source", name="uq_series_place"),
        sqlite_strict=True,
    )
    op.create_table(
        "series_chunk",
        _integer("sid"),
        _integer("day"),
        _integer("rev"),
        _integer("seq"),
        _integer("n"),
        _bytes("block"),
        sa.PrimaryKeyConstraint("sid", "day", "rev"),
        sa.ForeignKeyConstraint(["sid"], ["series.sid"]),
        sa.ForeignKeyConstraint(["seq"], ["event.seq"]),
        sqlite_strict=True,
    )
    for name in _FACTS:
        op.create_table(
            name,
            _text("pid"),
            _text("digest"),
            _integer("seq"),
            _integer("place"),
            _text("key"),
            _integer("time_ns"),
            _integer("recorded_ns"),
            _bytes("body"),
            sa.PrimaryKeyConstraint("pid", "digest"),
            sa.ForeignKeyConstraint(["pid"], ["patient.pid"]),
            sa.ForeignKeyConstraint(["seq"], ["event.seq"]),
            sqlite_strict=True,
        )
    make_guard()
    for name in _TABLES:
        guard(name)


def downgrade() -> None:
    """Drop everything."""
    for name in reversed(_TABLES):
        op.drop_table(name)
    drop_guard()
