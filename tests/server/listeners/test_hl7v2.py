import asyncio
import contextlib
import logging

import pytest

from gemel.core.errors import LimitError
from gemel.core.time import MINUTE, SECOND
from gemel.interop.hl7v2 import Deframer, enframe, parse
from gemel.platform.adapters import hl7v2
from gemel.platform.store import Store
from gemel.platform.store.group import GroupWriter
from gemel.platform.stream.limits import Buckets
from gemel.server.listeners import MllpListener
from gemel.server.listeners.hl7v2 import committer
from gemel.testing.messages import Result, break_message, result_message, result_messages

NOW = 1_768_000_000 * SECOND
PATIENCE = 20.0  # seconds: a machine under load; nothing here takes one


class Ward:
    """A listener on a real store, and a sender's line to it."""

    def __init__(self, place, **settings):
        self.place, self.settings, self.taken, self.refusals = place, settings, [], 0

    async def __aenter__(self):
        self.writer = GroupWriter(self.place)

        async def write(change):
            if self.refusals:
                self.refusals -= 1
                raise LimitError("too much waits")
            return await asyncio.wrap_future(self.writer.submit(change))

        commit = committer(write, [hl7v2.adapter()], source="icu", told=lambda taken, _: self.taken.append(taken), **self.settings)
        self.listener = MllpListener(commit, clock=lambda: NOW)
        self.port = await self.listener.start()
        return self

    async def __aexit__(self, *_):
        await self.listener.stop()
        self.writer.close()

    @contextlib.asynccontextmanager
    async def line(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        deframer, ready = Deframer(), []

        async def send(body):
            writer.write(enframe(body))
            await writer.drain()
            while not ready:
                data = await asyncio.wait_for(reader.read(65536), PATIENCE)
                if not data:
                    raise EOFError
                ready.extend(deframer.feed(data))
            return parse(ready.pop(0).body).all("MSA")[0][1:3]

        send.writer = writer
        yield send
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def message(control, value=61.0, sent=NOW):
    return result_message([Result("8867-4", "Heart rate", "/min", value, NOW)], patient="17", control=control, sent=sent)


def test_replayed_and_cut_off_before_its_answer_a_message_has_one_effect(place):
    async def main():
        async with Ward(place) as ward:
            async with ward.line() as send:
                send.writer.write(enframe(message("1")))  # the line is cut: the answer is never read
                await send.writer.drain()
            answers = []
            async with ward.line() as send:
                for _ in range(10):
                    answers.append(await send(message("1")))
            return answers

    assert asyncio.run(main()) == [["AA", "1"]] * 10
    with Store(place) as store:
        assert store.record("HOSP:17").series[0].value.tolist() == [61.0]
        assert store.counts()["inbox"] == 1


def test_what_was_acknowledged_is_in_the_store_and_what_was_not_placed_says_so(place):
    async def main():
        async with Ward(place) as ward, ward.line() as send:
            good = await send(message("1"))
            used = await send(message("1", 80.0))
            unknown = message("2").replace(b"8867-4^Heart rate^LN", b"HR^Heart rate^99X")
            return good, used, await send(unknown), await send(unknown), await send(b"MSH|^~\\&|A|B")

    good, used, unknown, again, broken = asyncio.run(main())
    assert (good, used, unknown, again) == (["AA", "1"], ["AE", "1"], ["AE", "2"], ["AE", "2"])
    assert broken[0] == "AE", "it is kept: it may be a sender's first message under a new configuration"
    with Store(place) as store:
        assert [m.state for m in store.messages()] == ["done", "quarantined", "quarantined", "quarantined"]


def test_a_full_queue_delays_the_answer_and_loses_nothing(tmp_path):
    async def main():
        async with Ward(tmp_path / "a.sqlite") as ward, ward.line() as send:
            ward.refusals = 3
            return await send(message("1"))

    assert asyncio.run(main()) == ["AA", "1"]


def test_a_sender_above_its_rate_waits_for_its_answers(tmp_path):
    waits = []

    class Counted(Buckets):
        def take(self, source):
            waits.append((source, super().take(source)))
            return 0.0

    async def main():
        async with Ward(tmp_path / "a.sqlite", buckets=Counted(1.0, 2, monotonic=lambda: 0.0)) as ward, ward.line() as send:
            return [await send(message(f"{i}")) for i in range(4)]

    assert asyncio.run(main()) == [["AA", f"{i}"] for i in range(4)]
    assert waits == [("icu|LAB|HOSP", wait) for wait in (0.0, 0.0, 1.0, 2.0)]


def test_a_clock_that_is_ahead_or_set_back_is_flagged_and_the_message_kept(tmp_path, caplog):
    async def main():
        async with Ward(tmp_path / "a.sqlite") as ward, ward.line() as send:
            for control, sent in (("1", NOW + 3 * MINUTE), ("2", NOW + MINUTE), ("3", NOW - 5 * MINUTE), ("4", NOW - 6 * MINUTE)):
                assert (await send(message(control, sent=sent)))[0] == "AA"
            await send(message("1", sent=NOW + 3 * MINUTE))  # it came before: it says nothing about the clock

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert [(r.what, r.seconds, r.count) for r in caplog.records] == [("ahead", 180.0, 1), ("back", 360.0, 3)]
    with Store(tmp_path / "a.sqlite") as store:
        assert store.counts()["inbox"] == 4


def test_broken_messages_are_always_answered(tmp_path):
    bodies = [body for body, _ in result_messages(20, seed=2)]

    async def main():
        async with Ward(tmp_path / "a.sqlite") as ward:
            answers = []
            for seed in range(60):
                async with ward.line() as send:
                    body = break_message(bodies[seed % 20], seed=seed).replace(b"\x0b", b"").replace(b"\x1c", b"")
                    answers.append((await send(body))[0])
            return answers

    assert set(asyncio.run(main())) <= {"AA", "AE", "AR"}


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_a_rate_that_lets_nothing_through_is_refused(rate):
    from gemel.core.errors import ValueRangeError

    with pytest.raises(ValueRangeError, match="lets nothing through"):
        Buckets(rate, 1)


def test_a_bucket_fills_again_and_asking_takes_nothing():
    now = [0.0]
    buckets = Buckets(2.0, 1, monotonic=lambda: now[0], most=2)
    assert (buckets.ask("a"), buckets.ask("a"), buckets.ask("a")) == (0.0, 0.5, 0.5)
    now[0] = 0.5
    assert buckets.ask("a") == 0.0
    now[0] = -100.0  # a clock that is set back takes nothing away
    assert buckets.ask("a") == 0.5
    assert [buckets.ask(name) for name in ("b", "c", "a")] == [0.0, 0.0, 0.0], "of more sources than are remembered the oldest is forgotten"


def test_the_service_listens_and_ends(tmp_path):
    from gemel.server import mllp
    from gemel.server.background import BACKGROUND
    from gemel.server.config import ServerConfig
    from gemel.server.services import open_services

    assert ("mllp", "mllp:run") in BACKGROUND
    told = {
        "store": {"place": str(tmp_path / "s.sqlite"), "readers": 1},
        "audit": {"sign": False},
        "mllp": {"port": 0, "codes": {"HR": "loinc:8867-4"}},
    }
    body = message("1").replace(b"8867-4^Heart rate^LN", b"HR^Heart rate^99WARD")

    async def main(services):
        stop = asyncio.Event()
        task = asyncio.create_task(mllp.run(services, stop))
        while "mllp.port" not in services.state:
            await asyncio.sleep(0.01)
        ward = Ward(tmp_path)
        ward.port = services.state["mllp.port"]
        async with ward.line() as send:
            answer = await send(body)
        stop.set()
        await asyncio.wait_for(task, PATIENCE)
        return answer

    with open_services(ServerConfig.model_validate(told), clock=lambda: NOW) as services:
        assert asyncio.run(main(services)) == ["AA", "1"]
    with Store(tmp_path / "s.sqlite") as store:
        assert store.record("HOSP:17").series[0].value.tolist() == [61.0]
