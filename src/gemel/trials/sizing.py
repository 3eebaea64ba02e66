"""How many patients, and what a prognosis saves: power and size of linear adjustment, its small-sample forms, and what is deflated.

A prediction that explains the share R² of the outcome within arm lowers the *total* size by R² at equal power. If only the *control arm* of a 1:1 trial is
shrunk at a fixed treated arm, that arm falls by 2 R² / (1 + R²). Both are always given together.

References
----------
Schuler et al. 2022, Int J Biostat 18(2), doi:10.1515/ijb-2021-0072 (deflated correlation, inflated standard deviation).
Guenther 1981, doi:10.1080/00031305.1981.10479363; Schouten 1999, doi:10.1002/(SICI)1097-0258(19990115)18:1<87::AID-SIM958>3.0.CO;2-K.
Højbjerre-Frandsen et al. 2025, arXiv:2503.22284 (the other convention, and the bound for generalised linear models).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from scipy import optimize, special

from gemel import __version__
from gemel.core.errors import DataError, EvidenceError
from gemel.core.lineage import digest

__all__ = [
    "METHODS", "Assumptions", "Size", "control_arm_reduction", "exact_power", "generalised_bound", "grid", "guenther_schouten", "power_of",
    "residual_variance", "restricted_correlation", "size", "total_reduction", "variance",
]  # fmt: skip

METHODS = ("asymptotic", "guenther-schouten", "exact")
"""Normal theory, its correction for the estimated variance, and the noncentral t."""

LAMBDAS, GAMMAS = (0.8, 0.9, 1.0), (1.0, 1.05, 1.1)
LARGEST = 1e8


@dataclass(frozen=True)
class Assumptions:
    """What is believed of the outcome when a trial is planned. Each name says what it changes.

    Parameters
    ----------
    sd : standard deviation of the outcome in the history, reference arm, unit of the outcome.
    correlation : of prognosis and outcome in the history, within the reference arm.
    sd_treated, correlation_treated : the same under treatment; left out, as under reference.
    correlation_deflation : multiplies the **correlation** (not R²), in (0, 1].
    sd_inflation : multiplies the **standard deviation** (not the variance), at least 1.
    allocation : treated per reference patient.
    alpha : two-sided level.
    """

    sd: float
    correlation: float = 0.0
    sd_treated: float | None = None
    correlation_treated: float | None = None
    correlation_deflation: float = 1.0
    sd_inflation: float = 1.0
    allocation: float = 1.0
    alpha: float = 0.05

    def __post_init__(self) -> None:
        for name, low, high in (
            ("sd", 0, math.inf), ("allocation", 0, math.inf), ("alpha", 0, 1), ("correlation_deflation", 0, 1 + 1e-12), ("sd_inflation", 1 - 1e-12, math.inf),
        ):  # fmt: skip
            _between(name, getattr(self, name), low, high)
        for name in ("correlation", "correlation_treated"):
            if getattr(self, name) is not None:
                _between(name, getattr(self, name), -1, 1)
        if self.sd_treated is not None:
            _between("sd_treated", self.sd_treated, 0, math.inf)

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of the reference and the treated arm."""
        return 1 / (1 + self.allocation), self.allocation / (1 + self.allocation)

    @property
    def planned(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Standard deviations and correlations of both arms, after inflation and deflation."""
        s1 = self.sd if self.sd_treated is None else self.sd_treated
        r1 = self.correlation if self.correlation_treated is None else self.correlation_treated
        g, k = self.sd_inflation, self.correlation_deflation
        return (g * self.sd, g * s1), (k * self.correlation, k * r1)

    @property
    def r_squared(self) -> float:
        """The share of variance that the plan counts on: one minus the variance over that without adjustment."""
        return 1 - variance(self) / variance(replace(self, correlation=0.0, correlation_treated=None))


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        raise DataError(
            f"{name} is out of range", seen=value, expected=f"more than {low:g}, less than {high:g}", fix="correct the assumption"
        )


def variance(a: Assumptions) -> float:
    """Return n times the variance of the adjusted difference: sigma_0²/pi_0 + sigma_1²/pi_1 - pi_0 pi_1 (rho_0 sigma_0/pi_0 + rho_1 sigma_1/pi_1)².

    Examples
    --------
    >>> variance(Assumptions(sd=1, correlation=0.5))
    3.0
    """
    (p0, p1), ((s0, s1), (r0, r1)) = a.shares, a.planned
    return s0**2 / p0 + s1**2 / p1 - p0 * p1 * (r0 * s0 / p0 + r1 * s1 / p1) ** 2


def residual_variance(variance: float, r_squared: float, *, variance_inflation: float = 1.0, r_squared_deflation: float = 1.0) -> float:
    """Return the residual variance under postcard's convention, for comparison with its figures.

    There R² (not the correlation) is deflated, the variance (not the standard deviation) inflated, and R² divided by the inflated
    variance, so that inflation alone lowers it: variance (inflation - deflation R²).
    """
    _between("variance", variance, 0, math.inf)
    _between("r_squared", r_squared, -1e-12, 1)
    _between("variance_inflation", variance_inflation, 1 - 1e-12, math.inf)
    _between("r_squared_deflation", r_squared_deflation, 0, 1 + 1e-12)
    return variance * (variance_inflation - r_squared_deflation * r_squared)


def total_reduction(r_squared: float) -> float:
    """Return by which share the whole trial shrinks at equal power: R²."""
    return r_squared


def control_arm_reduction(r_squared: float) -> float:
    """Return by which share the control arm of a 1:1 trial shrinks when the treated arm stays: 2 R² / (1 + R²).

    Examples
    --------
    >>> [round(control_arm_reduction(r), 3) for r in (0.1364, 0.2121, 1 / 3)]
    [0.24, 0.35, 0.5]
    """
    return 2 * r_squared / (1 + r_squared)


def restricted_correlation(correlation: float, sd_ratio: float) -> float:
    """Return the correlation that a narrower trial will see (Thorndike's case 2).

    Parameters
    ----------
    sd_ratio : standard deviation of the prognosis among the patients to be included, over that in the history.
    """
    _between("correlation", correlation, -1, 1)
    _between("sd_ratio", sd_ratio, 0, math.inf)
    return correlation * sd_ratio / math.sqrt(1 - correlation**2 + (correlation * sd_ratio) ** 2)


def generalised_bound(
    variances: tuple[float, float],
    squared_errors: tuple[float, float],
    derivatives: tuple[float, float] = (-1.0, 1.0),
    *,
    share_treated: float = 0.5,
    covariance: float | None = None,
) -> float:
    """Return n times an upper **bound** on the variance of an estimand of two adjusted means; with ``covariance``, the value.

    Parameters
    ----------
    variances : of the outcome, reference and treated.
    squared_errors : mean squared prediction errors of the two arms.
    derivatives : of the estimand in the two means.
    covariance : assumed, of the two potential outcomes. The bound drops this term, which is negative for contrasts of positively related
        outcomes, and is loose: useless predictions at 1:1 give 6 sigma² where the truth is 4 sigma².

    References
    ----------
    Højbjerre-Frandsen et al. 2025, arXiv:2503.22284.
    """
    p0, p1 = 1 - share_treated, share_treated
    (v0, v1), (k0, k1), (r0, r1) = variances, squared_errors, derivatives
    _between("share_treated", share_treated, 0, 1)
    cross = abs(r0) * math.sqrt(k0) / p0 + abs(r1) * math.sqrt(k1) / p1
    return r0**2 * v0 + r1**2 * v1 + p0 * p1 * cross**2 + (0.0 if covariance is None else 2 * r0 * r1 * covariance)


def power_of(n: float, effect: float, nu_squared: float, alpha: float = 0.05) -> float:
    """Return the two-sided power of ``n`` patients in all: both tails.

    Parameters
    ----------
    effect : distance from the margin, unit of the outcome.
    nu_squared : n times the variance of the estimate, from :func:`variance`.
    """
    z, drift = special.ndtri(1 - alpha / 2), math.sqrt(n / nu_squared) * effect
    return float(special.ndtr(drift - z) + special.ndtr(-drift - z))


def guenther_schouten(
    effect: float, sd: float, r_squared: float, *, power: float = 0.9, alpha: float = 0.05, allocation: float = 1.0
) -> float:
    """Return the total size with Guenther's correction for the estimated variance, in Schouten's form for unequal arms."""
    z = special.ndtri(1 - alpha / 2)
    normal = (1 + allocation) ** 2 / allocation * (z + special.ndtri(power)) ** 2 * sd**2 * (1 - r_squared) / effect**2
    return float(normal + z**2 / 2)


def exact_power(n: float, effect: float, sd: float, correlation: float, *, alpha: float = 0.05, allocation: float = 1.0) -> float:
    """Return the power of the F test of a linear model with one covariate, given the design: noncentral t with n - 3 degrees of freedom."""
    if n <= 3:
        return alpha
    centre = math.sqrt(allocation * n) / (1 + allocation) * abs(effect) / (sd * math.sqrt(1 - correlation**2))
    t = special.stdtrit(n - 3, 1 - alpha / 2)
    below = special.nctdtr(n - 3, centre, -t)
    return float(1 - special.nctdtr(n - 3, centre, t) + (below if math.isfinite(below) else 0.0))


@dataclass(frozen=True)
class Size:
    """How many patients, and all that the number rests on.

    Parameters
    ----------
    n : total with an outcome, not rounded.
    reference, treated : rounded up per arm, with an outcome.
    enrolled_reference, enrolled_treated : to be enrolled, so that this many remain after ``dropout``.
    power : of the rounded arms, by the same method.
    unadjusted : total without the prognosis, not rounded, by the same method and under the same inflation.
    r_squared, r_squared_interval : planned; the interval comes from the history, or is None.
    total_reduction, control_arm_reduction : what this R² buys, in either way.
    control_only : control patients needed beside as many treated patients as the trial of 1:1 without adjustment has per arm.
    grid : rows (correlation deflation, SD inflation, n); empty where the arguments mean something else.
    """

    n: float
    reference: int
    treated: int
    enrolled_reference: int
    enrolled_treated: int
    power: float
    unadjusted: float
    r_squared: float
    r_squared_interval: tuple[float, float] | None
    total_reduction: float
    control_arm_reduction: float
    control_only: int | None
    method: str
    convention: str
    effect: float
    dropout: float
    assumptions: Assumptions
    grid: tuple[tuple[float, float, float], ...]
    prognosis: str = ""
    lineage: str = ""

    @property
    def total(self) -> int:
        """Both arms, rounded up, with an outcome."""
        return self.reference + self.treated

    @property
    def enrolled(self) -> int:
        """Both arms, to be enrolled."""
        return self.enrolled_reference + self.enrolled_treated


def _common(a: Assumptions, method: str) -> tuple[float, float]:
    (s0, s1), (r0, r1) = a.planned
    if abs(s0 - s1) > 1e-12 * s0 or abs(r0 - r1) > 1e-12:
        raise EvidenceError(
            f"the {method} method knows one standard deviation and one correlation",
            seen=f"SD {s0:g} and {s1:g}, correlation {r0:g} and {r1:g}",
            expected="the same in both arms",
            fix="use the asymptotic method",
        )
    return s0, r0


def _too_large() -> EvidenceError:
    return EvidenceError("no trial is large enough", seen=f"more than {LARGEST:g} patients", expected="a larger effect or a lower power")


def _needed(curve: Callable[[float], float], power: float) -> float:
    high = 8.0
    while curve(high) < power:
        high *= 2
        if high > LARGEST:
            raise EvidenceError(
                "no trial is large enough", seen=f"more than {LARGEST:g} patients", expected="a larger effect or a lower power"
            )
    if curve(3.5) >= power:
        return 3.5
    return float(optimize.brentq(lambda n: curve(n) - power, 3.5, high, xtol=1e-9))


def _ways(a: Assumptions, effect: float, method: str) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """Return power as a function of n, and n as a function of power."""
    if method == "asymptotic":
        nu = variance(a)
        z = special.ndtri(1 - a.alpha / 2)
        return (lambda n: power_of(n, effect, nu, a.alpha)), (lambda p: nu * (z + special.ndtri(p)) ** 2 / effect**2)
    sd, rho = _common(a, method)
    if method == "exact":

        def exact(n: float) -> float:
            return exact_power(n, effect, sd, rho, alpha=a.alpha, allocation=a.allocation)

        return exact, lambda p: _needed(exact, p)
    z = special.ndtri(1 - a.alpha / 2)
    nu = variance(a)
    return (
        lambda n: power_of(max(n - z**2 / 2, 1e-9), effect, nu, a.alpha),
        lambda p: guenther_schouten(effect, sd, rho**2, power=p, alpha=a.alpha, allocation=a.allocation),
    )


def grid(a: Assumptions, effect: float, *, power: float = 0.9, method: str = "asymptotic") -> tuple[tuple[float, float, float], ...]:
    """Return n for correlation deflations 0.8, 0.9, 1 and SD inflations 1, 1.05, 1.1, before dropout."""
    return tuple(
        (k, g, float(_ways(replace(a, correlation_deflation=k, sd_inflation=g), effect, method)[1](power))) for k in LAMBDAS for g in GAMMAS
    )


def size(
    assumptions: Assumptions,
    effect: float,
    *,
    power: float = 0.9,
    margin: float = 0.0,
    dropout: float = 0.0,
    method: str = "asymptotic",
    convention: str = "gemel",
    r_squared_deflation: float = 1.0,
    variance_inflation: float = 1.0,
    r_squared_interval: tuple[float, float] | None = None,
    prognosis: str = "",
) -> Size:
    """Size a two-arm trial whose prognosis is a covariate of its linear model.

    Parameters
    ----------
    assumptions : of the outcome; :meth:`gemel.trials.prognosis.PrognosisBundle.assumptions` makes them from a locked bundle.
    effect : to be detected, unit of the outcome.
    margin : subtracted from the effect (non-inferiority: negative of the margin allowed).
    dropout : share of patients without an outcome, whom the enrolled number makes up for.
    method : one of :data:`METHODS`.
    convention : ``gemel`` deflates the correlation and inflates the SD, by :class:`Assumptions`; ``postcard`` deflates R² and inflates
        the variance, by the two arguments of those names, and is there to compare.
    r_squared_interval, prognosis : from the bundle, carried into the result.

    Raises
    ------
    DataError
        For an assumption out of range, no effect, an unknown method or convention, or factors of the other convention.
    EvidenceError
        When a method that knows one variance is given two.

    Examples
    --------
    >>> plan = Assumptions(sd=1, correlation=0.5)
    >>> [round(size(a, 0.4).n, 1) for a in (Assumptions(sd=1), plan, replace(plan, correlation_deflation=0.9, sd_inflation=1.05))]
    [262.7, 197.0, 231.0]
    """
    if method not in METHODS or convention not in ("gemel", "postcard"):
        raise DataError("no such method or convention", seen=(method, convention), expected=(METHODS, ("gemel", "postcard")))
    _between("power", power, assumptions.alpha, 1)
    _between("dropout", dropout, -1e-12, 1)
    distance = effect - margin
    if not math.isfinite(distance) or distance == 0:
        raise DataError("there is no effect to detect", seen=distance, expected="an effect beyond the margin")
    planned = assumptions
    if convention == "postcard":
        if assumptions.correlation_deflation != 1 or assumptions.sd_inflation != 1:
            raise DataError(
                "two conventions at once",
                seen="correlation_deflation or sd_inflation",
                expected="r_squared_deflation and variance_inflation",
            )
        sd, rho = _common(assumptions, "postcard")
        left = residual_variance(sd**2, rho**2, variance_inflation=variance_inflation, r_squared_deflation=r_squared_deflation)
        inflated = sd**2 * variance_inflation
        planned = replace(
            assumptions, sd=math.sqrt(inflated), correlation=math.sqrt(1 - left / inflated), sd_treated=None, correlation_treated=None
        )
    elif r_squared_deflation != 1 or variance_inflation != 1:
        raise DataError("factors of the other convention", seen="r_squared_deflation or variance_inflation", expected="correlation_deflation and sd_inflation", fix="or convention='postcard'")  # fmt: skip
    curve, needed = _ways(planned, distance, method)
    n = float(needed(power))
    plain = float(_ways(replace(planned, correlation=0.0, correlation_treated=None), distance, method)[1](power))
    if not plain < LARGEST:
        raise _too_large()
    reference, treated = (max(2, math.ceil(n * share - 1e-9)) for share in planned.shares)
    r_squared = planned.r_squared
    per_arm = plain / 2
    return Size(
        n=n,
        reference=reference,
        treated=treated,
        enrolled_reference=math.ceil(reference / (1 - dropout) - 1e-9),
        enrolled_treated=math.ceil(treated / (1 - dropout) - 1e-9),
        power=curve(reference + treated),
        unadjusted=plain,
        r_squared=r_squared,
        r_squared_interval=r_squared_interval,
        total_reduction=total_reduction(r_squared),
        control_arm_reduction=control_arm_reduction(r_squared),
        control_only=math.ceil(per_arm * (1 - control_arm_reduction(r_squared)) - 1e-9) if planned.allocation == 1 else None,
        method=method,
        convention=convention,
        effect=effect,
        dropout=dropout,
        assumptions=planned,
        grid=grid(assumptions, distance, power=power, method=method) if convention == "gemel" else (),
        prognosis=prognosis,
        lineage=digest([__version__, asdict(assumptions), effect, margin, power, dropout, method, convention, r_squared_deflation, variance_inflation, prognosis])[:16],
    )  # fmt: skip
