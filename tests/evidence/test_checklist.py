"""Checklists: every row in our own words with edition and item, answered from a dossier, and never lifted by a person where a run is missing."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError, FormatError
from gemel.core.manifest import VariableSpec, manifest_of
from gemel.core.view import Table
from gemel.evidence import checklist as module
from gemel.evidence.checklist import (
    CHECKLISTS,
    STATUSES,
    RowJudgement,
    answer,
    answer_all,
    checklists_view,
    load_checklist,
    read_row_judgements,
)
from gemel.evidence.dossier import dossier
from gemel.evidence.run import EvidenceRun, Measured
from gemel.web import render_html

REPLAYED = ShownOn(kind="replayed", n=54, what="people")
OWN = """
id = "own"
title = "A group's own"
edition = "first, 2026"
written = "2026-01-01"
standing = "read"
[[row]]
id = "A"
item = "1"
requirement = "asks for one thing"
evidence = [LINKS]
MORE
"""


def a_run(
    study="validation", kind="validation", *, met: bool | None = True, model="h", on=REPLAYED, name="coverage of 90 % intervals", factors=()
):
    figure = Measured(name=name, value=0.9, met=met, shown_on=on)
    return EvidenceRun(
        kind=kind, twin="toy-linear", study=study, model_version="1", model_hash=model, time=1, figures=(figure,), factors=factors
    )


def a_dossier(*runs, **changes):
    manifest = manifest_of("toy-linear").model_copy(update=changes)
    return dossier(manifest, runs, time=1, model="h", missing={"validation": "the data set cannot be had"})


def own(tmp_path, *links, more=""):
    path = tmp_path / f"own{abs(hash((links, more)))}.toml"
    path.write_text(OWN.replace("LINKS", ", ".join(f'"{link}"' for link in links)).replace("MORE", more))
    return load_checklist(path)


def only(tmp_path, d, *links, judged=(), more=""):
    return answer(own(tmp_path, *links, more=more), d, judged).answers[0]


def judged(status="shown", **changes):
    return RowJudgement(
        **({"checklist": "own", "row": "A", "status": status, "note": "it is so", "by": "N. N.", "date": "2026-11-01"} | changes)
    )


def test_the_six_are_there_with_the_rows_that_were_asked_for():
    lists = {name: load_checklist(name) for name in CHECKLISTS}
    assert {name: len(c.row) for name, c in lists.items() if name not in ("tripod_ai", "decide_ai")} == {
        "gmlp": 10, "transparency": 6, "fda_ai_draft_2025": 9, "probast_ai": 14,
    }  # fmt: skip
    assert len({r.item.rstrip("abcdef") for r in lists["tripod_ai"].row}) == 27
    decide = [r.item for r in lists["decide_ai"].row]
    assert len({i.rstrip("abc") for i in decide if not i.startswith("generic")}) == 17
    assert sum(not i.startswith("generic") for i in decide) == 28
    assert sum(i.startswith("generic") for i in decide) == 10
    for c in lists.values():
        assert c.edition
        assert c.written
        assert len({r.id for r in c.row}) == len(c.row)
        assert all("[" in c.source_of(r) and c.edition in c.source_of(r) and r.item in c.source_of(r) for r in c.row)
    assert all(lists[name].standing == "from memory" for name in ("gmlp", "transparency", "fda_ai_draft_2025", "tripod_ai", "decide_ai"))
    assert "signalling questions" in lists["probast_ai"].note
    assert all("judgement" in r.evidence for r in lists["probast_ai"].row)


def test_without_runs_almost_nothing_is_shown_and_nothing_passes_by_waiting():
    for a in answer_all(a_dossier()):
        assert set(a.counts) == {*STATUSES, "judged by a person"}
        assert sum(a.counts[s] for s in STATUSES) == len(a.answers) == len(a.checklist.row)
        assert not any(x.status == "shown" for x in a.answers if "judgement" in x.row.evidence)
        runs = ("study", "kind", "reported", "figure", "people", "factor", "nasem", "current")
        assert not any(x.status == "shown" for x in a.answers if any(e.partition(":")[0] in runs for e in x.row.evidence))
        assert "%" not in a.sentence


@pytest.mark.parametrize(
    ("link", "runs", "status"),
    [
        ("study:validation", [a_run()], "shown"),
        ("study:validation", [a_run(met=False)], "not shown"),
        ("reported:validation", [a_run(met=False)], "shown"),
        ("study:validation", [a_run(model="another")], "stale"),
        ("reported:validation", [a_run(model="another", met=False)], "stale"),
        ("study:validation", [], "not shown"),
        ("study:loop", [a_run()], "not shown"),
        ("kind:fairness", [a_run("audit", "fairness")], "shown"),
        ("kind:fairness", [a_run("audit", "fairness", met=False)], "not shown"),
        ("figure:coverage", [a_run()], "shown"),
        ("figure:heterogeneity", [a_run()], "not shown"),
        ("people:replayed", [a_run()], "shown"),
        ("people:real", [a_run()], "not shown"),
        ("people:real", [a_run(on=ShownOn(kind="real", n=3))], "shown"),
        ("factor:11", [a_run(factors=(11,))], "shown"),
        ("factor:11", [a_run(factors=(11,), met=False)], "not shown"),
        ("factor:11", [a_run(factors=(11,), model="another")], "stale"),
        ("factor:12", [a_run("loop", "loop", factors=(12,))], "human judgement needed"),
        ("nasem:N7", [a_run()], "shown"),
        ("nasem:N7", [a_run(met=False)], "not shown"),
        ("nasem:N7", [a_run(model="another")], "stale"),
        ("current", [a_run()], "shown"),
        ("current", [a_run(model="another")], "stale"),
        ("current", [], "not shown"),
        ("manifest:thin", [], "shown"),
        ("file:twin.toml", [], "shown"),
        ("file:no-such.toml", [], "not shown"),
        ("output:probability", [], "not shown"),
        ("judgement", [a_run()], "human judgement needed"),
    ],
)
def test_what_each_link_asks_for(tmp_path, link, runs, status):
    found = only(tmp_path, a_dossier(*runs), link)
    assert found.status == status, found.why
    if status in ("shown", "stale") and link.partition(":")[0] not in ("manifest", "file"):
        assert found.runs == tuple(r.id for r in runs)


def test_a_manifest_that_says_nothing_shows_nothing(tmp_path):
    assert only(tmp_path, a_dossier(thin="", risk=None), "manifest:thin").status == "not shown"
    assert only(tmp_path, a_dossier(risk=None), "manifest:risk").status == "not shown"


def test_the_weakest_link_decides(tmp_path):
    d = a_dossier(a_run(), a_run("old", "verification", model="another"))
    assert only(tmp_path, d, "study:validation", "manifest:question").status == "shown"
    assert only(tmp_path, d, "study:validation", "judgement").status == "human judgement needed"
    assert only(tmp_path, d, "study:old", "judgement").status == "stale"
    assert only(tmp_path, d, "study:old", "study:nothing", "judgement").status == "not shown"
    assert "a limit is missed" in only(tmp_path, a_dossier(a_run(met=False)), "reported:validation").why
    assert "the data set cannot be had" in only(tmp_path, a_dossier(), "study:validation").why


def test_a_row_that_does_not_apply_has_its_reason(tmp_path):
    more = 'applies = "output:probability"\notherwise = "no class is predicted"'
    found = only(tmp_path, a_dossier(), "study:validation", more=more)
    assert (found.status, found.why) == ("not applicable", "no class is predicted")
    risk = VariableSpec(name="risk", code="gemel:toy-signal", unit="1", domain=(0.0, 1.0))
    assert only(tmp_path, a_dossier(outputs=(risk,)), "study:validation", more=more).status == "not shown"
    assert {x.row.id: x.status for x in answer_all(a_dossier())[3].answers}["TP-13"] == "not applicable"


def test_a_person_fills_what_asks_for_one_with_name_and_date(tmp_path):
    found = only(tmp_path, a_dossier(a_run()), "study:validation", "judgement", judged=[judged()])
    assert (found.status, found.by, found.date) == ("shown", "N. N.", "2026-11-01")
    assert "it is so (N. N., 2026-11-01)" in found.why
    for status in ("not shown", "not applicable"):
        assert only(tmp_path, a_dossier(a_run()), "study:validation", "judgement", judged=[judged(status)]).status == status


@pytest.mark.parametrize(("runs", "status"), [([], "not shown"), ([a_run(model="another")], "stale"), ([a_run(met=False)], "not shown")])
def test_a_person_does_not_make_good_what_a_run_should_show(tmp_path, runs, status):
    found = only(tmp_path, a_dossier(*runs), "study:validation", "judgement", judged=[judged()])
    assert (found.status, found.by) == (status, "")
    assert "a person notes: it is so" in found.why


def test_a_person_may_lower_what_a_run_shows_and_say_that_a_row_does_not_apply(tmp_path):
    d = a_dossier(a_run())
    assert only(tmp_path, d, "study:validation").status == "shown"
    assert only(tmp_path, d, "study:validation", judged=[judged("not shown")]).status == "not shown"
    assert only(tmp_path, a_dossier(), "study:validation", judged=[judged("not applicable")]).status == "not applicable"


def test_a_judgement_of_another_version_lapses(tmp_path):
    now = manifest_of("toy-linear").version
    assert only(tmp_path, a_dossier(), "judgement", judged=[judged(version=now)]).status == "shown"
    found = only(tmp_path, a_dossier(), "judgement", judged=[judged(version="0.0.1")])
    assert (found.status, found.by) == ("human judgement needed", "")
    assert "judged for version 0.0.1" in found.why


def test_judgements_are_read_from_a_file(tmp_path):
    path = tmp_path / "judgements.toml"
    path.write_text(
        '[[judgement]]\nchecklist = "gmlp"\nrow = "GMLP-1"\nstatus = "shown"\nnote = "three trades met"\nby = "A. B."\ndate = "2026-11-02"\n'
    )
    given = read_row_judgements(path)
    path.write_text(path.read_text() + '[[judgement]]\nfactor = 12\ngradation = 2\nrationale = "r"\nby = "A. B."\ndate = "2026-11-02"\n')
    assert read_row_judgements(path) == given, "a factor's judgement is another reader's"
    gmlp = answer_all(a_dossier(), given)[0]
    assert gmlp.answers[0].status == "shown"
    assert gmlp.counts["shown"] == 1
    assert gmlp.counts["judged by a person"] == 1
    assert Counter(x.by for x in gmlp.answers) == {"": 9, "A. B.": 1}
    for text, words in (
        ("[[judgement]\n", "cannot be read"),
        ('[[judgement]]\nchecklist = "gmlp"\nrow = "GMLP-1"\nstatus = "shown"\nnote = "n"\ndate = "2026-11-02"\n', "not complete"),
        (
            '[[judgement]]\nchecklist = "gmlp"\nrow = "GMLP-1"\nstatus = "shown"\nnote = " "\nby = "A"\ndate = "2026-11-02"\n',
            "not complete",
        ),
        (
            '[[judgement]]\nchecklist = "gmlp"\nrow = "GMLP-1"\nstatus = "stale"\nnote = "n"\nby = "A"\ndate = "2026-11-02"\n',
            "not complete",
        ),
    ):
        path.write_text(text)
        with pytest.raises(FormatError, match=words):
            read_row_judgements(path)


def test_judgements_of_nothing_or_twice_are_refused(tmp_path):
    with pytest.raises(EvidenceError, match="no such row"):
        only(tmp_path, a_dossier(), "judgement", judged=[judged(row="Z")])
    with pytest.raises(EvidenceError, match="judged twice"):
        only(tmp_path, a_dossier(), "judgement", judged=[judged(), judged(by="M. M.")])
    with pytest.raises(EvidenceError, match="no such checklist"):
        answer_all(a_dossier(), [judged()])
    with pytest.raises(EvidenceError, match="no such checklist"):
        load_checklist("own")


@pytest.mark.parametrize("link", ["studies:x", "study:", "manifest:colour", "factor:14", "nasem:N9", "people:imagined", "judgement:me"])
def test_links_that_name_nothing_are_refused(tmp_path, link):
    with pytest.raises(FormatError, match="names nothing"):
        own(tmp_path, link)


def test_checklists_that_are_none_are_refused(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(
        OWN.replace("LINKS", '"judgement"').replace("MORE", '[[row]]\nid = "A"\nitem = "2"\nrequirement = "r"\nevidence = ["judgement"]')
    )
    with pytest.raises(FormatError, match="a row twice"):
        load_checklist(path)
    with pytest.raises(FormatError, match="cannot be read"):
        load_checklist(tmp_path / "none.toml")


def test_the_view_has_counts_first_and_every_row():
    d = a_dossier(a_run())
    view = checklists_view(d)
    assert isinstance(view.sections[0], Table)
    heads = [c.label for c in view.sections[0].columns]
    assert heads[2:] == [*STATUSES, "judged by a person"]
    page = render_html(view)
    for a in answer_all(d):
        assert a.sentence in page
        assert all(x.row.id in page for x in a.answers)
    assert "%" not in "".join(a.sentence for a in answer_all(d))
    told = json.loads(json.dumps([a.to_dict() for a in answer_all(d)]))
    assert told[0]["counts"]["not shown"] == sum(r["status"] == "not shown" for r in told[0]["rows"])


def test_every_link_of_every_row_is_of_a_kind_that_is_documented():
    used = {e.partition(":")[0] for name in CHECKLISTS for r in load_checklist(name).row for e in (*r.evidence, r.applies) if e}
    assert used <= set(module._LINKS)
    assert all(f"``{kind}" in (module.__doc__ or "") for kind in module._LINKS)
