"""Blocks of readings may be merged: a merged one says which revisions it holds."""

from __future__ import annotations

import numpy as np
import sqlalchemy as sa
from alembic import context, op

from gemel.platform.store import chunks
from gemel.platform.store.migrations.guard import guard_chunks, open_chunks

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and let go of what it covers."""
    op.add_column(
        "series_chunk", sa.Column("covers", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False, server_default="0")
    )
    open_chunks()
    guard_chunks(are_merged=True)


def downgrade() -> None:
    """Take merged blocks apart again, one for each append."""
    sealing, database = context.config.attributes["sealing"], context.config.attributes["database"]
    open_chunks()
    sealing.start()
    chosen = "SELECT series_chunk.sid, day, rev, block, pid FROM series_chunk JOIN series ON series.sid = series_chunk.sid WHERE covers > 0 ORDER BY 1, 2"
    for sid, day, rev, block, pid in database.execute(chosen).fetchall():
        place = f"{sid}/{day}"
        whole = chunks.decode(sealing.open("series_chunk", pid, place, rev, block))
        database.execute("DELETE FROM series_chunk WHERE sid = ? AND day = ? AND rev = ?", (sid, day, rev))
        for number, event in enumerate(
            np.unique(whole["event"]), 1
        ):  # each append was one event and one revision: there were at least so many
            rows = {name: whole[name][whole["event"] == event] for name in chunks.COLUMNS}
            block = sealing.seal("series_chunk", pid, place, number, chunks.encode(rows))
            database.execute(
                "INSERT INTO series_chunk (sid, day, rev, seq, n, block) VALUES (?, ?, ?, ?, ?, ?)",
                (sid, day, number, int(event), len(rows["time"]), block),
            )
    sealing.flush()
    op.drop_column("series_chunk", "covers")
    guard_chunks(are_merged=False)
