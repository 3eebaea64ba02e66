"""Objects of DICOM, found by study, series and instance: blind tokens outside, what a search shows sealed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gemel.platform.store.migrations.guard import guard_erasable

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=False, nullable=False)


def upgrade() -> None:
    """Make the table; append only, and its rows go with their patient."""
    op.create_table(
        "image", _text("token"), _text("pid"), _text("study"), _text("series"), _integer("seq"), _integer("recorded_ns"),
        sa.Column("body", sa.LargeBinary, nullable=False), sa.PrimaryKeyConstraint("token"), sa.ForeignKeyConstraint(["pid"], ["patient.pid"]),
        sa.ForeignKeyConstraint(["seq"], ["event.seq"]), sqlite_strict=True,
    )  # fmt: skip
    op.create_index("ix_image_study", "image", ["study", "series"])
    op.create_index("ix_image_pid", "image", ["pid"])
    guard_erasable("image")


def downgrade() -> None:
    """Drop it: the documents stay, and are no longer found by their identifiers."""
    op.drop_table("image")
