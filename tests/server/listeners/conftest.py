"""A fresh place for a store."""

import pytest


@pytest.fixture
def place(tmp_path):
    return tmp_path / "a.sqlite"
