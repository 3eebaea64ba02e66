"""A server in this process, on a small world: two people, who treats them, and tokens for everybody who may ask."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from _client import Client
from _world import World, make_template, make_world

from gemel.server.config import ServerConfig


@pytest.fixture
def config(tmp_path) -> ServerConfig:
    """The settings of a test's server; a test file may have its own fixture of this name."""
    return ServerConfig.model_validate(
        {"store": {"place": str(tmp_path / "s.sqlite"), "readers": 2}, "audit": {"sign": False}, "worker": {"count": 0}}
    )


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """A store with both people, to be copied."""
    return make_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def world(config, template):
    """An open server with Ada and Bob; ``world.client`` asks it, ``world.head(role)`` makes the headers of a request."""
    with make_world(config, template) as made:
        yield made


@pytest.fixture
def client(world: World) -> Client:
    return world.client
