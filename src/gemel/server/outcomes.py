"""What came of a decision: observed until a deadline, scored by a worker, and recorded, also when nothing came."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gemel.core.advice import Decision, ForecastTable, Outcome
from gemel.core.code import Code
from gemel.core.errors import FormatError, GemelError, StoreError
from gemel.core.record import Finding
from gemel.core.time import MINUTE, iso
from gemel.platform.advice import observed, read_forecast
from gemel.platform.store import Store, lookup
from gemel.platform.store.deliveries import Delivery, deliveries, find, save
from gemel.server.sections.hospital import ReturnPath as Settings
from gemel.server.services import Services

__all__ = ["Outcomes", "ask_forecast", "codes_of"]

OUTCOME = Code.parse("gemel:outcome")
_PATIENCE = 10 * MINUTE
"""How long a worker may take to score, ns; then the outcome is recorded without a score."""


def codes_of(twin: str) -> dict[str, Code]:
    """Return output -> code of its readings, as the manifest of an installed twin says; empty for one that is not installed."""
    from gemel.core.manifest import manifest_of

    try:
        told = manifest_of(twin)
    except GemelError:
        return {}
    return {output.name: Code.parse(str(output.code)) for output in told.outputs}


@dataclass(frozen=True)
class _Known:
    """Where a delivery goes next, and what is known of its outcome; ``forecast`` is what it is scored against."""

    state: Literal["scoring", "closed"]
    values: Mapping[str, float]
    note: str
    forecast: str = ""


def ask_forecast(store: Store, one: Delivery, told: Decision) -> str:
    """Ask for the forecast under the plan that was accepted, as of the proposal, against which the outcome is scored; return the work's id."""
    body = {"patient": one.patient, "twin": one.told.get("name"), "now": one.told.get("issued") or told.time, "plan": told.plan, "seed": 0}
    return store.enqueue("forecast", f"accepted/{one.proposal}", json.dumps(body), now=told.recorded, patient=one.patient)


def _behind(store: Store, one: Delivery, *, is_late: bool) -> tuple[str, str] | None:
    """Return the forecast that an outcome is scored against, and what must be said of it; ``None`` while it is being made."""
    standing = str(one.told.get("forecast") or "")
    if one.state == "scoring":
        return standing, ""
    if not one.told.get("planned"):
        return standing, "scored against the forecast without the plan: the changed plan is known in words only"
    state, result = _job(store, str(one.told["planned"]))
    if state == "done" and result.get("kind") == "forecast" and result.get("id"):
        return str(result["id"]), ""
    if state in ("waiting", "leased") and not is_late:
        return None
    return standing, "scored against the forecast without the plan: that under the plan was not made"


class Outcomes:
    """Follows decisions until their outcome is known.

    Parameters
    ----------
    server : whose deliveries are followed.
    codes : :func:`codes_of`, or another.
    """

    def __init__(
        self, services: Services, settings: Settings, server: str, codes: Callable[[str], Mapping[str, Code]] | None = None
    ) -> None:
        self._services, self._settings, self._server = services, settings, server
        self._find, self._known = codes or codes_of, dict[str, Mapping[str, Code]]()

    async def follow(self) -> int:
        """Look at every decision whose outcome is awaited; return how many came to something."""
        now = self._services.clock()

        def look(store: Store) -> list[tuple[Delivery, _Known]]:
            asked = ((one, self._ask(store, one, now)) for one in deliveries(store, self._server, ("decided", "scoring")))
            return [(one, known) for one, known in asked if known is not None]

        ready = await self._services.readers.run(look)
        for one, known in ready:
            await self._services.write(lambda store, a=one, b=known: self._move(store, a, b, now))
            if known.state == "closed":
                self._services.metrics.return_path.labels("outcome" if known.values else "outcome missing").inc()
        return len(ready)

    def _ask(self, store: Store, one: Delivery, now: int) -> _Known | None:
        """Say where a delivery goes next: ``scoring``, ``closed`` with values and a note, or nowhere yet."""
        until, due = int(one.told.get("until") or 0), one.due or 0
        if now < until or one.told.get("answer") == "rejected":
            return None
        behind = _behind(store, one, is_late=now >= until + _PATIENCE)
        if behind is None:
            return None
        key, note = behind
        table, values, missing = self._look(store, one, key)
        if one.state == "scoring":
            return self._scored(store, one, values, now)
        if missing and now < due:
            return None
        if not values:
            return _Known("closed", {}, f"missing: nothing was observed until {iso(due)}", key)
        if table is None:
            return _Known("closed", values, "not scored: there is no forecast", key)
        return _Known(
            "scoring", values, "; ".join(filter(None, (note, f"{missing} of the times were not observed" if missing else ""))), key
        )

    def _look(self, store: Store, one: Delivery, key: str) -> tuple[ForecastTable | None, dict[str, float], int]:
        try:
            table = read_forecast(lookup.version_body(store, "forecast", key)) if key else None
        except (FormatError, StoreError):
            table = None
        if table is None:
            return None, {}, 1
        until, codes = int(one.told.get("until") or 0), self._codes_of(table.lineage.model)
        tolerance = round(self._settings.tolerance_min * MINUTE)
        seen = observed(table, store.record(one.patient), codes, tolerance=tolerance, until=until)
        values = {name: value for name, (_, value, _) in seen.items()}
        if seen:
            values["inside"] = sum(inside for _, _, inside in seen.values()) / len(seen)
        return table, values, int((table.times <= until).sum()) * len(table.outputs) - len(seen)

    def _codes_of(self, twin: str) -> Mapping[str, Code]:
        if twin not in self._known:
            self._known[twin] = self._find(twin)
        return self._known[twin]

    def _scored(self, store: Store, one: Delivery, values: dict[str, float], now: int) -> _Known | None:
        state, result = _job(store, str(one.told.get("job")))
        note = str(one.told.get("note") or "")
        if state == "done":
            return _Known("closed", values | _score(store, result), note)
        if state in ("dead", "cancelled", "") or now > int(one.told.get("asked") or 0) + _PATIENCE:
            return _Known("closed", values, "; ".join(filter(None, (note, f"not scored: the work is {state or 'not there'}"))))
        return None

    def _move(self, store: Store, one: Delivery, known: _Known, now: int) -> None:
        """Write down what is next, in one transaction."""
        current = find(store, one.proposal, self._server)
        if current is None or current.rev != one.rev:
            return  # somebody else was faster
        values, note = known.values, known.note
        if known.state == "scoring":
            body = json.dumps({"patient": one.patient, "twin": one.told.get("name"), "forecast": known.forecast, "now": now})
            job = store.enqueue("score", f"outcome/{one.proposal}", body, now=now, patient=one.patient)
            save(store, current.now("scoring", job=job, asked=now, note=note, forecast=known.forecast))
            return
        decision = str(one.told["decision"])
        time = max(int(one.told.get("until") or 0), 0) or now
        key = store.outcome(Outcome(decision=decision, time=time, recorded=now, values=dict(values), note=note))
        words = note or ", ".join(f"{name} {value:.6g}" for name, value in sorted(values.items()))
        store.append(
            one.patient,
            [Finding(code=OUTCOME, value=words, time=time, recorded=now, source=self._server, id=f"outcome/{key}")],
            recorded=now,
        )
        save(store, current.now("closed", outcome=key))


def _job(store: Store, job: str) -> tuple[str, dict[str, Any]]:
    """Return state and result of a piece of work; an empty state when there is none."""
    try:
        found = store.job(job)
    except StoreError:
        return "", {}
    try:
        result = json.loads(found.result) if found.result else {}
    except ValueError:
        result = {}
    return found.state, result if isinstance(result, dict) else {}


def _score(store: Store, result: Mapping[str, Any]) -> dict[str, float]:
    """Return CRPS and coverage of a stored score."""
    if result.get("kind") != "score" or not result.get("id"):
        return {}
    try:
        told = json.loads(lookup.version_body(store, "score", str(result["id"])))
        rows = [row for row in told.get("rows", ()) if row.get("crps") is not None]
        inside = [bool(row["inside"]["0.90"]) for row in rows if "0.90" in row.get("inside", {})]
    except (StoreError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    found = {"crps": sum(float(row["crps"]) for row in rows) / len(rows)} if rows else {}
    return found | ({"coverage 0.90": sum(inside) / len(inside)} if inside else {})
