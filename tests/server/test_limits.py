"""What stands before every route: sizes, bombs, depth, names, rates, headers; the process stays alive."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib

import pytest
from _world import ADA
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core.errors import FormatError, LimitError
from gemel.server.config import ServerConfig
from gemel.server.limits import HEADERS, check_json, inflate
from gemel.server.rates import Buckets

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def config(tmp_path) -> ServerConfig:
    limits = {"body_mib": 0.25, "json_depth": 20, "per_token": 0.5, "per_address": 1000, "burst": 40, "ratio": 50}
    told = {
        "store": {"place": str(tmp_path / "s.sqlite"), "readers": 1},
        "audit": {"sign": False},
        "worker": {"count": 0},
        "limits": limits,
    }
    return ServerConfig.model_validate(told | {"server": {"public_url": "https://twin.example", "hosts": ["other.example"]}})


def send(world, body, **head):
    path = f"/api/v1/patients/{world.ids[ADA]}/relations"
    return world.client.post(path, content=body, headers={**world.head("physician"), **JSON, **head})


def alive(world):
    assert world.client.get("/healthz").status_code == 200


GOOD = json.dumps({"who": "Practitioner/8"}).encode()


def test_a_body_beyond_the_limit_is_refused_by_its_length_and_by_its_bytes(world):
    assert send(world, GOOD).status_code == 204
    assert send(world, b" " * (1 << 18) + GOOD).status_code == 413

    async def endless():
        for _ in range(100):
            yield b" " * 10_000

    assert send(world, endless()).status_code == 413
    for length in ("-1", "1e9", "9" * 30, "x"):
        assert send(world, GOOD, **{"Content-Length": length}).status_code in (400, 413)
    alive(world)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_a_bomb_is_refused_and_a_packed_body_is_read(world, pack):
    name = "gzip" if pack is gzip.compress else "deflate"
    assert send(world, pack(GOOD), **{"Content-Encoding": name}).status_code == 204
    assert send(world, pack(b" " * 100_000_000 + GOOD), **{"Content-Encoding": name}).status_code == 413
    assert send(world, pack(GOOD)[:-5], **{"Content-Encoding": name}).status_code == 400
    assert send(world, pack(GOOD) + pack(GOOD), **{"Content-Encoding": name}).status_code == 400
    assert send(world, GOOD, **{"Content-Encoding": name}).status_code == 400
    assert send(world, pack(pack(GOOD)), **{"Content-Encoding": f"{name}, {name}"}).status_code == 400
    assert send(world, GOOD, **{"Content-Encoding": "br"}).status_code == 400
    alive(world)


def test_a_bomb_is_never_unpacked_whole():
    import tracemalloc

    packed = gzip.compress(bytes(200_000_000))
    tracemalloc.start()
    with pytest.raises(LimitError):
        inflate(packed, "gzip", most=1 << 20, ratio=100)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@given(st.binary(max_size=2000))
@settings(max_examples=100, deadline=None)
def test_what_was_packed_comes_out_or_is_refused_by_name(body):
    assert inflate(gzip.compress(body), "gzip", most=10_000, ratio=1000) == body
    with contextlib.suppress(FormatError, LimitError):
        inflate(body, "gzip", most=10_000, ratio=1000)


NO_JSON = [
        (b"[" * 10_000 + b"]" * 10_000, 413), (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 413), (b'{"who": NaN}', 400), (b'{"who": Infinity}', 400),
        (b'{"who": 1e999}', 400), (b'{"who": "Practitioner/8"', 400), (b"\xff\xfe{", 400), (b'{"who": "\xff"}', 400), (b"{'who': 1}", 400),
        (b'{"who": "Practitioner/8"} x', 400), (b'{"who": 1e308}', 422), (b'{"who": "x"}', 422), (b"[]", 422), (b"", 422), (b'"' + b"[" * 1000 + b'"', 422),
    ]  # fmt: skip


def test_json_that_is_none_or_too_deep(world):
    for body, status in NO_JSON:
        answer = send(world, body)
        assert answer.status_code == status, body[:40]
        assert answer.headers["content-type"] == "application/problem+json"
        alive(world)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
        lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=4), c, max_size=3),
        max_leaves=20,
    )
)
@settings(max_examples=150, deadline=None)
def test_the_depth_of_any_document_is_counted_as_it_is(value):
    def depth(v):
        return 1 + max(map(depth, v.values() if isinstance(v, dict) else v), default=0) if isinstance(v, (dict, list)) else 0

    body = json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        return
    check_json(body, depth=depth(value))
    if depth(value):
        with pytest.raises(LimitError):
            check_json(body, depth=depth(value) - 1)


OTHER_NAMES = ["application/x+json", "text/json", "application/json; charset=utf-16", "APPLICATION/JSON", "", "text/plain", "application/xml"]  # fmt: skip


def test_json_by_another_name_is_judged_alike_or_not_read(world):
    for kind in OTHER_NAMES:
        for body in (b"[" * 10_000 + b"]" * 10_000, b'{"who": NaN}', b'{"who": "Practitioner/8", "start": NaN}'):
            assert send(world, body, **{"Content-Type": kind}).status_code in (400, 413, 415, 422)
        alive(world)


def test_the_server_answers_to_its_own_names_only(world):
    for host in ("twin.example", "TWIN.example:443", "other.example", "127.0.0.1:8765", "localhost"):
        assert world.client.get("/healthz", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "twin.example.evil.example", "", "169.254.169.254", "twin.example@evil.example", "[::2]"):
        answer = world.client.get("/healthz", headers={"Host": host})
        assert answer.status_code == 400, host
        assert "evil" not in answer.text


def test_who_asks_too_often_waits_and_others_do_not(world):
    head = {**world.head("administrator"), "Host": "twin.example"}
    told = [world.client.get("/metrics", headers=head) for _ in range(60)]
    codes = [answer.status_code for answer in told]
    assert codes[0] == 200
    assert codes[-1] == 429
    assert int(told[-1].headers["retry-after"]) >= 1
    assert world.client.get("/metrics", headers=world.head("administrator", who="Person/other")).status_code == 200


def test_a_bucket_fills_at_its_rate_and_forgets_who_was_long_gone():
    now = [0.0]
    made = Buckets(2.0, 3, most=10, clock=lambda: now[0])
    assert [made.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] = 0.5
    assert made.take("a") == 0
    assert made.take("a") == pytest.approx(0.5)
    for i in range(100):
        made.take(f"k{i}")
    assert len(made) == 10


def test_every_answer_carries_its_headers_and_its_number(world):
    for path in ("/", "/healthz", "/nowhere", "/metrics", "/auth/login"):
        answer = world.client.get(path)
        for name, value in HEADERS.items():
            if name.decode() not in ("content-security-policy", "cache-control"):
                assert answer.headers[name.decode()] == value.decode(), path
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
        assert len(answer.headers["x-request-id"]) == 32
    assert world.client.get("/", headers={"X-Request-Id": "abc-123456"}).headers["x-request-id"] == "abc-123456"
    for wrong in ("short", "x" * 65, "a b c d e f g", "a\tb\tc\td\te", "<script>12345"):
        assert world.client.get("/", headers={"X-Request-Id": wrong}).headers["x-request-id"] != wrong


def test_no_page_elsewhere_may_ask_unless_it_is_named(world):
    answer = world.client.request("OPTIONS", "/metrics", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.status_code == 405


def test_another_verb_and_another_place_are_problems(world):
    assert world.client.request("PUT", "/healthz").status_code == 405
    answer = world.client.get("/nowhere")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert world.client.get("/fhir/R4/nowhere").json()["resourceType"] == "OperationOutcome"


def test_who_stands_behind_a_proxy_is_believed_of_named_proxies_only(tmp_path, template):
    from gemel.server.limits import Gate
    from gemel.server.metrics import Metrics

    told = ServerConfig.model_validate({"server": {"tls_proxy": True, "trusted_proxies": ["10.0.0.1"]}})
    gate = Gate(lambda *_: None, config=told, metrics=Metrics())  # type: ignore[arg-type]
    head = {b"x-forwarded-for": b"6.6.6.6, 7.7.7.7"}
    assert gate._address({"client": ("10.0.0.1", 1)}, head) == "7.7.7.7"  # what the proxy itself saw, not what it was told
    assert gate._address({"client": ("10.0.0.2", 1)}, head) == "10.0.0.2"
