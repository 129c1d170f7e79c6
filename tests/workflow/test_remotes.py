"""Remotes: results go through real servers and come back whole, and damage on the way is named and heals."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import servers
from repository import MEMORY, NETWORK, Repository, alter


def use(repository: Repository, settings: dict[str, str]) -> None:
    """Make a remote the default, in this working copy alone."""
    lines = "".join(f"    {key} = {value}\n" for key, value in {**settings, "verify": "true"}.items())
    (repository.root / ".dvc/config.local").write_text(f"[core]\n    remote = other\n['remote \"other\"']\n{lines}")


def results(repository: Repository) -> dict[Path, bytes]:
    """Content of everything that DVC keeps."""
    folders = ("results/tiny/checkpoints", "results/tiny/records", "data/prepared", "results/tiny/paper")
    files = [path for folder in folders for path in (repository.root / folder).rglob("*") if path.is_file()]
    return {path.relative_to(repository.root): path.read_bytes() for path in files}


def objects(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("files/md5/*/*") if path.is_file())


def stored(repository: Repository, path: str) -> str:
    """Where a store has the content of `path`, below its folder."""
    digest = hashlib.md5((repository.root / path).read_bytes()).hexdigest()
    return f"files/md5/{digest[:2]}/{digest[2:]}"


@pytest.mark.parametrize("serve", [servers.ssh, servers.webdav, servers.s3])
def test_results_pushed_to_a_server_are_pulled_into_an_empty_clone(here, serve, tmp_path):
    with serve(tmp_path / "server") as settings:
        use(here, settings)
        here.dvc("push")
        clone = here.clone(tmp_path / "clone")
        use(clone, settings)
        clone.dvc("pull")
    assert results(clone) == results(here) != {}


@pytest.mark.parametrize("damage", [alter, Path.unlink], ids=["altered", "missing"])
def test_damage_in_the_remote_is_named_and_heals(here, damage, tmp_path):
    here.dvc("push")
    store = tmp_path / "slimming-store"
    lost = store / stored(here, NETWORK)
    kept = lost.read_bytes()
    damage(lost)
    clone = here.clone(tmp_path / "clone")
    assert "ERROR: failed to pull" in clone.dvc("pull", check=False)
    assert not (clone.root / NETWORK).exists()
    named = clone.dvc("data", "status", "--granular")
    assert NETWORK in named.partition("Not in cache:")[2].partition("DVC uncommitted")[0]
    lost.unlink(missing_ok=True)
    lost.write_bytes(kept)
    clone.dvc("pull")
    assert results(clone) == results(here)


def test_damage_in_the_remote_overwrites_nothing(here, tmp_path):
    here.dvc("push")
    alter(tmp_path / "slimming-store" / stored(here, NETWORK))
    before = results(here)
    shutil.rmtree(here.root / ".dvc/cache")
    here.dvc("pull", check=False)
    here.dvc("pull", "--force", check=False)
    assert results(here)[Path(NETWORK)] == before[Path(NETWORK)]


def test_damage_in_the_cache_is_named_before_anything_runs_and_heals(here, tmp_path):
    here.dvc("push")
    clone = here.clone(tmp_path / "clone")
    clone.dvc("fetch")
    damaged = clone.root / ".dvc/cache" / stored(here, NETWORK)
    alter(damaged)
    damaged.chmod(0o444)  # as DVC leaves what it then trusts
    clone.dvc("checkout")
    (line,) = [line for line in clone.snakemake(check=False).splitlines() if "slimming: error" in line]
    assert f"{NETWORK}: not what results/tiny/jobs.json says was made" in line
    (clone.root / NETWORK).unlink()
    shutil.rmtree(clone.root / ".dvc/cache")
    clone.dvc("pull")
    assert results(clone) == results(here)
    assert clone.planned() == {}


def test_an_interrupted_push_loses_nothing(here, tmp_path):
    """SIGKILL for `dvc push` when the server has a few objects and the next upload hangs."""
    uploads, stuck, released = [], threading.Event(), threading.Event()

    def gate(request: dict) -> None:
        if request["REQUEST_METHOD"] == "PUT":
            uploads.append(request["PATH_INFO"])
            if len(uploads) > 4 and not released.is_set():
                stuck.set()
                released.wait(60)

    before = results(here)
    folder = tmp_path / "server"
    with servers.webdav(folder, gate) as settings:
        use(here, settings)
        command = [sys.executable, "-m", "dvc", "push", "--jobs", "1"]
        with subprocess.Popen(command, cwd=here.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as push:
            assert stuck.wait(60)
            push.kill()
        released.set()
    whole = {path.name: path.stat().st_size for path in objects(here.root / ".dvc/cache")}
    arrived = objects(folder)
    assert 0 < len(arrived) < len(whole)
    assert results(here) == before
    with servers.webdav(folder) as settings:
        use(here, settings)
        here.dvc("push")
        clone = here.clone(tmp_path / "clone")
        use(clone, settings)
        stumps = [path for path in arrived if path.stat().st_size != whole[path.name]]
        if stumps:  # what a server keeps of an upload that was cut off; a second push takes it for whole
            assert "ERROR: failed to pull" in clone.dvc("pull", check=False)
            # Where the listing of a directory has arrived, a push takes all that it lists for arrived as well.
            for path in [*stumps, *folder.rglob("*.dir")]:
                path.unlink()
            shutil.rmtree(here.root / MEMORY)
            here.dvc("push")
        clone.dvc("pull")
    assert results(clone) == before
