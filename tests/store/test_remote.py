"""Whether a remote can have what is missing, is said before anyone waits for a pull."""

import pytest

from slimming.store import remote


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Writes DVC's configuration in a folder, and goes there."""
    (tmp_path / "clone/.dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "clone")

    def written(url, name="config"):
        text = f"[core]\n    remote = here\n['remote \"here\"']\n    url = {url}\n"
        (tmp_path / "clone/.dvc" / name).write_text(text)

    return written


def test_without_a_remote_the_study_is_to_be_run(configure):
    assert remote.default() is None
    assert remote.advice() == "no remote is set up; running the study makes it"


def test_a_folder_that_is_not_there_has_nothing(configure, tmp_path):
    configure("../../store")
    assert remote.default() == "../store"
    assert remote.advice().startswith("no remote has it: the default one, the folder ../store, is not there; ")
    (tmp_path / "store").mkdir()
    assert remote.advice() == "`dvc pull` brings it, if ../store has it"


def test_what_is_set_for_this_clone_alone_counts_more(configure):
    configure("../../store")
    configure("s3://bucket/folder", "config.local")
    assert remote.advice() == "`dvc pull` brings it, if s3://bucket/folder has it"
