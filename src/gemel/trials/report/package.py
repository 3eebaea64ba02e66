"""A report as files for a submission: RTF, data sets as transport files and Dataset-JSON, Define-XML with analysis results, and the folder m5."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from gemel import __version__
from gemel.core.errors import DataError
from gemel.interop.cdisc import AnalysisResult, Dataset, Leaf, RtfTable, Variable, rtf_document, write_dataset_json, write_define, write_xpt
from gemel.interop.cdisc.m5 import m5_files
from gemel.trials.adjust.aipw import folds_of
from gemel.trials.code import plan_of, r_code, sas_code
from gemel.trials.data import TrialData
from gemel.trials.prognosis import PrognosisBundle
from gemel.trials.report.view import TrialReport

__all__ = ["data_files", "datasets", "m5_folder", "programs", "rtf"]

FOOTER = "Research use only. Not a medical device."


def rtf(report: TrialReport) -> str:
    """Return all tables and listings as RTF."""
    tables = [RtfTable(t.title, t.heads, t.rows, t.notes, t.right) for t in (*report.tables, *report.listings)]
    return rtf_document(report.view.title, tables, footer=f"{FOOTER} {report.view.id}. {report.view.subtitle}")


def _short(text: str, most: int = 40) -> str:
    """Cut a label to its bytes, whole characters."""
    return text.encode()[:most].decode("utf-8", "ignore")


def datasets(report: TrialReport, data: TrialData | None, prognosis: PrognosisBundle | None) -> tuple[tuple[Dataset, ...], dict[str, str]]:
    """Return the results, and the patients where data are given, as data sets; and variable -> how it was derived.

    Covariates are called COV01, COV02 and so on; their own names are their labels.
    """
    results = report.results
    texts = {"CONTRAST": ("Contrast of two arms", "contrast"), "METHOD": ("Method of the analysis", "method"), "SUMMARY": ("Population-level summary", "summary"), "LABEL": ("Role of the analysis", "label")}  # fmt: skip
    numbers = {
        "ESTIMATE": ("Estimate, logarithm for a ratio", "estimate"), "SE": ("Standard error of the estimate", "standard_error"), "PVALUE": ("Two-sided p-value", "p_value"),
        "DF": ("Degrees of freedom", "df"), "N": ("Patients", "n"), "VRATIO": ("Variance ratio against no adjustment", "variance_ratio"), "RATIO": ("Ratio, where it is one", "ratio"),
    }  # fmt: skip
    columns: dict[str, list[Any]] = {"RESULTID": [f"R{i:02d}" for i in range(1, len(results) + 1)]}
    variables = [Variable("RESULTID", "Identifier of the result", key=1)]
    for name, (label, key) in texts.items():
        columns[name] = [_short(str(r.get(key) or ""), 200) for r in results]
        variables.append(Variable(name, label))
    for name, (label, key) in numbers.items():
        columns[name] = [float(r[key]) if r.get(key) is not None and np.isfinite(r[key]) else None for r in results]
        variables.append(Variable(name, label, True))
    for i, name in enumerate(("LOWER", "UPPER")):
        columns[name] = [float(r["interval"][i]) if np.isfinite(r["interval"][i]) else None for r in results]
        variables.append(Variable(name, f"{('Lower', 'Upper')[i]} end of the interval", True))
    columns["LINEAGE"] = [str(r["lineage"]["id"]) for r in results]
    variables.append(Variable("LINEAGE", "Lineage of the number"))
    found = [Dataset("ARRES", tuple(variables), columns, "Results of the analyses")]
    origin = {"LINEAGE": "hash of data, plan, code version and method"}
    if data is not None:
        names = [
            Variable("USUBJID", "Unique Subject Identifier", key=1),
            Variable("TRTP", "Planned Treatment"),
            Variable("AVAL", "Analysis Value", True),
        ]
        parts: dict[str, list[Any]] = {
            "USUBJID": [_short(s, 200) for s in data.subjects],
            "TRTP": [_short(data.arms[a], 200) for a in data.arm],
            "AVAL": data.outcome.tolist(),
        }
        if prognosis is not None:
            parts["PROGNO"] = prognosis.of(data.raw)[0].tolist()
            names.append(Variable("PROGNO", "Prognosis locked before the trial", True))
            origin["PROGNO"] = f"locked prognosis {prognosis.name}, hash {prognosis.hash}"
        for i, (name, column) in enumerate(zip(data.names, data.covariates.T, strict=True), start=1):
            parts[f"COV{i:02d}"] = column.tolist()
            names.append(Variable(f"COV{i:02d}", _short(name), True))
        found.append(Dataset("ADEFF", tuple(names), parts, "Patients of the primary analysis"))
    return tuple(found), origin


def programs(told: Sequence[Mapping[str, Any]], prognosis: PrognosisBundle | None, data: TrialData | None = None) -> dict[str, str]:
    """Return file name -> program in R and SAS, of every analysis that has one; AIPW's, whose folds stand in it, needs the data."""
    found = {}
    for i, t in enumerate(told, start=1):
        if "plan" not in t:
            continue
        plan = plan_of(t["plan"])
        ours = prognosis if plan.prognosis else None
        folds = folds_of(data, plan.folds, plan.seed).tolist() if plan.method == "aipw" and data is not None else ()
        for end, make in (("r", partial(r_code, folds=folds)), ("sas", sas_code)):
            try:
                found[f"analysis-{i}-{end}.txt"] = make(plan, prognosis=ours)
            except DataError:  # said in the documentation: not every language has every method
                continue
    return found


def data_files(
    told: Sequence[Mapping[str, Any]],
    report: TrialReport,
    data: TrialData | None,
    prognosis: PrognosisBundle | None,
    *,
    study: str,
    created: dt.datetime,
) -> dict[str, bytes]:
    """Return file name -> bytes: transport files and Dataset-JSON of :func:`datasets`, and the Define-XML with analysis results metadata."""
    sets, origin = datasets(report, data, prognosis)
    code = programs(told, prognosis, data)
    metadata, place = [], 0
    for i, t in enumerate(told, start=1):
        program = code.get(f"analysis-{i}-r.txt", "")
        for r in t["results"]:
            place += 1
            metadata.append(
                AnalysisResult(
                    f"R{place:02d}", str(t["estimand"].get("variable") or "Analysis"), f"{r['contrast']}: {r['summary']}", "ADEFF" if data is not None else "ARRES",
                    ("AVAL", "TRTP") if data is not None else ("ESTIMATE", "SE"), {} if data is not None else {"RESULTID": f"R{place:02d}"},
                    purpose="PRIMARY OUTCOME MEASURE" if i == 1 else "EXPLORATORY OUTCOME MEASURE",
                    documentation=f"{r['method']}; lineage {r['lineage']['id']}; population {t['estimand'].get('population')}", language="R" if program else "", code=program,
                )
            )  # fmt: skip
    out: dict[str, bytes] = {}
    for d in sets:
        out[f"{d.name.lower()}.xpt"] = write_xpt(d, created=created)
        out[f"{d.name.lower()}.json"] = write_dataset_json(d, created=created, study=study, version=__version__).encode()
    out["define.xml"] = write_define(sets, study=study, created=created, version=__version__, results=metadata, origin=origin).encode()
    return out


def m5_folder(files: Mapping[str, bytes], *, study: str, indication: str, title: str) -> dict[str, bytes]:
    """Return path -> bytes of the folder m5 with its index and checksums.

    Parameters
    ----------
    files : of the report: PDF, transport files, Define-XML, programs; the others stay outside.
    study, indication : become folders: small letters, digits and dashes.
    """
    leaves = []
    for name, body in sorted(files.items()):
        if name.endswith(".pdf"):
            leaves.append(Leaf("report", name, title, body))
        elif name.endswith(".xpt") or name == "define.xml":
            leaves.append(Leaf("adam", name, name, body))
        elif name.endswith(".txt"):
            leaves.append(Leaf("program", name, f"Program {name}", body))
    return m5_files(
        tuple(leaves),
        study=re.sub(r"[^a-z0-9-]+", "-", study.lower()).strip("-"),
        indication=re.sub(r"[^a-z0-9-]+", "-", indication.lower()).strip("-"),
    )
