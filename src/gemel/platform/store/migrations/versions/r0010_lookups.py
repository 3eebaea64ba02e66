"""What is asked for by patient, proposal or decision is found without reading everything."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ADDED = (
    ("ix_event_pid", "event", ["pid", "kind", "seq"]),
    ("ix_job_pid", "job", ["pid"]),
    ("ix_decision_proposal", "decision", ["proposal"]),
    ("ix_outcome_decision", "outcome", ["decision"]),
)


def upgrade() -> None:
    """Make the indexes; they hold nothing that is not in their table in the clear."""
    for name, table, columns in _ADDED:
        op.create_index(name, table, columns)


def downgrade() -> None:
    """Drop them."""
    for name, table, _ in reversed(_ADDED):
        op.drop_index(name, table)
