"""Everything that says something about a person is sealed; keys, inbox, erasures and the state of sources get their tables."""

from __future__ import annotations

import json
from hashlib import sha256

import sqlalchemy as sa
from alembic import context, op

from gemel.core.advice import Decision, Outcome
from gemel.core.lineage import digest
from gemel.platform.store import facts
from gemel.platform.store.migrations.guard import guard, guard_erasable

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FACTS = ("exposure", "finding", "document", "geometry")
_VERSIONED = ("twin_version", "forecast", "proposal")
_MOVED = ("patient", "event", "demographics", "series", "series_chunk", *_FACTS, *_VERSIONED, "decision", "outcome", "job")
_ERASABLE = ("patient", "demographics", "series", "series_chunk", *_FACTS, *_VERSIONED, "decision", "outcome")
_KINDS = {"twin_version": "twin", "forecast": "forecast", "proposal": "proposal"}
_PLAIN = ("model", "model_version", "code_version", "method", "seed", "inputs", "status")
_Integer = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _integer(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, _Integer, nullable=nullable, autoincrement=False)


def _bytes(name: str, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=nullable)


def _key(*names: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*names)


def _to(mark: str, column: str, table: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{mark}{table}.{target}"])


def _event(mark: str) -> list[sa.schema.SchemaItem]:
    return [
        _integer("seq"),
        _text("kind"),
        _text("pid"),
        _text("ref"),
        _integer("recorded_ns"),
        _key("seq"),
        _to(mark, "pid", "patient", "pid"),
    ]


def _chunk(mark: str) -> list[sa.schema.SchemaItem]:
    return [_integer("sid"), _integer("day"), _integer("rev"), _integer("seq"), _integer("n"), _bytes("block"), _key("sid", "day", "rev"),
            _to(mark, "sid", "series", "sid"), _to(mark, "seq", "event", "seq")]  # fmt: skip


def _sealed(mark: str) -> dict[str, list[sa.schema.SchemaItem]]:

    def mine() -> list[sa.schema.SchemaItem]:
        return [_to(mark, "pid", "patient", "pid"), _to(mark, "seq", "event", "seq")]

    tables = {
        "patient": [_text("pid"), _text("token", True), _bytes("name", True), _integer("number"), _integer("recorded_ns"), _key("pid"),
                    sa.UniqueConstraint("token", name="uq_patient_token"), sa.UniqueConstraint("number", name="uq_patient_number")],
        "event": _event(mark),
        "demographics": [_text("pid"), _integer("rev"), _integer("seq"), _integer("recorded_ns"), _bytes("body"), _key("pid", "rev"), *mine()],
        "series": [_integer("sid"), _text("pid"), _text("token"), _bytes("head"), _integer("seq"), _key("sid"),
                   sa.UniqueConstraint("pid", "token", name="uq_series_token"), *mine()],
        "series_chunk": _chunk(mark),
    }  # fmt: skip
    for name in _FACTS:
        tables[name] = [_text("pid"), _text("token"), _integer("seq"), _integer("place"), _bytes("body"), _key("pid", "token"), *mine()]
    for name in _VERSIONED:
        tables[name] = [_text("id"), _text("pid"), _text("token"), _integer("version"), _integer("recorded_ns"), _integer("upto_event"),
                        *(_integer(n, True) if n == "seed" else _text(n, True) for n in _PLAIN), _bytes("head"), _text("content"), _bytes("body"),
                        _key("id"), _to(mark, "pid", "patient", "pid"), sa.UniqueConstraint("pid", "token", "version", name=f"uq_{name}_token")]  # fmt: skip
    for name, target in (("decision", "proposal"), ("outcome", "decision")):
        tables[name] = [_text("id"), _text("pid"), _text(target), _text("content"), _integer("time_ns"), _integer("recorded_ns"), _bytes("body"), _key("id"),
                        _to(mark, "pid", "patient", "pid"), _to(mark, target, target, "id"), sa.UniqueConstraint("pid", "content", name=f"uq_{name}_content")]  # fmt: skip
    tables["job"] = [_text("id"), _text("kind"), _text("token"), _text("pid", True), _bytes("body"), _integer("created_ns"), _text("state"), _text("worker"),
                     _integer("lease_ns"), _integer("attempts"), _bytes("result", True), _key("id"), sa.UniqueConstraint("kind", "token", name="uq_job_token")]  # fmt: skip
    return tables


def _clear(mark: str) -> dict[str, list[sa.schema.SchemaItem]]:

    def mine() -> list[sa.schema.SchemaItem]:
        return [_to(mark, "pid", "patient", "pid"), _to(mark, "seq", "event", "seq")]

    tables = {
        "patient": [_text("pid"), _text("name"), _integer("recorded_ns"), _key("pid"), sa.UniqueConstraint("name")],
        "event": _event(mark),
        "demographics": [_text("pid"), _integer("rev"), _integer("seq"), _integer("recorded_ns"), _text("body"), _key("pid", "rev"), *mine()],
        "series": [_integer("sid"), _text("pid"), _text("code"), _text("display"), _text("unit"), _text("source"), _integer("seq"), _key("sid"),
                   sa.UniqueConstraint("pid", "code", "unit", "source", name="uq_series_place"), *mine()],
        "series_chunk": _chunk(mark),
    }  # fmt: skip
    for name in _FACTS:
        tables[name] = [_text("pid"), _text("digest"), _integer("seq"), _integer("place"), _text("key"), _integer("time_ns"), _integer("recorded_ns"),
                        _bytes("body"), _key("pid", "digest"), *mine()]  # fmt: skip
    for name in _VERSIONED:
        tables[name] = [_text("id"), _text("pid"), _text("name"), _integer("version"), _integer("recorded_ns"), _integer("upto_event"),
                        *(_integer(n, True) if n == "seed" else _text(n, True) for n in _PLAIN), _text("meta"), _text("sha256"), _bytes("body"),
                        _key("id"), _to(mark, "pid", "patient", "pid"), sa.UniqueConstraint("pid", "name", "version", name=f"uq_{name}_version")]  # fmt: skip
    tables["decision"] = [_text("id"), _text("pid"), _text("proposal"), _integer("time_ns"), _integer("recorded_ns"), _text("who"), _text("answer"),
                          _text("plan"), _text("reason"), _key("id"), _to(mark, "pid", "patient", "pid"), _to(mark, "proposal", "proposal", "id")]  # fmt: skip
    tables["outcome"] = [_text("id"), _text("pid"), _text("decision"), _integer("time_ns"), _integer("recorded_ns"), _text("body"), _text("note"),
                         _key("id"), _to(mark, "pid", "patient", "pid"), _to(mark, "decision", "decision", "id")]  # fmt: skip
    tables["job"] = [_text("id"), _text("kind"), _text("key"), _text("body"), _integer("created_ns"), _text("state"), _text("worker"), _integer("lease_ns"),
                     _integer("attempts"), _text("result"), _key("id"), sa.UniqueConstraint("kind", "key", name="uq_job_key")]  # fmt: skip
    return tables


def _make(tables: dict[str, list[sa.schema.SchemaItem]], mark: str = "") -> None:
    for name, parts in tables.items():
        op.create_table(f"{mark}{name}", *parts, sqlite_strict=True)


def _exchange() -> None:
    for name in reversed(_MOVED):
        op.drop_table(name)
    for name in _MOVED:
        op.rename_table(f"new_{name}", name)


def _rows(text: str, size: int = 200):
    """Yield rows without holding them all: pages by the first column, a key."""
    database = context.config.attributes["database"]
    after = None
    while True:
        where = "" if after is None else f" WHERE {text.split('|')[0]} > ?"
        key, _, rest = text.partition("|")
        columns, _, table = rest.partition(" FROM ")
        rows = database.execute(
            f"SELECT {columns} FROM {table}{where} ORDER BY {key} LIMIT {size}", () if after is None else (after,)
        ).fetchall()
        yield from rows
        if len(rows) < size:
            return
        after = rows[-1][0]


def _put(table: str, values: tuple) -> None:
    context.config.attributes["database"].execute(f"INSERT INTO new_{table} VALUES ({', '.join('?' * len(values))})", values)


def _by_patient(table: str, columns: str, order: str):
    database = context.config.attributes["database"]
    for (pid,) in list(database.execute("SELECT pid FROM patient ORDER BY pid")):
        for row in database.execute(f"SELECT {columns} FROM {table} WHERE pid = ? ORDER BY {order}", (pid,)).fetchall():
            yield pid, row


def upgrade() -> None:
    """Make the new tables, seal what the old ones hold into them, and exchange them."""
    sealing, database = context.config.attributes["sealing"], context.config.attributes["database"]
    _make({
        "key_wrap": [_text("subject"), _integer("number"), _text("kek"), _bytes("wrapped"), _integer("seals"), _key("subject", "number")],
        "erasure": [_text("pid"), _integer("recorded_ns"), _key("pid")],
        "source": [_text("name"), _text("place"), _integer("recorded_ns"), _key("name")],
            "key_backup": [_text("path"), _integer("made_ns"), _key("path")],
    })  # fmt: skip
    _make(_sealed("new_"), "new_")
    sealing.start()

    def seal(table: str, pid: str, row: object, version: object, plain: str | bytes) -> bytes:
        return sealing.seal(table, pid, row, version, plain.encode() if isinstance(plain, str) else plain)

    order = "SELECT pid, name, recorded_ns FROM patient LEFT JOIN (SELECT pid AS of, min(seq) AS first FROM event GROUP BY pid) AS e ON e.of = pid ORDER BY first, pid"
    for number, (pid, name, recorded) in enumerate(database.execute(order).fetchall(), 1):
        sealing.enrol(pid)
        _put("patient", (pid, sealing.token("patient", name), seal("patient", pid, pid, 0, name), number, recorded))
    database.execute("INSERT INTO new_event SELECT seq, kind, pid, ref, recorded_ns FROM event")
    for pid, (rev, seq, recorded, body) in _by_patient("demographics", "rev, seq, recorded_ns, body", "rev"):
        _put("demographics", (pid, rev, seq, recorded, seal("demographics", pid, rev, 0, body)))
    owner = {}
    for pid, (sid, code, display, unit, source, seq) in _by_patient("series", "sid, code, display, unit, source, seq", "sid"):
        owner[sid] = pid
        head = json.dumps([code, display, unit, source])
        _put("series", (sid, pid, sealing.own(pid, "series", json.dumps([code, unit, source])), seal("series", pid, sid, 0, head), seq))
    for sid, pid in owner.items():
        for day, rev, seq, n, block in database.execute(
            "SELECT day, rev, seq, n, block FROM series_chunk WHERE sid = ? ORDER BY day, rev", (sid,)
        ).fetchall():
            _put("series_chunk", (sid, day, rev, seq, n, seal("series_chunk", pid, f"{sid}/{day}", rev, block)))
    for table in _FACTS:
        for pid, (found, seq, place, body) in _by_patient(table, "digest, seq, place, body", "digest"):
            token = sealing.own(pid, table, found)
            _put(table, (pid, token, seq, place, seal(table, pid, token, 0, body)))
    for table in _VERSIONED:
        columns = f"id, name, version, recorded_ns, upto_event, {', '.join(_PLAIN)}, meta, sha256, body"
        for pid, (key, name, version, recorded, upto, *plain, meta, sha, body) in _by_patient(table, columns, "id"):
            plain[5] = None if plain[5] is None else sealing.own(pid, "inputs", plain[5])
            head = seal(table, pid, key, "head", json.dumps([name, json.loads(meta)]))
            _put(
                table,
                (
                    key,
                    pid,
                    sealing.own(pid, table, name),
                    version,
                    recorded,
                    upto,
                    *plain,
                    head,
                    sealing.own(pid, "content", sha),
                    seal(table, pid, key, "body", body),
                ),
            )
    for pid, (key, proposal, time, recorded, who, answer, plan, reason) in _by_patient(
        "decision", "id, proposal, time_ns, recorded_ns, who, answer, plan, reason", "id"
    ):
        told = Decision(proposal=proposal, time=time, recorded=recorded, who=who, answer=answer, plan=plan, reason=reason)
        body = json.dumps([who, answer, plan, reason])
        _put(
            "decision",
            (key, pid, proposal, sealing.own(pid, "decision", digest(told)), time, recorded, seal("decision", pid, key, 0, body)),
        )
    for pid, (key, decision, time, recorded, body, note) in _by_patient("outcome", "id, decision, time_ns, recorded_ns, body, note", "id"):
        told = Outcome(decision=decision, time=time, recorded=recorded, values=json.loads(body), note=note)
        content = sealing.own(pid, "outcome", digest(told))
        _put("outcome", (key, pid, decision, content, time, recorded, seal("outcome", pid, key, 0, json.dumps([told.values, note]))))
    for key, kind, name, body, created, state, worker, lease, attempts, result in _rows(
        "id|id, kind, key, body, created_ns, state, worker, lease_ns, attempts, result FROM job"
    ):
        head = seal("job", "deployment", key, 0, json.dumps([name, body]))
        told = seal("job", "deployment", key, "result", result) if result else None
        _put("job", (key, kind, sealing.token("job", json.dumps([kind, name])), None, head, created, state, worker, lease, attempts, told))
    sealing.flush()
    _exchange()
    _make({
        "inbox": [_integer("seq"), _text("subject"), _text("source"), _text("content"), _integer("received_ns"), _text("state"), _integer("attempts"), _bytes("told"),
                  _bytes("body"), _key("seq"), sa.UniqueConstraint("subject", name="uq_inbox_subject"), sa.UniqueConstraint("content", name="uq_inbox_content")],
        "blob": [_text("pid"), _text("token"), _integer("size"), _key("pid", "token"), _to("", "pid", "patient", "pid")],
        "inbox_patient": [_integer("seq"), _text("pid"), _key("seq", "pid"), _to("", "seq", "inbox", "seq"), _to("", "pid", "patient", "pid")],
    })  # fmt: skip
    guard("event")
    guard("erasure")
    for name in (*_ERASABLE, "blob"):
        guard_erasable(name)


def downgrade() -> None:
    """Open everything again. Erased patients, messages and the state of sources are left behind."""
    sealing, database = context.config.attributes["sealing"], context.config.attributes["database"]
    _make(_clear("new_"), "new_")
    sealing.start()

    def opened(table: str, pid: str, row: object, version: object, body: bytes) -> str:
        return sealing.open(table, pid, row, version, body).decode()

    erased = {pid for (pid,) in database.execute("SELECT pid FROM erasure").fetchall()}
    for pid, name, recorded in database.execute("SELECT pid, name, recorded_ns FROM patient ORDER BY number").fetchall():
        _put("patient", (pid, f"erased-{pid}" if pid in erased else opened("patient", pid, pid, 0, name), recorded))
    database.execute("INSERT INTO new_event SELECT seq, kind, pid, ref, recorded_ns FROM event")
    for pid, (rev, seq, recorded, body) in _by_patient("demographics", "rev, seq, recorded_ns, body", "rev"):
        _put("demographics", (pid, rev, seq, recorded, opened("demographics", pid, rev, 0, body)))
    owner = {}
    for pid, (sid, head, seq) in _by_patient("series", "sid, head, seq", "sid"):
        owner[sid] = pid
        _put("series", (sid, pid, *json.loads(opened("series", pid, sid, 0, head)), seq))
    for sid, pid in owner.items():
        for day, rev, seq, n, block in database.execute(
            "SELECT day, rev, seq, n, block FROM series_chunk WHERE sid = ? ORDER BY day, rev", (sid,)
        ).fetchall():
            _put("series_chunk", (sid, day, rev, seq, n, sealing.open("series_chunk", pid, f"{sid}/{day}", rev, block)))
    for table in _FACTS:
        for pid, (token, seq, place, sealed) in _by_patient(table, "token, seq, place, body", "token"):
            body = sealing.open(table, pid, token, 0, sealed)
            fact = facts.decode(table, body)
            _put(table, (pid, digest(fact), seq, place, json.dumps(fact.key), fact.time, fact.recorded, body))
    for table in _VERSIONED:
        columns = f"id, version, recorded_ns, upto_event, {', '.join(_PLAIN)}, head, body"
        for pid, (key, version, recorded, upto, *plain, head, sealed) in _by_patient(table, columns, "id"):
            name, meta = json.loads(opened(table, pid, key, "head", head))
            body = sealing.open(table, pid, key, "body", sealed)
            plain[5] = meta.get("inputs")
            text = json.dumps(meta, sort_keys=True)
            _put(table, (key, pid, name, version, recorded, upto, *plain, text, sha256(body).hexdigest(), body))
    for pid, (key, proposal, time, recorded, body) in _by_patient("decision", "id, proposal, time_ns, recorded_ns, body", "id"):
        _put("decision", (key, pid, proposal, time, recorded, *json.loads(opened("decision", pid, key, 0, body))))
    for pid, (key, decision, time, recorded, body) in _by_patient("outcome", "id, decision, time_ns, recorded_ns, body", "id"):
        values, note = json.loads(opened("outcome", pid, key, 0, body))
        _put("outcome", (key, pid, decision, time, recorded, json.dumps(values, sort_keys=True), note))
    for key, kind, pid, body, created, state, worker, lease, attempts, result in _rows(
        "id|id, kind, pid, body, created_ns, state, worker, lease_ns, attempts, result FROM job"
    ):
        subject = pid or "deployment"
        name, text = json.loads(opened("job", subject, key, 0, body))
        told = "" if result is None else opened("job", subject, key, "result", result)
        _put("job", (key, kind, name, text, created, state, worker, lease, attempts, told))
    for name in ("blob", "inbox_patient", "inbox"):
        op.drop_table(name)
    _exchange()
    for name in ("key_backup", "source", "erasure", "key_wrap"):
        op.drop_table(name)
    for name in (*_MOVED[:-1],):
        guard(name)
