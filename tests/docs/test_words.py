"""The words that must not appear do not, and the search would find them."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "check_words.py"))


@pytest.mark.parametrize(
    "text",
    [
        "an Approved product",
        "validated for\nclinical use",
        "fully compliant",
        "certified",
        "https://" + "pypi" + ".org/simple",
        "--extra-" + "index-url x",
        f"see {ROOT}/src",
    ],
)
def test_planted_words_are_found(text):
    assert list(TOOL["findings"](text, ROOT))


@pytest.mark.parametrize("text", ["certifi==2026.1", "a discertifiedx word", "uv pip compile --no-emit-index-url", "/elsewhere/src"])
def test_innocent_words_pass(text):
    assert not list(TOOL["findings"](text, ROOT))


def test_no_tracked_file_has_one():
    try:
        names = TOOL["tracked"](ROOT)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    assert TOOL["check"](names, ROOT) == []
