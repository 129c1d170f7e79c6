"""From a ledger to verdicts: each is given when it should be, as often as it should be, and none is left out."""

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from test_rules import CLAIM, OURS

import simulated
import synthetic
from slimming import ledger
from slimming.claims import evaluation
from slimming.claims.rules import load
from slimming.errors import InputError


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The ledger of a study of 3 seeds and two networks, without vcp."""
    root = tmp_path_factory.mktemp("study")
    paths = synthetic.write(root, datasets=("svhn",), networks=("resnet20", "vgg19"))
    ledger.write("synthetic", paths, root / "ledger")
    return root / "ledger"


@pytest.fixture(scope="module")
def table(study):
    return evaluation.evaluate(study, OURS)


def rules_file(tmp_path, *changes, **top):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(top | {"claims": [CLAIM | change for change in changes]}))
    return path


def accuracy(direction, margin=1.0, stage="pruned"):
    return {"metric": "accuracy", "stage": stage, "direction": direction, "margin": margin}


def power(distance, spread, level=0.025):
    """Chance that Student's one-sided test of 3 seeds finds a mean beyond a bound from which it is `distance` away."""
    return stats.nct.sf(stats.t.ppf(1 - level, 2), 2, distance * 3**0.5 / spread)


@pytest.mark.parametrize(
    ("direction", "mean", "spread", "verdict", "low", "high"),
    [
        ("higher", 3, 1, "reproduced", power(3, 1), power(3, 1)),
        ("lower", -3, 1, "reproduced", power(3, 1), power(3, 1)),
        ("higher", -2, 1, "not reproduced", power(3, 1), power(3, 1)),
        ("similar", 4, 1, "not reproduced", power(3, 1, level=0.0125), power(3, 1, level=0.0125)),
        # Two tests must agree: at least as often as if they never failed together, at most as often as one alone.
        ("higher", 0.5, 0.2, "partly", 2 * power(0.5, 0.2) - 1, power(0.5, 0.2)),
        ("similar", 0, 0.3, "reproduced", 2 * power(1, 0.3) - 1, power(1, 0.3)),
        # Neither finds anything, but by chance, and then never both.
        ("higher", 0.5, 5, "inconclusive", 1 - 2 * power(0.5, 5), 1 - 2 * power(0.5, 5)),
    ],
)
def test_in_a_ledger_of_known_truth_a_verdict_comes_out_as_often_as_its_tests_have_power(
    tmp_path, direction, mean, spread, verdict, low, high
):
    """Differences in points are normal, the margin is 1, and a data set is an experiment: 999 of 1000 counts pass."""
    draws = np.random.default_rng(7).normal(mean, spread, (150, 3))
    found = evaluation.evaluate(
        simulated.panels(tmp_path, draws), rules_file(tmp_path, {"compare": accuracy(direction)})
    )
    count = (found.query("level == 'panel'")["verdict"] == verdict).sum()
    assert stats.binom.ppf(0.0005, 150, low) <= count <= stats.binom.ppf(0.9995, 150, high)


def test_p_values_are_adjusted_over_all_claims_of_a_data_set_and_network_and_no_further(tmp_path):
    draws = np.random.default_rng(0).normal(2, 1, (4, 3))
    folder = simulated.panels(tmp_path, draws)
    one = evaluation.evaluate(folder, rules_file(tmp_path, {})).query("level == 'comparison'")
    two = evaluation.evaluate(folder, rules_file(tmp_path, {}, {"id": "same"})).query("level == 'comparison'")
    expected = [stats.ttest_1samp(row, 0, alternative="greater").pvalue for row in draws]
    assert one["p"].tolist() == pytest.approx(expected)
    assert two["p"].tolist() == pytest.approx(2 * np.tile(expected, 2))
    assert one["p_against"].tolist() == pytest.approx(
        [stats.ttest_1samp(row, 1, alternative="less").pvalue for row in draws]
    )


def test_estimate_and_interval_are_of_the_paired_differences(tmp_path):
    folder = simulated.panels(tmp_path, np.array([[1.0, 2.0, 6.0]]))
    row = evaluation.evaluate(folder, rules_file(tmp_path, {})).query("level == 'comparison'").iloc[0]
    half = 4.302652729749464 * (7 / 3) ** 0.5
    assert row[["seeds", "unit", "margin"]].tolist() == [3, "points", 1]
    assert row[["estimate", "low", "high"]].tolist() == pytest.approx([3, 3 - half, 3 + half])


def test_sizes_are_compared_in_per_cent(tmp_path):
    sizes = {"l1": (1000, 1000, 1000), "tl1-1": (500, 800, 625)}
    cells = [
        row
        for method, counts in sizes.items()
        for seed, count in enumerate(counts)
        for row in simulated.rows(method, seed, {("finetuned", 0.4): (0.9, count)})
    ]
    compare = {"metric": "macs", "stage": "finetuned", "direction": "lower", "margin": 10}
    found = evaluation.evaluate(simulated.write(tmp_path, cells), rules_file(tmp_path, {"compare": compare}))
    row = found.query("level == 'comparison'").iloc[0]
    logs = np.log([0.5, 0.8, 0.625])
    bounds = stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))
    assert row["estimate"] == pytest.approx(100 * (0.25 ** (1 / 3) - 1))
    assert row[["low", "high"]].tolist() == pytest.approx(list(100 * np.expm1(bounds)))
    assert row["unit"] == "%"
    p = stats.ttest_1samp(logs, np.log(0.9), alternative="greater").pvalue
    assert row["p_against"] == pytest.approx(p)


def compression(folder, knee, tolerance=1):
    """A ledger of 6 seeds in which tl1 and l1 lose accuracy at given shares of the parameters, and its claims file."""
    rng = np.random.default_rng(5)
    cells = []
    for seed in range(6):
        top = rng.normal(0.9, 0.01)
        for method in ("none", *knee):
            curve = {("trained", 0.0): (top, simulated.DENSE)}
            for ratio in (0.2, 0.4, 0.6, 0.8):
                share = (1 - ratio) * rng.uniform(0.97, 1.03)
                kept = share >= knee.get(method, 1)
                curve["pruned", ratio] = (top if kept else top - 0.3, int(share * simulated.DENSE))
            cells += simulated.rows(method, seed, curve)
    compare = {"metric": "parameters", "stage": "pruned", "direction": "lower", "margin": 10, "tolerance": tolerance}
    return simulated.write(folder, cells), rules_file(folder, {"compare": compare})


@pytest.mark.parametrize(
    ("knee", "verdict"),
    [
        ({"l1": 0.7, "tl1-1": 0.3}, "reproduced"),
        ({"l1": 0.5, "tl1-1": 0.5}, "not reproduced"),
        ({"l1": 0.3, "tl1-1": 0.7}, "not reproduced"),
        ({"l1": 0.7, "tl1-1": 0.1}, "reproduced"),  # at least so much smaller
        ({"l1": 0.1, "tl1-1": 0.1}, "inconclusive"),  # both keep their accuracy to the end
    ],
)
def test_compression_is_judged_by_the_size_at_which_accuracy_is_lost(tmp_path, knee, verdict):
    found = evaluation.evaluate(*compression(tmp_path, knee))
    assert found["level"].tolist() == ["comparison", "panel", "overall"]
    assert found["verdict"].tolist() == [verdict] * 3


def test_conditions_of_a_claim_are_compared_too_and_named_where_unmet(tmp_path):
    cells = []
    for seed in range(6):
        reference = {("finetuned", ratio): (0.8 + seed / 1000, 901 + seed) for ratio in (0.4, 0.6)}
        treatment = {("finetuned", ratio): (0.85 + seed / 900, 900 + 2 * seed) for ratio in (0.4, 0.6)}
        cells += simulated.rows("l1", seed, reference) + simulated.rows("tl1-1", seed, treatment)
    folder = simulated.write(tmp_path, cells)
    higher = accuracy("higher", stage="finetuned")
    conditions = {
        "met": {"metric": "parameters", "stage": "finetuned", "direction": "similar", "margin": 10},
        "unmet": {"metric": "parameters", "stage": "finetuned", "direction": "lower", "margin": 10},
        "unknown": {"metric": "parameters", "stage": "pruned", "direction": "similar", "margin": 10},
    }
    path = rules_file(tmp_path, *({"id": i, "compare": higher, "provided": [c]} for i, c in conditions.items()))
    found = evaluation.evaluate(folder, path)
    panels = found.query("level == 'panel'").set_index("claim")
    assert panels["verdict"].to_dict() == {"met": "reproduced", "unmet": "partly", "unknown": "partly"}
    unknown = "parameters right after pruning, mean over ratios: similar"
    assert panels["reason"]["unknown"] == f"tl1-1 against l1: partly ({unknown}: not attempted)"
    assert len(found.query("claim == 'met' and level == 'comparison'")) == 2


def test_every_claim_of_the_paper_has_rows_to_its_overall_verdict(table):
    asked = [claim.id for claim in load(OURS).claims]
    assert table["claim"].drop_duplicates().tolist() == asked
    overall = table[table["level"] == "overall"]
    assert overall["claim"].tolist() == asked
    assert (table.query("level == 'panel'").groupby("claim").size() == 2).all()
    assert (table.loc[table["level"] != "ratio", "verdict"] != "").all()
    assert (table.loc[table["level"] != "ratio", "reason"] != "").all()


def test_a_claim_without_evidence_says_so_at_every_level(table):
    found = table[table["claim"] == "tl1-beats-bayesian"]
    assert found["level"].tolist() == ["comparison"] * 2 + ["panel"] * 2 + ["overall"]
    assert set(found["verdict"]) == {"not attempted"}
    reason = "the ledger has no method vcp*, only l1, lp-0.5, lp-0.75, mcp-500, none, scad-500, tl1-1"
    assert set(found["reason"]) == {reason}
    assert found[["seeds", "estimate", "p", "p_against"]].isna().all(axis=None)


def test_a_claim_is_attempted_once_the_ledger_has_its_methods(tmp_path):
    paths = synthetic.write(tmp_path, networks=("vgg19",), methods=("none", "tl1-1", "vcp-2"), seeds=range(1, 4))
    ledger.write("synthetic", paths, tmp_path / "ledger")
    found = evaluation.evaluate(tmp_path / "ledger", OURS).query("claim == 'tl1-beats-bayesian'")
    assert found["reference"].tolist()[0] == "vcp-2"
    assert "not attempted" not in set(found["verdict"])


def test_a_treatment_that_is_lacking_leaves_a_row_and_lowers_the_verdict(tmp_path):
    folder = simulated.panels(tmp_path, np.array([[5.0, 5.1, 5.2]]))
    found = evaluation.evaluate(folder, rules_file(tmp_path, {"treatments": ["tl1-*", "lp-0.5"]}))
    rows = found.query("level == 'comparison'").set_index("treatment")["verdict"].to_dict()
    assert rows == {"tl1-1": "reproduced", "lp-0.5": "not attempted"}
    panel = found.query("level == 'panel'").iloc[0]
    assert panel["verdict"] == "partly"
    assert panel["reason"] == "tl1-1 against l1: reproduced; lp-0.5 against l1: not attempted"


def test_a_claim_about_other_data_is_not_attempted_and_does_not_disappear(study, tmp_path):
    path = rules_file(tmp_path, {"datasets": ["cifar*"]}, {"id": "some", "networks": ["vgg*"], "datasets": ["sv*"]})
    found = evaluation.evaluate(study, path)
    first = found[found["claim"] == "better"]
    assert first[["level", "verdict"]].to_numpy().tolist() == [["overall", "not attempted"]]
    assert first["reason"].item() == "the study has none of the data sets and networks that the claim is about"
    others = found.query("claim == 'some' and level != 'overall'")
    assert set(zip(others["dataset"], others["network"], strict=True)) == {("svhn", "vgg19")}


def test_one_seed_decides_nothing(tmp_path):
    found = evaluation.evaluate(simulated.panels(tmp_path, np.array([[40.0]])), rules_file(tmp_path, {}))
    assert set(found["verdict"]) == {"", "inconclusive"}
    row = found.query("level == 'comparison'").iloc[0]
    assert row[["seeds", "estimate", "p"]].tolist() == pytest.approx([1, 40, 0.5])
    assert row[["low", "high"]].isna().all()
    assert row["reason"].endswith("one seed shows no spread")


def test_differences_at_each_ratio_are_shown_and_not_judged(table):
    rows = table.query("claim == 'tl1-preserves-accuracy' and dataset == 'svhn' and network == 'vgg19'")
    ratios, comparison = rows[rows["level"] == "ratio"], rows[rows["level"] == "comparison"].iloc[0]
    assert ratios["ratio"].tolist() == list(synthetic.RATIOS)
    assert set(ratios["verdict"]) == {""}
    assert ratios["estimate"].mean() == pytest.approx(comparison["estimate"])
    assert set(ratios["comparison"]) == {"accuracy right after pruning"}


def test_only_the_ratios_of_a_claim_count(study, tmp_path):
    found = evaluation.evaluate(study, rules_file(tmp_path, {"ratios": [0.6, 0.7]}))
    assert set(found["ratio"].dropna()) == {0.6}


def test_the_written_table_is_read_as_it_was_and_is_the_same_every_time(study, table, tmp_path):
    paths = [tmp_path / "one" / "claims.csv", tmp_path / "two.csv"]
    for path in paths:
        evaluation.write(study, OURS, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    pd.testing.assert_frame_equal(evaluation.read(paths[0]), table, check_exact=True)
    assert paths[0].read_text().count("\n") == len(table) + 1


def test_the_order_of_the_rows_of_the_ledger_does_not_matter(study, table, tmp_path):
    rows = pd.read_csv(study / "ledger.csv", dtype=str, keep_default_na=False).sample(frac=1, random_state=0)
    rows.to_csv(tmp_path / "ledger.csv", index=False)
    pd.testing.assert_frame_equal(evaluation.evaluate(tmp_path, OURS), table)


@pytest.mark.parametrize("text", ["", "claim,level\nx,overall\n", "not a table"])
def test_what_is_no_table_of_claims_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "claims.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"claims\.csv: not a table of claims") as caught:
        evaluation.read(path)
    assert "\n" not in str(caught.value)


def test_a_verdict_that_does_not_exist_is_refused(study, tmp_path):
    path = tmp_path / "claims.csv"
    evaluation.write(study, OURS, path)
    path.write_text(path.read_text().replace("inconclusive", "promising"))
    with pytest.raises(InputError, match="not a table of claims"):
        evaluation.read(path)


def test_a_ledger_with_a_missing_row_is_refused_and_nothing_is_written(study, tmp_path):
    lines = (study / "ledger.csv").read_text().splitlines(keepends=True)
    gone = next(line for line in lines if line.startswith("svhn,vgg19,tl1-1,2,") and ",pruned," in line)
    (tmp_path / "ledger.csv").write_text("".join(line for line in lines if line != gone))
    with pytest.raises(InputError, match="no row for dataset svhn, network vgg19, method tl1-1, seed 2, "):
        evaluation.write(tmp_path, OURS, tmp_path / "claims.csv")
    assert not (tmp_path / "claims.csv").exists()


def test_what_a_study_allows_to_be_missing_lowers_the_number_of_seeds_and_is_said(tmp_path):
    paths = synthetic.write(tmp_path, datasets=("svhn",), networks=("vgg19",), methods=("none", "l1", "tl1-1"))
    for path in paths:
        if "/tl1-1/seed2/" in path.as_posix() and path.stem != "trained":
            synthetic.forgo(path, "the loss is not finite")
    ledger.write("synthetic", paths, tmp_path / "ledger", allow_missing=True)
    rows = evaluation.evaluate(tmp_path / "ledger", OURS)
    judged = rows[(rows["level"] == "comparison") & (rows["treatment"] == "tl1-1") & rows["seeds"].notna()]
    assert len(judged)
    assert set(judged["seeds"]) == {2}
    for reason in judged["reason"]:
        assert "at 2 of 3 seeds all was measured" in reason
        assert "missing: svhn vgg19 tl1-1 seed 2, " in reason
        assert reason.endswith("(the loss is not finite)")


def test_numbers_have_no_digits_that_differ_between_processors(table):
    numbers = [value for name in table.select_dtypes("float") for value in table[name].dropna()]
    assert numbers == [float(f"{value:.12g}") for value in numbers]


def measured(folder, values, measure="selectivity-and-drop"):
    """measures.csv beside a ledger: a value a seed of the method l1 as trained."""
    panel = ledger.read(folder / "ledger.csv")[["dataset", "network"]].iloc[0].to_dict()
    rows = [
        panel | {"method": "l1", "seed": seed, "ratio": 0.0, "stage": "trained", "measure": measure, "value": value}
        for seed, value in enumerate(values)
    ]
    pd.DataFrame(rows).to_csv(folder / "measures.csv", index=False)


def find(direction, **more):
    asked = {"measure": "selectivity-and-drop", "stage": "trained", "direction": direction, "margin": 0.2} | more
    return {"treatments": ["l1"], "reference": None, "compare": None, "find": asked}


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (find("higher"), "reproduced"),
        (find("lower"), "not reproduced"),
        (find("similar", than=0.5), "reproduced"),
        (find("higher", than=0.45), "partly"),
        (find("higher", measure="conservation-gap"), "not attempted"),
        (find("higher", stage="pruned"), "not attempted"),
    ],
)
def test_a_measure_of_networks_is_compared_with_a_number(tmp_path, asked, verdict):
    folder = simulated.panels(tmp_path, np.zeros((1, 5)))
    measured(folder, [0.48, 0.5, 0.52, 0.49, 0.51])
    found = evaluation.evaluate(folder, rules_file(tmp_path, asked))
    assert [*found["verdict"][found["level"] != "ratio"]] == [verdict] * 3
    if verdict != "not attempted":
        row = found.query("level == 'comparison'").iloc[0]
        assert row["estimate"] == pytest.approx(0.5 - asked["find"].get("than", 0))
        assert (row["reference"], row["unit"], row["metric"]) == ("", "", "selectivity-and-drop")


def test_without_analyses_a_finding_is_not_attempted(tmp_path):
    found = evaluation.evaluate(simulated.panels(tmp_path, np.zeros((1, 5))), rules_file(tmp_path, find("higher")))
    assert found["verdict"].tolist() == ["not attempted"] * 3
    assert "no analysis measured selectivity-and-drop of trained networks of l1" in found["reason"].iloc[-1]
