"""What the guard keeps: consents, who treats whom, broken glass; local accounts, and tokens that may be used once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gemel.platform.store.migrations.guard import guard_erasable

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PERSONAL = ("consent", "care", "glass")
_Integer = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, _Integer, nullable=False, autoincrement=False)


def _body() -> sa.Column[bytes]:
    return sa.Column("body", sa.LargeBinary, nullable=False)


def _patient() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["pid"], ["patient.pid"])


def upgrade() -> None:
    """Make the tables; what is about a person is append only, and goes with them."""
    op.create_table(
        "consent", _text("pid"), _integer("rev"), _text("token"), _integer("recorded_ns"), _body(), sa.PrimaryKeyConstraint("pid", "rev"), _patient(),
        sqlite_strict=True,
    )  # fmt: skip
    op.create_table(
        "care", _text("pid"), _integer("rev"), _text("who"), _integer("recorded_ns"), _body(), sa.PrimaryKeyConstraint("pid", "rev"), _patient(),
        sqlite_strict=True,
    )  # fmt: skip
    op.create_index("ix_care_who", "care", ["who"])
    op.create_table(
        "glass", _text("id"), _text("pid"), _text("who"), _text("kind"), _integer("time_ns"), _body(), sa.PrimaryKeyConstraint("id"), _patient(),
        sqlite_strict=True,
    )  # fmt: skip
    op.create_index("ix_glass_who", "glass", ["who", "time_ns"])
    op.create_table(
        "account", _text("id"), _text("token"), _integer("changed_ns"), _body(), sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token", name="uq_account_token"), sqlite_strict=True,
    )  # fmt: skip
    op.create_table("token_use", _text("token"), _integer("until_ns"), sa.PrimaryKeyConstraint("token"), sqlite_strict=True)
    for name in _PERSONAL:
        guard_erasable(name)


def downgrade() -> None:
    """Drop them: consents, relations and accounts are lost."""
    for name in ("token_use", "account", "glass", "care", "consent"):
        op.drop_table(name)
