"""Following a device at the bedside (ISO/IEEE 11073 SDC): found by its reference, read as a whole, then kept up with; read again as a whole whenever something was missed.

Needs the extra ``gemel[devices]`` (sdc11073). Only what a device reports is taken; nothing is ever sent to it but questions: no operation of a device is called here.

A device that has given no sign for a while is stale, and whoever shows its values hears so. Each device has its own threads; what it reports goes to one callback, in order.

References
----------
ISO/IEEE 11073-20701 (SDC), -10207 (BICEPS); OASIS DPWS 1.1, WS-Discovery 1.1.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gemel.core.errors import DataError, ValueRangeError
from gemel.interop.ieee11073.mdib import CODING_SYSTEM, Patient
from gemel.interop.ieee11073.sdc_message import Alert, Reading, Report

__all__ = ["Discovery", "Follower", "Found", "Sign"]

_LOG = logging.getLogger(__name__)
_TICK_S = 0.05
_SEARCH_S = 3.0
_ASK_S = 2.0
_SHORTEST_S, _LONGEST_S = 0.5, 15.0
_MOST_READINGS = 5000
"""Of one message; more becomes another."""

Sign = Literal["fresh", "stale", "lost"]
"""Heard of lately; not for too long; not there, or not any more."""


def _library() -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library warns of parts of its own
            for name in ("definitions_sdc", "wsdiscovery", "consumer.consumerimpl", "mdib.consumermdib"):
                importlib.import_module(f"sdc11073.{name}")
    except ImportError as error:
        raise DataError(
            "devices cannot be followed here", seen="no sdc11073", expected="the extra [devices]", fix="pip install 'gemel[devices]'"
        ) from error
    logging.getLogger("sdc").setLevel(logging.CRITICAL + 1)  # its messages hold values


@dataclass(frozen=True)
class Found:
    """A device that answered: its endpoint reference and addresses."""

    device: str
    addresses: tuple[str, ...]
    service: Any = field(repr=False, compare=False)


class Discovery:
    """Looks for devices on one network card.

    Parameters
    ----------
    address : of the card.
    """

    def __init__(self, address: str) -> None:
        _library()
        from sdc11073.wsdiscovery import WSDiscovery

        self._discovery = WSDiscovery(address)
        self._lock = threading.Lock()
        self._discovery.start()

    def close(self) -> None:
        """Stop looking."""
        self._discovery.stop()

    def __enter__(self) -> Discovery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def search(self, *, patience: float = _SEARCH_S) -> list[Found]:
        """Return the devices that answer within ``patience`` seconds."""
        from sdc11073.definitions_sdc import SdcV1Definitions

        with self._lock:
            self._discovery.clear_remote_services()  # a device that was started anew has another address
            answered: Sequence[Any] = self._discovery.search_services(types=SdcV1Definitions.MedicalDeviceTypesFilter, timeout=patience)
        return [Found(str(one.epr), tuple(one.x_addrs), one) for one in answered if one.x_addrs]


@dataclass
class _Session:
    """What is known of a device while it is connected."""

    version: int = -1
    heard: float = 0.0
    is_missing: bool = False
    is_gone: bool = False
    last: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    present: dict[str, bool] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    patients: tuple[Patient, ...] = ()
    since: dict[str, int] = field(default_factory=dict)
    is_whole: bool = False


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else round(float(seconds) * 1000) * 1_000_000  # as floats they hold no more than about a microsecond


class Follower:
    """Follows one device until it is stopped.

    Parameters
    ----------
    device : its endpoint reference, ``urn:uuid:...``.
    discovery : where to look for it.
    take : called with each message; returns when it is safe. What it raises is tried again with the next: nothing is forgotten before it is safe.
    clock : ns UTC.
    told : called when a device becomes fresh, stale or lost.
    fresh_s : without a sign for so long it is stale.
    batch_s : what is reported within so long is one message.
    probe_s : how often it is asked whether it is there.
    tls : for speaking in TLS: contexts for asking and for listening.
    """

    def __init__(
        self,
        device: str,
        discovery: Discovery,
        take: Callable[[Report], None],
        *,
        clock: Callable[[], int],
        told: Callable[[str, Sign], None] | None = None,
        fresh_s: float = 10.0,
        batch_s: float = 1.0,
        probe_s: float = 0.25,
        tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    ) -> None:
        for name, value in (("fresh_s", fresh_s), ("batch_s", batch_s), ("probe_s", probe_s)):
            if value <= 0:
                raise ValueRangeError(f"a device cannot be followed with {name}", seen=value, expected="more than 0 s")
        self.device, self._discovery, self._take, self._clock = device, discovery, take, clock
        self._told, self._fresh_s, self._batch_s, self._probe_s, self._tls = told, fresh_s, batch_s, probe_s, tls
        self._lock = threading.Lock()
        self._sign: Sign | None = None
        self.reloads = 0
        """How often the whole description was read, the first time of each connection included."""

    @property
    def sign(self) -> Sign | None:
        """Whether it was heard of lately; ``None`` before it was first looked for."""
        return self._sign

    def _tell(self, sign: Sign) -> None:
        if sign != self._sign:
            self._sign = sign
            if self._told is not None:
                self._told(self.device, sign)

    def run(self, stop: threading.Event) -> None:
        """Follow until ``stop``; a device that is lost is looked for again, later each time."""
        pause = _SHORTEST_S
        while not stop.is_set():
            began = time.monotonic()
            try:
                self._follow(stop)
            except Exception as error:  # a device may answer anything; the message of an error may hold values
                _LOG.warning("a device was lost: %s", type(error).__name__)
            if stop.is_set():
                return
            self._tell("lost")
            pause = _SHORTEST_S if time.monotonic() - began > 60 else min(2 * pause, _LONGEST_S)
            stop.wait(pause)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        from sdc11073.certloader import SSLContextContainer
        from sdc11073.consumer.consumerimpl import SdcConsumer
        from sdc11073.xml_types.actions import periodic_actions

        found = next((one for one in self._discovery.search() if one.device == self.device), None)
        if found is None:
            raise DataError("a device is not there", seen="no answer", expected="a device of this reference")
        tls = None if self._tls is None else SSLContextContainer(*self._tls)
        consumer = SdcConsumer.from_wsd_service(found.service, ssl_context_container=tls)
        try:
            consumer.start_all(not_subscribed_actions=periodic_actions)
            yield consumer
        finally:
            with contextlib.suppress(Exception):
                consumer.stop_all(unsubscribe=self._sign == "fresh")

    def _follow(self, stop: threading.Event) -> None:
        from sdc11073 import observableproperties
        from sdc11073.mdib.consumermdib import ConsumerMdib

        with self._connect() as consumer:
            session = _Session(heard=time.monotonic())
            mdib = ConsumerMdib(consumer)
            mdib.init_mdib()
            self._read_whole(mdib, session)

            def heard(kind: str) -> Callable[[Any], None]:
                def notice(states: Any) -> None:
                    self._heard(mdib, session, kind, states)

                return notice

            kinds = ("metrics", "alert", "context", "component", "operation", "waveform")
            # bound strongly: the library holds other callbacks weakly, and forgets them without a word
            observableproperties.strongbind(mdib, **{f"{kind}_by_handle": heard(kind) for kind in kinds})
            observableproperties.strongbind(mdib, description_modifications=heard("description"))
            observableproperties.strongbind(mdib, sequence_or_instance_id_changed_event=lambda _: setattr(session, "is_missing", True))
            probe = threading.Thread(target=self._probe, args=(consumer, session, stop), daemon=True, name="gemel-sdc-probe")
            probe.start()
            try:
                self._attend(mdib, session, stop)
            finally:
                session.is_gone = True
                for name in (
                    *(f"{kind}_by_handle" for kind in kinds),
                    "description_modifications",
                    "sequence_or_instance_id_changed_event",
                ):
                    getattr(type(mdib), name).unbind_all(mdib)
                self._flush(session)

    def _attend(self, mdib: Any, session: _Session, stop: threading.Event) -> None:
        flushed = time.monotonic()
        while not stop.is_set():
            if session.is_gone:
                self._tell("lost")  # at once: letting go of the connection takes a while
                return
            stop.wait(_TICK_S)
            now = time.monotonic()
            self._tell("stale" if now - session.heard > self._fresh_s else "fresh")
            if session.is_missing:
                self._flush(session)
                mdib.reload_all()
                self._read_whole(mdib, session)
            if now - flushed >= self._batch_s:
                flushed = now
                self._flush(session)

    def _probe(self, consumer: Any, session: _Session, stop: threading.Event) -> None:
        """Ask again and again whether it is there: one that was switched off does not say so. And how far it is: of a last report that was lost no later one tells."""
        asked = time.monotonic()
        while not stop.wait(self._probe_s) and not session.is_gone:
            try:
                if time.monotonic() - asked < _ASK_S:
                    consumer.send_probe()
                    continue
                asked, before = time.monotonic(), session.version
                answer = consumer.client("Get").get_md_state(list(session.last)[:1])  # of one metric: what matters is the version beside it
                stop.wait(_TICK_S)  # what was sent before the answer is on its way
                with self._lock:
                    if answer.mdib_version_group.mdib_version > max(session.version, before):
                        session.is_missing = True
            except Exception:
                session.is_gone = True
                return

    def _heard(self, mdib: Any, session: _Session, kind: str, states: Any) -> None:
        """Take in what was reported: called by the library, in the thread that received it."""
        if states is None:  # the library clears what it tells, before it reads everything anew
            return
        with self._lock:
            session.heard = time.monotonic()
            version = int(mdib.mdib_version or 0)
            if session.version >= 0 and version > session.version + 1:
                session.is_missing = True
            session.version = max(session.version, version)
            if kind == "description":
                session.is_missing = True
            elif kind == "context":
                session.is_missing = True  # somebody came or went: what is next is theirs, and read as a whole
            elif kind in ("metrics", "alert"):
                self._collect(mdib, session, list(states.values()))

    def _mds(self, mdib: Any, session: _Session, handle: str) -> str:
        known = session.devices.get(handle)
        if known is None:
            one, at = mdib.descriptions.handle.get_one(handle, allow_none=True), handle
            while one is not None and one.parent_handle is not None:
                at = one.parent_handle
                one = mdib.descriptions.handle.get_one(at, allow_none=True)
            known = session.devices[handle] = at
        return known

    def _collect(self, mdib: Any, session: _Session, states: Sequence[Any]) -> None:
        version = int(mdib.mdib_version or 0)
        for state in states:
            descriptor = mdib.descriptions.handle.get_one(state.DescriptorHandle, allow_none=True)
            if descriptor is None:
                continue
            kind = descriptor.Type
            code, system = ("", CODING_SYSTEM) if kind is None else (str(kind.Code or ""), str(kind.CodingSystem or CODING_SYSTEM))
            mds = self._mds(mdib, session, state.DescriptorHandle)
            name = type(state).__name__
            if name.startswith("NumericMetric"):
                told = state.MetricValue
                value = None if told is None or told.Value is None else float(told.Value)
                quality = None if told is None else told.MetricQuality
                moment = None if told is None else _ns(told.DeterminationTime)
                validity = "NA" if quality is None else str(quality.Validity.value)
                seen = (value, validity, moment)
                if session.last.get(state.DescriptorHandle) == seen or told is None:
                    continue
                session.last[state.DescriptorHandle] = seen
                unit = "" if descriptor.Unit is None else str(descriptor.Unit.Code or "")
                mode = "Real" if quality is None or quality.Mode is None else str(quality.Mode.value)
                category = str(descriptor.MetricCategory.value)
                session.readings.append(
                    Reading(state.DescriptorHandle, mds, code, system, unit, category, value, validity, mode, moment, version)
                )
            elif name in ("AlertConditionStateContainer", "LimitAlertConditionStateContainer"):
                is_present = bool(state.Presence)
                if session.present.get(state.DescriptorHandle, False) != is_present:
                    session.alerts.append(
                        Alert(state.DescriptorHandle, mds, code, system, is_present, _ns(state.DeterminationTime), version)
                    )
                session.present[state.DescriptorHandle] = is_present

    def _read_whole(self, mdib: Any, session: _Session) -> None:
        """Take the whole description: with whom it is associated, and whatever is not known yet."""
        self.reloads += 1
        with mdib.mdib_lock, self._lock:
            session.is_missing, session.is_whole = False, True
            session.version = int(mdib.mdib_version or 0)
            session.devices.clear()
            found: list[Patient] = []
            session.since = {}
            for state in mdib.context_states.objects:
                if type(state).__name__ != "PatientContextStateContainer" or state.ContextAssociation is None:
                    continue
                if str(state.ContextAssociation.value) != "Assoc":
                    continue
                mds = self._mds(mdib, session, state.DescriptorHandle)
                found.append(Patient(mds, tuple((str(i.Root or ""), str(i.Extension or "")) for i in state.Identification)))
                begun = _ns(state.BindingStartTime)
                if begun is not None:
                    session.since[mds] = begun
            session.patients = tuple(found)
            self._sequence = str(mdib.sequence_id or "")
            self._collect(mdib, session, list(mdib.states.objects))
            session.heard = time.monotonic()

    def _flush(self, session: _Session) -> None:
        """Hand over what was reported. It is forgotten when it is safe, and not before."""
        while True:
            with self._lock:
                readings, alerts = tuple(session.readings[:_MOST_READINGS]), tuple(session.alerts[:_MOST_READINGS])
                report = Report(
                    self.device, self._sequence, self._clock(), session.patients, dict(session.since), readings, alerts, session.is_whole
                )
            if not readings and not alerts:
                return
            try:
                self._take(report)
            except Exception as error:
                _LOG.error("a report of a device was not kept, and is tried again: %s", type(error).__name__)
                if len(session.readings) > 20 * _MOST_READINGS:  # the library waits for the lock: the device is held back, memory is not
                    time.sleep(self._batch_s)
                return
            with self._lock:
                del session.readings[: len(readings)]
                del session.alerts[: len(alerts)]
                session.is_whole = False
