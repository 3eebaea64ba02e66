"""``gemel consent``: a reading in words, and an answer with its exit code."""

import json

import pytest

from _consents import EXAMPLES, resource


@pytest.fixture
def file(tmp_path):
    def write(name):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(resource(name)))
        return path

    return write


ASKED = ("--time", "2017-01-01T00:00:00Z", "--purpose", "TREAT")


def test_a_reading_in_words(gemel, file):
    ran = gemel("consent", "show", file("pkb"))
    assert ran.code == 0
    assert "base deny" in ran.out
    assert "except: permit recipients: Organization/f001; actions: access; labels: N" in ran.out
    assert "    except: deny recipients: Organization/f001; actions: access; labels: PSY" in ran.out
    assert "note: a nested rule without a type denies" in ran.out
    told = gemel("consent", "show", file("signature"), "--json").json()
    assert told["recipients"] == ["Practitioner/13"]


def test_what_is_ambiguous_has_an_exit_code_until_the_site_says_what_it_means(gemel, file):
    path = file("notTime")
    ran = gemel("consent", "show", path)
    assert (ran.code, "AMBIGUOUS" in ran.out) == (1, True)
    ran = gemel("consent", "show", path, "--profile", "exception")
    assert ran.code == 0
    assert "deny data period 2015-01-01T00:00:00Z until 2015-02-02T00:00:00Z" in ran.out
    assert "holds 2015-01-01" in gemel("consent", "show", path, "--profile", "validity").out


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_shown(gemel, file, name):
    assert gemel("consent", "show", file(name)).code in (0, 1)


def test_an_answer(gemel, file):
    path = file("notOrg")
    asked = ("consent", "decide", path, "--patient", "f001", *ASKED)
    ran = gemel(*asked, "--actor", "Practitioner/1")
    assert (ran.code, ran.out.strip()) == (0, "permit: permitted (consent-example-notOrg)")
    ran = gemel(*asked, "--actor", "Practitioner/1", "--actor", "Organization/f001", "--json")
    assert (ran.code, ran.json()["ruling"]) == (1, "deny")
    ran = gemel(*asked, "--model", "metabolic@1.0")
    assert (ran.code, "not asked for metabolic 1" in ran.out) == (1, True)
    assert gemel("consent", "decide", file("notThis"), "--patient", "f001", *ASKED, "--basis", "Task/example3").code == 1


def test_bad_input_is_one_message(gemel, tmp_path, file):
    (tmp_path / "x.json").write_text("{")
    (tmp_path / "y.json").write_text("[]")
    assert "not a JSON document" in gemel("consent", "show", tmp_path / "x.json").err
    assert "not a Consent" in gemel("consent", "show", tmp_path / "y.json").err
    assert gemel("consent", "show", tmp_path / "none.json").code == 4
    ran = gemel("consent", "decide", file("Out"), "--patient", "f001", "--time", "yesterday")
    assert (ran.code, "cannot read time" in ran.err) == (2, True)
