import asyncio
import contextlib
import sqlite3

import pytest

from gemel.core.errors import ValueRangeError
from gemel.interop.hl7v2 import Deframer, enframe, parse
from gemel.server.listeners import Arrival, MllpListener, Verdict
from gemel.testing.messages import break_message, result_messages

PATIENCE = 20.0  # seconds: a machine under load; nothing here takes one


class Inbox:
    """What a store does: commit by a unique key, on disk, and only then return."""

    def __init__(self, path):
        self.base = sqlite3.connect(path)
        self.base.execute("create table if not exists inbox (name text primary key, digest text, body blob)")

    async def __call__(self, arrival: Arrival) -> Verdict:
        name = "|".join(arrival.name)
        row = self.base.execute("select digest from inbox where name = ?", (name,)).fetchone()
        if row is None:
            with self.base:
                self.base.execute("insert into inbox values (?, ?, ?)", (name, arrival.digest, arrival.body))
        elif row[0] != arrival.digest:
            return Verdict("AE", "number used before with another content", "205")
        return Verdict()

    @property
    def rows(self) -> int:
        return self.base.execute("select count(*) from inbox").fetchone()[0]


class Sender:
    def __init__(self, port):
        self.port, self.deframer, self.ready = port, Deframer(), []

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self):
        while not self.ready:
            data = await asyncio.wait_for(self.reader.read(65536), PATIENCE)
            if not data:
                raise EOFError
            self.ready += self.deframer.feed(data)
        msa = parse(self.ready.pop(0).body).all("MSA")[0]
        return msa[1], msa[2] if len(msa) > 2 else ""

    async def closed(self):
        return await asyncio.wait_for(self.reader.read(1), PATIENCE) == b""


@contextlib.asynccontextmanager
async def listening(commit, **more):
    listener = MllpListener(commit, clock=lambda: 0, **more)
    port = await listener.start()
    try:
        yield port
    finally:
        await listener.stop()


def bodies(n, seed=0):
    return [body for body, _ in result_messages(n, seed=seed)]


def run(main):
    return asyncio.run(asyncio.wait_for(main(), 60.0))


def test_ten_replays_have_one_effect_and_ten_answers(tmp_path):
    inbox, (body,) = Inbox(tmp_path / "i.db"), bodies(1)

    async def main():
        async with listening(inbox) as port, Sender(port) as sender:
            for _ in range(10):
                await sender.send(enframe(body))
            assert [await sender.answer() for _ in range(10)] == [("AA", "m0-0")] * 10
            await sender.send(enframe(body.replace(b"|F|", b"|C|")))
            assert await sender.answer() == ("AE", "m0-0")

    run(main)
    assert inbox.rows == 1


def test_a_connection_cut_before_the_answer_loses_nothing_and_doubles_nothing(tmp_path):
    inbox, (body,) = Inbox(tmp_path / "i.db"), bodies(1)

    async def main():
        committed = asyncio.Event()

        async def slow(arrival):
            verdict = await inbox(arrival)
            committed.set()
            await asyncio.sleep(0.05)  # the sender goes away between commit and answer
            return verdict

        async with listening(slow) as port:
            for _ in range(3):
                committed.clear()
                async with Sender(port) as sender:
                    await sender.send(enframe(body))
                    await asyncio.wait_for(committed.wait(), PATIENCE)
                    sender.writer.transport.abort()
            async with Sender(port) as sender:
                await sender.send(enframe(body))
                assert await sender.answer() == ("AA", "m0-0")

    run(main)
    assert inbox.rows == 1


def test_no_answer_before_the_commit_returns():
    async def main():
        gate, begun = asyncio.Event(), asyncio.Event()

        async def held(arrival):
            begun.set()
            await gate.wait()
            return Verdict()

        async with listening(held) as port, Sender(port) as sender:
            await sender.send(enframe(bodies(1)[0]))
            await asyncio.wait_for(begun.wait(), PATIENCE)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sender.reader.read(1), 0.1)
            gate.set()
            assert (await sender.answer())[0] == "AA"

    run(main)


def test_a_slow_commit_makes_the_sender_wait_and_memory_does_not_grow():
    async def main():
        gate, kept = asyncio.Event(), []

        async def held(arrival):
            await gate.wait()
            kept.append(len(arrival.body))
            return Verdict()

        one = bodies(1)[0] + b"NTE|1||" + b"x" * 60_000 + b"\r"
        async with listening(held, commits=1) as port, Sender(port) as sender:
            sent = 0
            with contextlib.suppress(TimeoutError):
                for _ in range(2000):  # 120 MB, were it all taken
                    sender.writer.write(enframe(one))
                    await asyncio.wait_for(sender.writer.drain(), 0.3)
                    sent += 1
            assert sent < 1000  # what fits into the buffers of the two sockets, and no more
            gate.set()
            assert (await sender.answer())[0] == "AA"
        assert kept

    run(main)


def test_a_commit_that_fails_or_hangs_is_answered_and_the_connection_lives():
    async def main():
        plans = ["raise", "hang", "keep"]

        async def moody(arrival):
            plan = plans.pop(0)
            if plan == "raise":
                raise sqlite3.OperationalError("disk full")
            if plan == "hang":
                await asyncio.sleep(3600)
            return Verdict()

        async with listening(moody, patience=0.2) as port, Sender(port) as sender:
            for body in bodies(3):
                await sender.send(enframe(body))
            assert [(await sender.answer())[0] for _ in range(3)] == ["AE", "AE", "AA"]

    run(main)


def test_two_messages_in_one_frame_get_two_answers_and_a_broken_frame_gets_one():
    async def keep(arrival):
        return Verdict()

    async def main():
        a, b, c = bodies(3)
        async with listening(keep, limit=5000) as port, Sender(port) as sender:
            await sender.send(enframe(a + b))
            assert [await sender.answer() for _ in range(2)] == [("AA", "m0-0"), ("AA", "m0-1")]
            await sender.send(b"\x0b" + a[:100])  # never closed
            await sender.send(enframe(c))
            assert [await sender.answer() for _ in range(2)] == [("AR", "m0-0"), ("AA", "m0-2")]
            await sender.send(enframe(b"hello"))
            assert (await sender.answer())[0] == "AR"
            await sender.send(enframe(a + b"NTE|1||" + b"x" * 9000))
            assert await sender.answer() == ("AR", "m0-0")
            await sender.send(b"\x0b" + a[:200])
            sender.writer.write_eof()
            assert await sender.answer() == ("AR", "m0-0")

    run(main)


def test_every_broken_message_in_a_frame_gets_an_answer():
    async def keep(arrival):
        return Verdict()

    async def main():
        async with listening(keep) as port, Sender(port) as sender:
            for i, body in enumerate(bodies(100, seed=4)):
                broken = break_message(body, seed=i).replace(b"\x0b", b"").replace(b"\x1c", b"")
                await sender.send(enframe(broken))
                assert (await sender.answer())[0] in ("AA", "AR", "CA", "CR")
                while sender.ready:
                    await sender.answer()

    run(main)


def test_too_many_connections_and_idle_ones_are_closed():
    async def keep(arrival):
        return Verdict()

    async def main():
        async with listening(keep, connections=1, idle=0.3) as port, Sender(port) as first:
            await first.send(enframe(bodies(1)[0]))
            assert (await first.answer())[0] == "AA"
            async with Sender(port) as second:
                assert await second.closed()
            assert await first.closed()

    run(main)


def test_nothing_of_a_patient_is_in_the_log(caplog):
    async def broken(arrival):
        raise RuntimeError(arrival.body.decode())

    async def main():
        async with listening(broken) as port, Sender(port) as sender:
            await sender.send(enframe(bodies(1)[0]))
            assert (await sender.answer())[0] == "AE"

    caplog.set_level("DEBUG")
    run(main)
    assert "commit failed: RuntimeError" in caplog.text
    assert "SIMULATED" not in caplog.text
    assert "SIMULATED" not in repr(Arrival(bodies(1)[0], None, 0))


@pytest.mark.parametrize("name", ["connections", "commits", "idle", "patience"])
def test_a_listener_needs_room_and_time(name):
    with pytest.raises(ValueRangeError, match=name):
        MllpListener(None, clock=lambda: 0, **{name: 0})
