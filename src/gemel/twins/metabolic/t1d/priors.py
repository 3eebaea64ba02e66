"""Every constant of the twin: value, unit, source; the thirty virtual people, and what is known of a person before any reading.

Sources, short: TABLE = the thirty people of :mod:`._people`; S2008 = Dalla Man et al. 2007, doi:10.1109/TBME.2007.893506, and 2014,
doi:10.1177/1932296814514502. What nobody has published is marked ASSUMED and appears in the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DomainError
from gemel.engine.prior import ASSUMED, Parameter, Prior
from gemel.engine.transform import Log
from gemel.twins.metabolic.priors import Constant
from gemel.twins.metabolic.t1d._people import COLUMNS, TABLE

__all__ = [
    "CONSTANTS", "FREE", "GROUPS", "MULTIPLIERS", "PERSONAL", "Free", "VirtualPerson", "constant", "group_of", "joint", "people", "person_prior",
    "shrunk_correlation", "typical",
]  # fmt: skip

PEOPLE = "thirty people of the academic UVA/Padova S2008 release, as published with simglucose (MIT)"
S2008 = "doi:10.1109/TBME.2007.893506"
GROUPS = ("adult", "adolescent", "child")
"""Groups of the table: adults from 18 years, adolescents from 12, children below."""

CONSTANTS: dict[str, Constant] = {
    "Fcns": Constant(1.0, "mg/kg/min", S2008 + "; column Fsnc of the table", "glucose used without insulin, by brain and red cells"),
    "ke1": Constant(0.0005, "/min", S2008, "excretion by the kidney above its threshold"),
    "ke2": Constant(339.0, "mg/kg", S2008, "plasma glucose above which the kidney excretes"),
    "HEb": Constant(0.6, "1", S2008, "share of insulin that the liver takes up at rest"),
    "f": Constant(0.9, "1", S2008, "share of carbohydrate that appears in plasma"),
    "eating_rate": Constant(5.0, "g/min", "simglucose, T1DPatient.EAT_RATE", "how fast virtual people eat"),
    "rescue": Constant(15.0, "g", ASSUMED, "carbohydrate that virtual people take when they go low"),
}


def constant(name: str) -> float:
    """Return a constant's value."""
    return CONSTANTS[name].value


@dataclass(frozen=True)
class Free:
    """A parameter that differs between people and does not follow from the others: unit, meaning, and whether it is a share (logit) or a size (log)."""

    unit: str
    meaning: str
    is_share: bool = False


FREE: dict[str, Free] = {
    "BW": Free("kg", "body weight"),
    "Gb": Free("mg/dL", "glucose at rest under basal insulin"),
    "Ib": Free("pmol/L", "plasma insulin at rest under basal insulin"),
    "EGPb": Free("mg/kg/min", "glucose production of the liver at rest"),
    "Vg": Free("dL/kg", "distribution volume of glucose"),
    "k1": Free("/min", "exchange of glucose from plasma to tissue"),
    "k2": Free("/min", "exchange of glucose from tissue to plasma"),
    "Vi": Free("L/kg", "distribution volume of insulin"),
    "m1": Free("/min", "insulin from liver to plasma"),
    "m2": Free("/min", "insulin from plasma to liver; its peripheral degradation m4 is 0.4 of it"),
    "Vmx": Free("mg.L/kg/min/pmol", "use of glucose by tissue per insulin action: peripheral insulin sensitivity"),
    "Km0": Free("mg/kg", "tissue glucose at which its use is half of the most"),
    "p2u": Free("/min", "rate at which insulin action on use follows plasma insulin"),
    "kp2": Free("/min", "effect of glucose on its own production"),
    "kp3": Free("mg.L/kg/min/pmol", "effect of insulin on glucose production: hepatic insulin sensitivity"),
    "ki": Free("/min", "rate of the delayed insulin signal to the liver"),
    "kmax": Free("/min", "fastest emptying of the stomach"),
    "kmin": Free("/min", "slowest emptying of the stomach"),
    "kabs": Free("/min", "absorption from the gut"),
    "b": Free("1", "share of a meal in the stomach at which emptying has slowed half way", is_share=True),
    "d": Free("1", "share of a meal in the stomach at which emptying speeds up again half way", is_share=True),
    "ka1": Free("/min", "absorption of insulin from the first subcutaneous compartment"),
    "ka2": Free("/min", "absorption of insulin from the second subcutaneous compartment"),
    "kd": Free("/min", "diffusion between the subcutaneous compartments"),
    "ksc": Free("/min", "rate at which subcutaneous glucose follows plasma"),
}
"""The free parameters, in the order of the table. All others follow from the steady state (:func:`._uva_padova.completed`)."""


@dataclass(frozen=True)
class VirtualPerson:
    """One virtual person: age in years, carbohydrate ratio (g/U), correction factor (mg/dL/U), daily insulin (U), and the free parameters."""

    name: str
    age: float
    carbohydrate_ratio: float
    correction_factor: float
    daily_insulin: float
    parameters: dict[str, float]

    @property
    def group(self) -> str:
        """Adult, adolescent or child, as the name says (some adolescents of the table are 18 and 19)."""
        return self.name.partition("#")[0]


@cache
def people() -> dict[str, VirtualPerson]:
    """Return the thirty people of the table by name."""
    columns = COLUMNS.split()
    found = {}
    for line in TABLE.splitlines():
        name, *numbers = line.split()
        values = dict(zip(columns[1:], map(float, numbers), strict=True))
        found[name] = VirtualPerson(name, *(values.pop(c) for c in columns[1:5]), parameters=values)
    return found


def group_of(age: float | None) -> str:
    """Return the group of an age in years; an unknown age is taken for an adult's.

    Examples
    --------
    >>> group_of(11), group_of(17), group_of(None)
    ('child', 'adolescent', 'adult')
    """
    return "adult" if age is None or age >= 18 else "adolescent" if age >= 12 else "child"


def unbounded(table: Float[np.ndarray, "person free"], names: Sequence[str]) -> Float[np.ndarray, "person free"]:
    """Return sizes as logarithms and shares as logits."""
    shares = np.array([FREE[n].is_share for n in names])
    return np.where(shares, np.log(np.where(shares, table / (1.0 - np.where(shares, table, 0.5)), 1.0)), np.log(table))


def bounded(z: Float[np.ndarray, "person free"], names: Sequence[str]) -> Float[np.ndarray, "person free"]:
    """Undo :func:`unbounded`."""
    shares = np.array([FREE[n].is_share for n in names])
    return np.where(shares, 1.0 / (1.0 + np.exp(-z)), np.exp(np.where(shares, 0.0, z)))


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Unbounded free parameters (person, free) and the group index of each person."""
    found = people().values()
    values = np.array([[p.parameters[n] for n in FREE] for p in found])
    return unbounded(values, tuple(FREE)), np.array([GROUPS.index(p.group) for p in found])


@cache
def _typical(group: str) -> tuple[float, ...]:
    if group not in GROUPS:
        raise DomainError("no such group of virtual people", seen=group, expected=", ".join(GROUPS))
    z, groups = _table()
    return tuple(bounded(z[groups == GROUPS.index(group)].mean(axis=0), tuple(FREE)).tolist())


def typical(group: str) -> dict[str, float]:
    """Return the geometric mean (of shares: the mean on the logit) of each free parameter in a group, the constants included.

    Raises
    ------
    DomainError
        When there is no such group.
    """
    return {**dict(zip(FREE, _typical(group), strict=True)), **{n: constant(n) for n in ("Fcns", "ke1", "ke2", "HEb", "f")}}


def shrunk_correlation(residual: Float[np.ndarray, "person free"]) -> tuple[Float[np.ndarray, "free free"], float]:
    """Return the correlation of centred rows, shrunk towards none, and the intensity: thirty people do not tell three hundred correlations.

    References
    ----------
    Schaefer & Strimmer 2005, doi:10.2202/1544-6115.1175, target D, with the intensity that minimises the expected squared error.
    """
    n = len(residual)
    x = residual / residual.std(axis=0)
    products = x[:, :, None] * x[:, None, :]
    correlation = products.mean(axis=0)
    variance = n / (n - 1) ** 3 * ((products - correlation) ** 2).sum(axis=0)
    off = ~np.eye(x.shape[1], dtype=bool)
    intensity = float(np.clip(variance[off].sum() / (correlation[off] ** 2).sum(), 0.0, 1.0))
    return np.where(off, (1.0 - intensity) * correlation, 1.0), intensity


@cache
def joint(group: str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the unbounded free parameters of new people of a group: the group's mean, and what varies within groups in all thirty."""
    z, groups = _table()
    means = np.array([z[groups == i].mean(axis=0) for i in range(len(GROUPS))])
    residual = z - means[groups]
    correlation, _ = shrunk_correlation(residual)
    scale = np.sqrt((residual**2).sum(axis=0) / (len(z) - len(GROUPS)))
    return unbounded(np.array([_typical(group)]), tuple(FREE))[0], correlation * np.outer(scale, scale)


PERSONAL: dict[str, tuple[float | None, float]] = {
    # name: (smallest SD on the log scale, where the thirty are more alike than patients are, else None; drift per square root of a day)
    "Gb": (0.12, 0.03),
    "Ib": (0.25, 0.05),
    "Vmx": (None, 0.10),
    "kp3": (None, 0.0),
    "kmax": (None, 0.0),
    "kmin": (None, 0.0),
    "kabs": (None, 0.0),
    "ka2": (None, 0.0),
    "p2u": (None, 0.0),
}
"""What is inferred from one person's readings, meals and insulin; everything else is held at the geometric mean of the person's group.

Chosen by what three days tell (``gemel bench metabolic-speed --stages identifiability`` prints posterior over prior standard deviation of all of them at
once): sensitivities, emptying and absorption are learnt. Of those that move glucose in the same way one stands for all: ``Ib``, widened, for the clearance
of insulin (``m2``, ``Vi``), on which only the basal need depends; ``Gb`` for ``Vg``, ``EGPb`` and the exchange ``k1``, ``k2``. ``ka2`` and ``p2u`` are mostly
prior and stay, so that the time course of insulin keeps its uncertainty. ``f`` is fixed: against ``Vg`` and the sensitivities it cannot be told.
"""

MULTIPLIERS = ("Vmx_breakfast", "Vmx_dinner", "kp3_breakfast", "kp3_dinner")
"""Optional factors of insulin sensitivity by time of day, against lunch (breakfast 4-11 h, lunch 11-17 h, dinner else)."""


@cache
def person_prior(group: str | None = None, *, time_of_day: bool = False) -> Prior:
    """Return the prior of the personal parameters: log-normal, mean and covariance of the thirty people, or of one group's mean and what varies within groups.

    Parameters
    ----------
    group : ``adult``, ``adolescent``, ``child``; left out, anybody: the spread between the groups then counts too.
    time_of_day : add factors of ``Vmx`` and ``kp3`` by time of day. Later versions of the simulator have such a rhythm, whose table is not public:
        the priors are ASSUMED, centred at no rhythm.
    """
    names = list(PERSONAL)
    index = [list(FREE).index(n) for n in names]
    if group is None:
        z, _ = _table()
        mean = z.mean(axis=0)[index]
        residual = z[:, index] - mean
        correlation, _ = shrunk_correlation(residual)
        scale = residual.std(axis=0, ddof=1)
    else:
        whole, covariance = joint(group)
        mean = whole[index]
        scale = np.sqrt(np.diag(covariance))[index]
        correlation = covariance[np.ix_(index, index)] / np.outer(scale, scale)
    parameters, widths = [], []
    for name, location, sd in zip(names, mean, scale, strict=True):
        least, drift = PERSONAL[name]
        source = PEOPLE if least is None or least <= sd else f"{ASSUMED}: mean of the {PEOPLE}; widened, because real people differ more"
        widths.append(max(float(sd), least or 0.0))
        parameters.append(Parameter(name, FREE[name].unit, Log(), float(location), widths[-1], source, FREE[name].meaning, drift))
    whole_correlation = correlation
    if time_of_day:
        for name in MULTIPLIERS:
            part, window = name.split("_")
            parameters.append(Parameter(name, "1", Log(), 0.0, 0.2, ASSUMED, f"factor of {part} in the {window} window against lunch"))
        whole_correlation = np.eye(len(parameters))
        whole_correlation[: len(names), : len(names)] = correlation
    return Prior.of(parameters, whole_correlation)
