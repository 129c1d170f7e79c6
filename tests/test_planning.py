"""A plan counts what the workflow would run, from measured speeds, and stands beside what was used."""

from pathlib import Path

import pytest

from slimming import cli, costs, planning, records, study
from slimming.costs import Speed
from slimming.errors import InputError

ROOT = Path(__file__).parents[1]
STUDY = {
    "name": "s",
    "datasets": {"cifar10": {}},
    "networks": {"vgg19": {}},
    "methods": ["none", "l1"],
    "seeds": [1, 2, 3],
    "ratios": [0.5, 0.7],
    "finetune": {"ratios": [0.5], "epochs": 2},
    "scratch": {"ratios": [0.7]},
    "compensate": True,
    "recalibrate": True,
    "schedule": {"epochs": 10},
    "device": "cuda",
}
PROFILE = """
executor: slurm
jobs: 4
groups: [train=training]
group-components: [training=4]
"""


@pytest.fixture
def asked():
    return study.parse(STUDY, "study")


@pytest.fixture
def slurm(tmp_path):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm/config.yaml").write_text(PROFILE)
    return planning.profile(tmp_path / "slurm")


def test_plan_adds_up_jobs_and_hours_of_the_grid(asked, slurm):
    macs = costs.size(asked.runs()[0])[1]
    known = [Speed("cuda", "vgg19", macs, 1000.0), Speed("cpu", "vgg19", macs, 10.0)]
    lines, measured = planning.plan(asked, slurm, known)
    assert measured
    assert [(line.rule, line.jobs, line.sent) for line in lines] == [
        ("train", 6, 2),
        ("prune", 6, 6),
        ("finetune", 6, 6),
        ("scratch", 12, 12),
        ("measure", 6, 6),
    ]
    # At 1000 images a second.
    tested = 10 * len(asked.steps())
    seconds = {
        "train": 10 * 60,
        "prune": 0,
        "finetune": 2 * 60,
        "scratch": 10 * 60,
        "measure": tested,
    }  # at 1000 images a second
    for line in lines:
        assert line.longest == pytest.approx((seconds[line.rule] + planning.START) / 3600)
        assert line.gpu_hours == line.hours == pytest.approx(line.jobs * line.longest)


def test_unknown_gpu_is_said_and_counted_as_a_cpu(asked, slurm):
    lines, measured = planning.plan(asked, slurm, costs.shipped())
    plain, known = planning.plan(asked.model_copy(update={"device": "cpu"}), slurm, costs.shipped())
    assert (measured, known) == (False, True)
    assert [line.hours for line in lines] == [line.hours for line in plain]
    assert all(line.gpu_hours == 0 for line in plain)
    assert "No training speed on cuda is known" in planning.report(asked, slurm, costs.shipped(), {}, 1.0)


@pytest.mark.parametrize(("name", "at_once"), [("default", None), ("gpu", 4), ("slurm", 200), ("kubernetes", 50)])
def test_shipped_profiles_can_be_planned_on(name, at_once):
    assert planning.profile(ROOT / "profiles" / name).at_once == at_once


def test_records_of_a_study_give_its_speed_and_what_it_used(tmp_path, monkeypatch, capsys):
    """Two of six trainings have run, at a speed that nothing else has."""
    asked = study.parse(STUDY | {"device": "cpu"}, "study")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text("cores: 2\n")
    parameters, macs = costs.size(asked.runs()[0])
    for run in asked.runs()[:2]:
        record = {
            "schema": records.SCHEMA,
            "stage": "trained",
            "run": run.model_dump(mode="json"),
            "measured": {"macs": macs, "parameters": parameters},
            "training": {"seconds": 1800.0, "images_per_second": 300.0},
            "provenance": {"device": "cpu"},
        }
        for folder in ("checkpoints", "records"):
            records.write(tmp_path / f"results/s/{folder}/{run.slug}/trained.json", record)
        timed = tmp_path / f"logs/s/train/{run.slug}.tsv"
        timed.parent.mkdir(parents=True, exist_ok=True)
        timed.write_text("s\th:m:s\tmax_rss\n1805.0\t0:30:05\t950.50\n")
    assert cli.main(["plan", asked.settings(), "--profile", "profile", "--price", "3"]) == 0
    printed = capsys.readouterr().out.splitlines()
    train, used = (next(line.split() for line in printed if line.split()[:1] == [name]) for name in ("train", "used"))
    hours = 6 * (10 * 60_000 / 300 + planning.START) / 3600
    assert train[:5] == ["train", "6", "6", f"{hours:.2f}", f"{hours / 6:.2f}"]
    assert used == ["used", "2", "1.00", "0.00", "950", "MB"]
    assert any(line.startswith("cost") and "0.00" in line for line in printed)


def test_no_number_of_jobs_at_once_makes_the_longest_job_shorter(asked, slurm):
    known = [Speed("cuda", "vgg19", costs.size(asked.runs()[0])[1], 1.0)]
    lines, _ = planning.plan(asked, slurm, known)
    for at_once, hours in [(2, sum(line.hours for line in lines) / 2), (1000, max(line.longest for line in lines))]:
        printed = planning.report(asked, slurm._replace(at_once=at_once), known, {}, None)
        assert f"at least      {hours:10.2f} hours, with {at_once} jobs at once" in printed


def test_missing_profile_is_refused():
    with pytest.raises(InputError, match=r"none/config\.yaml: not a readable profile"):
        planning.profile("none")
