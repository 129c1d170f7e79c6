"""Provenance goes out and comes back for what is the same to the byte, and for nothing else."""

from __future__ import annotations

import os

import pytest

from slimming import tensorfile
from slimming.errors import InputError
from slimming.store import provenance

MADE = 1_700_000_000.25


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """Snakemake's memory of a folder in which `out` was made of `in`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_text("input")
    make("out", "content")
    return provenance._Memory()


def make(name, content, made=MADE):
    """A product, and Snakemake's record of it."""
    with open(name, "w") as stream:
        stream.write(content)
    os.utime(name, (made, made))
    record = {"rule": "copy", "input": ["in"], "params": ["1"], "starttime": made - 1, "endtime": made}
    provenance._Memory().write(name, record | {"input_checksums": {"in": "sha256:0"}})


def forget():
    for path in provenance.Path(".snakemake/metadata").iterdir():
        path.unlink()


def interrupted(*names):
    """Those of the products whose jobs Snakemake takes for interrupted."""
    return provenance._Memory()._files._filter_incomplete_keys(names)


def test_what_was_exported_is_restored(memory, tmp_path):
    provenance.export("jobs.json", ["out"])
    before = memory.read("out")
    forget()
    os.utime("out")
    provenance.restore("jobs.json", ["out"])
    after = provenance._Memory().read("out")
    for field in ("rule", "input", "params", "input_checksums", "starttime", "endtime"):
        assert after[field] == before[field], field
    assert os.stat("out").st_mtime == MADE


def test_exporting_again_changes_no_byte(memory):
    provenance.export("jobs.json", ["out", "never made"])
    first = provenance.Path("jobs.json").read_bytes()
    provenance.export("jobs.json", ["out", "never made"])
    assert provenance.Path("jobs.json").read_bytes() == first
    assert first.count(b"\n") == 7


def test_the_pulled_product_replaces_the_memory_of_an_older_one(memory):
    """As where one machine made a product, another made it anew, and the first pulls that."""
    make("out", "anew", MADE + 100)
    provenance.export("jobs.json", ["out"])
    make("out", "content")
    with open("out", "w") as stream:
        stream.write("anew")
    provenance.restore("jobs.json", ["out"])
    assert provenance._Memory().read("out")["endtime"] == MADE + 100


def test_what_is_made_here_stays_whatever_the_file_says(memory):
    provenance.export("jobs.json", ["out"])
    make("out", "made here", MADE + 50)
    provenance.restore("jobs.json", ["out"])
    assert provenance._Memory().read("out")["endtime"] == MADE + 50
    assert provenance.Path("out").read_text() == "made here"


def test_another_content_of_a_stored_product_is_refused_and_nothing_changes(memory):
    provenance.export("jobs.json", ["out"])
    forget()
    provenance.Path("out").write_text("altered")
    before = os.stat("out").st_mtime_ns
    with pytest.raises(InputError, match=r"^out: not what jobs.json says was made"):
        provenance.restore("jobs.json", ["out"])
    assert os.stat("out").st_mtime_ns == before
    assert provenance._Memory().read("out") is None


@pytest.mark.parametrize("known", ["in jobs.json", "of a failed attempt", "not at all"])
def test_a_training_that_finished_unseen_is_sent_again(known, memory):
    if known == "in jobs.json":
        provenance.export("jobs.json", ["out"])
    forget()
    if known == "of a failed attempt":
        make("out", "", MADE - 100)
    provenance.Path("out").write_text("made here")
    provenance.restore("jobs.json", ["out"], ["out", "not made yet"])
    assert interrupted("out", "not made yet") == {"out"}


def test_a_training_that_was_seen_or_stored_is_not_sent_again(memory):
    make("stored", "content")
    provenance.export("jobs.json", ["stored"])
    forget()
    make("out", "content")
    provenance.restore("jobs.json", [], ["out", "stored"])
    assert interrupted("out", "stored") == set()


def test_another_content_of_what_is_made_in_seconds_counts_as_old(memory):
    provenance.export("jobs.json", ["out"])
    forget()
    provenance.Path("out").write_text("altered")
    provenance.restore("jobs.json", [])
    assert os.stat("out").st_mtime == provenance.OLDEST
    assert provenance._Memory().read("out") is None


def test_without_its_inputs_a_product_has_no_record(memory):
    provenance.export("jobs.json", ["out"])
    forget()
    provenance.Path("in").unlink()
    provenance.restore("jobs.json", ["out"])
    assert provenance._Memory().read("out") is None


def test_a_product_that_is_not_here_keeps_what_was_known(memory):
    provenance.export("jobs.json", ["out"])
    first = provenance.Path("jobs.json").read_bytes()
    forget()
    provenance.Path("out").unlink()
    provenance.export("jobs.json", ["out"])
    assert provenance.Path("jobs.json").read_bytes() == first


def test_a_product_that_the_study_no_longer_has_is_forgotten(memory):
    make("other", "content")
    provenance.export("jobs.json", ["out", "other"])
    provenance.export("jobs.json", ["other"])
    assert provenance.read("jobs.json").products().keys() == {"other"}


def test_the_digest_is_the_content_s(memory):
    provenance.export("jobs.json", ["out"])
    known = provenance.read("jobs.json").products()
    assert known["out"][0].sha256 == tensorfile.sha256("out") == provenance.digest("out", known)
    provenance.Path("out").write_text("altered")
    assert provenance.digest("out", known) == tensorfile.sha256("out") != known["out"][0].sha256
    assert provenance.digest("none", known) is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": 1, "jobs": []}', '{"format": 2, "code": {}, "reaffirmed": [], "jobs": [1]}', "<<<<"],
)
def test_a_torn_file_is_refused(content, tmp_path):
    (tmp_path / "jobs.json").write_text(content)
    with pytest.raises(InputError, match=r"jobs.json: not readable as provenance"):
        provenance.read(tmp_path / "jobs.json")
