"""An exported file computes what the checkpoint computes, at any batch, and is compared with the dense network's."""

import pytest
import torch

from examples import SMALL, randomised
from slimming import checkpoints, cli, networks, pruning
from slimming.networks import forms
from slimming.stages import export


def saved(net, folder):
    path = folder / "small.safetensors"
    checkpoints.save(path, net, {})
    return path


@pytest.mark.parametrize("kind", export.FORMATS)
@pytest.mark.parametrize("network", SMALL)
def test_a_file_computes_what_the_checkpoint_computes(network, kind, prepared, tmp_path):
    net = randomised(network, in_channels=1)
    small = pruning.apply(net, pruning.plan(magnitudes(net), 0.5))
    figures = export.export(saved(small, tmp_path), prepared, kind)
    assert figures["accuracy"] == pytest.approx(figures["accuracy_of_checkpoint"], abs=0.005)
    assert figures["difference"] < 1e-5
    assert figures["exported"]["macs"] < figures["dense"]["macs"]
    assert (tmp_path / f"small.{kind}").stat().st_size == figures["exported"]["bytes"] < figures["dense"]["bytes"]
    load = {"pt2": export._load_pt2, "onnx": export._load_onnx}[kind](tmp_path / f"small.{kind}")
    images = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(load(images[:1]), small.eval()(images[:1]), atol=1e-4)
        assert load(images).shape == (3, 10)


def magnitudes(net):
    return {site: norm.weight.detach().abs() for site, norm in networks.prunable(net).items()}


@pytest.mark.parametrize("form", [{"form": "svd", "rank": 3}, {"form": "null"}], ids=["factors", "nothing"])
def test_forms_are_exported_as_they_are(form, prepared, tmp_path):
    net = randomised("vgg11", in_channels=1)
    forms.write(net, {"features.2.conv": form})
    assert export.export(saved(net, tmp_path), prepared, "onnx")["difference"] < 1e-5


def test_what_differs_is_not_kept(prepared, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "TOLERANCE", -1)
    path = saved(randomised("vgg11", in_channels=1), tmp_path)
    assert cli.main(["export", str(path), "--data", str(prepared)]) == 2
    assert "its logits differ by" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["small.safetensors"]


def test_the_command_prints_sizes_and_times_beside_the_dense_network(prepared, tmp_path, capsys):
    path = saved(randomised("vgg11", in_channels=1), tmp_path)
    assert cli.main(["export", str(path), "--data", str(prepared), "--output", str(tmp_path / "a.pt2")]) == 0
    printed = capsys.readouterr().out
    for word in ("accuracy", "bytes", "parameters", "MACs", "ms, batch 1", "ms, batch 64", "1.00"):
        assert word in printed
