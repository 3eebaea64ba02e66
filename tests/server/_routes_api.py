"""Rows of the route table for the API, version 1."""

from __future__ import annotations

from typing import Any

from _routes import Route
from _seeds import ROOM, V1, seeded
from _world import NOW, World

from gemel.core.time import MINUTE, iso


def at(template: str, **rest: Any):
    """An aim at an address with the seeded ids in it."""

    def aim(world: World, patient: str) -> dict[str, Any]:
        return {"url": V1 + template.format(**seeded(world, patient)), **rest}

    return aim


def filled(template: str, body: Any):
    """An aim whose body carries the seeded ids."""

    def aim(world: World, patient: str) -> dict[str, Any]:
        ids = seeded(world, patient)
        return {"url": V1 + template.format(**ids), "json": body(ids, patient)}

    return aim


API: list[Route] = [
    Route("GET", f"{V1}/patients", "search"),
    Route("POST", f"{V1}/patients/search", "search", aim=filled("/patients/search", lambda ids, patient: {"pseudonym": patient})),
    Route("GET", f"{V1}/patients/{{patient}}", "read", aim=at("/patients/{patient}")),
    Route("GET", f"{V1}/patients/{{patient}}/series", "read", aim=at("/patients/{patient}/series")),
    Route("GET", f"{V1}/patients/{{patient}}/exposures", "read", aim=at("/patients/{patient}/exposures")),
    Route("GET", f"{V1}/patients/{{patient}}/findings", "read", aim=at("/patients/{patient}/findings")),
    Route("GET", f"{V1}/twins", "forecast", aim=at("/twins?patient={patient}")),
    Route("POST", f"{V1}/twins", "posterior", aim=filled("/twins", lambda ids, _: {"patient": ids["patient"], "twin": ROOM})),
    Route("GET", f"{V1}/twins/{{twin}}", "forecast", aim=at("/twins/{twin}")),
    Route("GET", f"{V1}/twins/{{twin}}/versions", "forecast", aim=at("/twins/{twin}/versions")),
    Route("GET", f"{V1}/twins/{{twin}}/versions/{{version}}/state", "posterior", aim=at("/twins/{twin}/versions/{version}/state")),
    Route("POST", f"{V1}/twins/{{twin}}/assimilate", "posterior", aim=at("/twins/{twin}/assimilate", json={})),
    Route("GET", f"{V1}/twins/{{twin}}/forecast", "forecast", aim=at("/twins/{twin}/forecast")),
    Route("GET", f"{V1}/twins/{{twin}}/forecasts", "forecast", aim=at("/twins/{twin}/forecasts")),
    Route("POST", f"{V1}/twins/{{twin}}/forecasts", "forecast", aim=at("/twins/{twin}/forecasts", json={})),
    Route("POST", f"{V1}/twins/{{twin}}/comparisons", "forecast", aim=at("/twins/{twin}/comparisons", json={})),
    Route("POST", f"{V1}/twins/{{twin}}/recommendations", "forecast", aim=at("/twins/{twin}/recommendations", json={})),
    Route("GET", f"{V1}/forecasts/{{forecast}}", "forecast", aim=at("/forecasts/{forecast}")),
    Route("GET", f"{V1}/comparisons/{{forecast}}", "forecast", aim=at("/comparisons/{forecast}")),
    Route("POST", f"{V1}/forecasts/{{forecast}}/score", "forecast", aim=at("/forecasts/{forecast}/score", json={})),
    Route("GET", f"{V1}/forecasts/{{forecast}}/score", "forecast", aim=at("/forecasts/{forecast}/score")),
    Route("GET", f"{V1}/recommendations", "forecast", aim=at("/recommendations?patient={patient}")),
    Route("GET", f"{V1}/recommendations/{{recommendation}}", "forecast", aim=at("/recommendations/{proposal}")),
    Route("GET", f"{V1}/recommendations/{{recommendation}}/decisions", "forecast", aim=at("/recommendations/{proposal}/decisions")),
    Route(
        "POST",
        f"{V1}/recommendations/{{recommendation}}/decisions",
        ("forecast", "create"),
        aim=at("/recommendations/{proposal}/decisions", json={"answer": "accepted"}, headers={"If-Match": "*"}),
    ),
    Route("GET", f"{V1}/decisions", "forecast", aim=at("/decisions?patient={patient}")),
    Route("GET", f"{V1}/decisions/{{decision}}", "forecast", aim=at("/decisions/{decision}")),
    Route("GET", f"{V1}/decisions/{{decision}}/outcomes", "forecast", aim=at("/decisions/{decision}/outcomes")),
    Route(
        "POST",
        f"{V1}/decisions/{{decision}}/outcomes",
        ("forecast", "create"),
        aim=at("/decisions/{decision}/outcomes", json={"note": "well"}),
    ),
    Route("GET", f"{V1}/outcomes", "forecast", aim=at("/outcomes?patient={patient}")),
    Route("GET", f"{V1}/jobs", "forecast", aim=at("/jobs?patient={patient}")),
    Route("GET", f"{V1}/jobs/{{job}}", "forecast", aim=at("/jobs/{job}")),
    Route("POST", f"{V1}/jobs/{{job}}/cancel", "forecast", aim=at("/jobs/{job}/cancel")),
    Route("POST", f"{V1}/jobs/{{job}}/redrive", "forecast", aim=at("/jobs/{job}/redrive")),
    Route("GET", f"{V1}/arrays/{{sha256}}", "image", aim=at("/arrays/{array}?patient={patient}")),
    Route("GET", f"{V1}/events", "stream"),  # a stream: tests/server/test_events.py
    Route(
        "POST",
        f"{V1}/imports",
        "create",
        aim=at("/imports?format=file&patient={patient}&name=a.csv", content=b"time,glucose", headers={"Content-Type": "text/csv"}),
    ),
    Route("GET", f"{V1}/imports/{{message}}", "create"),
    Route("GET", f"{V1}/quarantine", "metrics"),
    Route("GET", f"{V1}/quarantine/{{message}}", "metrics"),
    Route("POST", f"{V1}/quarantine/{{message}}/redrive", "metrics"),
    Route("GET", f"{V1}/patients/{{patient}}/consents", "read", aim=at("/patients/{patient}/consents")),
    Route("GET", f"{V1}/patients/{{patient}}/consents/{{consent}}", "read", aim=at("/patients/{patient}/consents/{consent}")),
    Route(
        "PUT",
        f"{V1}/patients/{{patient}}/consents/{{consent}}",
        "update",
        aim=filled(
            "/patients/{patient}/consents/new",
            lambda ids, _: {"resourceType": "Consent", "status": "active", "policyRule": {"coding": [{"code": "OPTIN"}]}},
        ),
        role="nurse",
    ),
    Route(
        "POST",
        f"{V1}/patients/{{patient}}/consents/{{consent}}/withdraw",
        "update",
        aim=at("/patients/{patient}/consents/{consent}/withdraw"),
    ),
    Route("GET", f"{V1}/patients/{{patient}}/export", "export", aim=at("/patients/{patient}/export"), role="patient"),
    Route(
        "POST",
        f"{V1}/patients/{{patient}}/rectifications",
        "update",
        aim=filled(
            "/patients/{patient}/rectifications",
            lambda ids, _: {
                "kind": "reading",
                "code": "loinc:99504-3",
                "source": "cgm",
                "time": iso(NOW - 60 * MINUTE),
                "value": 5.0,
                "unit": "mg/dL",
                "reason": "a slip",
            },
        ),
    ),
    Route(
        "POST",
        f"{V1}/patients/{{patient}}/objections",
        "update",
        aim=at("/patients/{patient}/objections", json={"purpose": "HMARKT"}),
        role="proxy",
    ),
    Route("POST", f"{V1}/patients/{{patient}}/erasure", "delete"),  # an administrator may erase anybody: tests/server/test_rights.py
    Route("GET", f"{V1}/processing", "metrics"),
    Route("GET", f"{V1}/processing/sheet", "metrics"),
    Route("GET", f"{V1}/patients/{{patient}}/audit", "audit", aim=at("/patients/{patient}/audit"), role="patient"),
    Route("GET", f"{V1}/audit/verification", "metrics"),
    Route("GET", f"{V1}/evidence"),
    Route("GET", f"{V1}/evidence/{{room}}"),
]
