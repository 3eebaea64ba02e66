"""Sealing against published answers; keys where they should be, and nowhere else."""

from __future__ import annotations

import os
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core.errors import StoreError
from gemel.platform import crypto
from gemel.platform.crypto import DataKey, Secret, blind, derive, new_key, place, unwrap_key, wrap_key
from gemel.platform.keys import FileMaster, Master, beside, find_master, make_master, read_master


def test_gcm_gives_the_published_answers():
    """McGrew & Viega, The Galois/Counter Mode of Operation, test cases 13 and 14."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(bytes(32))
    assert cipher.encrypt(bytes(12), b"", None).hex() == "530f8afbc74536b9a963b4f1c4cb738b"
    assert cipher.encrypt(bytes(12), bytes(16), None).hex() == "cea7403d4d606b6e074ec5d3baf39d18" + "d0d1c8a799996bf0265b98b5d48ab919"
    # The cipher text (not its tag, which covers the place too) is the same inside a sealed value.
    sealed = DataKey(Secret(bytes(32)), nonce=bytes).seal(bytes(16), b"")
    assert sealed[15:31].hex() == "cea7403d4d606b6e074ec5d3baf39d18"


def test_key_wrap_gives_the_published_answer():
    """RFC 3394, section 4.6."""
    master, key = Secret(bytes(range(32))), Secret(bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F"))
    wrapped = wrap_key(master, key)
    assert wrapped.hex() == "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
    assert unwrap_key(master, wrapped) == key
    with pytest.raises(StoreError, match="cannot be unwrapped"):
        unwrap_key(new_key(), wrapped)


@settings(max_examples=60, deadline=None)
@given(plain=st.binary(max_size=300), at=st.integers(0, 10_000), number=st.integers(0, 65_535))
def test_a_sealed_value_opens_in_its_place_only_and_any_flipped_bit_is_seen(plain, at, number):
    key = DataKey(new_key(), number)
    bound = place("finding", "p", "r", 1)
    sealed = key.seal(plain, bound)
    assert key.open(sealed, bound) == plain
    assert (len(sealed), crypto.number_of(sealed)) == (len(plain) + crypto.OVERHEAD, number)
    changed = bytearray(sealed)
    changed[at % len(sealed)] ^= 1 << (at % 8)
    for wrong, where in (
        (bytes(changed), bound),
        (sealed[:-1], bound),
        (sealed, place("finding", "p", "r", 2)),
        (sealed, place("finding", "q", "r", 1)),
    ):
        with pytest.raises(StoreError, match="damaged"):
            key.open(wrong, where)
    with pytest.raises(StoreError, match="damaged"):
        DataKey(new_key(), number).open(sealed, bound)


def test_the_same_value_is_never_sealed_to_the_same_bytes():
    key = DataKey(new_key())
    assert len({key.seal(b"5.5", b"") for _ in range(1000)}) == 1000


def test_tokens_depend_on_key_field_and_value():
    one, two = new_key(), new_key()
    assert blind(one, "name", "anna") == blind(one, "name", b"anna")
    tokens = {
        blind(one, "name", "anna"),
        blind(two, "name", "anna"),
        blind(one, "unit", "anna"),
        blind(one, "name", "ann"),
        blind(one, "namea", "nna"),
    }
    assert len(tokens) == 5
    assert derive(one, "tokens") == derive(one, "tokens") != derive(one, "seals")


def test_secrets_are_not_shown():
    secret = Secret(b"correct horse")
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}", repr([secret]), repr(FileMaster(new_key())), str([secret])):
        assert "horse" not in shown
    with pytest.raises(TypeError, match="serialised"):
        pickle.dumps(secret)
    assert secret != b"correct horse"
    with pytest.raises(TypeError):
        hash(secret)


def test_a_key_file_is_made_once_and_is_its_owners_alone(tmp_path):
    path = beside(tmp_path / "x.db")
    assert path.name == "x.db.key"
    made = find_master({}, default=path, make=True)
    assert isinstance(made, Master)
    assert path.stat().st_mode & 0o077 == 0
    assert find_master({}, default=path, make=True).id == read_master(path).id == made.id
    with pytest.raises(StoreError, match="never overwritten"):
        make_master(path)
    key = new_key()
    assert find_master({"GEMEL_KEY_FILE": str(path)}).unwrap(made.wrap(key)) == key
    text = path.read_text().split()[1]
    assert find_master({"GEMEL_KEY": text}, default=tmp_path / "other").id == made.id
    assert text not in repr(made) + made.id


@pytest.mark.parametrize(
    ("environ", "message"),
    [({"GEMEL_KEY": "00"}, "not a master key"), ({"GEMEL_KEY": "zz" * 32}, "not a master key"), ({"GEMEL_KEY": "00" * 32, "GEMEL_KEY_FILE": "x"}, "two master keys"), ({}, "no master key"),
     ({"GEMEL_KEY_FILE": "/nowhere/at/all"}, "not there")],
)  # fmt: skip
def test_a_key_that_is_none_is_refused_without_being_shown(environ, message):
    with pytest.raises(StoreError, match=message) as caught:
        find_master(environ)
    assert "zzzz" not in str(caught.value)


def test_a_key_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "a.key"
    make_master(path)
    os.chmod(path, 0o640)
    with pytest.raises(StoreError, match=r"others may read.*0o640"):
        read_master(path)
    with pytest.raises(StoreError, match="cannot be written"):
        make_master(tmp_path / "nowhere" / "a.key")
    (tmp_path / "b.key").write_bytes(os.urandom(40))
    os.chmod(tmp_path / "b.key", 0o600)
    with pytest.raises(StoreError, match=r"cannot be read|not a master key"):
        read_master(tmp_path / "b.key")
    with pytest.raises(StoreError, match="another length"):
        FileMaster(Secret(b"short"))
