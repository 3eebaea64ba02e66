"""Jobs say how far they are, may wait and may be cancelled; answers to requests that named a key are kept for a day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_Integer = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_ADDED = ("changed_ns", "ready_ns", "steps_done", "steps_total")


def upgrade() -> None:
    """Add the columns, which say nothing about anybody but ``note``, which is sealed; make the table of answers."""
    for name in _ADDED:
        op.add_column("job", sa.Column(name, _Integer, nullable=False, server_default="0"))
    op.add_column("job", sa.Column("note", sa.LargeBinary, nullable=True))
    op.execute("UPDATE job SET changed_ns = created_ns")
    op.create_index("ix_job_state", "job", ["kind", "state", "created_ns"])
    op.create_index("ix_job_changed", "job", ["changed_ns"])
    op.create_table(
        "answer",
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("pid", sa.Text, nullable=True),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("made_ns", _Integer, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("token"),
        sqlite_strict=True,
    )
    op.create_index("ix_answer_made", "answer", ["made_ns"])


def downgrade() -> None:
    """A cancelled job is a dead one before this revision."""
    op.drop_table("answer")
    op.drop_index("ix_job_changed", "job")
    op.drop_index("ix_job_state", "job")
    op.execute("UPDATE job SET state = 'dead' WHERE state = 'cancelled'")
    for name in ("note", *reversed(_ADDED)):
        op.drop_column("job", name)
