"""Analyses as a stage: from checkpoints through tables to figures, on the command line."""

import json

import pytest

from slimming import analysed, analyses, cli
from slimming.errors import InputError
from slimming.study import parse
from tiny import STUDY, Work

KEYS = {"ratios": [0.5], "compensate": False, "recalibrate": False, "scratch": {}, "finetune": {}}


@pytest.fixture(scope="module")
def made(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysed")
    work = Work(folder, prepared, analyses=sorted(analyses.registry()), **KEYS)
    prune = [word for word in work.prune() if word not in ("--compensate", "--recalibrate")]
    assert cli.main(work.train()) == cli.main(prune) == 0
    return work


def command(work, *stems, names=()):
    paths = [str(work.checkpoints / f"{stem}.safetensors") for stem in stems]
    output = work.folder / "analyses" / work.run.slug
    asked = [*(names or work.study.analyses)]
    return ["analyse", *paths, "--analyses", *asked, "--data", str(work.prepared), "--output", str(output)]


def test_networks_are_analysed_tabulated_and_drawn(made):
    assert cli.main(command(made, "trained", "pruned-0.5")) == 0
    folder = made.folder / "analyses"
    study = json.dumps(STUDY | KEYS | {"analyses": made.study.analyses})
    assert cli.main(["tabulate", study, "--analyses", str(folder), "--output", str(made.folder)]) == 0
    files = [made.folder / f"{analyses.get(name).table}.csv" for name in made.study.analyses]
    for path, name in zip(files, made.study.analyses, strict=True):
        rows = analysed.read(path)
        assert set(rows["stage"]) == {"trained", "pruned"}
        found = [
            json.loads((folder / made.run.slug / f"{stem}.json").read_text()) for stem in ("trained", "pruned-0.5")
        ]
        assert len(rows) == sum(len(one["analyses"][name]) for one in found)
    measured = analysed.read_measures(made.folder)
    assert {*measured["measure"]} == {*analyses.measures()}
    units = analysed.read(made.folder / "units.csv")
    drops = units[units["stage"] == "pruned"]["drop"]
    of = measured[(measured["stage"] == "pruned") & (measured["measure"] == "largest-drop")]
    assert of["value"].tolist() == pytest.approx([100 * drops.max()])
    assert cli.main(["draw", *map(str, files), "--output", str(made.folder / "figures")]) == 0
    drawn = {path.stem for path in (made.folder / "figures").iterdir()}
    assert drawn == {f"{name}-digits" for analysis in analyses.registry().values() for name in analysis.figures}


def test_a_pruned_network_needs_the_one_before_it(made, capsys):
    assert cli.main(command(made, "pruned-0.5")) == 2
    assert "give the trained network of its run before it" in capsys.readouterr().err


def test_an_unknown_analysis_is_refused_by_study_and_command(made, capsys):
    with pytest.raises(InputError, match="unknown analysis 'ablatoin': did you mean 'ablation'"):
        parse(STUDY | {"analyses": ["ablatoin"]}, "study")
    assert cli.main(command(made, "trained", names=["xgrad"])) == 2
    assert "did you mean 'xgrad-cam'" in capsys.readouterr().err


def test_figures_are_drawn_where_no_pruned_network_was_made(made, tmp_path):
    """As in a study that allows networks to be missing."""
    assert cli.main(command(made, "trained", "pruned-0.5")) == 0
    study = json.dumps(STUDY | KEYS | {"analyses": made.study.analyses})
    assert cli.main(["tabulate", study, "--analyses", str(made.folder / "analyses"), "--output", str(tmp_path)]) == 0
    files = [tmp_path / f"{analyses.get(name).table}.csv" for name in made.study.analyses]
    for path in files:
        analysed.read(path).query("stage == 'trained'").to_csv(path, index=False)
    assert cli.main(["draw", *map(str, files), "--output", str(tmp_path / "figures")]) == 0
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {f"{name}-digits" for analysis in analyses.registry().values() for name in analysis.figures}
