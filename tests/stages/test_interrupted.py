"""A run that is killed, diverges or finds no space loses nothing, and ends with the bits of one undisturbed."""

import json
import re
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from slimming import cli, records, tensorfile
from slimming.code import closure
from slimming.errors import InputError
from slimming.methods.base import Method
from tiny import SLIMMING, Work, slimming


def position(resume: Path) -> tuple[int, int]:
    """Epoch and step at which an interrupted training would go on."""
    try:
        _, header = tensorfile.read(resume)
    except InputError:
        return -1, 0
    return header["epoch"], header["step"]


def kill(command: list[str], resume: Path, after: tuple[int, int]) -> bool:
    """Start `command`, kill it once its saved state is later than `after`; whether it lived to be killed."""
    with subprocess.Popen([SLIMMING, *command], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and position(resume) <= after:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_killed_several_times_ends_with_the_bits_of_one_never_killed(prepared, tmp_path):
    keys = {"schedule": {"epochs": 6, "batch_size": 8}, "methods": [{"name": "lp", "p": 0.5, "lam": 1e-3}]}
    whole, broken = (Work(tmp_path / name, prepared, **keys) for name in ("whole", "broken"))
    assert cli.main(whole.train()) == 0
    resume, kills = broken.checkpoints / "trained.resume", []
    for wanted in ((-1, 0), (1, 60), (3, 30)):
        after = max([wanted, *kills])
        if kill(broken.train(), resume, after) and not (broken.checkpoints / "trained.safetensors").exists():
            kills.append(position(resume))
            assert not (broken.checkpoints / "trained.json").exists()
    assert len(kills) >= 2
    assert kills == sorted(set(kills))
    done = slimming(*broken.train(), check=True)
    assert f"continuing at epoch {kills[-1][0] + 1}, step {kills[-1][1] + 1}" in done.stderr
    assert broken.checkpoint("trained") == whole.checkpoint("trained")
    assert broken.draft("trained")["history"] == whole.draft("trained")["history"]
    left = {path.name for path in broken.checkpoints.iterdir()}
    assert left == {"trained.safetensors", "trained.json", "trained.resume"}


def test_a_finished_training_that_is_sent_again_goes_on_until_it_is_pruned(made, prepared, tmp_path, capsys):
    """As by a Snakemake that has not learned that it finished, and has removed what it made."""
    work = Work(tmp_path, prepared)
    for stage, text in (("first", ""), ("again", "continuing at epoch"), ("after pruning", "")):
        for made_file in [*work.checkpoints.glob("*.safetensors"), *work.checkpoints.glob("*.json")]:
            made_file.unlink()
        assert cli.main(work.train()) == 0
        assert ("continuing at epoch" in capsys.readouterr().err) == bool(text), stage
        assert work.checkpoint("trained") == made.checkpoint("trained")
        if stage == "again":
            assert cli.main(work.prune()) == 0
            assert not list(work.checkpoints.glob("*.resume"))


def test_a_training_does_not_go_on_with_other_code(prepared, tmp_path, monkeypatch, capsys):
    work = Work(tmp_path, prepared)
    assert cli.main(work.train()) == 0
    monkeypatch.setattr("slimming.code.closure", lambda *modules: [*closure(*modules), "0" * 16])
    assert cli.main(work.train()) == 0
    assert "saved by a run with other settings" in capsys.readouterr().err


def test_an_interrupted_fine_tuning_goes_on_with_the_same_bits(made, again, monkeypatch, capsys):
    for left in ("safetensors", "resume"):
        (again.checkpoints / f"finetuned-0.5.{left}").unlink()
    steps = iter(range(30))  # into the second epoch

    def interrupt(*_):
        if next(steps, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Method, "add_gradient", interrupt)
        patch.setattr("slimming.training.loop.SAVE_SHARE", 1e9)  # save at every step
        assert cli.main(again.finetune()) == 130
    assert position(again.checkpoints / "finetuned-0.5.resume") == (1, 7)
    assert not (again.checkpoints / "finetuned-0.5.safetensors").exists()
    assert cli.main(again.finetune()) == 0
    assert "continuing at epoch 2, step 8" in capsys.readouterr().err
    assert again.checkpoint("finetuned-0.5") == made.checkpoint("finetuned-0.5")


def test_an_interrupted_training_starts_over_on_other_data_of_the_same_name(made, tmp_path, monkeypatch, capsys):
    tensors, header = tensorfile.read(made.prepared)
    other = tmp_path / "other.safetensors"
    tensorfile.write(other, tensors | {"train_images": 255 - tensors["train_images"]}, header)
    work = Work(tmp_path / "work", made.prepared)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "write", interrupt)
        patch.setattr("slimming.training.loop.SAVE_SHARE", 1e9)
        assert cli.main(work.train()) == 130
    (work.checkpoints / "trained.safetensors").unlink()
    work.prepared = other
    assert cli.main(work.train()) == 0
    assert "starting over" in capsys.readouterr().err
    assert work.draft("trained")["data"] == tensorfile.sha256(other)
    assert made.record("trained")["data"] == tensorfile.sha256(made.prepared)


def test_a_run_stopped_before_its_draft_is_written_makes_both_again(made, tmp_path, monkeypatch):
    work = Work(tmp_path, made.prepared)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "write", interrupt)
        assert cli.main(work.train()) == 130
    assert not (work.checkpoints / "trained.json").exists()
    assert cli.main(work.train()) == 0
    assert work.checkpoint("trained") == made.checkpoint("trained")
    assert work.draft("trained")["history"] == made.record("trained")["history"]


def test_a_loss_that_is_not_finite_ends_with_one_line_and_a_record_of_it(prepared, tmp_path):
    work = Work(tmp_path, prepared, schedule={"epochs": 2, "lr": 1e30})
    done = slimming(*work.train())
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(
        r"slimming: error: digits/vgg11/mcp-100/seed1: the loss is not finite in epoch 1 of 2 \(lr 1e\+30\): lower "
        r"the learning rate or the method's strength \(see .*trained\.diverged\.json\)",
        line,
    )
    assert list(work.files()) == [work.checkpoints / "trained.diverged.json"]
    record = work.draft("trained.diverged")
    assert record["run"] == json.loads(work.run.settings())
    assert record["error"].startswith("the loss is not finite in epoch 1 of 2")
    assert set(map(tuple, record["history"].values())) == {()}


def test_a_full_disk_stops_a_run_with_one_line_and_keeps_the_old_checkpoint(again, made):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    before = again.files()
    done = slimming(*again.train(), preexec_fn=limit)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"slimming: error: cannot write {again.checkpoints}/trained.")
    assert "File too large" in line
    assert again.files() == before
