"""The audit trail: what is written stays, and whatever is changed afterwards is seen and named."""

import errno
import json
import os
import random

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from _audit_mutations import KINDS, entry, mutate, trail
from gemel.core.errors import DataError, FormatError, StoreError
from gemel.core.protocols import Audit
from gemel.platform import audit
from gemel.platform.audit import START, AuditLog, AuditRoot, canonical, entries, link, read_roots, root_hash, roots_path
from gemel.platform.audit_check import verify_lines, verify_trail
from gemel.platform.audit_event import audit_event
from gemel.platform.merkle import root
from gemel.platform.signing import sign

SECONDS = 1_000_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


def public(key):
    return key.public_key().public_bytes_raw().hex()


def test_the_chain_is_the_one_that_the_page_describes(path):
    """Computed a second time, from the words."""
    import hashlib

    trail(path, 3)
    before = bytes(32)
    for line in path.read_bytes().splitlines():
        told = json.loads(line)
        stated = told.pop("hash")
        body = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        before = hashlib.sha256(before + body).digest()
        assert before.hex() == stated
    assert START == bytes(32)


def test_it_is_the_audit_of_the_protocols_and_goes_on_where_it_stopped(path):
    with AuditLog(path) as log:
        assert isinstance(log, Audit)
        first = log.write(who="a", action="read", patient="p", purpose="TREAT", time=1, detail={})
        assert (log.size, log.head) == (1, first)
    with AuditLog(path) as log:
        assert (log.size, log.head) == (1, first)
        log.write(who="b", action="read", patient="p", purpose="TREAT", time=2, detail={"text": "Größe\n\u2028"})
    assert [e["who"] for e in entries(path)] == ["a", "b"]
    assert [e["seq"] for e in entries(path)] == [1, 2]
    assert verify_trail(path).holds
    assert path.stat().st_mode & 0o777 == 0o600


def test_roots_are_taken_by_number_and_by_time_signed_and_anchored(path, tmp_path):
    key, anchor = Ed25519PrivateKey.generate(), tmp_path / "elsewhere" / "anchor.jsonl"
    anchor.parent.mkdir()
    with AuditLog(path, key=key, anchor=anchor, every=10, seconds=60) as log:
        for i in range(25):
            log.write_many([entry(i) | {"time": i * SECONDS}])
        assert [r.size for r in read_roots(anchor)] == [10, 20]
        log.tick(79 * SECONDS)  # the newest root is of second 19
        assert [r.size for r in read_roots(anchor)] == [10, 20, 25]
        log.tick(1000 * SECONDS)  # nothing new
        assert [r.size for r in read_roots(anchor)] == [10, 20, 25]
        log.write_many([entry(25) | {"time": 1000 * SECONDS}])
    hashes = [bytes.fromhex(e["hash"]) for e in entries(path)]
    for made in read_roots(anchor):
        assert made.root == root(hashes[: made.size]).hex()
        assert made.head == hashes[made.size - 1].hex()
    found = verify_trail(path, anchors=[anchor], keys=[public(key)])
    assert found.holds
    assert (found.entries, found.anchored, found.roots) == (26, 26, 8)
    assert found.keys == (public(key),)


@pytest.mark.parametrize("kind", KINDS)
def test_every_mutation_is_seen_and_its_first_entry_named(path, kind):
    """50 of each kind: 300. The benchmark does 10,000."""
    trail(path, 257)
    data, roots, rng = path.read_bytes(), read_roots(roots_path(path)), random.Random(kind)
    assert verify_lines(data, roots).holds
    done = 0
    while done < 50:
        made = mutate(data, kind, rng)
        if made is None:
            continue
        found = verify_lines(made[0], roots)
        assert not found.holds
        assert found.first_bad == made[1]
        done += 1


def test_a_change_of_the_roots_is_seen(path, tmp_path):
    trail(path, 30, every=10)
    place = roots_path(path)
    good, rng = place.read_bytes(), random.Random(7)
    for _ in range(60):
        spoilt = bytearray(good)
        spoilt[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
        place.write_bytes(spoilt)
        assert not verify_trail(path).holds


def test_what_was_cut_is_seen_by_the_anchor_even_when_the_roots_beside_it_were_cut_too(path, tmp_path):
    anchor = tmp_path / "anchor.jsonl"
    trail(path, 300, every=100, anchor=anchor)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:100]))
    roots = roots_path(path).read_bytes().splitlines(keepends=True)
    roots_path(path).write_bytes(roots[0])
    assert verify_trail(path).holds  # nobody could tell from here
    found = verify_trail(path, anchors=[anchor])
    assert found.first_bad == 101
    assert "300 were signed, 100 are there" in found.wrong[0]


def rechain(lines, at, change):
    """Rewrite the trail from one entry on, as somebody would who knows how it is made."""
    before, out = START, []
    for i, line in enumerate(lines, 1):
        told = json.loads(line)
        del told["hash"]
        told = told | change if i == at else told
        before = link(before, canonical(told))
        out.append(canonical(told)[:-1] + b',"hash":"' + before.hex().encode() + b'"}\n')
    return b"".join(out), before


def test_a_trail_that_was_rewritten_and_chained_again_is_seen_by_its_roots(path):
    trail(path, 30, every=10)
    roots = read_roots(roots_path(path))
    forged, _ = rechain(path.read_bytes().splitlines(), 15, {"who": "somebody else"})
    assert verify_lines(forged).holds  # the chain alone does not tell
    found = verify_lines(forged, roots)
    assert (found.first_bad, found.wrong) == (11, ("entries 11 to 20 are others than those that were signed",))


def test_roots_signed_by_another_are_seen_when_the_key_is_known(path):
    key = trail(path, 30, every=30)
    forged, head = rechain(path.read_bytes().splitlines(), 15, {"who": "somebody else"})
    other = Ed25519PrivateKey.generate()
    hashes = [bytes.fromhex(json.loads(line)["hash"]) for line in forged.splitlines()]
    top = root(hashes).hex()
    signature = sign(root_hash(30, top, head.hex()), who="gemel", meaning=audit.MEANING, time=1, key=other)
    made = AuditRoot(size=30, root=top, head=head.hex(), time=1, signature=signature)
    assert verify_lines(forged, [made]).holds
    assert "not a trusted one" in verify_lines(forged, [made], keys=[public(key)]).wrong[0]
    meant = sign(root_hash(30, top, head.hex()), who="gemel", meaning="seen", time=1, key=other)
    assert "signed as 'seen'" in verify_lines(forged, [made.model_copy(update={"signature": meant})]).wrong[0]
    assert "another than the one" in verify_lines(forged, [made.model_copy(update={"size": 29})]).wrong[0]


def test_nothing_is_appended_to_a_broken_trail(path):
    trail(path, 5)
    good = path.read_bytes()
    path.write_bytes(good.replace(b"u3", b"u4", 1))
    with pytest.raises(StoreError, match="entry 4 of audit"):
        AuditLog(path)
    path.write_bytes(b"".join(good.splitlines(keepends=True)[:3]))
    with pytest.raises(StoreError, match="shorter than its signed root"):
        AuditLog(path)


def test_a_line_that_a_crash_cut_off_is_dropped_and_said(path):
    with AuditLog(path) as log:
        log.write(who="a", action="read", patient="p", purpose="TREAT", time=1, detail={})
    with path.open("ab") as sink:
        sink.write(b'{"action":"read","det')
    assert verify_trail(path).first_bad == 2
    with AuditLog(path) as log:
        log.write(who="b", action="read", patient="p", purpose="TREAT", time=2, detail={})
    assert [(e["action"], e["detail"].get("bytes")) for e in entries(path)] == [("read", None), ("recover", 21), ("read", None)]
    assert verify_trail(path).holds


def test_a_root_that_a_crash_cut_off_is_taken_again(path):
    key = trail(path, 20, every=10)
    place = roots_path(path)
    place.write_bytes(place.read_bytes()[:-40])
    assert not verify_trail(path).holds
    with AuditLog(path, key=key, every=10) as log:
        log.close(99)
    assert [r.size for r in read_roots(place)] == [10, 20]
    assert verify_trail(path).holds


def test_there_is_one_writer(path):
    with AuditLog(path), pytest.raises(StoreError, match="another process writes"):
        AuditLog(path)


def test_a_disclosure_is_on_the_disk_before_the_answer_and_other_entries_wait(path, monkeypatch):
    synced = []
    monkeypatch.setattr(audit.os, "fsync", lambda handle: synced.append(handle))
    with AuditLog(path) as log:
        log.write(who="a", action="create", patient="p", purpose="TREAT", time=1, detail={})
        assert synced == []
        for n, action in enumerate(sorted(audit.DISCLOSURES), 1):
            log.write(who="a", action=action, patient="p", purpose="TREAT", time=1, detail={})
            assert len(synced) == n
        log.write(who="a", action="create", patient="p", purpose="TREAT", time=1, detail={})
    assert len(synced) == len(audit.DISCLOSURES) + 1  # closing waits for the last


class Full:
    """A disk that takes some bytes and then is full."""

    def __init__(self, sink, room):
        self.sink, self.room = sink, room

    def __getattr__(self, name):
        return getattr(self.sink, name)

    def write(self, body):
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.sink.write(body[: self.room])
        self.room -= written
        return written


def test_a_full_disk_leaves_the_trail_whole_and_nothing_acknowledged(path):
    with AuditLog(path) as log:
        log.write(who="a", action="read", patient="p", purpose="TREAT", time=1, detail={})
        before, log._sink = log._sink, Full(log._sink, 20)
        with pytest.raises(StoreError, match="cannot be written"):
            log.write(who="b", action="read", patient="p", purpose="TREAT", time=2, detail={})
        assert log.size == 1
        log._sink = before
        log.write(who="c", action="read", patient="p", purpose="TREAT", time=3, detail={})
    assert [e["who"] for e in entries(path)] == ["a", "c"]
    assert verify_trail(path).holds


def test_an_anchor_that_cannot_be_reached_is_an_error(path, tmp_path):
    with AuditLog(path, key=Ed25519PrivateKey.generate(), anchor=tmp_path / "gone" / "anchor", every=1) as log:
        with pytest.raises(StoreError, match="cannot be anchored"):
            log.write(who="a", action="read", patient="p", purpose="TREAT", time=1, detail={})
        (tmp_path / "gone").mkdir()
        log.tick(2)  # taken again
    assert [r.size for r in read_roots(tmp_path / "gone" / "anchor")] == [1]


@pytest.mark.parametrize("detail", [{"x": b"bytes"}, {"x": float("nan")}, {"x": object()}])
def test_what_is_not_json_is_refused(path, detail):
    with AuditLog(path) as log:
        with pytest.raises(DataError, match="plain JSON"):
            log.write(who="a", action="read", patient="p", purpose="TREAT", time=1, detail=detail)
        assert log.size == 0


class Sealed:
    """AES-GCM with a key per patient, that can be destroyed."""

    def __init__(self):
        self.keys = {}

    def seal(self, patient, plain, bound):
        nonce = os.urandom(12)
        return nonce + AESGCM(self.keys.setdefault(patient, AESGCM.generate_key(256))).encrypt(nonce, plain, bound)

    def open(self, patient, sealed, bound):
        if patient not in self.keys:
            raise StoreError("the key was destroyed")
        try:
            return AESGCM(self.keys[patient]).decrypt(sealed[:12], sealed[12:], bound)
        except InvalidTag as error:
            raise StoreError("sealed for another place") from error


def test_sealed_entries_show_nothing_and_verify_after_their_key_is_gone(path):
    sealer = Sealed()
    with AuditLog(path, sealer=sealer) as log:
        log.write(who="dr-canary", action="read", patient="r4nd0m", purpose="TREAT", time=1, detail={"resource": "Observation/canary"})
        log.write(who="dr-canary", action="read", patient="other", purpose="TREAT", time=2, detail={})
    assert b"canary" not in path.read_bytes()
    assert [e["who"] for e in entries(path, sealer=sealer)] == ["dr-canary"] * 2
    del sealer.keys["r4nd0m"]
    first, second = entries(path, sealer=sealer)
    assert "who" not in first
    assert (first["subject"], second["who"]) == ("r4nd0m", "dr-canary")
    assert verify_trail(path).holds


def test_a_file_that_is_no_trail_is_named(path):
    path.write_bytes(b"hello\n")
    with pytest.raises(FormatError, match="no entry"):
        list(entries(path))
    assert verify_trail(path).first_bad == 1
    path.write_bytes(b"")
    assert verify_trail(path).holds


EVENTS = [
    ("read", "0", "R", "rest"), ("search", "0", "E", "110112"), ("export", "0", "E", "110106"), ("deny", "8", "E", "110113"),
    ("login", "0", "E", "110114"), ("create", "0", "C", "rest"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "outcome", "letter", "code"), EVENTS)
def test_an_entry_is_a_fhir_audit_event(action, outcome, letter, code):
    """R4B's AuditEvent is R4's: fhir.resources judges its structure."""
    from fhir.resources.R4B.auditevent import AuditEvent

    detail = {
        "role": "nurse",
        "address": "192.0.2.1",
        "resource": "Observation/1",
        "query": "code=8480-6",
        "request": "r-1",
        "reason": "why",
    }
    told = audit_event({"who": "u", "action": action, "patient": "p", "purpose": "TREAT", "time": 0, "detail": detail})
    AuditEvent.model_validate(told)
    assert (told["outcome"], told["action"], told["type"]["code"]) == (outcome, letter, code)
    assert told["entity"][2]["query"] == "Y29kZT04NDgwLTY="
    assert [e["role"]["code"] for e in told["entity"][:3]] == ["1", "4", "24"]
    assert told["entity"][3]["what"] == {"identifier": {"value": "r-1"}}
    AuditEvent.model_validate(audit_event({"seq": 1, "time": 0, "subject": "p", "sealed": "..."}))
