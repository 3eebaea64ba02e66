"""Twins, forecasts, proposals, decisions, outcomes, and the work tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gemel.platform.store.migrations.guard import guard

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_VERSIONED = ("twin_version", "forecast", "proposal")
_KEPT = (*_VERSIONED, "decision", "outcome")


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _integer(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=False, nullable=nullable)


def upgrade() -> None:
    """Make the tables; those that hold what was said and done are append only."""
    for name in _VERSIONED:
        op.create_table(
            name,
            _text("id"),
            _text("pid"),
            _text("name"),
            _integer("version"),
            _integer("recorded_ns"),
            _integer("upto_event"),
            _text("model", True),
            _text("model_version", True),
            _text("code_version", True),
            _text("method", True),
            _integer("seed", True),
            _text("inputs", True),
            _text("status", True),
            _text("meta"),
            _text("sha256"),
            sa.Column("body", sa.LargeBinary, nullable=False),
            sa.PrimaryKeyConstraint("id"),
            sa.ForeignKeyConstraint(["pid"], ["patient.pid"]),
            sa.UniqueConstraint("pid", "name", "version", name=f"uq_{name}_version"),
            sqlite_strict=True,
        )
    op.create_table(
        "decision",
        _text("id"),
        _text("pid"),
        _text("proposal"),
        _integer("time_ns"),
        _integer("recorded_ns"),
        _text("who"),
        _text("answer"),
        _text("plan"),
        _text("reason"),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["pid"], ["patient.pid"]),
        sa.ForeignKeyConstraint(["proposal"], ["proposal.id"]),
        sqlite_strict=True,
    )
    op.create_table(
        "outcome",
        _text("id"),
        _text("pid"),
        _text("decision"),
        _integer("time_ns"),
        _integer("recorded_ns"),
        _text("body"),
        _text("note"),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["pid"], ["patient.pid"]),
        sa.ForeignKeyConstraint(["decision"], ["decision.id"]),
        sqlite_strict=True,
    )
    op.create_table(
        "job",
        _text("id"),
        _text("kind"),
        _text("key"),
        _text("body"),
        _integer("created_ns"),
        _text("state"),
        _text("worker"),
        _integer("lease_ns"),
        _integer("attempts"),
        _text("result"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "key", name="uq_job_key"),
        sqlite_strict=True,
    )
    op.create_table("checkpoint", _text("consumer"), _integer("seq"), sa.PrimaryKeyConstraint("consumer"), sqlite_strict=True)
    for name in _KEPT:
        guard(name)


def downgrade() -> None:
    """Drop what this revision made; facts stay."""
    for name in ("checkpoint", "job", "outcome", "decision", *reversed(_VERSIONED)):
        op.drop_table(name)
