"""The model card: six questions, each line with its source, what is missing among them, from one record."""

from __future__ import annotations

import json

from gemel.core.advice import ShownOn
from gemel.core.manifest import manifest_of
from gemel.evidence.card import MOST, QUESTIONS, card_of, card_view
from gemel.evidence.credibility import Judgement
from gemel.evidence.dossier import dossier
from gemel.evidence.run import EvidenceRun, Measured
from gemel.web import render_html

REPLAYED = ShownOn(kind="replayed", n=54, what="shanghai")


def a_run(study="validation", kind="validation", *, model="h", figures=None, **more):
    told = figures or (
        Measured(name="coverage of 90 % intervals at 60 min", value=0.899, low=0.88, high=0.91, met=True, shown_on=REPLAYED),
        Measured(name="RMSE at 60 min", value=41.3, high=30.0, met=False, unit="mg/dL", shown_on=REPLAYED),
    )
    return EvidenceRun(kind=kind, twin="metabolic", study=study, claim="a claim", command="gemel evidence metabolic", model_version="1", model_hash=model, time=10**18, figures=told, **more)  # fmt: skip


def made(*runs, manifest=None, **more):
    return card_of(
        dossier(manifest or manifest_of("metabolic"), runs, time=2 * 10**18, model="h", missing={"loop": "the room has no plans"}, **more)
    )


def texts(card, question, label):
    return [e.text for e in card.about(question) if e.label == label]


def test_every_statement_of_the_manifest_is_on_the_card():
    m, card = manifest_of("metabolic"), made()
    assert texts(card, "why", "question") == [m.question]
    assert texts(card, "who", "users and patients") == [m.context_of_use]
    assert texts(card, "who", "not for") == list(m.not_for)
    assert len(texts(card, "what", "takes")) == len(m.inputs)
    assert texts(card, "what", "gives") == ["glucose (mg/dL, 20 to 600): what a CGM would show"]
    assert texts(card, "what", "limits of knowledge") == [m.thin]
    assert texts(card, "how", "source") == list(m.sources)
    assert m.risk is not None
    assert m.risk.rationale in texts(card, "why", "what rests on it")[0]
    assert all(card.about(q) for q in QUESTIONS)
    assert all(e.text.strip() and e.source for e in card.entries)


def test_figures_stand_with_limits_people_and_run_and_a_missed_one_is_a_known_failure():
    run = a_run()
    card = made(run)
    shown = texts(card, "how", "performance (validation)")
    assert shown[0].startswith("coverage of 90 % intervals at 60 min: 0.899 (0.88 to 0.91), limit met; ")
    failures = [e for e in card.about("how") if e.label == "known failure"]
    assert len(failures) == 1
    assert "RMSE at 60 min: 41.3 mg/dL (at most 30), limit MISSED" in failures[0].text
    assert failures[0].source == run.id
    assert any("gemel evidence metabolic" in text for text in texts(card, "how", "evidence"))
    assert "54" in texts(card, "where", "shown on people")[0]


def test_what_the_record_lacks_is_said():
    card = made()
    missing = {(e.question, e.label) for e in card.entries if e.is_missing}
    assert {
        ("where", "shown on people"),
        ("when", "measured"),
        ("how", "performance (validation)"),
        ("how", "subgroups"),
        ("when", "watched"),
    } <= missing
    assert texts(card, "how", "subgroups") == ["not assessable: no current run compares subgroups"]
    assert "study loop was not run: the room has no plans" in texts(card, "how", "gap")
    assert len(texts(card, "how", "gap")) == 13 + 1
    assert texts(card, "how", "known failure") == ["nothing was measured, so none is known"]
    bare = manifest_of("metabolic").model_copy(update={"risk": None, "thin": ""})
    lacking = {(e.question, e.label) for e in made(manifest=bare).entries if e.is_missing}
    assert {("who", "risk judged by"), ("why", "what rests on it"), ("what", "limits of knowledge")} <= lacking
    stranger = manifest_of("metabolic").model_copy(update={"id": "no-such-twin"})
    assert texts(made(manifest=stranger), "who", "provided by") == ["not told"]


def test_a_stale_run_shows_nothing_and_is_named():
    run = a_run(model="another")
    card = made(run)
    assert card.is_stale
    stale = [e for e in card.about("when") if e.label == "stale"]
    assert [(e.source, e.is_missing) for e in stale] == [(run.id, True)]
    assert texts(card, "how", "performance (validation)") == ["no current run of validation is in the record"]
    assert texts(card, "where", "shown on people") == ["no current run is on real or replayed people"]
    assert card_view(card).subtitle.startswith("STALE")


def test_subgroups_surveillance_and_judges_stand_where_they_belong():
    worst = (Measured(name="coverage, worst subgroup", value=0.85, met=None, shown_on=REPLAYED),)
    judge = Judgement(12, 3, "the reading itself", "A. B.", "2026-11-01")
    card = made(a_run("audit", "fairness", figures=worst), a_run("watch", "surveillance", figures=worst), judgements=[judge])
    assert "coverage, worst subgroup: 0.85" in texts(card, "how", "subgroups")[0]
    assert texts(card, "when", "watched") == ["a claim"]
    assert texts(card, "who", "judgements by") == ["A. B. (2026-11-01)"]


def test_a_long_run_is_cut_but_no_failure_is():
    many = tuple(Measured(name=f"f{i}", value=1.0, met=i != 29, shown_on=REPLAYED) for i in range(30))
    card = made(a_run("ranks", "calibration", figures=many))
    shown = texts(card, "how", "performance (calibration)")
    assert len(shown) == MOST + 1
    assert shown[-1] == "and 18 more figures in this run, 1 of which missed a limit"
    assert [t.partition(":")[0] for t in texts(card, "how", "known failure")] == ["f29"]


def test_page_and_json_come_from_one_card():
    card = made(a_run())
    told = json.loads(json.dumps(card.to_dict()))
    assert len(told["hash"]) >= 32
    page = (
        render_html(card_view(card))
        .replace("&#x27;", "'")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", '"')
        .replace("&amp;", "&")
    )
    for question in QUESTIONS:
        assert [e["text"] for e in told[question]] == [e.text for e in card.about(question)]
    assert all(e.text in page for e in card.entries if len(e.text) < 80)
    assert made(a_run()).to_dict() == card.to_dict()
    assert made().to_dict()["hash"] != card.to_dict()["hash"]
