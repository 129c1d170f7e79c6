"""One network without a study: from a function and images to a small file and a page, in one command."""

import csv

import pytest
import torch

from slimming import cli, conversion, records

NETS = """
from torch import nn

def small(num_classes, in_channels):
    layers = [nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1)]
    layers += [nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)]
    return nn.Sequential(*layers)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def compress(*options):
    command = ["compress", "nets.py:small", "--data", "digits", "--output", "out", *options]
    return cli.main(command)


def rows(place):
    with (place / "out/ledger.csv").open() as stream:
        return {row["stage"]: row for row in csv.DictReader(stream)}


def test_from_a_function_to_a_small_file_and_a_page(place, capsys):
    assert compress("--epochs", "2", "--finetune", "1", "--lr", "0.1") == 0
    assert "ms, batch 64" in capsys.readouterr().out
    found = rows(place)
    assert {*found} == {"trained", "pruned", "recalibrated", "finetuned"}
    assert int(found["finetuned"]["macs"]) <= 0.5 * int(found["trained"]["macs"])
    assert (place / "out/report.html").stat().st_size > 10_000
    assert (place / "out/network.pt2").is_file()
    # The same command again trains nothing again.
    trained = place / "out/checkpoints/digits/network/l1/seed1/trained.safetensors"
    before = trained.stat().st_mtime_ns
    assert compress("--epochs", "2", "--finetune", "1", "--lr", "0.1") == 0
    assert trained.stat().st_mtime_ns == before


def test_weights_are_taken_as_they_are(place):
    namespace: dict = {}
    exec(NETS, namespace)
    net = namespace["small"](10, 1)
    torch.save(net.state_dict(), "w.pth")
    conversion.convert("w.pth", "w.safetensors")
    assert compress("--state-dict", "w.safetensors", "--finetune", "0", "--method", "random") == 0
    record = records.read(place / "out/records/digits/network/random/seed1/trained.json")
    assert record["history"] == {}
    assert "finetuned" not in rows(place)


def test_a_negative_number_of_epochs_is_a_wrong_command_line():
    with pytest.raises(SystemExit) as refused:
        compress("--epochs", "-1")
    assert refused.value.code == 2


def test_without_weights_and_training_there_is_nothing_to_compress(place, capsys):
    assert compress() == 2
    assert "give --epochs" in capsys.readouterr().err
