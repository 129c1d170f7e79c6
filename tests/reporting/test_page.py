"""What the page holds of a ledger; how it works in a browser is tested beside this."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

import synthetic
from slimming import cli, ledger, records, study
from slimming.errors import InputError
from slimming.reporting import page
from slimming.stages.table import STAGES, stem

ID = "digits/vgg19/tl1-1/seed2/finetuned-0.4"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a ledger, its records and report.html."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("page")
        patch.chdir(root)  # the ledger's paths are relative to here
        directory = synthetic.small_study(root, scratch=(0.4,), variants=True)
        page.write(directory, directory / "report.html")
    return directory


def _data(html: Path) -> dict:
    """The numbers in a page, by the identity of their records."""
    text = html.read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])
    stems = [stem(row["stage"], row["ratio"]) for row in data["rows"]]
    runs = ["/".join([row["dataset"], row["network"], row["method"], f"seed{row['seed']}"]) for row in data["rows"]]
    return data | {"rows": {f"{run}/{stem}": row for run, stem, row in zip(runs, stems, data["rows"], strict=True)}}


def test_the_same_ledger_gives_the_same_bytes(written, tmp_path):
    page.write(written, written / "again.html")
    assert (written / "again.html").read_bytes() == (written / "report.html").read_bytes()


def test_the_page_holds_every_measurement_exactly_and_in_the_order_of_methods(written):
    rows = _data(written / "report.html")["rows"]
    measured = ledger.read(written / "ledger.csv")
    assert len(rows) == len(measured)
    for row in measured.to_dict("records"):
        shown = rows[f"{row['dataset']}/{row['network']}/{row['method']}/seed{row['seed']}/{Path(row['record']).stem}"]
        assert [shown[key] for key in ("accuracy", "parameters")] == [row["accuracy"], row["parameters"]]
    methods = list(dict.fromkeys(row["method"] for row in rows.values()))
    assert methods == ["none", "l1", "lp-0.75", "tl1-1"]


def test_a_seed_keeps_all_its_digits(tmp_path, monkeypatch):
    """More than a number of JavaScript holds."""
    monkeypatch.chdir(tmp_path)
    seed = 2**63 - 1
    paths = synthetic.write(tmp_path, networks=("vgg19",), methods=("none",), seeds=(seed,), ratios=(0.4,))
    ledger.write("synthetic", paths, tmp_path / "ledger")
    page.write(tmp_path / "ledger", tmp_path / "report.html")
    assert {row["seed"] for row in _data(tmp_path / "report.html")["rows"].values()} == {str(seed)}


def test_a_page_stays_small(written):
    assert (written / "report.html").stat().st_size < 3e6


def test_without_claims_the_page_says_so(tmp_path):
    page.write(synthetic.small_study(tmp_path), tmp_path / "report.html")
    assert "claims have not been evaluated" in (tmp_path / "report.html").read_text()


def test_the_recorded_command_is_shown_and_without_records_one_that_follows_from_the_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory = synthetic.small_study(tmp_path)
    record = directory / "records" / f"{ID}.json"
    page.write(directory, tmp_path / "with.html")
    row = _data(tmp_path / "with.html")["rows"][ID]
    assert row["command"] == records.read(record)["provenance"]["command"]
    assert (tmp_path / row["href"]).samefile(record)
    asked = records.read(record.with_name("trained.json"))["run"]
    shutil.rmtree(directory / "records")
    page.write(directory, tmp_path / "without.html")
    rows = _data(tmp_path / "without.html")["rows"]
    assert "href" not in rows[ID]
    run, folder = "digits/vgg19/tl1-1/seed2", "results/synthetic/{}/digits/vgg19/tl1-1/seed2"
    train, prune, finetune = (
        cli.parser().parse_args(shlex.split(rows[f"{run}/{name}"]["command"].partition(" && ")[0])[1:])
        for name in ("trained", "pruned-0.4", "finetuned-0.4")
    )
    assert study.parse_run(train.run) == study.parse_run(json.dumps(asked))
    assert str(train.data) == "data/prepared/digits-16.safetensors"
    assert prune.ratios == [0.4]
    assert str(prune.checkpoint) == folder.format("checkpoints") + "/trained.safetensors"
    assert str(finetune.checkpoint) == folder.format("checkpoints") + "/pruned-0.4.safetensors"
    assert finetune.epochs == synthetic.EPOCHS
    for options in (train, prune, finetune):
        assert str(options.checkpoints) == folder.format("checkpoints")


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_of_every_stage_makes_that_stage(stage, written):
    measured = ledger.read(written / "ledger.csv").query("stage == @stage and method == 'none'").iloc[0].to_dict()
    making, measuring = page.command("synthetic", measured, {}).split(" && ")
    arguments = shlex.split(making)[1:]
    assert arguments[0] == STAGES[stage].rule
    options = cli.parser().parse_args(shlex.split(measuring)[1:])
    assert [path.stem for path in options.checkpoints] == [stem(stage, measured["ratio"])]
    if STAGES[stage].parent:  # the others take settings, which are tested above
        options = cli.parser().parse_args(arguments)
        assert options.checkpoint.stem == stem(STAGES[stage].parent, measured["ratio"])
        assert set(STAGES[stage].options) < set(arguments)


def test_a_record_made_after_the_ledger_is_not_taken_for_its_source(tmp_path):
    directory = synthetic.small_study(tmp_path)
    path = directory / "records" / f"{ID}.json"
    record = records.read(path)
    record["checkpoint"]["sha256"] = "0" * 64
    records.write(path, record)
    page.write(directory, tmp_path / "report.html")
    rows = _data(tmp_path / "report.html")["rows"]
    assert "href" not in rows.pop(ID)
    assert all("href" in row for row in rows.values())


def test_a_faulty_ledger_is_refused_with_its_row(tmp_path):
    directory = synthetic.small_study(tmp_path)
    path = directory / "ledger.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[1]]))
    with pytest.raises(InputError, match="another row with this key"):
        page.write(directory, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("slug", "label"), [("none", "no penalty"), ("lp-0.75", "ℓ₀.₇₅"), ("tl1-1", "Tℓ₁ (a=1)"), ("new-3", "new-3")]
)
def test_methods_are_named_as_in_figures_without_markup(slug, label):
    assert page.look(slug)["label"] == label


def test_a_marker_keeps_its_shape():
    assert page.symbol("s") == "M-1 1L1 1L1 -1L-1 -1Z"
    assert page.symbol("^") == "M0 -1L-1 1L1 1Z"


def test_a_log_has_epochs_without_a_test(tmp_path):
    paths = synthetic.write(tmp_path, networks=("vgg19",), methods=("none",), seeds=(1,))
    for path in paths:
        record = json.loads(path.read_text())
        for column in ("test_loss", "test_accuracy"):
            if record["history"]:
                record["history"][column][0] = None
        path.write_text(json.dumps(record))
    ledger.write("synthetic", paths, tmp_path / "ledger")
    page.write(tmp_path / "ledger", tmp_path / "report.html")
    assert '"test_accuracy": [null, ' in (tmp_path / "report.html").read_text()


def test_analyses_are_shown_where_the_folder_has_their_measures(written, tmp_path):
    assert 'id="analyses"' not in (written / "report.html").read_text(encoding="utf-8")
    folder = tmp_path / "analysed"
    shutil.copytree(written, folder)
    rows = ledger.read(folder / "ledger.csv").query("stage == 'trained' and method == 'l1'")
    key = rows[["dataset", "network", "method", "seed", "ratio", "stage"]]
    key.assign(measure="largest-drop", value=range(len(key))).to_csv(folder / "measures.csv", index=False)
    (tmp_path / "hurt-digits.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    page.write(folder, folder / "report.html", figures=[tmp_path / "hurt-digits.svg"])
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "Largest loss of accuracy without one unit (points)" in text
    count = len(rows[rows["network"] == rows["network"].iloc[0]])
    assert f"[0, {count - 1}]" in text
    assert 'src="data:image/svg+xml;base64,' in text


def test_the_page_names_the_papers_whose_claims_are_judged(written, tmp_path):
    claims = Path(__file__).parents[2] / "config/claims"
    page.write(written, tmp_path / "one.html", claims / "nonconvex-slimming.yaml")
    assert "<h1>Improving Network Slimming with Nonconvex Regularization</h1>" in (tmp_path / "one.html").read_text()
    both = [claims / "unit-ablation.yaml", claims / "class-activation-maps.yaml"]
    page.write(written, tmp_path / "two.html", both)
    text = (tmp_path / "two.html").read_text()
    assert "A replication of 2 papers" in text
    assert "Revisiting the Importance of Individual Units" in text
    assert "Nonconvex" not in text
