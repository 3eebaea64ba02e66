"""Data sets: found in order, checked by hash, fetched whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from _data import data_environment, require_dataset
from gemel.core.errors import DatasetError
from gemel.interop.wearables import FORMATS
from gemel.platform import datasets

SPDX = {
    "Apache-2.0",
    "MIT",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC-BY-NC-SA-4.0",
    "LicenseRef-OhioT1DM",
    "LicenseRef-facts",
    "CC0-1.0",
    "BSD-3-Clause",
    "GPL-2.0-only",
    "GPL-3.0-only",
    "GPL-2.0-or-later",
    "public domain (17 USC 105)",
}


@pytest.fixture
def one(monkeypatch):
    """A listing of two small data sets, one of them packed otherwise at its origin."""
    body, table = b"a,b\n1,2\n", b"x,y\n3,4\n"
    entries = (
        {
            "name": "small",
            "path": "s/small.csv",
            "sha256": hashlib.sha256(body).hexdigest(),
            "url": "https://example.org/small.csv",
            "origin_sha256": "",
        },
        {
            "name": "packed",
            "path": "s/packed.csv.gz",
            "sha256": "0" * 64,
            "url": "https://example.org/packed.csv",
            "origin_sha256": hashlib.sha256(table).hexdigest(),
        },
        {"name": "closed", "path": "s/closed.zip", "sha256": "1" * 64, "url": "", "origin_sha256": ""},
    )
    listed = {
        e["name"]: datasets.Dataset(
            name=e["name"],
            title=e["name"],
            version="1",
            licence="MIT",
            citation="c",
            url="https://example.org",
            validates="v",
            main=e["path"],
            files=(datasets.DatasetFile(**{k: e[k] for k in ("path", "sha256", "url", "origin_sha256")}),),
        )
        for e in entries
    }
    monkeypatch.setattr(datasets, "_table", lambda: listed)
    return {"https://example.org/small.csv": body, "https://example.org/packed.csv": table}


def environment(tmp_path, data=True):
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")} | ({"GEMEL_DATA": str(tmp_path / "data")} if data else {})


def put(tmp_path, body, where="data", path="s/small.csv"):
    place = tmp_path / where / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(body)
    return place


def no_network(url):
    raise AssertionError(f"the network was asked for {url}")


def test_order_is_folder_cache_download(tmp_path, one):
    environ = environment(tmp_path)
    body = one["https://example.org/small.csv"]
    cached = put(tmp_path, body, "cache/gemel/data")
    assert datasets.resolve("small", environ=environ, fetch=no_network) == cached
    mine = put(tmp_path, body)
    assert datasets.resolve("small", environ=environ, fetch=no_network) == mine
    mine.unlink()
    cached.unlink()
    fetched = datasets.resolve("small", environ=environ, fetch=one.__getitem__)
    assert fetched == cached
    assert fetched.read_bytes() == body
    assert datasets.resolve("small", environ=environ, fetch=no_network) == fetched
    assert datasets.available("small", environ=environ)
    assert datasets.verify("small", environ=environ) == {"s/small.csv": "ok"}


def test_what_the_origin_packs_otherwise_is_accepted_by_its_content(tmp_path, one):
    environ = environment(tmp_path)
    path = datasets.resolve("packed", environ=environ, fetch=one.__getitem__)
    assert gzip.decompress(path.read_bytes()) == one["https://example.org/packed.csv"]
    assert datasets.available("packed", environ=environ)


def test_a_wrong_download_is_refused_and_nothing_is_kept(tmp_path, one):
    environ = environment(tmp_path)
    with pytest.raises(DatasetError, match="nothing was kept"):
        datasets.resolve("small", environ=environ, fetch=lambda url: b"other")
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() or p.name.startswith(".gemel")] == []


def test_a_changed_file_is_an_error_not_a_fallback(tmp_path, one):
    put(tmp_path, b"other")
    with pytest.raises(DatasetError, match="not the listed one"):
        datasets.resolve("small", environ=environment(tmp_path), fetch=one.__getitem__)
    assert not datasets.available("small", environ=environment(tmp_path))
    assert "another hash" in datasets.verify("small", environ=environment(tmp_path))["s/small.csv"]


def test_the_error_says_what_was_tried_and_what_to_do(tmp_path, one):
    def offline(url):
        raise OSError("no route")

    with pytest.raises(DatasetError) as caught:
        datasets.resolve("small", environ=environment(tmp_path, data=False), fetch=offline)
    text = str(caught.value)
    for words in ("GEMEL_DATA is not set", "cache", "https://example.org/small.csv", "no route", "s/small.csv", "next:"):
        assert words in text
    with pytest.raises(DatasetError, match="no public file"):
        datasets.resolve("closed", environ=environment(tmp_path), fetch=no_network)
    with pytest.raises(DatasetError, match="is not here"):
        datasets.resolve("small", environ=environment(tmp_path), download=False)
    with pytest.raises(DatasetError, match="listed"):
        datasets.resolve("nothing", environ=environment(tmp_path))


def test_an_unwritable_cache_is_an_error(tmp_path, one):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DatasetError, match="cannot be kept"):
        datasets.resolve("small", environ=environment(tmp_path), fetch=one.__getitem__)


def test_the_list_is_complete_and_well_formed():
    found = datasets.listing()
    paths = [file.path for dataset in found for file in dataset.files]
    assert len(paths) == len(set(paths))
    for dataset in found:
        assert dataset.licence in SPDX
        assert dataset.format in {"", *FORMATS}
        assert dataset.citation
        assert dataset.url.startswith("https://")
        for file in dataset.files:
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert not file.path.startswith(("/", ".."))
            assert file.url.startswith("https://") or not file.url
            assert "raw.githubusercontent.com" not in file.url or re.search(r"/[0-9a-f]{40}/", file.url)  # pinned


def test_a_set_that_only_its_publisher_gives_is_found_where_its_user_puts_it(tmp_path):
    place = environment(tmp_path)
    dropped = [d.name for d in datasets.listing() if not d.files]
    assert "ohiot1dm" in dropped
    for name in dropped:
        assert not datasets.available(name, environ=place)
        assert set(datasets.verify(name, environ=place).values()) == {"missing"}
        with pytest.raises(DatasetError, match="only its publisher gives it"):
            datasets.resolve(name, environ=place, fetch=lambda url: pytest.fail(f"fetched {url}"))
    folder = tmp_path / "data" / "metabolic" / "ohiot1dm"
    folder.mkdir(parents=True)
    assert not datasets.available("ohiot1dm", environ=place)  # an empty folder is nothing
    (folder / "540-ws-training.xml").write_text("<patient/>")
    place = {**place, "GEMEL_DATA": str(tmp_path / "data")}
    assert datasets.resolve("ohiot1dm", environ=place) == folder
    assert set(datasets.verify("ohiot1dm", environ=place).values()) == {"here, without a listed hash"}


@pytest.mark.data
@pytest.mark.parametrize("name", [d.name for d in datasets.listing() if d.files])
def test_our_copy_is_the_listed_one(name):
    require_dataset(name)
    assert set(datasets.verify(name, environ=data_environment()).values()) == {"ok"}


@pytest.mark.data
def test_every_file_of_the_two_folders_is_listed():
    root = require_dataset("uva-padova").parents[1]
    listed = {file.path for dataset in datasets.listing() for file in dataset.files}
    apart = {"SOURCES.md", "LICENCE.txt"}  # words about the data, not data
    for folder in ("metabolic", "credibility"):
        there = {p.relative_to(root).as_posix() for p in (Path(root) / folder).rglob("*") if p.is_file() and p.name not in apart}
        assert there <= listed


def test_helper_fails_in_ci_and_skips_elsewhere(monkeypatch, tmp_path):
    import _data

    monkeypatch.setattr(_data, "_BESIDE", tmp_path / "none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GEMEL_DATA", raising=False)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="shanghai"):
        require_dataset("shanghai")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="shanghai"):
        require_dataset("shanghai")
