"""The stages through the real command line: complete records, and bits that the run's settings alone decide."""

import json
import re
import time

import numpy as np
import pandas as pd
import pytest
import torch

from slimming import checkpoints, cli, data, networks, records, tensorfile
from slimming.measuring import latency
from slimming.stages import measure, table
from tiny import STEMS, Work, slimming


def test_every_stage_leaves_a_checkpoint_and_a_draft_and_nothing_else(made):
    """But the states of trainings that nothing was made from: whoever runs the jobs removes these in the end."""
    expected = [made.checkpoints / f"{stem}.safetensors" for stem in STEMS]
    expected += [folder / f"{stem}.json" for stem in STEMS for folder in (made.checkpoints, made.records)]
    last = [stem for stem, (stage, _) in STEMS.items() if stage not in ("trained", *table.UNTRAINED)]
    expected += [made.checkpoints / f"{stem}.resume" for stem in last]
    assert sorted(made.files()) == sorted(expected)


@pytest.mark.parametrize("stem", STEMS)
def test_records_hold_what_their_documentation_says(made, stem):
    documented = set(re.findall(r"^    (\w+) ", records.__doc__, re.MULTILINE))
    left_out = {"trained": {"compression"}} | {stage: {"factors", "training", "data"} for stage in table.UNTRAINED}
    record = made.record(stem)
    assert set(record) == documented - left_out.get(record["stage"], {"factors", "compression"})
    assert set(made.draft(stem)) == set(record) - {"measured", "factors"}
    assert (record["study"], record["stage"], record["ratio"]) == ("tiny", *STEMS[stem])
    assert record["run"] == json.loads(made.run.settings())
    assert set(record["measured"]) == {
        "accuracy", "accuracy_best", "accuracy_per_class", "accuracy_top5", "bytes", "channels", "compression_ratio",
        "latency_ms", "loss", "macs", "macs_nonzero", "nonzero", "parameters", "provenance",
        "ratio_reached", "reached", "readers", "speedup",
    }  # fmt: skip
    assert record["provenance"]["device"] == "cpu"
    assert record["provenance"]["threads"] == 1
    makers = [record["provenance"], record["measured"]["provenance"]]
    rules = [table.STAGES[record["stage"]].rule, "measure"]
    assert [maker["command"].split()[:2] for maker in makers] == [["slimming", rule] for rule in rules]


@pytest.mark.parametrize("stem", STEMS)
def test_checkpoint_and_record_belong_together(made, stem):
    path, record = made.checkpoints / f"{stem}.safetensors", made.record(stem)
    assert record["checkpoint"] == {"path": path.as_posix(), "sha256": tensorfile.sha256(path)}
    _, header = checkpoints.load(path)
    assert header == {key: record[key] for key in header}
    assert header.keys() == {"study", "stage", "ratio", "run", "parent", "layers"}
    parent = table.STAGES[record["stage"]].parent
    before = parent and made.record(table.stem(parent, record["ratio"]))
    assert record["parent"] == (before and before["checkpoint"]["sha256"])


@pytest.mark.parametrize("stem", STEMS)
def test_figures_are_those_of_the_stored_network(made, stem):
    path, measured = made.checkpoints / f"{stem}.safetensors", made.record(stem)["measured"]
    found = measure.figures(checkpoints.load(path)[0], data.load(made.prepared), path)
    del found["latency_ms"]
    assert found == {key: measured[key] for key in found}


def test_the_command_measures_alike(made):
    path = made.checkpoints / "pruned-0.5.safetensors"
    done = slimming("measure", str(path), "--data", str(made.prepared), check=True)
    found, recorded = json.loads(done.stdout), made.record("pruned-0.5")["measured"]
    assert found.pop("latency_ms").keys() == recorded["latency_ms"].keys()
    assert found.items() <= recorded.items()


@pytest.mark.parametrize("stem", STEMS)
def test_channels_add_up(made, stem):
    record, dense = made.record(stem), made.record("trained")["layers"]
    layers, measured = record["layers"], record["measured"]
    channels, kept = (sum(layer[key] for layer in layers) for key in ("channels", "kept"))
    net, _ = checkpoints.load(made.checkpoints / f"{stem}.safetensors")
    sizes = {site: norm.num_features for site, norm in networks.prunable(net).items()}
    assert {layer["site"]: layer["kept"] for layer in layers} == sizes
    assert [layer["channels"] for layer in layers] == [layer["channels"] for layer in dense]
    assert measured["channels"] == kept
    assert measured["ratio_reached"] == pytest.approx((channels - kept) / channels)
    floored = sum(layer["floored"] for layer in layers)
    assert channels - kept == round(record["ratio"] * channels) - floored  # each kept its best, and that one alone
    assert all(layer["kept"] == 1 for layer in layers if layer["floored"])


@pytest.mark.parametrize("stage", table.UNTRAINED)
def test_a_site_that_was_kept_from_vanishing_is_in_the_record(made, stage):
    record = made.record(f"{stage}-0.95")
    floored = [layer["site"] for layer in record["layers"] if layer["floored"]]
    assert floored
    assert record["measured"]["ratio_reached"] < 0.95
    assert record["warnings"] == [f"the ranking left {', '.join(floored)} without channels; the best one was kept"]
    assert made.record(f"{stage}-0.5")["warnings"] == []


def test_a_penalty_that_cannot_act_is_in_the_record(made):
    (warning,) = made.record("trained")["warnings"]
    assert warning.startswith("mcp-100 with lam=0.001 cannot act: its knee 0.1 lies below")


def test_ratio_zero_changes_no_figure(made):
    trained, pruned = (made.record(stem)["measured"] for stem in ("trained", "pruned-0"))
    for figure in ("accuracy", "accuracy_per_class", "loss", "parameters", "macs", "channels", "ratio_reached"):
        assert pruned[figure] == trained[figure]


@pytest.mark.parametrize("stem", STEMS)
def test_history_is_that_of_every_epoch(made, stem):
    record = made.record(stem)
    if record["stage"] in table.UNTRAINED:
        assert record["history"] == {}
        assert record["measured"]["accuracy_best"] is None
        return
    history, measured = record["history"], record["measured"]
    assert history.keys() == {"lr", "loss", "accuracy", "test_loss", "test_accuracy"}
    epochs = made.record(stem)["training"]["epochs"]
    assert {len(values) for values in history.values()} == {epochs}
    if epochs == 2:
        assert history["lr"] == pytest.approx([0.1, 0.001])  # int(0.5 * 2) = int(0.75 * 2) = 1
    # The last epoch's, but for the rounding of another memory format.
    assert measured["accuracy"] == pytest.approx(history["test_accuracy"][-1], abs=1 / 360)
    assert measured["loss"] == pytest.approx(history["test_loss"][-1], rel=1e-3)
    assert measured["accuracy"] > 0.3  # of ten classes, so it has learnt
    assert measured["accuracy_best"] == max(measured["accuracy"], *history["test_accuracy"])
    assert record["training"]["images_per_second"] == pytest.approx(epochs * 1437 / record["training"]["seconds"])


def test_histogram_counts_every_scaling_factor(made):
    net, _ = checkpoints.load(made.checkpoints / "trained.safetensors")
    gamma = torch.cat([norm.weight.detach().double().abs() for norm in networks.prunable(net).values()]).numpy()
    factors = made.record("trained")["factors"]
    edges = factors["log10_edges"]
    expected, _ = np.histogram(np.log10(gamma).clip(edges[0], edges[-1]), edges)
    assert factors["counts"] == expected.tolist()
    assert sum(factors["counts"]) == made.record("trained")["measured"]["channels"]


def test_histogram_counts_what_lies_beyond_its_ends():
    net = networks.build("vgg11", width=0.125)
    (first, second, *_) = networks.prunable(net).values()
    with torch.no_grad():
        first.weight[:3] = torch.tensor([0.0, -1e-12, 1e-8])
        second.weight[:2] = torch.tensor([10.0, -1e3])
    factors = measure.histogram(net)
    assert factors["counts"][0] == 3
    assert factors["counts"][-1] == 2
    # All others are 10^-0.301, as they were built.
    assert factors["counts"][factors["log10_edges"].index(-0.4)] == sum(factors["counts"]) - 5


def test_the_records_make_a_ledger(made, tmp_path):
    folder = made.folder / "records"
    command = ["ledger", made.study.settings(), "--records", str(folder), "--output", str(tmp_path)]
    assert cli.main(command) == 0
    ledger = pd.read_csv(tmp_path / "ledger.csv")
    assert sorted(zip(ledger["stage"], ledger["ratio"], strict=True)) == sorted(made.study.steps())
    for _, row in ledger.iterrows():
        measured = made.record(table.stem(row["stage"], row["ratio"]))["measured"]
        assert row["accuracy"] == measured["accuracy"]
        assert row["latency_ms"] == measured["latency_ms"]["1"]["median"]


def test_a_run_repeated_from_its_record_has_the_same_bits(made, tmp_path, capsys):
    work = Work(tmp_path, made.prepared)
    # What is left of a kill in mid-write and of a divergence does not matter, and goes.
    for stray in (".trained.safetensors.x1y2z3", ".trained.resume.x1y2z3"):
        (work.checkpoints / stray).mkdir(parents=True)
        (work.checkpoints / stray / "part").write_bytes(b"half")
    records.write(work.checkpoints / "trained.diverged.json", {})
    settings = json.dumps(made.record("trained")["run"])
    torch.manual_seed(time.time_ns())  # nor does the state of anybody's generator
    np.random.seed(1)
    for command in [work.command("train", settings), *work.every_stage()[1:]]:
        assert cli.main(command) == 0
    assert "warning: mcp-100 with lam=0.001 cannot act" in capsys.readouterr().out
    assert [path.relative_to(tmp_path) for path in work.files()] == [
        path.relative_to(made.folder) for path in made.files()
    ]
    for stem in STEMS:
        assert work.checkpoint(stem) == made.checkpoint(stem)


def test_the_seed_changes_the_bits(made, tmp_path):
    other = Work(tmp_path, made.prepared, seeds=[2])
    assert cli.main(other.train()) == 0
    assert other.draft("trained")["run"]["seed"] == 2
    weights = [checkpoints.load(work.checkpoints / "trained.safetensors")[0] for work in (other, made)]
    assert not torch.equal(weights[0].classifier.weight, weights[1].classifier.weight)


def test_the_number_of_threads_is_kept_and_recorded(prepared, tmp_path):
    # Few steps, because threads that outnumber the idle cores wait for each other.
    other = Work(tmp_path, prepared, threads=2, schedule={"epochs": 1, "batch_size": 479})
    assert cli.main(other.train()) == 0
    record = other.draft("trained")
    assert record["run"]["threads"] == record["provenance"]["threads"] == torch.get_num_threads() == 2


def test_fine_tuning_sees_other_orders_of_the_images_than_the_training(again, monkeypatch):
    epochs, batches = [], data.batches

    def watched(dataset, batch_size, seed, epoch, first):
        epochs.append((seed, epoch))
        return batches(dataset, batch_size, seed, epoch, first)

    monkeypatch.setattr(data, "batches", watched)
    for state in again.checkpoints.glob("*.resume"):  # or trainings that have saved one go on from there
        state.unlink()
    assert cli.main(again.train()) == 0
    assert cli.main(again.finetune()) == 0
    assert epochs == [(1, 0), (1, 1), (1, 2), (1, 3)]
    assert cli.main(again.scratch()) == 0
    assert epochs[4:] == epochs[:2]


def test_a_network_trained_alike_is_taken_over_with_its_history(made, tmp_path):
    """Random pruning compresses the network that plain training leaves: the same, but for what is said of the run."""
    plain, random = (Work(tmp_path, made.prepared, methods=[name]) for name in ("none", "random"))
    assert cli.main(plain.train()) == 0
    taken = random.train()
    taken.insert(2, str(plain.checkpoints / "trained.safetensors"))
    assert cli.main(taken) == 0
    assert cli.main(random.prune()) == 0
    assert cli.main(random.measure("trained", "pruned-0.5")) == 0
    ours, theirs = random.draft("trained"), plain.draft("trained")
    assert ours["run"]["method_slug"] == "random"
    assert ours["parent"] == theirs["checkpoint"]["sha256"]
    assert all(ours[key] == theirs[key] for key in ("history", "training", "data", "layers", "warnings"))
    assert random.record("trained")["factors"]
    alone = Work(tmp_path / "alone", made.prepared, methods=["random"])
    assert cli.main(alone.train()) == 0
    files = [work.checkpoints / "trained.safetensors" for work in (plain, random, alone)]
    states = [checkpoints.load(file)[0].state_dict() for file in files]
    for key, value in states[0].items():
        assert all(torch.equal(value, state[key]) for state in states)
    assert tensorfile.sha256(files[1]) == tensorfile.sha256(files[2])


@pytest.mark.parametrize("keys", [{"methods": ["l1"]}, {"methods": ["random"], "schedule": {"epochs": 3}}])
def test_a_network_trained_otherwise_is_not_taken(made, keys, tmp_path, capsys):
    other = Work(tmp_path, made.prepared, **keys)
    taken = other.train()
    taken.insert(2, str(made.checkpoints / "trained.safetensors"))
    assert cli.main(taken) == 2
    assert "which is trained otherwise" in capsys.readouterr().err
    assert not other.files()


def test_networks_of_every_stage_are_timed_in_the_same_memory_format(again, monkeypatch):
    formats, timed = [], latency.measure

    def watched(net, *arguments):
        formats.append({weight.is_contiguous() for weight in net.parameters()})
        return timed(net, *arguments)

    monkeypatch.setattr(latency, "measure", watched)
    for command in again.every_stage():
        assert cli.main(command) == 0
    assert formats == [{True}] * len(STEMS)


def test_fine_tuning_takes_the_epochs_it_is_told(made, again):
    assert cli.main([*again.finetune(), "--epochs", "1"]) == 0
    record = again.draft("finetuned-0.5")
    assert record["training"]["epochs"] == len(record["history"]["loss"]) == 1
    assert again.checkpoint("finetuned-0.5") != made.checkpoint("finetuned-0.5")
