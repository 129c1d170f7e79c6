"""A .pth becomes safetensors, and a file that is something else is told what it is."""

import pytest
import safetensors.torch
import torch
from torch import nn

from slimming import cli, conversion
from slimming.errors import InputError

NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def same(path):
    found, own = safetensors.torch.load_file(path), NET.state_dict()
    return found.keys() == own.keys() and all(torch.equal(found[name], own[name]) for name in own)


@pytest.mark.parametrize(
    "content",
    [
        NET.state_dict(),
        {"state_dict": NET.state_dict(), "epoch": 3},
        {"model": {f"module.{name}": value for name, value in NET.state_dict().items()}},
    ],
)
def test_a_state_dict_is_found_where_trainings_keep_it(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    command = ["convert", str(tmp_path / "a.pth"), "--output", str(tmp_path / "a.safetensors")]
    assert cli.main(command) == 0
    assert same(tmp_path / "a.safetensors")


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    shared = torch.arange(4.0)
    torch.save({"a": shared, "b": shared[:2]}, tmp_path / "a.pth")
    assert conversion.convert(tmp_path / "a.pth", tmp_path / "a.safetensors") == 2
    assert safetensors.torch.load_file(tmp_path / "a.safetensors")["b"].tolist() == [0, 1]


def whole(path):
    torch.save(NET, path)


def scripted(path):
    torch.jit.script(NET).save(path)


def broken(path):
    path.write_bytes(b"PK no archive")


def listed(path):
    torch.save([1, 2], path)


def numbers(path):
    torch.save({"a": 1}, path)


def already(path):
    safetensors.torch.save_file(NET.state_dict(), path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (whole, "holds Python objects"),
        (scripted, "is a TorchScript archive"),
        (broken, "no file of torch.save"),
        (listed, "holds a list, no state dict"),
        (numbers, "a in it is no tensor"),
        (already, "is a safetensors file already"),
        (lambda path: None, "there is no such file"),
    ],
)
def test_what_is_no_state_dict_is_told_what_it_is(make, message, tmp_path):
    make(tmp_path / "a.pth")
    with pytest.raises(InputError, match=message):
        conversion.convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()
