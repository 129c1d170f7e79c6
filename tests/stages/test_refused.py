"""Bad data, checkpoints and ratios are refused by every stage in one line, and nothing is overwritten."""

import re

import pytest

from slimming import cli, tensorfile


def other_data(work, **header):
    """A prepared data set like the run's, but for its header."""
    tensors, old = tensorfile.read(work.prepared)
    path = work.folder / "other.safetensors"
    tensorfile.write(path, tensors, old | header)
    return path


def damaged(path, work, change):
    target = work.folder / f"damaged-{path.name}"
    target.write_bytes(change(path.read_bytes()))
    return target


def flipped(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("stage", ["train", "prune", "finetune", "scratch"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda work: other_data(work, name="svhn"), "holds svhn at 8 pixels, the run .* asks for digits at 8"),
        (lambda work: other_data(work, image_size=16), "holds digits at 16 pixels, the run .* asks for digits at 8"),
        (lambda work: damaged(work.prepared, work, lambda content: content[:-1]), "truncated or not a safetensors"),
        (lambda work: damaged(work.prepared, work, flipped), "altered since it was written"),
        (lambda work: work.checkpoints / "trained.safetensors", "not a data set; make one with `slimming prepare`"),
        (lambda work: work.folder / "none", "no such file"),
    ],
    ids=["other", "other size", "truncated", "altered", "no data", "missing"],
)
def test_bad_data_is_refused_and_nothing_overwritten(stage, spoil, message, again, capsys):
    again.prepared = spoil(again)
    refused(again, getattr(again, stage)(), message, capsys)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda work, path: damaged(path, work, lambda content: content[: len(content) // 2]), "truncated or not"),
        (lambda work, path: damaged(path, work, flipped), "altered since it was written"),
        (lambda work, path: work.prepared, "holds no network; a checkpoint is expected here"),
        (lambda work, path: work.checkpoints / "finetuned-0.5.safetensors", "network is expected here, not finetuned"),
    ],
    ids=["truncated", "altered", "data", "stage"],
)
@pytest.mark.parametrize(
    ("stage", "stem"), [("prune", "trained"), ("finetune", "pruned-0.5"), ("scratch", "pruned-0.5")]
)
def test_a_bad_checkpoint_is_refused_and_nothing_overwritten(stage, stem, spoil, message, again, capsys):
    path = again.checkpoints / f"{stem}.safetensors"
    command = getattr(again, stage)()
    command[1] = str(spoil(again, path))
    refused(again, command, message, capsys)


@pytest.mark.parametrize("stage", ["train", "prune", "finetune", "scratch"])
def test_a_place_that_cannot_be_written_is_refused(stage, again, capsys):
    (again.folder / "file").write_text("no folder")
    command = getattr(again, stage)()
    command[command.index("--checkpoints") + 1] = str(again.folder / "file" / "checkpoints")
    refused(again, command, f"cannot write {again.folder}/file/checkpoints/.*: Not a directory; ", capsys)


@pytest.mark.parametrize("ratio", ["1", "-0.5", "nan", "1.5"])
def test_a_ratio_outside_the_range_is_refused(ratio, again, capsys):
    path = again.checkpoints / "trained.safetensors"
    refused(again, again.command("prune", path, f"--ratios={ratio}"), r"outside \[0, 1\)", capsys)


def refused(work, command, message, capsys):
    """Assert that `command` ends with status 2 and one line about `message`, and that no file has changed."""
    before = work.files()
    assert cli.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("slimming: error: ")
    assert re.search(message, line)
    assert work.files() == before


def test_measuring_on_other_images_is_refused(made, tmp_path, capsys):
    tensors, header = tensorfile.read(made.prepared)
    tensorfile.write(tmp_path / "other", tensors, header | {"classes": ["a", "b"]})
    path = made.checkpoints / "trained.safetensors"
    assert cli.main(["measure", str(path), "--data", str(tmp_path / "other")]) == 2
    assert "built for other images than those of digits" in capsys.readouterr().err
