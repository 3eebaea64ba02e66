"""Inbox, upgrade, backup, restore, export, erasure, rotation: on both databases."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import sqlite3
import struct

import numpy as np
import pytest

import _canaries
from _old_store import write as write_old
from _records import GLUCOSE, START, everything, fill, meal, readings
from gemel.core import Demographics, Document, Finding, PatientRecord
from gemel.core.advice import Decision, Outcome
from gemel.core.errors import FormatError, GemelError, StoreError
from gemel.core.time import DAY, HOUR
from gemel.platform.audit import AuditLog, entries
from gemel.platform.audit_check import verify_trail
from gemel.platform.crypto import new_key
from gemel.platform.erase import erase, log_path
from gemel.platform.keys import FileMaster, make_master, read_master
from gemel.platform.store import Store, migrate
from gemel.platform.store.audit_sealer import AuditSealer
from gemel.platform.store.backup import TABLES, backup, read_erased, restore, verify_backup
from gemel.platform.store.deliveries import Delivery, save
from gemel.platform.store.export import export

WORD, NUMBER = "Quetzalcoatlus-7781", 123.456789012345


def person(name: str, word: str = "", number: float = 0.0) -> PatientRecord:
    series = readings(300, seed=len(name))
    if number:
        series = series.model_copy(update={"value": np.where(np.arange(300) % 7 == 3, number, series.value)})
    return PatientRecord(id=name, demographics=Demographics(sex="female", age=50.0, traits={"note": word or "none"})).with_facts(
        series, readings(20, source=f"pump {word}"), meal(3, number or 20.0, note=word), Finding(code=GLUCOSE, value=word or "seen", time=START),
        Document(title=f"letter {word}", media_type="text/plain", sha256="0" * 64, time=START, recorded=START + HOUR),
    )  # fmt: skip


def live(store: Store, record: PatientRecord, word: str = "none") -> None:
    """Everything that a store keeps of a person."""
    fill(store, record)
    store.put("twin", record.id, f"metabolic {word}", f"state {word}".encode() * 50, recorded=START, meta={"inputs": word, "model": "toy"})
    proposal = store.put("proposal", record.id, "bolus", f"plan {word}".encode(), recorded=START, meta={})
    save(store, Delivery(proposal, record.id, "ward", "sent", START, START + HOUR, told={"task": f"Task/{word}"}))
    decided = store.decide(Decision(proposal=proposal, time=START, recorded=START, who="nurse-7", answer="rejected", reason=word))
    store.outcome(Outcome(decision=decided, time=START, recorded=START, values={"glucose": 98.0}, note=word))
    store.enqueue("assimilate", f"{record.id}/5", json.dumps({"why": word}), now=0, patient=record.id)
    seq, _ = store.receive("lab", f"ORU for {record.id}: {word}".encode(), received=START, name=f"{word}.hl7")
    store.settle(seq, "done", patients=[record.id])


def test_a_message_enters_once_and_what_cannot_be_placed_waits_in_quarantine(place):
    with Store(place) as store:
        first = store.receive("lab", b"ORU 1", received=5, name="a.hl7")
        assert first == (1, True)
        assert store.receive("lab", b"ORU 1", received=9, name="a.hl7") == (1, False)
        assert store.receive("ward", b"ORU 1", received=9) == (2, True)  # another source
        store.settle(1, "quarantined", reason="no patient of that number")
        (held,) = store.messages("quarantined")
        assert (held.seq, held.name, held.reason, held.attempts) == (1, "a.hl7", "no patient of that number", 1)
        assert store.message(1)[1] == b"ORU 1"
        assert "number" not in repr(held)
        fill(store, person("anna"))
        store.settle(1, "done", patients=["anna"])
        assert [m.state for m in store.messages()] == ["done", "waiting"]
        for wrong in (lambda: store.message(9), lambda: store.settle(9, "done"), lambda: store.settle(1, "eaten")):
            with pytest.raises(StoreError, match="no such"):
                wrong()
        assert store.check().problems == ()


def test_a_batch_is_one_transaction_with_its_checkpoint(place):
    with Store(place) as store:
        with store.batch():
            store.append("anna", [meal(1, 10.0)], recorded=1)
            store.mark("fhir", "2026-01-01", recorded=1)
        with pytest.raises(RuntimeError, match="half way"), store.batch():  # noqa: PT012  all of the batch is meant
            store.append("anna", [meal(2, 10.0)], recorded=2)
            store.append("berta", [meal(2, 10.0)], recorded=2)
            store.mark("fhir", "2026-02-02", recorded=2)
            raise RuntimeError("half way")
        assert (store.patients(), store.marked("fhir"), store.marked("hl7"), store.counts()["event"]) == (("anna",), "2026-01-01", None, 1)
        store.append("berta", [meal(2, 10.0)], recorded=3)  # her key of the lost transaction is not used
        assert len(store.record("berta").exposures) == 1
    with Store(place) as store:
        assert len(store.record("berta").exposures) == 1
        assert store.check().problems == ()


def test_a_key_gets_a_successor_when_it_has_sealed_enough(place):
    with Store(place) as store:
        store._sealing._most = 5
        for i in range(12):
            store.append("anna", [meal(i, 10.0 + i)], recorded=i)
        numbers = [
            row[0] for row in store._database.execute("SELECT seals FROM key_wrap WHERE subject <> 'deployment' ORDER BY number").fetchall()
        ]
        assert len(numbers) > 2
        assert max(numbers) <= 5
        assert sum(numbers) == 13  # the name and twelve meals
        assert store.append("anna", [meal(3, 13.0)], recorded=99) == 0
    with Store(place) as store:
        assert len(store.record("anna").exposures) == 12


def test_a_store_of_the_previous_release_is_sealed_when_it_is_opened(tmp_path):
    path = tmp_path / "old.sqlite"
    records = [person("zoe", WORD, NUMBER), everything(), person("anna")]
    decision = Decision(proposal="", time=START, recorded=START, who="nurse-7", answer="rejected", reason=WORD)
    decided = write_old(
        path,
        records,
        (f"plan {WORD}".encode(), decision, Outcome(decision="", time=START, recorded=START, values={"glucose": 98.0}, note=WORD)),
    )
    assert _canaries.find([path], [WORD])  # the search finds what lies open
    with Store(path) as store:
        assert store.patients() == ("zoe", "p1", "anna")
        for record in records:
            assert store.record(record.id).hash == record.hash
            assert store.append(record.id, record.facts(), recorded=START, demographics=record.demographics) == 0
            assert store.get("twin", record.id, "toy") == b"state of " + record.id.encode()
        proposal = store.versions("proposal", "zoe")[0].id
        assert store.decide(decision.model_copy(update={"proposal": proposal})) == decided
        assert [kind for kind, _ in store.answers("zoe")] == ["decision", "outcome"]
        assert (store.position("worker"), store.claim("assimilate", "w", now=5).key) == (2, "anna/5")
        assert store.check().problems == ()
        assert _canaries.find([p for p in tmp_path.iterdir() if p.suffix != ".key"], [WORD, NUMBER]) == []


@pytest.mark.parametrize("across", [False, True])
def test_a_backup_comes_back_on_either_database(places, tmp_path, across):
    master = FileMaster(new_key())
    with Store(places(), keys=master) as store:
        for name in ("anna", "berta", "carl"):
            live(store, person(name), name)
        made = backup(store, tmp_path / "b", tmp_path / "keys.json", made=START)
        assert made.rows["patient"] == 3
        hashes = {name: store.record(name).hash for name in store.patients()}
        told = [e[1:] for e in store.events()]
        counts = store.counts()
        with pytest.raises(StoreError, match="never overwritten"):
            backup(store, tmp_path / "b", tmp_path / "other.json", made=START)
        export(store, tmp_path / "before")
    assert verify_backup(tmp_path / "b").rows == made.rows
    assert {p.stem for p in (tmp_path / "b").glob("*.jsonl")} == set(TABLES)
    target = tmp_path / "again.sqlite" if across else places()
    found = restore(tmp_path / "b", tmp_path / "keys.json", target, master=master, recorded=START)
    assert found.problems == ()
    with Store(target, keys=master) as store:
        assert {name: store.record(name).hash for name in store.patients()} == hashes
        assert ([e[1:] for e in store.events()], store.counts()) == (told, counts)
        export(store, tmp_path / "after")
    assert all((tmp_path / "after" / p.name).read_bytes() == p.read_bytes() for p in (tmp_path / "before").iterdir())
    with pytest.raises(StoreError, match=r"never overwritten"):
        restore(tmp_path / "b", tmp_path / "keys.json", target, master=master, recorded=START)
    with pytest.raises(StoreError, match="another master key"):
        restore(tmp_path / "b", tmp_path / "keys.json", places(), master=FileMaster(new_key()), recorded=START)


def test_a_backup_that_was_changed_is_refused(tmp_path):
    master = FileMaster(new_key())
    with Store(tmp_path / "a.sqlite", keys=master) as store:
        live(store, person("anna"))
        backup(store, tmp_path / "b", tmp_path / "k.json", made=1)
    file = tmp_path / "b" / "finding.jsonl"
    body = file.read_bytes()
    file.write_bytes(body[:-5] + b"A" + body[-4:])
    with pytest.raises(StoreError, match="damaged"):
        verify_backup(tmp_path / "b")
    file.unlink()
    with pytest.raises(StoreError, match="not whole"):
        verify_backup(tmp_path / "b")
    file.write_bytes(body)
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    manifest["made"] += 1
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="manifest is another"):
        restore(tmp_path / "b", tmp_path / "k.json", tmp_path / "c.sqlite", master=master, recorded=1)
    (tmp_path / "b" / "manifest.json").write_text("{}")
    with pytest.raises(FormatError, match="not a backup"):
        verify_backup(tmp_path / "b")
    with pytest.raises(StoreError, match="not whole"):
        verify_backup(tmp_path / "nowhere")


def test_an_erased_patient_is_nowhere_and_no_backup_brings_them_back(places, tmp_path, request):
    place, master = places(), FileMaster(new_key())
    with Store(place, keys=master) as store:
        for name, word, number in (("anna", "", 0.0), (WORD, WORD, NUMBER), ("carl", "", 0.0)):
            live(store, person(name, word, number), word or "none")
        backup(store, tmp_path / "b", tmp_path / "keys.json", made=START)
        shutil.copy(tmp_path / "keys.json", tmp_path / "moved.json")
        export(store, tmp_path / "before", patients=["anna", "carl"])
        pid = store._pid(WORD)
        wraps = [bytes(row[0]) for row in store._database.execute("SELECT wrapped FROM key_wrap WHERE subject = ?", (pid,))]
        assert _canaries.find([tmp_path / "keys.json"], wraps)  # the search finds what is there
        done = erase(
            store, WORD, recorded=START + DAY, key_backups=[tmp_path / "moved.json", tmp_path / "lost.json"], log=tmp_path / "log.erased"
        )
        assert (done.pid, done.messages, len(done.reached)) == (pid, 1, 2)
        assert [p.rsplit("/", 1)[-1] for p in done.unreached] == ["lost.json"]
        assert store.patients() == ("anna", "carl")
        assert store.check().problems == ()
        for ask in (lambda: store.record(WORD), lambda: store.get("twin", WORD, f"metabolic {WORD}"), lambda: store.versions("twin", WORD)):
            with pytest.raises(StoreError, match="no such patient"):
                ask()
        export(store, tmp_path / "after", patients=["anna", "carl"])
        assert all((tmp_path / "after" / p.name).read_bytes() == p.read_bytes() for p in (tmp_path / "before").iterdir())
        assert [e.kind for e in store.events() if not e.patient][-1] == "erasure"
        files = [p for p in tmp_path.rglob("*") if p.is_file()]
        if "postgres" in request.node.name:  # the server's log of changes is its administrator's: see docs/howto/keep-data.md
            files += [p for p in request.getfixturevalue("server").files() if "pg_wal" not in p.parts]
        assert len(files) > 25
        assert _canaries.find(files, [WORD, NUMBER, *wraps]) == []
        # no guess can be tried against what is left of their events
        assert store.append(WORD, person(WORD).facts(), recorded=START) > 0
        assert store._pid(WORD) != pid
    found = restore(tmp_path / "b", tmp_path / "keys.json", target := places(), master=master, recorded=START + DAY)
    assert found.problems == ()
    with Store(target, keys=master) as store:
        assert store.patients() == ("anna", "carl")
        assert [e.seq for e in store.events()] == list(range(1, 13 + 3))
    assert read_erased(tmp_path / "log.erased") == {pid}


def test_a_key_backup_that_nobody_reached_is_made_good_by_the_erasure_log(tmp_path):
    master = FileMaster(new_key())
    path = tmp_path / "a.sqlite"
    with Store(path, keys=master) as store:
        live(store, person("anna"))
        live(store, person("berta", WORD, NUMBER), WORD)
        backup(store, tmp_path / "b", tmp_path / "k.json", made=1)
        os.rename(tmp_path / "k.json", tmp_path / "vault.json")
        done = erase(store, "berta", recorded=2)
        assert done.unreached == (str(tmp_path / "k.json"),)
    gone = read_erased(log_path(path))
    assert restore(tmp_path / "b", tmp_path / "vault.json", tmp_path / "c.sqlite", master=master, erased=gone, recorded=3).problems == ()
    with Store(tmp_path / "c.sqlite", keys=master) as store:
        assert store.patients() == ("anna",)
    (tmp_path / "x.erased").write_text("nothing of the kind\n")
    with pytest.raises(FormatError, match="not an erasure log"):
        read_erased(tmp_path / "x.erased")


def test_the_canary_search_finds_every_form(tmp_path):
    pad = os.urandom(37)
    shapes = {
        "utf8": WORD.encode(), "utf16": WORD.encode("utf-16-le"), "utf16be": WORD.encode("utf-16-be"), "gzip": gzip.compress(b"x" * 40 + WORD.encode()),
        "hex": WORD.encode().hex().encode(), **{f"b64-{i}": base64.b64encode(b"y" * i + WORD.encode() + b"zzz") for i in range(4)},
    }  # fmt: skip
    for name, raw in shapes.items():
        (tmp_path / name).write_bytes(pad + raw + pad)
    assert {line.split(":")[0] for line in _canaries.find(tmp_path.iterdir(), [WORD])} == set(shapes)
    (tmp_path / "double").write_bytes(pad + struct.pack("<d", NUMBER))
    assert len(_canaries.find([tmp_path / "double"], [NUMBER])) == 1
    (tmp_path / "nothing").write_bytes(os.urandom(100_000))
    assert _canaries.find([tmp_path / "nothing"], [WORD, NUMBER]) == []


def test_rotating_the_master_key_wraps_again_and_touches_nothing_else(place, tmp_path):
    old, new = FileMaster(new_key()), make_master(tmp_path / "new.key")
    with Store(place, keys=old) as store:
        live(store, person("anna", WORD), WORD)
        sealed = store._database.execute("SELECT body FROM finding ORDER BY token").fetchall()
        assert store.rewrap(new) == 3  # the deployment's, the patient's, the message's
        assert store.record("anna").hash == person("anna", WORD).hash
    with Store(place, keys=read_master(tmp_path / "new.key")) as store:
        assert store._database.execute("SELECT body FROM finding ORDER BY token").fetchall() == sealed
        assert store.record("anna").hash == person("anna", WORD).hash
        assert store.check().problems == ()
    with pytest.raises(StoreError, match=rf"another master key.*{new.id}"):
        Store(place, keys=old)


def test_a_value_that_was_moved_does_not_open(tmp_path):
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        fill(store, person("anna"))
        fill(store, person("berta"))
    raw = sqlite3.connect(path)
    for name in ("finding", "series_chunk"):
        for verb in ("update", "delete"):
            raw.execute(f"DROP TRIGGER {name}_no_{verb}")
    bodies = [row[0] for row in raw.execute("SELECT body FROM finding ORDER BY pid")]
    raw.execute("UPDATE finding SET body = ? WHERE body = ?", (bodies[0], bodies[1]))
    days = raw.execute("SELECT sid, day, block FROM series_chunk ORDER BY sid, day LIMIT 2").fetchall()
    raw.execute("UPDATE series_chunk SET block = ? WHERE sid = ? AND day = ?", (days[0][2], *days[1][:2]))
    raw.execute("DELETE FROM key_wrap WHERE subject = (SELECT pid FROM patient WHERE number = 2)")
    raw.commit()
    raw.close()
    with Store(path) as store:
        problems = " ".join(store.check().problems)
        assert "has no key" in problems
        assert "series_chunk" in problems
        with pytest.raises(StoreError, match=r"damaged|gone"):
            store.record("anna")


@pytest.mark.parametrize("format", ["ndjson", "csv", "parquet"])
def test_everything_goes_out(tmp_path, format):
    with Store(tmp_path / "a.sqlite") as store:
        live(store, everything())
        live(store, person("anna", "=cmd()|evil"), "none")
        rows = export(store, tmp_path / "out", format)
        readings_ = sum(len(s) for name in store.patients() for s in store.record(name).series)
    assert all(p.stat().st_mode & 0o077 == 0 for p in (tmp_path / "out").iterdir())
    if format == "ndjson":
        lines = [json.loads(line) for p in sorted((tmp_path / "out").iterdir()) for line in p.read_text().splitlines()]
        assert len(lines) == sum(rows.values())
        assert sum(line["kind"] == "reading" for line in lines) == readings_
        assert {"demographics", "exposure", "finding", "document", "geometry", "twin", "proposal", "decision", "outcome"} <= {
            line["kind"] for line in lines
        }
    elif format == "csv":
        assert rows["readings.csv"] == readings_
        text = (tmp_path / "out" / "facts.csv").read_text()
        assert "'=cmd" in text
        assert ",=cmd" not in text
    else:
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(tmp_path / "out" / "readings.parquet")
        assert table.num_rows == readings_ == rows["readings.parquet"]
    with pytest.raises(GemelError, match="no such format"), Store(tmp_path / "a.sqlite") as store:
        export(store, tmp_path / "out", "xlsx")


def test_no_key_no_store(tmp_path, monkeypatch):
    path = tmp_path / "a.sqlite"
    Store(path).close()
    assert (tmp_path / "a.sqlite.key").stat().st_mode & 0o777 == 0o600
    os.rename(tmp_path / "a.sqlite.key", tmp_path / "elsewhere.key")
    with pytest.raises(StoreError, match="master key is not there"):
        Store(path)
    assert not (tmp_path / "a.sqlite.key").exists()
    monkeypatch.setenv("GEMEL_KEY_FILE", str(tmp_path / "elsewhere.key"))
    Store(path).close()
    monkeypatch.setenv("GEMEL_KEY_FILE", "")
    monkeypatch.setenv("GEMEL_KEY", "11" * 32)
    with pytest.raises(StoreError, match="another master key"):
        Store(path)
    with pytest.raises(StoreError, match="another master key"):
        migrate(path, "0002")


def test_a_stream_sees_what_others_wrote_and_what_was_undone(place):
    keys, day = FileMaster(new_key()), readings(200)
    one = [day.take(np.arange(i, i + 1)) for i in range(40)]
    with Store(place, keys=keys) as a, Store(place, keys=keys) as b:
        assert [a.append("anna", [s], recorded=1) for s in one[:10]] == [1] * 10
        assert [b.append("anna", [s], recorded=1) for s in one[:20]] == [0] * 10 + [1] * 10
        assert [a.append("anna", [s], recorded=1) for s in one[:21]] == [0] * 20 + [1]
        with pytest.raises(RuntimeError), a.batch():  # noqa: PT012  all of the batch is meant
            a.append("anna", [one[30]], recorded=1)
            a.append("anna", [one[31]], recorded=1)
            raise RuntimeError
        assert a.append("anna", [one[30]], recorded=1) == 1
        a.append("zoe", one[:5], recorded=1)
    with Store(place, keys=keys) as a:
        a.append("zoe", [one[6]], recorded=1)
        erase(a, "zoe", recorded=2)
        assert a.append("carl", one[:5], recorded=1) == 5  # takes the number of a series that was erased
        assert a.record("anna").hash == PatientRecord(id="anna").with_facts(*one[:21], one[30]).hash
        assert a.check().problems == ()


def test_after_an_erasure_the_audit_trail_verifies_and_does_not_tell(place, tmp_path):
    keys, trail = FileMaster(new_key()), tmp_path / "audit.jsonl"
    with Store(place, keys=keys) as store:
        fill(store, person("anna"))
        fill(store, person("berta", WORD), recorded=START)
        anna, berta = store.subject("anna"), store.subject("berta")
        sealer = AuditSealer(store)
        with AuditLog(trail, sealer=sealer) as log:
            for i, who in enumerate((anna, berta, "")):
                log.write(who="nurse-7", action="read", patient=who, purpose="TREAT", time=START + i, detail={"why": WORD})
            erase(store, "berta", recorded=START)
            log.write(who="officer", action="erase", patient=berta, purpose="PATRQT", time=START + 9, detail={})
        told = list(entries(trail, sealer=sealer))
        assert ["detail" in entry for entry in told] == [True, False, True, True]
        assert (told[3]["action"], told[1]["subject"]) == ("erase", berta)
        assert (store.is_erased(berta), store.is_erased(anna)) == (True, False)
        assert verify_trail(trail).holds
        assert _canaries.find([trail], [WORD, "nurse-7"]) == []
        with pytest.raises(StoreError, match="names nobody"):
            sealer.seal("stranger", b"", b"audit|1|1")


def test_large_bytes_lie_sealed_in_files_of_their_own_and_go_with_their_patient(places, tmp_path):
    place, keys, folder = places(), FileMaster(new_key()), tmp_path / "files"
    body, other = WORD.encode() * 1000, b"scan of carl" * 100
    with Store(place, keys=keys, blobs=folder) as store:
        for name in ("anna", "carl"):
            fill(store, person(name))
        told = store.add_bytes("anna", body)
        assert (store.add_bytes("anna", body), store.get_bytes("anna", told)) == (told, body)
        kept = store.add_bytes("carl", other)
        assert store.add_bytes("carl", body) == told  # the same bytes of another are another file
        assert len([p for p in folder.rglob("*") if p.is_file()]) == 3
        with pytest.raises(RuntimeError), store.batch():  # noqa: PT012  all of the batch is meant
            store.add_bytes("anna", b"undone")
            raise RuntimeError
        assert "belongs to nobody" in " ".join(store.check().problems)
        assert (store.sweep(), store.sweep(grace_s=0.0)) == (0, 1)  # somebody may be adding it: not at once
        assert store.check().problems == ()
        with pytest.raises(StoreError, match="no such bytes"):
            store.get_bytes("carl", "0" * 64)
        backup(store, tmp_path / "b", tmp_path / "k.json", made=1)
        erase(store, "anna", recorded=2, log=tmp_path / "log")
        assert len([p for p in folder.rglob("*") if p.is_file()]) == 2
        assert store.get_bytes("carl", kept) == other
        assert _canaries.find([p for p in tmp_path.rglob("*") if p.is_file()], [WORD]) == []
    target = places()
    assert restore(tmp_path / "b", tmp_path / "k.json", target, master=keys, recorded=3, blobs_folder=tmp_path / "new").problems == ()
    with Store(target, keys=keys, blobs=tmp_path / "new") as store:
        assert (store.patients(), store.get_bytes("carl", kept), store.get_bytes("carl", told)) == (("carl",), other, body)
        (victim,) = [p for p in (tmp_path / "new").rglob("*") if p.is_file() and p.stat().st_size < 5000]
        victim.write_bytes(victim.read_bytes()[:-1] + b"x")
        assert "damaged" in " ".join(store.check().problems)
        victim.unlink()
        assert "its file is gone" in " ".join(store.check().problems)
        with pytest.raises(StoreError, match="is gone"):
            store.get_bytes("carl", kept)
    (tmp_path / "flat").write_bytes(b"")
    with Store(target, keys=keys, blobs=tmp_path / "flat") as store, pytest.raises(StoreError, match="cannot be written"):
        store.add_bytes("carl", b"more")
