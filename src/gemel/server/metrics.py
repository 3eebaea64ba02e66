"""Counters and times of a server, for Prometheus. No label names a patient, a person, or anything of theirs."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]


class Metrics:
    """What is counted; a registry of its own, so that two servers in one process do not meet.

    ``route`` is the template of a route, such as ``/api/v1/patients/{patient}``, never the path that was asked for.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("gemel_requests", "Requests answered", ("method", "route", "status"), registry=self.registry)
        self.seconds = Histogram(
            "gemel_request_seconds", "Time from a request to the end of its answer", ("method", "route"), registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
        )  # fmt: skip
        self.refused = Counter("gemel_refused", "Requests refused before or by the guard", ("reason",), registry=self.registry)
        self.active = Gauge("gemel_requests_active", "Requests being answered", registry=self.registry)
        self.glass = Counter("gemel_glass_broken", "Emergency accesses opened", registry=self.registry)
        self.background = Gauge("gemel_background_up", "Background services that run", ("service",), registry=self.registry)
        self.restarts = Counter(
            "gemel_background_restarts", "Background services started again after a failure", ("service",), registry=self.registry
        )

        self.notifications_lost = Counter(
            "gemel_notifications_lost", "Notifications of the hospital's server that did not arrive", registry=self.registry
        )
        self.twins_due = Gauge("gemel_twins_due", "Twins that have not read what arrived for them", registry=self.registry)
        self.twins_dead = Gauge("gemel_twins_dead", "Twins that were given up after too many tries", registry=self.registry)
        self.return_path = Counter("gemel_return_path", "What became of advice", ("event",), registry=self.registry)

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self.registry)
