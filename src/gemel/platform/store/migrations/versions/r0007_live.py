"""Live twins: what is due and who holds it, forecasts that later facts overtook, scores; names of messages, and merges of persons."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gemel.platform.store.migrations.guard import guard_erasable

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_Integer = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_PLAIN = ("model", "model_version", "code_version", "method", "seed", "inputs", "status")


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _integer(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, _Integer, nullable=nullable, autoincrement=False)


def _bytes(name: str, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=nullable)


def _patient() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["pid"], ["patient.pid"])


def upgrade() -> None:
    """Make the tables."""
    op.create_table("receipt", _text("token"), _integer("seq"), sa.PrimaryKeyConstraint("token"), sqlite_strict=True)
    op.create_table(
        "joined", _integer("seq"), _text("pid"), _text("survivor", True), _integer("recorded_ns"), sa.PrimaryKeyConstraint("seq"), _patient(),
        sa.ForeignKeyConstraint(["seq"], ["event.seq"]), sqlite_strict=True,
    )  # fmt: skip
    op.create_table(
        "live", _text("pid"), _text("token"), _bytes("name"), _integer("wanted"), _integer("done"), _text("state"), _text("worker"), _integer("lease_ns"),
        _integer("ready_ns"), _integer("attempts"), _bytes("told", True), sa.PrimaryKeyConstraint("pid", "token"), _patient(), sqlite_strict=True,
    )  # fmt: skip
    op.create_table(
        "superseded", _text("id"), _text("pid"), _integer("seq"), _integer("recorded_ns"), sa.PrimaryKeyConstraint("id"), _patient(), sqlite_strict=True,
    )  # fmt: skip
    op.create_table(
        "score", _text("id"), _text("pid"), _text("token"), _integer("version"), _integer("recorded_ns"), _integer("upto_event"),
        *(_integer(n, True) if n == "seed" else _text(n, True) for n in _PLAIN), _bytes("head"), _text("content"), _bytes("body"),
        sa.PrimaryKeyConstraint("id"), _patient(), sa.UniqueConstraint("pid", "token", "version", name="uq_score_token"), sqlite_strict=True,
    )  # fmt: skip
    for name in ("joined", "superseded", "score"):
        guard_erasable(name)


def downgrade() -> None:
    """Drop them: scores can be made again from forecasts and records, merges must be sent again."""
    op.execute("DELETE FROM checkpoint WHERE consumer = 'live'")
    for name in ("score", "superseded", "live", "joined", "receipt"):
        op.drop_table(name)
