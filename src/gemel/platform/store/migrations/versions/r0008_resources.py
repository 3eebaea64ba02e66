"""Resources of FHIR, every version of them, and the tables that a search looks into."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gemel.platform.store.migrations.guard import guard_erasable

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_Integer = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_Real = sa.Double().with_variant(sa.REAL, "sqlite")


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _integer(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, _Integer, nullable=nullable, autoincrement=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


def _real(name: str) -> sa.Column[float]:
    return sa.Column(name, _Real, nullable=False)


def _key(*names: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*names)


def _to(column: str, table: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{table}.{target}"])


def _index(name: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(name, *parts, sqlite_strict=True, sqlite_with_rowid=False)


def upgrade() -> None:
    """Make the tables; resources are append only, and go with their patient."""
    op.create_table(
        "resource", _integer("num"), _text("pid"), _text("ref"), _integer("vid"), _text("kind"), _text("codes"), _text("labels"), _integer("time_ns", True),
        _text("author", True), _text("basis"), _integer("research"), _integer("recorded_ns"), _integer("deleted"), _key("num"),
        _to("num", "event", "seq"), _to("pid", "patient", "pid"), sa.UniqueConstraint("ref", "vid", name="uq_resource_version"), sqlite_strict=True,
    )  # fmt: skip
    op.create_index("ix_resource_kind", "resource", ["kind", "num"])
    op.create_index("ix_resource_pid", "resource", ["pid", "num"])
    op.create_table(
        "resource_body", _integer("num"), _text("pid"), _text("content"), _bytes("body"), _key("num"), _to("num", "resource", "num"),
        _to("pid", "patient", "pid"), sqlite_strict=True,
    )  # fmt: skip
    found = [_integer("num"), _integer("grp")]
    _index("idx_token", _integer("param"), _bytes("value"), *found, _bytes("system"), _key("param", "value", "num", "grp", "system"))
    found = [_integer("num"), _integer("grp")]
    text = sa.Column("value", _Text, nullable=False)
    _index("idx_string", _integer("param"), text, *found, _text("exact"), _key("param", "value", "num", "grp", "exact"))
    found = [_integer("num"), _integer("grp")]
    _index("idx_date", _integer("param"), _integer("low"), _integer("high"), *found, _key("param", "low", "high", "num", "grp"))
    op.create_index("ix_date_num", "idx_date", ["num", "param"])
    found = [_integer("num"), _integer("grp")]
    _index("idx_ref", _integer("param"), _text("value"), *found, _key("param", "value", "num", "grp"))
    found = [_integer("num"), _integer("grp")]
    ranges = [_real(name) for name in ("low", "value", "high", "base_low", "base", "base_high")]
    _index("idx_quantity", _integer("param"), *found, *ranges, _bytes("base_unit"), _bytes("unit"), _key("param", "num", "grp"))
    op.create_index("ix_quantity_base", "idx_quantity", ["param", "base"])
    guard_erasable("resource")
    guard_erasable("resource_body")


def downgrade() -> None:
    """Drop them: the resources are lost, what became facts of them stays."""
    for name in ("idx_quantity", "idx_ref", "idx_date", "idx_string", "idx_token", "resource_body", "resource"):
        op.drop_table(name)
