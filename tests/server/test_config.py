"""Settings: read strictly, from file and environment; what is not safe is named and does not start."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from gemel.core.errors import ConfigurationError
from gemel.platform.crypto import new_key
from gemel.platform.keys import make_master
from gemel.server.config import ServerConfig, read_config, settings_of
from gemel.server.config_check import troubles

SAFE = {"auth": {"local": True}, "audit": {"anchor": "/dev/shm/anchor.jsonl"}}
REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "configuration.md"


def errors(told, environ=None, **rest):
    return {t.key for t in troubles(ServerConfig.model_validate(told), environ or {}, **rest) if t.severity == "error"}


def warnings(told, environ=None):
    return {t.key for t in troubles(ServerConfig.model_validate(told), environ or {}) if t.severity == "warning"}


def test_a_file_and_the_environment_which_wins(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('[server]\nport = 80\nhosts = ["a.example"]\n[limits]\nbody_mib = 1.5\n')
    told = read_config(
        file,
        {
            "GEMEL_SERVER_PORT": "81",
            "GEMEL_SERVER_HOST": "127.0.0.2",
            "GEMEL_SERVER_HOSTS": '["b"]',
            "GEMEL_AUTH_LOCAL": "true",
            "GEMEL_KEY": "x",
            "PATH": "/",
        },
    )
    assert (told.server.port, told.server.host, told.server.hosts, told.limits.body_mib, told.auth.local) == (
        81,
        "127.0.0.2",
        ("b",),
        1.5,
        True,
    )
    assert read_config(None, {}) == ServerConfig()


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("[server]\nprot = 1\n[x]\ny = 1\n[limits]\nbody_mib = -1\n", ("server.prot: no such key", "x: no such key", "limits.body_mib")),
        ("[server]\nport = 99999\n", ("server.port",)), ("[server\n", ("c.toml",)), ("[auth]\nissuers = [{issuer = 'a', key = 1}]\n", ("auth.issuers.0.key: no such key",)),
        ("[auth]\nclients = [{id = 'a', role = 'administrator'}]\n", ("auth.clients.0.role",)),
    ],
)  # fmt: skip
def test_everything_that_is_wrong_is_named_at_once(tmp_path, text, seen):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_config(tmp_path / "c.toml", {})
    assert all(one in str(caught.value) for one in seen)


def test_a_secret_in_a_wrong_place_is_not_repeated(tmp_path):
    (tmp_path / "c.toml").write_text('[server]\nport = "hunter2-secret"\n')
    with pytest.raises(ConfigurationError) as caught:
        read_config(tmp_path / "c.toml", {})
    assert "hunter2" not in str(caught.value)


def test_a_variable_that_is_no_setting_is_named():
    with pytest.raises(ConfigurationError, match="GEMEL_SERVER_PROT"):
        read_config(None, {"GEMEL_SERVER_PROT": "1"})
    assert read_config(None, {"GEMEL_ELSEWHERE": "1", "GEMEL_NO_WORKER": "1"}) == ServerConfig()


def test_what_is_safe_starts():
    assert errors(SAFE) == set()
    public = {"host": "0.0.0.0", "tls_proxy": True, "trusted_proxies": ["10.0.0.1"], "public_url": "https://twin.example"}
    assert errors({"server": public}) == set()
    assert warnings({**SAFE, "server": {}}) == set()


@pytest.mark.parametrize(
    ("told", "key"),
    [
        ({"server": {"host": "0.0.0.0", "public_url": "https://a"}}, "server.host"), ({"server": {"host": "::", "tls_proxy": True}}, "server.public_url"),
        ({"server": {"host": "10.0.0.1", "public_url": "http://a.example", "tls_proxy": True}}, "server.public_url"),
        ({"server": {"certificate": "/nowhere.pem"}}, "server.certificate"), ({"server": {"trusted_proxies": ["1.2.3.4"]}}, "server.trusted_proxies"),
        ({"server": {"origins": ["*"]}}, "server.origins"), ({"server": {"origins": ["https://a/b"]}}, "server.origins"), ({"server": {"hosts": ["*"]}}, "server.hosts"),
        ({"server": {"public_url": "https://u:p@a"}}, "server.public_url"), ({"auth": {"local": True}, "server": {"host": "10.0.0.1"}}, "auth.local"),
        ({"store": {"place": "postgresql://a/b"}}, "store.place"), ({"store": {"place": "postgresql://a/b"}}, "audit.trail"),
        ({"auth": {"issuers": [{"issuer": "https://a"}]}}, "auth.issuers.0.jwks_url"),
        ({"auth": {"issuers": [{"issuer": "https://a", "jwks_url": "http://a.example/k"}]}}, "auth.issuers.0.jwks_url"),
        ({"auth": {"issuers": [{"issuer": "https://a", "jwks_url": "https://a/k", "jwks_file": "/x"}]}}, "auth.issuers.0.jwks_url"),
        ({"auth": {"issuers": [{"issuer": "https://a", "jwks_url": "https://a/k", "algorithms": ["none"]}]}}, "auth.issuers.0.algorithms"),
        ({"auth": {"issuers": [{"issuer": "https://a", "jwks_url": "https://a/k", "algorithms": ["HS256"]}]}}, "auth.issuers.0.algorithms"),
        ({"auth": {"issuers": [{"issuer": "https://a", "jwks_url": "https://a/k", "role": "king"}]}}, "auth.issuers.0.roles"),
        ({"auth": {"issuers": [{"issuer": "https://a", "jwks_url": "https://a/k", "client_id": "x"}]}}, "auth.issuers.0"),
        ({"auth": {"issuers": [{"issuer": "https://a", "jwks_url": "https://a/k"}] * 2}}, "auth.issuers"),
        ({"auth": {"issuers": [{"issuer": "http://127.0.0.1:8765", "jwks_url": "https://a/k"}]}}, "auth.issuers.0.issuer"),
        ({"auth": {"clients": [{"id": "a"}]}}, "auth.clients.0.jwks_url"), ({"auth": {"clients": [{"id": "a", "redirect_uris": ["http://a.example/"]}]}}, "auth.clients.0.redirect_uris"),
        ({"auth": {"clients": [{"id": "a", "redirect_uris": ["https://a/*"]}]}}, "auth.clients.0.redirect_uris"),
        ({"auth": {"clients": [{"id": "a", "redirect_uris": ["https://a/"]}] * 2}}, "auth.clients"), ({"log": {"traces": "http://collector.example"}}, "log.traces"),
    ],
)  # fmt: skip
def test_what_is_not_safe_does_not_start(told, key):
    assert key in errors(told)


def test_a_demonstration_is_for_this_machine_only():
    public = {"host": "0.0.0.0", "tls_proxy": True, "public_url": "https://twin.example"}
    assert "server.host" in errors({"server": public}, is_demo=True)
    assert errors(SAFE, is_demo=True) == set()


def test_the_master_key_is_looked_at(tmp_path):
    key = tmp_path / "k.key"
    make_master(key)
    told = {**SAFE, "store": {"place": str(tmp_path / "s.sqlite")}}
    assert errors(told, {"GEMEL_KEY_FILE": str(key)}) == set()
    assert "GEMEL_KEY_FILE" in errors(told, {"GEMEL_KEY_FILE": str(tmp_path / "none.key")})
    key.chmod(key.stat().st_mode | stat.S_IROTH)
    assert "GEMEL_KEY_FILE" in errors(told, {"GEMEL_KEY_FILE": str(key)})
    both = {"GEMEL_KEY_FILE": str(key), "GEMEL_KEY": new_key().reveal().hex()}
    assert "store" in errors(told, both)
    assert both["GEMEL_KEY"] not in str(troubles(ServerConfig.model_validate(told), both))


def test_an_anchor_beside_the_trail_is_a_warning(tmp_path):
    told = {**SAFE, "store": {"place": str(tmp_path / "s.sqlite")}, "audit": {"anchor": str(tmp_path / "deep" / "a.jsonl")}}
    assert warnings(told) == {"audit.anchor"}
    assert warnings({**SAFE, "audit": {"sign": False}}) == {"audit.sign"}
    assert warnings({"audit": SAFE["audit"]}) == {"auth"}


def test_every_setting_stands_in_the_reference():
    page = REFERENCE.read_text(encoding="utf-8")
    missing = [path for path in settings_of() if f"`{path.partition('.')[2]}`" not in section(page, path.partition(".")[0])]
    assert missing == []


def section(page: str, name: str) -> str:
    return next((part for part in re.split(r"^## ", page, flags=re.MULTILINE) if part.startswith(f"`[{name}]`")), "")


def test_the_command_says_what_the_function_says(tmp_path):
    from click.testing import CliRunner

    from gemel.cli.config import check

    file = tmp_path / "c.toml"
    file.write_text("[server]\nhost = '0.0.0.0'\n[auth]\nlocal = true\n")
    told = CliRunner().invoke(check, [str(file), "--json"], standalone_mode=False)
    assert told.return_value == 1
    assert {one["key"] for one in json.loads(told.output)["troubles"]} >= {"server.host", "auth.local"}
    file.write_text("[server]\nprot = 1\n")
    assert "no such key" in CliRunner().invoke(check, [str(file)], standalone_mode=False).output
    assert CliRunner().invoke(check, [], standalone_mode=False).return_value == 0


def test_accounts_and_relations_from_the_command_line(tmp_path):
    from click.testing import CliRunner

    from gemel.cli.audit import show
    from gemel.cli.config import config
    from gemel.platform.audit_writer import AuditWriter
    from gemel.platform.store import Store
    from gemel.platform.store.accounts import check_account
    from gemel.platform.store.relations import treated_by

    place, trail = tmp_path / "s.sqlite", tmp_path / "audit.jsonl"
    with Store(place) as store:
        store.append("ada", [], recorded=1)
        subject = store.subject("ada")

    def call(command, *arguments: str):
        return CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False)

    password = "correct horse battery"
    assert (
        call(config, "account", "add", place, "dr", "--who", "Practitioner/7", "--role", "physician", "--password", password).return_value
        == 0
    )
    assert "no such" not in call(config, "account", "list", place).output
    assert json.loads(call(config, "account", "list", place, "--json").output)["accounts"][0]["role"] == "physician"
    assert (
        call(
            config, "relate", place, "ada", "Practitioner/7", "--start", "2020-01-01T00:00:00Z", "--end", "2021-01-01T00:00:00Z"
        ).return_value
        == 0
    )
    with Store(place) as store:
        assert check_account(store, "dr", password).who == "Practitioner/7"
        assert treated_by(store, "Practitioner/7", time=1_590_000_000_000_000_000) == {subject}
        assert treated_by(store, "Practitioner/7", time=1_790_000_000_000_000_000) == frozenset()
    assert call(config, "account", "remove", place, "dr").return_value == 0
    assert call(config, "account", "remove", place, "dr").exception is not None
    with AuditWriter(trail, place, clock=lambda: 1) as writer:
        writer.write(who="Practitioner/7", action="read", patient=subject, purpose="TREAT", time=1, detail={"resource": "Observation/1"})
    assert "Practitioner" not in call(show, trail).output
    assert "Practitioner/7" in call(show, trail, "--db", place, "--patient", "ada").output
