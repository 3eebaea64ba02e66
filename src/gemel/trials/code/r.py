"""The R program that gives the numbers of an analysis again: one function a method, base R and the packages that a reviewer has."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gemel.core.errors import DataError
from gemel.trials.code.plan import Plan
from gemel.trials.prognosis import Input, PrognosisBundle

__all__ = ["r_code"]


def _name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z.][A-Za-z0-9._]*", name) else f"`{name}`"


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _vector(values: Sequence[str]) -> str:
    return f"c({', '.join(_text(v) for v in values)})"


def _numbers(values: Sequence[float]) -> str:
    return f"c({', '.join(repr(float(v)) for v in values)})"


def _read(plan: Plan) -> list[str]:
    end = plan.data.lower().rsplit(".", 1)[-1]
    reader = {
        "xpt": f"d <- as.data.frame(haven::read_xpt({_text(plan.data)}))",
        "parquet": f"d <- as.data.frame(arrow::read_parquet({_text(plan.data)}))",
        "json": f"d <- as.data.frame(datasetjson::read_dataset_json({_text(plan.data)}))",
    }.get(
        end,
        f'd <- read.table({_text(plan.data)}, header = TRUE, sep = if (grepl(",", readLines({_text(plan.data)}, 1))) "," else "", na.strings = c("", "NA", ".", "NaN", "null"), check.names = FALSE, comment.char = "")',
    )
    lines = [reader]
    for k, v in plan.where:
        kept = f"trimws(as.character(d${_name(k)})) == {_text(v)}"
        lines.append(f"d <- d[which({kept if v else f'is.na(d${_name(k)}) | {kept}'}), ]")
    return [*lines, f"d$arm. <- relevel(factor(d${_name(plan.arm)}), ref = {_text(plan.reference)})"]


def _encoded(item: Input) -> list[str]:
    if item.levels:
        return [f"as.numeric(as.character(d${_name(item.name)}) == {_text(level)})" for level in item.levels[1:]]
    return [f"replace(d${_name(item.name)}, is.na(d${_name(item.name)}), {item.mean!r})"]


def _prognosis(bundle: PrognosisBundle | None) -> list[str]:
    """Compute the locked prognosis from its numbers (natural cubic splines where it has knots)."""
    if bundle is None:
        return []
    columns = [c for item in bundle.inputs for c in _encoded(item)]
    lines = [
        f"# prognosis {bundle.name}, hash {bundle.hash[:16]}, locked {bundle.locked}",
        "spline. <- function(x, k) {",
        "  if (length(k) < 3) return(cbind(x))",
        "  last <- k[length(k)]; before <- k[length(k) - 1]",
        "  d. <- function(a) (pmax(x - a, 0)^3 - pmax(x - last, 0)^3) / (last - a)",
        "  cbind(x, sapply(k[seq_len(length(k) - 2)], function(a) (d.(a) - d.(before)) / (last - k[1])^2))",
        "}",
        "basis. <- cbind(",
        ",\n".join(
            f"  spline.({column}, {_numbers(knots) if knots else 'numeric(0)'})"
            for column, knots in zip(columns, bundle.knots, strict=True)
        ),
        ")",
        f"basis. <- sweep(sweep(basis., 2, {_numbers(bundle.centre)}), 2, {_numbers(bundle.scale)}, '/')",
        f"d$prognosis <- {bundle.intercept!r} + drop(basis. %*% {_numbers(bundle.coefficients)})",
    ]
    return lines


def _outcome(plan: Plan) -> list[str]:
    lines = [f"d$y. <- as.numeric(d${_name(plan.outcome)})"]
    if plan.missing_outcome == "complete":
        lines.append("d <- d[!is.na(d$y.), ]")
    return lines


def _design(plan: Plan) -> list[str]:
    """Make the matrix X of covariates, centred over all arms; missing values by the rule of the plan."""
    if not plan.covariates:
        return ["X <- matrix(0, nrow(d), 0)"]
    parts = [f"  expand.(d${_name(c)}, {'TRUE' if c in plan.categories else 'FALSE'})" for c in plan.covariates]
    return [
        "fill. <- function(x) replace(x, is.na(x), mean(x, na.rm = TRUE))",
        "expand. <- function(v, category) {",
        "  if (category || !is.numeric(v)) {",
        "    f <- factor(v)",
        "    x <- sapply(levels(f)[-1], function(l) fill.(as.numeric(f == l)))",
        "  } else x <- cbind(fill.(v))",
        "  if (anyNA(v) && " + ("TRUE" if plan.missing == "indicator" else "FALSE") + ") x <- cbind(x, as.numeric(is.na(v)))",
        "  x",
        "}",
        "X <- cbind(",
        ",\n".join(parts),
        ")",
        "X <- scale(X, scale = FALSE)",
    ]


def _each(plan: Plan) -> str:
    return _vector(plan.treatments)


def _linear(plan: Plan, *, interaction: bool, covariates: bool = True) -> list[str]:
    vcov = "vcov(m)" if plan.variance == "model" else f'sandwich::vcovHC(m, type = "{plan.variance.upper()}")'
    right = "arm." + ((" * X" if interaction else " + X") if covariates and plan.covariates else "")
    lines = [*(_design(plan) if covariates else []), f"m <- lm(y. ~ {right}, data = d)", f"V <- {vcov}", f"for (t in {_each(plan)}) {{"]
    lines += ['  k <- paste0("arm.", t)', "  estimate <- coef(m)[[k]]; variance <- V[k, k]", "  df <- m$df.residual"]
    if plan.variance == "hc2":
        lines[-1:] = [
            "  Q <- qr.Q(m$qr); l <- drop(Q %*% backsolve(qr.R(m$qr), 1 * (names(coef(m)) == k), transpose = TRUE))",
            "  h <- rowSums(Q^2); w <- l^2 / (1 - h)",
            "  df <- sum(l^2)^2 / (sum(w^2 * (1 - 2 * h)) + sum(crossprod(Q, w * Q)^2))  # Bell and McCaffrey; lm has not pivoted unless a coefficient is NA",
        ]
    if interaction and covariates and plan.covariates and plan.target == "superpopulation":
        lines += [
            '  slopes <- coef(m)[grep(paste0("arm.", t, ":X"), names(coef(m)), fixed = TRUE)]',
            "  variance <- variance + drop(t(slopes) %*% cov(X) %*% slopes) / nrow(d)  # the centre of X is estimated",
        ]
    return [
        *lines,
        f"  q <- qt({0.5 + plan.level / 2!r}, df)",
        '  cat(t, "estimate", estimate, "SE", sqrt(variance), "CI", estimate + c(-q, q) * sqrt(variance),',
        '      "p", 2 * pt(-abs(estimate) / sqrt(variance), df), "\\n")',
        "}",
    ]


def _unadjusted(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:  # noqa: ARG001  one signature for all methods
    if plan.summary in ("mean difference", "risk difference") and not plan.randomisation.startswith("blocks"):
        return [*_outcome(plan), *_linear(plan, interaction=False, covariates=False)]
    return [*_outcome(plan), *_robin(plan, "arm.")]


def _ancova1(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    return [*_prognosis(bundle), *_outcome(plan), *_linear(plan, interaction=False)]


def _ancova2(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    return [*_prognosis(bundle), *_outcome(plan), *_linear(plan, interaction=True)]


def _scheme(plan: Plan) -> tuple[str, list[str]]:
    """Return RobinCar2's formula of randomisation."""
    kind, _, rest = plan.randomisation.partition("(")
    factors = [f.strip() for f in rest.rstrip(")").split(",") if f.strip()]
    how = {"simple": "sp", "blocks": "pb", "minimisation": "ps"}[kind]
    if not factors:
        return "arm. ~ sp(1)", []
    return f"arm. ~ {how}(strata.)", [f"d$strata. <- interaction({', '.join(f'd${_name(f)}' for f in factors)}, drop = TRUE)"]


_CONTRASTS = {"risk ratio": "log_risk_ratio", "rate ratio": "log_risk_ratio", "odds ratio": "log_odds_ratio"}


def _robin(plan: Plan, right: str) -> list[str]:
    how, before = _scheme(plan)
    family = {
        "auto": 'if (all(d$y. %in% 0:1)) binomial(link = "logit") else gaussian()', "binomial": 'binomial(link = "logit")', "poisson": 'poisson(link = "log")',
        "gaussian": "gaussian()",
    }[plan.family]  # fmt: skip
    return [
        *before,
        f'found <- RobinCar2::robin_glm(y. ~ {right}, data = d, treatment = {how}, contrast = "{_CONTRASTS.get(plan.summary, "difference")}",',
        f'                              family = {family}, vcov = "vcovG")',
        "print(found)",
    ]


def _gcomputation(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    join = " * " if plan.interaction else " + "
    terms = [f"factor({_name(c)})" if c in plan.categories else _name(c) for c in plan.covariates]
    right = "arm." + (join + (f"({' + '.join(terms)})" if plan.interaction else " + ".join(terms)) if terms else "")
    note = [f"# missing covariates by the rule '{plan.missing}': fill them before this call"] if plan.missing != "refuse" else []
    return [*_prognosis(bundle), *_outcome(plan), *note, *_robin(plan, right)]


_MMRM = {
    "un": "us", "toeph": "toeph", "toep": "toep", "adh": "adh", "ad": "ad", "ar1h": "ar1h", "ar1": "ar1", "csh": "csh", "cs": "cs",
}  # fmt: skip
_DEGREES = {
    "satterthwaite": "Satterthwaite", "kenward-roger": "Kenward-Roger", "kenward-roger-linear": "Kenward-Roger", "between-subjects": "Residual",
}  # fmt: skip


def _mmrm(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    vcov = {"empirical": "Empirical", "jackknife": "Empirical-Jackknife"}.get(
        plan.errors, "Kenward-Roger-Linear" if plan.degrees == "kenward-roger-linear" else ""
    )
    order = f"levels = {_vector(plan.visits)}" if plan.visits else f"levels = sort(unique(d${_name(plan.visit)}))"
    terms = "".join(f" + {f'factor({_name(c)})' if c in plan.categories else _name(c)} * visit." for c in plan.covariates)
    group = "arm. / subject." if plan.covariance_by_arm else "subject."
    lines = [
        *_prognosis(bundle),
        *_outcome(plan),
        f"d$visit. <- factor(d${_name(plan.visit)}, {order}); d$subject. <- factor(d${_name(plan.subject)})",
        "d <- d[!is.na(d$visit.), ]",
        f"m <- mmrm::mmrm(y. ~ arm. * visit.{terms} + {_MMRM[plan.covariance]}(visit. | {group}), data = d,",
        f'                method = "{_DEGREES[plan.degrees]}"{f", vcov = {_text(vcov)}" if vcov else ""}, reml = TRUE)',
        "means <- emmeans::emmeans(m, ~ arm. | visit.)",
        f'print(summary(emmeans::contrast(means, "trt.vs.ctrl", ref = 1), infer = TRUE, level = {plan.level!r}, adjust = "none"))',
    ]
    if plan.degrees == "between-subjects":
        lines.append(
            "# mmrm's residual degrees of freedom count observations; here they are subjects less coefficients: the standard errors are to be compared"
        )
    if plan.fallback:
        lines.append(f"# pre-specified fallback where it does not converge: {', '.join(plan.fallback)}")
    return lines


def _event(plan: Plan) -> list[str]:
    status = f"as.numeric(d${_name(plan.event_indicator)})" if plan.event_indicator else f"as.numeric(d${_name(plan.censor)} == 0)"
    return [f"d$time. <- as.numeric(d${_name(plan.time)}); d$status. <- {status}"]


def _pairs(plan: Plan, body: Sequence[str]) -> list[str]:
    """Repeat for each treatment, with the two arms only."""
    return [
        f"for (t in {_each(plan)}) {{", f"  e <- d[as.character(d$arm.) %in% c({_text(plan.reference)}, t), ]; e$arm. <- droplevels(e$arm.)",
        *(f"  {line}" for line in body), "}",
    ]  # fmt: skip


def _robin_surv(plan: Plan) -> list[str]:
    terms = " + ".join(f"factor({_name(c)})" if c in plan.categories else _name(c) for c in plan.covariates) or "1"
    strata = f" + strata({', '.join(_name(s) for s in plan.strata)})" if plan.strata else ""
    how = "arm. ~ " + (f"pb({', '.join(_name(s) for s in plan.strata)})" if plan.strata else "sp(1)")
    return [f"print(RobinCar2::robin_surv(survival::Surv(time., status.) ~ {terms}{strata}, data = e, treatment = {how}))"]


def _logrank(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    strata = f" + survival::strata({', '.join(_name(s) for s in plan.strata)})" if plan.strata else ""
    plain = [f"print(survival::survdiff(survival::Surv(time., status.) ~ arm.{strata}, data = e))  # without covariates"]
    adjusted = _robin_surv(plan) if plan.covariates else []
    return [*_prognosis(bundle), *_event(plan), *_pairs(plan, [*plain, *adjusted])]


def _hazard(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    strata = f" + survival::strata({', '.join(_name(s) for s in plan.strata)})" if plan.strata else ""
    plain = [
        f'print(summary(survival::coxph(survival::Surv(time., status.) ~ arm.{strata}, data = e, ties = "breslow")))  # without covariates: the same number',
    ]
    adjusted = (
        ["# a covariate in coxph would make the ratio conditional, which is another number", *_robin_surv(plan)] if plan.covariates else []
    )
    return [*_prognosis(bundle), *_event(plan), *_pairs(plan, [*plain, *adjusted])]


def _rmst(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    tau = repr(float(plan.tau)) if plan.tau is not None else "min(tapply(e$time., e$arm., max))  # of the data: a plan names it"
    body = [
        f"tau <- {tau}",
        "k <- summary(survival::survfit(survival::Surv(time., status.) ~ arm., data = e), rmean = tau)$table",
        'difference <- k[2, "rmean"] - k[1, "rmean"]; error <- sqrt(sum(k[, "se(rmean)"]^2))',
        'cat(t, "difference", difference, "SE", error, "\\n")  # without covariates',
    ]
    if plan.covariates:
        body += [
            "# augmented: the influence of each patient on the mean of their arm, regressed on X within arm",
            "influence. <- function(s) {",
            "  f <- survival::survfit(survival::Surv(time., status.) ~ 1, data = s); i <- f$n.event > 0 & f$time <= tau",
            "  u <- f$time[i]; y <- f$n.risk[i]; v <- f$n.event[i]; S <- f$surv[i]",
            "  area <- diff(c(0, u, tau)) * c(1, S); rest <- rev(cumsum(rev(area)))[-1]; part <- rest * nrow(s) / pmax(y - v, 1)",
            "  at <- findInterval(s$time., u); own <- ifelse(s$status. == 1 & s$time. <= tau, c(0, part)[at + 1], 0)",
            "  list(mean = sum(area), psi = c(0, cumsum(part * v / y))[at + 1] - own)",
            "}",
            "keep <- as.character(d$arm.) %in% c(levels(e$arm.)); Xe <- scale(X[keep, , drop = FALSE], scale = FALSE)",
            "found <- lapply(levels(e$arm.), function(a) {",
            "  o <- e$arm. == a; g <- influence.(e[o, ]); x <- scale(Xe[o, , drop = FALSE], scale = FALSE); b <- qr.coef(qr(x), g$psi); r <- g$psi - x %*% b",
            "  se <- k[paste0('arm.=', a), 'se(rmean)']",
            "  list(mean = g$mean - sum(colMeans(Xe[o, , drop = FALSE]) * b), b = b,",
            "       v = se^2 * (sum(r^2) / (sum(o) - 1 - ncol(x))) / (sum(g$psi^2) / (sum(o) - 1)))",
            "})",
            "apart <- found[[2]]$b - found[[1]]$b",
            'cat(t, "adjusted", found[[2]]$mean - found[[1]]$mean, "SE", sqrt(found[[1]]$v + found[[2]]$v + drop(t(apart) %*% cov(Xe) %*% apart) / nrow(Xe)), "\\n")',
        ]
    return [*_prognosis(bundle), *_event(plan), *(_design(plan) if plan.covariates else []), *_pairs(plan, body)]


def _aipw(plan: Plan, bundle: PrognosisBundle | None, folds: Sequence[int]) -> list[str]:
    if plan.learner != "ridge":
        raise DataError("there is no program for this learner", seen=plan.learner, expected="ridge")
    if plan.summary not in ("mean difference", "risk difference") or plan.randomisation.startswith("blocks"):
        raise DataError(
            "there is no program for this summary or randomisation",
            seen=(plan.summary, plan.randomisation),
            expected="a difference; simple or minimisation",
        )
    marks = "".join(chr(97 + f) for f in folds)
    return [
        *_prognosis(bundle), *_outcome(plan), *_design(plan),
        "# the folds of this analysis, one letter a patient in the order of the rows",
        f'fold <- utf8ToInt("{marks}") - 96L',
        "ridge. <- function(x, y) {  # the penalty by generalised cross-validation, on columns of standard deviation 1",
        "  centre <- colMeans(x); scale <- sqrt(colMeans(sweep(x, 2, centre)^2)); z <- sweep(sweep(x, 2, centre), 2, scale, '/')",
        "  n <- length(y); s <- svd(z); uy <- drop(crossprod(s$u, y - mean(y))); rest <- sum((y - mean(y))^2) - sum(uy^2)",
        "  penalty <- n * 10^seq(-6, 3, length.out = 46)",
        "  loss <- sapply(penalty, function(l) { h <- s$d^2 / (s$d^2 + l); (rest + sum((uy * (1 - h))^2)) / max(1 - (1 + sum(h)) / n, 1e-3)^2 })",
        "  l <- penalty[which.min(loss)]; beta <- drop(s$v %*% (s$d / (s$d^2 + l) * uy))",
        "  function(new) mean(y) + drop(sweep(sweep(new, 2, centre), 2, scale, '/') %*% beta)",
        "}",
        "arms <- levels(d$arm.); mu <- matrix(NA, nrow(d), length(arms)); share <- as.vector(table(d$arm.)) / nrow(d)",
        "for (k in unique(fold)) for (a in seq_along(arms)) {",
        "  train <- fold != k & d$arm. == arms[a]; out <- fold == k",
        "  mu[out, a] <- ridge.(X[train, , drop = FALSE], d$y.[train])(X[out, , drop = FALSE])",
        "}",
        "own <- mu[cbind(seq_len(nrow(d)), as.integer(d$arm.))]",
        "phi <- mu + sapply(seq_along(arms), function(a) (d$arm. == arms[a]) * (d$y. - own) / share[a])",
        f"for (t in {_each(plan)}) {{",
        f"  v <- phi[, match(t, arms)] - phi[, 1]; se <- sd(v) / sqrt(nrow(d)); q <- qnorm({0.5 + plan.level / 2!r})",
        '  cat(t, "estimate", mean(v), "SE", se, "CI", mean(v) + c(-q, q) * se, "p", 2 * pnorm(-abs(mean(v) / se)), "\\n")',
        "}",
    ]  # fmt: skip


_METHODS: dict[str, Callable[[Plan, PrognosisBundle | None], list[str]]] = {
    "unadjusted": _unadjusted, "ancova1": _ancova1, "ancova2": _ancova2, "gcomputation": _gcomputation, "mmrm": _mmrm, "logrank": _logrank,
    "hazard": _hazard, "rmst": _rmst,
}  # fmt: skip


def r_code(plan: Plan, *, prognosis: PrognosisBundle | None = None, folds: Sequence[int] = ()) -> str:
    """Return the R program of an analysis.

    Parameters
    ----------
    prognosis : the locked prognosis that the plan names.
    folds : of AIPW, one per row of the analysis.

    Raises
    ------
    DataError
        For a method without a program, or without its prognosis or folds.
    """
    if plan.method != "aipw" and plan.method not in _METHODS:
        raise DataError("there is no R program for this method", seen=plan.method, expected=(*_METHODS, "aipw"))
    if bool(plan.prognosis) != (prognosis is not None) and plan.method != "unadjusted":
        raise DataError("the program needs the prognosis of the plan", seen=plan.prognosis[:16] or "none", expected="the same bundle")
    if plan.method == "aipw" and not folds:
        raise DataError("the program needs the folds of the analysis", seen="none", expected="one per patient")
    body = _aipw(plan, prognosis, folds) if plan.method == "aipw" else _METHODS[plan.method](plan, prognosis)
    return "\n".join([f"# {plan.method} of {plan.data}; plan {plan.hash[:16]}", *_read(plan), *body]) + "\n"
