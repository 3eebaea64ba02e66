"""Traces for OpenTelemetry, an extra (``gemel[telemetry]``): spans of requests, jobs and intake. No attribute names a patient, a person or a value."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from gemel.core.errors import ConfigurationError

__all__ = ["ATTRIBUTES", "Tracer"]

ATTRIBUTES = frozenset(
    {
        "http.request.method", "http.route", "http.response.status_code", "gemel.request", "gemel.job.kind", "gemel.source", "gemel.count", "error.type",
    }
)  # fmt: skip
"""What a span may carry; anything else that is handed in is left out."""


class Tracer:
    """Begins spans; does nothing where no collector is named.

    Parameters
    ----------
    address : of an OTLP collector, over HTTP; empty: no traces.
    exporter : where spans go instead: for tests.

    Raises
    ------
    ConfigurationError
        When traces are wanted and the extra is not installed.
    """

    def __init__(self, address: str = "", *, exporter: Any = None) -> None:
        self._provider = self._tracer = None
        if not address and exporter is None:
            return
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=address))
            else:
                processor = SimpleSpanProcessor(exporter)
        except ImportError as error:
            raise ConfigurationError(
                "traces need their extra", seen="opentelemetry is not installed", fix="pip install 'gemel[telemetry]', or no [log] traces"
            ) from error
        self._provider = TracerProvider(resource=Resource.create({"service.name": "gemel"}), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("gemel")

    @contextlib.contextmanager
    def span(self, name: str, told: Mapping[str, str | int] | None = None) -> Iterator[dict[str, str | int]]:
        """Measure a piece of work; an error is named by its class only.

        Parameters
        ----------
        name : of the kind of work, such as ``job forecast``: no id.
        told : of :data:`ATTRIBUTES`; what is put into the mapping that comes back is added at the end; ``name`` there renames the span.
        """
        more: dict[str, str | int] = dict(told or {})
        if self._tracer is None:
            yield more
            return
        with self._tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as made:
            try:
                yield more
            except BaseException as error:
                more["error.type"] = type(error).__name__
                raise
            finally:
                if "name" in more:
                    made.update_name(str(more["name"]))
                for key, value in more.items():
                    if key in ATTRIBUTES:
                        made.set_attribute(key, value)

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()
