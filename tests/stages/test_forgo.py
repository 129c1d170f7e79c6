"""What a study allows to be missing: placeholders say why, and what would start from them is forgone in turn."""

import pytest

from slimming import checkpoints, cli, tensorfile
from slimming.errors import InputError

REASON = "digits/vgg11/mcp-100/seed1: the loss is not finite in epoch 1 of 2"


@pytest.fixture
def forgone(again, capsys):
    """A finished run whose fine-tuned network was forgone."""
    log = again.folder / "log"
    log.write_text(f"epoch 1\nslimming: error: {REASON}\n")
    outputs = [again.checkpoints / f"finetuned-0.5.{ending}" for ending in ("safetensors", "json")]
    assert cli.main(["forgo", "1", *map(str, outputs), "--log", str(log)]) == 0
    assert capsys.readouterr().out == f"forgone: {again.checkpoints}: {REASON}\n"
    return again


def test_placeholders_say_what_is_missing_and_why(forgone):
    draft = forgone.draft("finetuned-0.5")
    assert draft["missing"] == REASON
    assert (draft["stage"], draft["ratio"]) == ("finetuned", 0.5)
    assert draft["run"] == {"dataset": "digits", "network": "vgg11", "method_slug": "mcp-100", "seed": 1}
    _, header = tensorfile.read(forgone.checkpoints / "finetuned-0.5.safetensors")
    assert header == draft
    with pytest.raises(InputError, match=f"was not made: {REASON}"):
        checkpoints.load(forgone.checkpoints / "finetuned-0.5.safetensors")


def test_what_starts_from_a_placeholder_is_forgone_for_the_same_reason(forgone, capsys):
    outputs = [forgone.checkpoints / f"pruned-0.5.{ending}" for ending in ("safetensors", "json")]
    cli.main(["forgo", "1", *map(str, outputs), "--log", str(forgone.folder / "log")])
    assert cli.main(forgone.finetune()) == 2
    said = capsys.readouterr().err
    (forgone.folder / "next.log").write_text(said)
    cli.main(["forgo", "2", *map(str, outputs), "--log", str(forgone.folder / "next.log")])
    assert forgone.draft("pruned-0.5")["missing"] == REASON


def test_measuring_hands_the_reason_on_and_measures_the_others(forgone):
    (forgone.records / "finetuned-0.5.json").unlink()
    assert cli.main(forgone.measure("trained", "finetuned-0.5")) == 0
    assert forgone.record("finetuned-0.5")["missing"] == REASON
    assert "accuracy" in forgone.record("trained")["measured"]


@pytest.mark.parametrize("status", [130, 137, 143])
def test_a_job_that_a_signal_ended_is_to_be_tried_again(status, again, capsys):
    before = again.files()
    outputs = [again.checkpoints / f"finetuned-0.5.{ending}" for ending in ("safetensors", "json")]
    assert cli.main(["forgo", str(status), *map(str, outputs), "--log", "none"]) == status
    assert again.files() == before


def test_a_log_that_says_nothing_leaves_the_status(again):
    outputs = [again.checkpoints / f"finetuned-0.5.{ending}" for ending in ("safetensors", "json")]
    assert cli.main(["forgo", "9", *map(str, outputs), "--log", str(again.folder / "none")]) == 0
    assert again.draft("finetuned-0.5")["missing"] == "ended with status 9"


def test_a_path_of_no_checkpoint_is_refused(tmp_path, capsys):
    assert cli.main(["forgo", "1", str(tmp_path / "x.json"), "--log", "none"]) == 2
    assert "no path of a study's checkpoint" in capsys.readouterr().err
