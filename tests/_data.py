"""Real public data sets in tests: skipped by name where they cannot be had, a failure where they must be there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gemel.core.errors import DatasetError
from gemel.platform import datasets

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"  # development and CI: ../shared/data beside the checkout


def data_environment() -> dict[str, str]:
    """The environment in which tests look for data: ``GEMEL_DATA``, or ``../shared/data`` when it is there."""
    environ = dict(os.environ)
    if not environ.get("GEMEL_DATA") and _BESIDE.is_dir():
        environ["GEMEL_DATA"] = str(_BESIDE)
    return environ


def require_dataset(name: str) -> Path:
    """Find a data set without the network; skip with its name, or fail where ``CI`` is set."""
    try:
        return datasets.resolve(name, environ=data_environment(), download=False)
    except DatasetError as error:
        message = f"data set {name!r}: {error}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
