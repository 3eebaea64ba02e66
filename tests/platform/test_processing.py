"""The register of processing: everything installed is in it, and what only the site knows stays open until it answers."""

import pytest

from gemel.core.errors import DataError, GemelError
from gemel.core.manifest import installed
from gemel.platform.access import GRANTS
from gemel.platform.processing import MEASURES, QUESTIONS, processing_register

MANIFESTS = [m for m in installed().values() if not isinstance(m, GemelError)]


def test_every_installed_twin_with_all_that_it_reads_and_says():
    made = processing_register(MANIFESTS, {})
    page = made.to_markdown()
    assert [a.id for a in made.activities] == sorted(m.id for m in MANIFESTS)
    for manifest in MANIFESTS:
        for part in (
            manifest.question,
            manifest.context_of_use,
            *manifest.not_for,
            manifest.thin,
            *(str(v.code) for v in (*manifest.inputs, *manifest.outputs)),
        ):
            assert part in page
    assert all(measure in page for measure in MEASURES)
    assert page.count("| unless denied |") == sum(g.consent == "unless denied" for g in GRANTS)


def test_needed_and_optional_are_told_apart():
    (manifest,) = (m for m in MANIFESTS if m.id == "metabolic-t1d")
    (activity,) = processing_register([manifest], {}).activities
    assert activity.needed == ("glucose (loinc:99504-3)",)
    assert len(activity.optional) == len(manifest.inputs) - 1
    assert manifest.risk is not None
    assert (activity.influence, activity.consequence) == (manifest.risk.influence, manifest.risk.consequence)


def test_what_the_site_does_not_say_is_open():
    made = processing_register(MANIFESTS, {"controller": "Hospital, Street", "ground": " "})
    assert made.unanswered == tuple(key for key in QUESTIONS if key != "controller")
    assert made.to_markdown().count("OPEN: to be answered by the site") == len(QUESTIONS) - 1
    assert processing_register([], dict.fromkeys(QUESTIONS, "said")).unanswered == ()
    with pytest.raises(DataError, match="not asked"):
        processing_register([], {"colour": "blue"})
