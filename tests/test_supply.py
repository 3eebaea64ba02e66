"""What is installed at run time: licences, and lock files that name every file by its hash and no place to get it."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = sorted([*ROOT.glob("requirements*.lock"), *(ROOT / "tools").glob("*.lock")])


@pytest.fixture(scope="module")
def supply():
    spec = importlib.util.spec_from_file_location("platform_supply", ROOT / "benchmarks" / "platform_supply.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_nothing_that_the_base_install_brings_is_gpl(supply):
    base = supply.closure(("gemel",)) - {"gemel"}
    assert {"numpy", "jax", "fastapi", "cryptography"} <= base
    refused = {name: text for name in base if supply.COPYLEFT.search(text := supply.licence(name)) and "Lesser" not in text}
    assert refused == {}
    assert "?" not in {supply.licence(name) for name in base}


def test_a_gpl_licence_would_be_seen(supply):
    for text in ("GPL-3.0-only", "AGPL-3.0-or-later", "GNU General Public License v3 (GPLv3)", "GNU Affero General Public License v3"):
        assert supply.COPYLEFT.search(text)
    for text in ("MIT", "Apache-2.0", "MPL-2.0", "BSD-3-Clause"):
        assert not supply.COPYLEFT.search(text)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_pinned_file_has_its_hash_and_no_address(lock):
    text = lock.read_text()
    entries = re.split(r"\n(?=[a-zA-Z0-9])", "\n".join(line for line in text.splitlines() if not line.startswith("#")).strip())
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z0-9,-]+\])?==\S+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text
