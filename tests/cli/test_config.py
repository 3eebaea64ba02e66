"""``gemel config register``: a document of what is installed."""

from gemel.platform.processing import QUESTIONS


def test_a_register_of_what_is_installed(gemel, tmp_path):
    ran = gemel("config", "register", "toy-linear")
    assert ran.code == 1
    assert "`toy-linear`" in ran.out
    assert "open: controller" in ran.err
    assert "metabolic" not in ran.out
    told = gemel("config", "register", "--json").json()
    assert {"metabolic", "toy-growth"} <= {a["id"] for a in told["activities"]}
    assert told["unanswered"] == list(QUESTIONS)


def test_a_site_that_answers(gemel, tmp_path):
    (tmp_path / "site.toml").write_text("".join(f'{key} = "said"\n' for key in QUESTIONS))
    ran = gemel("config", "register", "toy-linear", "--site", tmp_path / "site.toml", "-o", tmp_path / "register.md")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert "OPEN" not in (tmp_path / "register.md").read_text()


def test_bad_input_is_one_message(gemel, tmp_path):
    (tmp_path / "site.toml").write_text("rubbish")
    assert "not a TOML file" in gemel("config", "register", "--site", tmp_path / "site.toml").err
    (tmp_path / "site.toml").write_text("colour = 'blue'")
    ran = gemel("config", "register", "--site", tmp_path / "site.toml")
    assert (ran.code, "not asked" in ran.err) == (2, True)
    assert gemel("config", "register", "no-such-twin").code == 4
    assert gemel("config", "register", "--site", tmp_path / "none").code == 4
