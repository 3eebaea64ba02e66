"""The DICOM listener: objects over the network (C-STORE), each answered after it is safe, and not before; and a word to who asks whether anybody is there (C-ECHO).

Delivery is at least once, effect exactly once: a sender that saw no answer sends again, and the store knows an object by its identifier and content. When commits are slow, the
answer is *out of resources* (0xA700): the sender keeps the object and tries later. Titles are names, not proof: who may connect is a matter of the network and of TLS. Searching and
fetching are therefore not offered here, but over the web, behind the guard.

References
----------
DICOM PS3.4 2024e, B.2.3 (statuses of C-STORE); PS3.7 2024e, 9.1.1.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gemel.core.errors import FormatError, GemelError, LimitError, StoreError, ValueRangeError
from gemel.interop.dicom.network import pynetdicom_library
from gemel.interop.dicom.part10 import MAX_INFLATED, assemble_file, is_uid
from gemel.platform.images import Kept

__all__ = ["BUSY", "MISMATCH", "REFUSED", "SUCCESS", "WARNING", "DicomListener", "ImageArrival"]

_LOG = logging.getLogger(__name__)

SUCCESS, WARNING = 0x0000, 0xB007
BUSY, MISMATCH, REFUSED = 0xA700, 0xA900, 0xC000
"""Statuses: safe; safe, but in quarantine; not safe, send again later; command and data set name different objects; not to be understood, and not kept."""


@dataclass(frozen=True, repr=False)
class ImageArrival:
    """One object as it arrived. Its bytes are a patient's: they are in no log and no ``repr``.

    Parameters
    ----------
    body : as a file.
    sender : the title by which the other side calls itself.
    received : ns UTC.
    """

    body: bytes
    sender: str
    received: int

    def __repr__(self) -> str:
        return f"ImageArrival({len(self.body)} bytes)"


@dataclass
class _Talk:
    """What is known of one association."""

    sender: str
    bytes: int = 0
    series: dict[tuple[str, str, str], None] = field(default_factory=dict)


class DicomListener:
    """Listen for objects and answer each of them. Threads are the library's: one for each association.

    Parameters
    ----------
    commit : called for every object; returns only when it is on disk. ``StoreError`` and ``LimitError``, and no return in time, are answered 0xA700.
    clock : ns UTC.
    done : called when an association ends, with patient, study and series of what was new on it: they may be whole now.
    title : by which others must call it.
    senders : titles that may connect; empty: any.
    host, port : where to listen; port 0 takes a free one.
    limit : bytes of one object.
    associations : at most so many at once.
    commits : at most so many at once over all associations.
    patience : seconds that an object waits for its turn.
    idle : seconds without a word after which an association is ended.
    tls : for listening in TLS; with certificates of clients required it says who is there.
    """

    def __init__(
        self,
        commit: Callable[[ImageArrival], Kept],
        *,
        clock: Callable[[], int],
        done: Callable[[list[tuple[str, str, str]]], None] | None = None,
        title: str = "GEMEL",
        senders: tuple[str, ...] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        limit: int = MAX_INFLATED,
        associations: int = 10,
        commits: int = 4,
        patience: float = 30.0,
        idle: float = 60.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        for name, value in (("associations", associations), ("commits", commits), ("patience", patience), ("idle", idle), ("limit", limit)):
            if value <= 0:
                raise ValueRangeError(f"a listener without {name}", seen=value, expected="more than 0")
        if not 1 <= len(title.strip()) <= 16 or not title.isascii() or "\\" in title:
            raise ValueRangeError(
                "a title that there cannot be", seen=f"{len(title)} characters", expected="1 to 16 of ASCII, without a backslash"
            )
        self._commit, self._clock, self._done = commit, clock, done
        self._title, self._senders, self._host, self._port = title.strip(), senders, host, port
        self._limit, self._most, self._patience, self._idle, self._tls = limit, associations, patience, idle, tls
        self._room = threading.BoundedSemaphore(commits)
        self._talks: dict[Any, _Talk] = {}
        self._server: Any = None

    def start(self) -> int:
        """Begin to listen; return the port.

        Raises
        ------
        DataError
            When the extra is not installed.
        StoreError
            When the port cannot be had.
        """
        pynetdicom_library()
        from pydicom.uid import AllTransferSyntaxes
        from pynetdicom import AE, AllStoragePresentationContexts, evt

        entity = AE(ae_title=self._title)
        entity.add_supported_context("1.2.840.10008.1.1")
        for context in AllStoragePresentationContexts:  # bytes are kept as they come, in whatever syntax
            entity.add_supported_context(str(context.abstract_syntax), list(AllTransferSyntaxes))
        entity.maximum_associations = self._most
        entity.require_called_aet = True
        entity.require_calling_aet = list(self._senders)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self._idle
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_PDU_RECV, self._count),
            (evt.EVT_DIMSE_RECV, self._counted),
            (evt.EVT_CONN_CLOSE, self._ended),
        ]
        try:
            self._server = entity.start_server((self._host, self._port), block=False, evt_handlers=handlers, ssl_context=self._tls)
        except OSError as error:
            raise StoreError("the port cannot be had", seen=f"port {self._port}: {error.strerror}", fix="choose another") from error
        return int(self._server.socket.getsockname()[1])

    def stop(self) -> None:
        """Stop listening and end what is open; what was not answered will be sent again."""
        if self._server is not None:
            self._server.shutdown()
            for talk in tuple(self._talks):
                talk.abort()
            self._server = None

    def _talk(self, event: Any) -> _Talk:
        found = self._talks.get(event.assoc)
        if found is None:
            found = self._talks[event.assoc] = _Talk(str(event.assoc.requestor.ae_title).strip())
        return found

    def _count(self, event: Any) -> None:
        """End an association whose message grows beyond the limit: the library would keep all of it in memory."""
        values = getattr(event.pdu, "presentation_data_value_items", None)
        if values is not None:
            talk = self._talk(event)
            talk.bytes += sum(len(one.presentation_data_value) for one in values)
            if talk.bytes > self._limit + 65_536:
                _LOG.warning("an object beyond %d bytes: association ended", self._limit)
                talk.bytes = 0
                threading.Thread(target=event.assoc.abort, daemon=True).start()  # not from inside the reactor that reads it

    def _counted(self, event: Any) -> None:
        self._talk(event).bytes = 0

    def _ended(self, event: Any) -> None:
        talk = self._talks.pop(event.assoc, None)
        if talk is not None and talk.series and self._done is not None:
            try:
                self._done(list(talk.series))
            except Exception as error:  # what is stored is stored; volumes can be made at any time
                _LOG.error("what was stored could not be put together: %s", type(error).__name__)

    def _store(self, event: Any) -> int:
        talk = self._talk(event)
        try:
            request = event.request
            sop_class, instance = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
            syntax = str(event.context.transfer_syntax)
            raw = event.encoded_dataset(include_meta=False)
            if len(raw) > self._limit or not all(map(is_uid, (sop_class, instance, syntax))):
                return REFUSED
            body = assemble_file(raw, sop_class=sop_class, instance=instance, syntax=syntax)
        except (GemelError, ValueError, AttributeError):
            return REFUSED
        if not self._room.acquire(timeout=self._patience):
            _LOG.warning("no room for an object: the sender is told to come again")
            return BUSY
        try:
            kept = self._commit(ImageArrival(body, talk.sender, self._clock()))
        except (StoreError, LimitError, TimeoutError) as error:
            _LOG.error("an object was not committed: %s", type(error).__name__)
            return BUSY
        except FormatError:
            return REFUSED
        except Exception as error:  # whatever a commit raises, the sender must hear that nothing is safe
            _LOG.error("commit failed: %s", type(error).__name__)
            return BUSY
        finally:
            self._room.release()
        if kept.instance and kept.instance != instance:
            return MISMATCH
        if kept.state == "new":
            talk.series[kept.patient, kept.study, kept.series] = None
        return WARNING if kept.state == "quarantined" else SUCCESS
