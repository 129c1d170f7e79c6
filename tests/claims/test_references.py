"""Published results stand beside ours only where they are of the same thing, and say how they differ."""

from pathlib import Path

import pandas as pd
import pytest

import synthetic
from slimming import ledger
from slimming.claims import references
from slimming.errors import InputError

OURS = Path(__file__).parents[2] / "config" / "references.csv"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study on CIFAR-10 and digits, whose networks are 0.125 wide, see 16 pixels and 15 epochs, at lam 0.002."""
    root = tmp_path_factory.mktemp("study")
    paths = synthetic.write(
        root,
        datasets=("cifar10", "digits"),
        networks=("vgg19", "resnet164", "resnet20"),
        methods=("none", "l1", "tl1-1"),
        ratios=(0.4, 0.5, 0.7),
        finetuned=(0.4, 0.7),
    )
    ledger.write("synthetic", paths, root / "ledger")
    return root / "ledger"


@pytest.fixture(scope="module")
def table(study):
    return references.compare(study, OURS)


def test_only_results_of_the_same_data_network_method_stage_and_ratio_are_compared(table):
    found = table[["dataset", "network", "method", "stage", "ratio", "published_network"]].drop_duplicates()
    assert [tuple(row) for row in found.itertuples(index=False)] == [
        ("cifar10", "resnet164", "l1", "finetuned", 0.4, "resnet164"),
        ("cifar10", "resnet164", "l1", "pruned", 0.4, "resnet164"),
        ("cifar10", "resnet164", "l1", "trained", 0.0, "resnet164"),
        ("cifar10", "resnet164", "none", "trained", 0.0, "resnet164"),
        ("cifar10", "vgg19", "l1", "finetuned", 0.7, "vgg19"),
        ("cifar10", "vgg19", "l1", "pruned", 0.7, "vgg19"),
        ("cifar10", "vgg19", "l1", "trained", 0.0, "vgg19"),
        ("cifar10", "vgg19", "none", "trained", 0.0, "vgg19"),
    ]


def test_published_numbers_are_as_printed(table):
    found = table.set_index(["network", "stage", "source"])
    eric, liu = sorted(found.index.get_level_values("source").unique(), reverse=True)
    fine = found.loc[("vgg19", "finetuned")]
    assert fine.loc[liu, ["published_accuracy", "published_parameters", "published_flops"]].tolist() == [
        1 - 0.062, 2.30e6, 3.91e8,
    ]  # fmt: skip
    assert fine.loc[eric, ["published_accuracy", "published_parameters"]].tolist() == [0.9378, 2.25e6]
    assert found.loc[("resnet164", "pruned", eric), "published_accuracy"].item() == 0.9458


def test_ours_are_means_over_seeds(study, table):
    rows = ledger.read(study / "ledger.csv").query("dataset == 'cifar10' and network == 'vgg19' and stage == 'pruned'")
    ours = rows.query("method == 'l1' and ratio == 0.7")
    row = table.query("network == 'vgg19' and stage == 'pruned'").iloc[0]
    mean, half = ours["accuracy"].mean(), 4.302652729749464 * ours["accuracy"].std() / 3**0.5
    assert row["seeds"] == 3
    assert row[["accuracy", "low", "high"]].tolist() == pytest.approx([mean, mean - half, mean + half])
    assert row[["parameters", "macs"]].tolist() == ours[["parameters", "macs"]].mean().tolist()


def test_what_differs_is_said(table):
    found = table.set_index(["network", "method", "stage"])["scale"]
    scale = "width 0.125 instead of 1, image_size 16 instead of 32, epochs 15 instead of 160"
    assert set(found.loc[[("vgg19", "none", "trained")]]) == {scale}
    assert set(found.loc[[("vgg19", "l1", "pruned")]]) == {f"lam 0.002 instead of 0.0001, {scale}"}
    assert set(found.loc[[("resnet164", "l1", "finetuned")]]) == {
        f"lam 0.002 instead of 1e-05, {scale}, 15 epochs of fine-tuning instead of 160"
    }


def test_nothing_differs_only_where_all_that_is_known_agrees(tmp_path):
    header, row, *_ = OURS.read_text().splitlines()
    alike = row.replace(",1,32,160,64,", ",0.125,16,15,64,")
    (tmp_path / "alike.csv").write_text(f"{header}\n{alike}\n")
    ledger.write("s", synthetic.write(tmp_path, "s", ("cifar10",), ("vgg19",), ("none", "l1")), tmp_path)
    (scale,) = references.compare(tmp_path, tmp_path / "alike.csv")["scale"]
    assert scale == "no difference known"


def test_a_study_of_other_data_has_no_rows_and_the_same_columns(tmp_path, table):
    ledger.write("s", synthetic.write(tmp_path, "s", networks=("vgg19",), methods=("none", "l1")), tmp_path)
    found = references.compare(tmp_path, OURS)
    assert found.empty
    assert list(found) == list(table)


def test_the_file_holds_every_source_and_no_row_twice():
    rows = pd.read_csv(OURS, keep_default_na=False)
    assert not rows.duplicated(["source", "dataset", "network", "method", "stage", "ratio"]).any()
    assert rows.groupby("source").size().to_dict() == {
        "Liu et al. (2017), arXiv:1708.06519, Table 1": 23,
        "github.com/Eric-mingjie/network-slimming, README.md, commit 0b2f743": 30,
        "github.com/Eric-mingjie/network-slimming, mask-impl/README.md, commit 0dc5628": 6,
    }
    assert ((rows["accuracy"] == "") != (rows["error"] == "")).all()


@pytest.mark.parametrize(
    ("old", "new"),
    [("trained,0,", "traind,0,"), (",6.34,", ",634,"), ("source,", "sauce,"), ("vgg19,none", "vgg18,none")],
)
def test_a_faulty_file_is_refused_in_one_line(study, tmp_path, old, new):
    path = tmp_path / "references.csv"
    path.write_text(OURS.read_text().replace(old, new))
    with pytest.raises(InputError) as caught:
        references.compare(study, path)
    assert "\n" not in str(caught.value)
