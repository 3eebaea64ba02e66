"""What became of advice that was sent: where its Task is, until when it may be accepted, when its outcome is due."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_Integer = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table. It changes as answers come, and its rows go with their patient."""
    op.create_table(
        "delivery",
        sa.Column("proposal", sa.Text, nullable=False),
        sa.Column("pid", sa.Text, nullable=False),
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("rev", _Integer, nullable=False, autoincrement=False),
        sa.Column("sent_ns", _Integer, nullable=False, autoincrement=False),
        sa.Column("expires_ns", _Integer, nullable=False, autoincrement=False),
        sa.Column("due_ns", _Integer, nullable=True, autoincrement=False),
        sa.Column("told", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("proposal", "server"),
        sa.ForeignKeyConstraint(["proposal"], ["proposal.id"]),
        sa.ForeignKeyConstraint(["pid"], ["patient.pid"]),
        sqlite_strict=True,
    )
    op.create_index("ix_delivery_state", "delivery", ["server", "state"])


def downgrade() -> None:
    """Drop it, and what the return path remembers of events: sent again, each part is there once."""
    op.execute("DELETE FROM checkpoint WHERE consumer LIKE 'return/%'")
    op.drop_table("delivery")
