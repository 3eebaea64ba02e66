"""What runs in containers: the files agree with each other and with what the server takes. Images are not built here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gemel.cli.app import gemel
from gemel.platform.keys import make_master
from gemel.server.config import read_config
from gemel.server.config_check import troubles

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
LINES = (ROOT / "Containerfile").read_text().replace("\\\n", " ").splitlines()


@pytest.fixture
def environ(tmp_path):
    make_master(tmp_path / "master.key")
    given = COMPOSE["services"]["gemel"]["environment"]
    assert set(given) == {"GEMEL_KEY_FILE", "GEMEL_STORE_PLACE"}
    return {"GEMEL_KEY_FILE": str(tmp_path / "master.key"), "GEMEL_STORE_PLACE": "postgresql://gemel:word@postgres/gemel"}


def test_the_settings_are_taken_and_nothing_keeps_the_server_from_starting(environ):
    config = read_config(ROOT / "deploy" / "gemel.toml", environ)
    assert [str(t) for t in troubles(config, environ) if t.severity == "error"] == []
    assert config.store.place == environ["GEMEL_STORE_PLACE"]
    services, inside = COMPOSE["services"], COMPOSE["networks"]["inside"]["ipam"]["config"][0]["subnet"]
    assert config.server.trusted_proxies == (services["proxy"]["networks"]["inside"]["ipv4_address"],)
    assert config.server.trusted_proxies[0].rsplit(".", 1)[0] == inside.rsplit(".", 1)[0]
    ports = {p.split(":")[-1] for p in services["gemel"]["ports"]}
    assert {str(config.mllp.port), str(config.dicom.port)} == ports
    assert str(config.server.port) in (ROOT / "deploy" / "Caddyfile").read_text()
    for name, address in (("redis", config.live.redis), ("postgres", config.store.place)):
        assert name in services
        assert re.search(rf"[/@]{name}[:/]", address)


def test_only_the_proxy_is_reached_from_elsewhere():
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", ()):
            assert name == "proxy" or str(port).startswith("127.0.0.1:")


def test_the_server_may_do_little_and_secrets_stand_nowhere():
    service = COMPOSE["services"]["gemel"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "keys:/keys:ro" in service["volumes"]
    text = (ROOT / "compose.yaml").read_text() + (ROOT / "deploy" / "gemel.toml").read_text()
    assert not re.search(r"PASSWORD: (?!\$\{POSTGRES_PASSWORD:\?)", text)
    assert "USER gemel" in LINES


def test_every_image_names_its_version():
    for service in COMPOSE["services"].values():
        assert re.search(r":[\w.-]+$", service["image"])
        assert not service["image"].endswith(":latest")


def test_what_the_image_copies_and_calls_is_there():
    for line in LINES:
        words = shlex.split(line) if line.startswith("COPY") and "--from" not in line else []
        for name in words[1:-1]:
            assert (ROOT / name).exists(), name
    assert sum("--require-hashes" in line for line in LINES) == 2
    called = next(line for line in LINES if line.startswith("CMD"))
    assert gemel.get_command(None, yaml.safe_load(called.removeprefix("CMD "))[0]) is not None
    lock = (ROOT / "requirements-server.lock").read_text()
    assert all(f"\n{name}==" in lock for name in ("pg8000", "redis", "pynetdicom", "sdc11073", "fastapi"))
