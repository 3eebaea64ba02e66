"""Signatures: made once per user, bound to name, meaning and time, and broken by any change."""

import os

import pytest

from gemel.core.errors import FormatError, StoreError
from gemel.platform.signing import read_signature, sign, signing_key, verify

HASH = "ab" * 32


def made(tmp_path, **changes):
    key = signing_key({"XDG_CONFIG_HOME": str(tmp_path)})
    return sign(HASH, who="A. Reviewer", meaning="reviewed", time=5, key=key).model_copy(update=changes)


def test_a_signature_holds_for_its_hash_only(tmp_path):
    assert verify(made(tmp_path), HASH) is None
    assert "another" in verify(made(tmp_path), "cd" * 32)


@pytest.mark.parametrize(
    "change", [{"who": "B. Other"}, {"meaning": "seen"}, {"time": 6}, {"signature": "00" * 64}, {"key": "11" * 32}, {"key": "rubbish"}]
)
def test_name_meaning_time_and_key_are_bound(tmp_path, change):
    assert "does not belong" in verify(made(tmp_path, **change), HASH)


def test_the_key_is_made_once_and_for_the_user_alone(tmp_path):
    assert made(tmp_path).key == made(tmp_path).key
    path = tmp_path / "gemel" / "signing.key"
    assert path.stat().st_mode & 0o777 == 0o600
    os.chmod(path, 0o644)
    with pytest.raises(StoreError, match="others may read"):
        made(tmp_path)
    os.chmod(path, 0o600)
    path.write_text("rubbish")
    with pytest.raises(StoreError, match="cannot be read"):
        made(tmp_path)


def test_it_is_read_back(tmp_path):
    path = tmp_path / "x.sig.json"
    path.write_text(made(tmp_path).model_dump_json())
    assert verify(read_signature(path), HASH) is None
    path.write_text("{}")
    with pytest.raises(FormatError, match="not a signature"):
        read_signature(path)
