"""A third-party twin, written from the public contract alone: recovery of the pulse after exercise."""

from gemel.engine.infer.laplace import Laplace
from gemel.engine.recommend import Limit, Objective
from gemel.engine.room import Room
from gemel_pulse.model import PulseModel, simulate_record


def weighted() -> Laplace:
    """Laplace, corrected by importance weights: recovery is not quite Gaussian."""
    return Laplace(resample=True)


def plans(twin):
    """Rest now, or run for five minutes more."""
    now = float(twin.model_time([twin.now])[0])
    return {"rest": None, "five minutes more": twin.observed.plan.with_events((now, 5.0, 5.0, 0))}


def objective():
    """The lower the pulse at the end of the horizon, the better."""
    return Objective("calm", "/min", lambda forecast: -forecast.draws[:, -1, 0])


def limits():
    """The pulse should hardly ever pass 200."""
    return (Limit("pulse above 200", 0.05, violated=lambda forecast: (forecast.draws[:, :, 0] > 200.0).any(axis=1)),)


room = Room(
    id="pulse",
    build=PulseModel,
    method=weighted,
    simulate_record=simulate_record,
    plans=plans,
    objective=objective,
    limits=limits,
    horizons=(1.0, 2.0, 5.0, 10.0, 15.0),
    evidence="gemel_pulse.evidence",
    report="gemel_pulse.report",
)
