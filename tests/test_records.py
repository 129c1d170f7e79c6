"""Records are JSON that is whole, of this schema, and says what made it."""

import json
import os
import platform
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slimming import records
from slimming.errors import InputError

RECORD = {"schema": records.SCHEMA, "stage": "pruned", "ratio": 0.1 + 0.2, "name": "é", "layers": [{"kept": 3}]}


def test_what_was_written_is_read_and_the_text_is_sorted(tmp_path):
    records.write(tmp_path / "new folder" / "x.json", RECORD)
    records.write(tmp_path / "y.json", dict(reversed(RECORD.items())))
    text = (tmp_path / "y.json").read_text(encoding="utf-8")
    assert (tmp_path / "new folder" / "x.json").read_text(encoding="utf-8") == text
    assert text.endswith("}\n")
    assert records.read(tmp_path / "y.json") == RECORD


def test_a_number_that_json_does_not_know_is_never_written(tmp_path):
    records.write(tmp_path / "x.json", RECORD)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON compliant"):
            records.write(tmp_path / "x.json", RECORD | {"loss": value})
    assert records.read(tmp_path / "x.json") == RECORD


@given(st.one_of(st.binary(max_size=60), st.sampled_from([b"[]", b"{}", b"1", b'{"schema": 0}', b'{"schema": "1"}'])))
def test_what_is_no_record_is_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json: not a .*make it again") as caught:
        records.read(path)
    assert "\n" not in str(caught.value)


def test_every_truncated_record_is_refused(tmp_path):
    records.write(tmp_path / "x.json", RECORD)
    text = (tmp_path / "x.json").read_bytes().rstrip()
    for length in range(len(text)):
        (tmp_path / "x.json").write_bytes(text[:length])
        with pytest.raises(InputError, match="not a readable record"):
            records.read(tmp_path / "x.json")


def test_a_missing_record_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: not a readable record"):
        records.read(tmp_path / "none.json")


def test_provenance_says_command_versions_machine_device_and_threads(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/slimming", "train", '{"a": 1}'])
    made = records.provenance("cpu", 3)
    assert made["command"] == "slimming train '{\"a\": 1}'"
    assert made["versions"]["python"] == platform.python_version()
    assert made["versions"]["torch"] == torch.__version__
    assert set(records.PACKAGES) < set(made["versions"])
    assert made["machine"]["cores"] == os.cpu_count()
    assert made["machine"]["processor"]
    assert (made["device"], made["threads"]) == ("cpu", 3)
    assert made["started"].endswith("+00:00")
    json.dumps(made, allow_nan=False)


def test_the_commit_is_that_of_the_code_and_changes_are_marked(tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    (package / "records.py").write_text("old")
    (tmp_path / "other.txt").write_text("old")
    monkeypatch.setattr(records, "__file__", str(package / "records.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def commit():
        records._commit.cache_clear()
        return records._commit()

    assert commit() == ""
    git("init")
    git("add", ".")
    git("commit", "--message", "first")
    head = git("rev-parse", "HEAD")
    assert commit() == head
    (tmp_path / "other.txt").write_text("not the package")
    assert commit() == head
    (package / "records.py").write_text("new")
    assert commit() == head + "+"
    records._commit.cache_clear()
