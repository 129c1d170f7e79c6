"""A file of claims becomes rules, or one line that names the claim and the key."""

from pathlib import Path

import pytest
import yaml

from slimming.claims import rules
from slimming.errors import InputError

OURS = Path(__file__).parents[2] / "config" / "claims" / "nonconvex-slimming.yaml"
COMPARE = {"metric": "accuracy", "stage": "pruned", "direction": "higher", "margin": 1}
CLAIM = {
    "id": "better", "words": "It is better.", "source": "A paper", "reading": "Higher accuracy.",
    "treatments": ["tl1-*"], "reference": "l1", "compare": COMPARE,
}  # fmt: skip


def load(tmp_path, content):
    path = tmp_path / "claims.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return rules.load(path)


def refusal(tmp_path, content):
    with pytest.raises(InputError) as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value)
    assert caught.value.status == 2
    origin, _, message = str(caught.value).partition("claims.yaml: ")
    assert origin == f"{tmp_path}/"
    return message


def test_defaults_are_all_that_a_study_has(tmp_path):
    found = load(tmp_path, {"claims": [CLAIM]})
    (claim,) = found.claims
    assert (found.confidence, found.dense) == (0.95, "none")
    assert found.level == pytest.approx(0.025)
    assert (claim.datasets, claim.networks, claim.ratios, claim.provided) == (["*"], ["*"], [], [])


def test_several_files_are_judged_together_if_they_agree(tmp_path):
    paths = [tmp_path / f"{name}.yaml" for name in ("one", "two")]
    for path, claim in zip(paths, ("better", "best"), strict=True):
        path.write_text(yaml.safe_dump({"claims": [CLAIM | {"id": claim}]}))
    assert [claim.id for claim in rules.load(paths).claims] == ["better", "best"]
    for content, message in (
        ({"confidence": 0.9, "claims": [CLAIM | {"id": "best"}]}, "two.yaml: another confidence than in"),
        ({"dense": "l1", "claims": [CLAIM | {"id": "best"}]}, "two.yaml: another dense than in"),
        ({"claims": [CLAIM]}, "two.yaml: a claim has the id better, which one in another file has too"),
    ):
        paths[1].write_text(yaml.safe_dump(content))
        with pytest.raises(InputError, match=message):
            rules.load(paths)


@pytest.mark.parametrize("path", sorted(OURS.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_claims_of_every_paper_are_faultless_and_name_their_source(path):
    assert all("abstract" in claim.source for claim in rules.load(path).claims)
    assert rules.load(sorted(OURS.parent.glob("*.yaml")))


def test_the_five_claims_of_the_paper_stand_in_its_words_with_their_sources():
    found = rules.load(OURS)
    assert [claim.id for claim in found.claims] == [
        "tl1-preserves-accuracy",
        "lp-compresses-better",
        "mcp-scad-more-accurate",
        "tl1-beats-bayesian",
        "nonconvex-compress-better",
    ]
    assert all("Bui et al. (202" in claim.source and "abstract" in claim.source for claim in found.claims)
    assert found.confidence == 0.95


def test_claims_of_compression_compare_whole_curves():
    compare = {claim.id: claim.compare for claim in rules.load(OURS).claims}
    for claim in ("lp-compresses-better", "tl1-beats-bayesian", "nonconvex-compress-better"):
        assert compare[claim].tolerance is not None


@pytest.mark.parametrize(
    ("part", "words", "unit"),
    [
        (COMPARE, "accuracy right after pruning, mean over ratios: higher", "points"),
        (
            {"metric": "bytes", "stage": "finetuned", "direction": "lower", "margin": 10, "tolerance": 0.5},
            "bytes after fine-tuning of the smallest network within 0.5 points of the dense accuracy: lower",
            "%",
        ),
    ],
)
def test_a_comparison_is_put_in_words(part, words, unit):
    comparison = rules.Comparison(**part)
    assert (comparison.words, comparison.unit) == (words, unit)


def test_an_amount_has_its_unit():
    assert [rules.amount(value, "points") for value in (1, 0.5, 2.0)] == ["1 point", "0.5 points", "2 points"]
    assert rules.amount(1, "%") == "1 %"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"treatment": "l1"}, "claims.better: unknown key 'treatment': did you mean 'treatments'? Known: compare, "),
        ({"treatments": []}, "claims.better.treatments: List should have at least 1 item"),
        ({"words": None}, "claims.better.words: Input should be a valid string, got None"),
        ({"ratios": [1.5]}, "claims.better.ratios.0: Input should be less than 1, got 1.5"),
        ({"id": "a/b"}, "claims.a/b.id: String should match pattern"),
        (
            {"compare": COMPARE | {"metric": "parameter"}},
            "claims.better.compare.metric: unknown metric 'parameter': did you mean 'parameters'? Known: accuracy, ",
        ),
        (
            {"provided": [COMPARE | {"stage": "fine-tuned"}]},
            "claims.better.provided.0.stage: unknown stage 'fine-tuned': did you mean 'finetuned'?",
        ),
        (
            {"provided": [COMPARE | {"marign": 2}]},
            "claims.better.provided.0: unknown key 'marign': did you mean 'margin'? Known: direction, ",
        ),
        ({"compare": COMPARE | {"margin": 0}}, "claims.better.compare.margin: Input should be greater than 0, got 0"),
        ({"compare": COMPARE | {"margin": 100}}, "claims.better.compare.margin: Input should be less than 100"),
        (
            {"compare": COMPARE | {"tolerance": 1}},
            "claims.better.compare: a tolerance needs a size, lower, of networks after pruning",
        ),
        ({"provided": [COMPARE | {"margin": 2}]}, "claims.better: two of its comparisons are of the same measure"),
    ],
)
def test_a_wrong_claim_is_refused_in_one_line(tmp_path, change, message):
    assert refusal(tmp_path, {"claims": [CLAIM | change]}).startswith(message)


@pytest.mark.parametrize("missing", ["id", "words", "source", "reading", "treatments"])
def test_a_claim_needs_each_of_its_parts(tmp_path, missing):
    where = 0 if missing == "id" else "better"
    claim = {key: value for key, value in CLAIM.items() if key != missing}
    assert refusal(tmp_path, {"claims": [claim]}) == f"claims.{where}.{missing} is missing"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("claims: [", "not a readable YAML file"),
        ("", "the top level: Input should be a valid dictionary"),
        ({"claims": []}, "claims: List should have at least 1 item"),
        ({"claims": ["x"]}, "claims.0: Input should be a valid dictionary"),
        ({"claims": [CLAIM], "confidnce": 0.9}, "the top level: unknown key 'confidnce': did you mean 'confidence'?"),
        ({"claims": [CLAIM], "confidence": 95}, "confidence: Input should be less than 1, got 95"),
        ({"claims": [CLAIM, CLAIM]}, "the top level: two claims have the id better"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, content, message):
    assert refusal(tmp_path, content).startswith(message)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml: not a readable YAML file"):
        rules.load(tmp_path / "nowhere.yaml")


FINDING = {"measure": "largest-drop", "stage": "trained", "direction": "lower", "than": 5, "margin": 2}
FOUND = {key: value for key, value in CLAIM.items() if key not in ("reference", "compare")} | {"find": FINDING}


def test_what_is_found_on_one_network_is_said_with_its_measure_and_number(tmp_path):
    (claim,) = load(tmp_path, {"claims": [FOUND]}).claims
    assert claim.decides.words == "largest loss of accuracy without one unit, before pruning: lower than 5 points"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"find": FINDING | {"measure": "largest-dorp"}}, "did you mean 'largest-drop'"),
        ({"find": FINDING | {"tolerance": 1}}, "unknown key 'tolerance'"),
        ({"find": FINDING | {"direction": "less"}}, "unknown direction 'less'"),
        ({"reference": "l1"}, "what is found has no reference"),
        ({"compare": COMPARE}, "give it compare, or find"),
        ({"find": None}, "give it compare, or find"),
        ({"find": None, "compare": COMPARE}, "a comparison needs a reference"),
        ({"provided": [COMPARE]}, "conditions go with compare"),
    ],
)
def test_a_faulty_finding_is_refused_with_its_claim(tmp_path, change, message):
    said = refusal(tmp_path, {"claims": [FOUND | change]})
    assert said.startswith("claims.better")
    assert message in said


def test_every_file_of_claims_names_its_paper():
    given = sorted(OURS.parent.glob("*.yaml"))
    assert len(rules.papers(given)) == len(given)
    assert rules.papers(OURS)[0].title == "Improving Network Slimming with Nonconvex Regularization"


def test_a_faulty_list_of_papers_is_refused(tmp_path):
    (tmp_path / "papers.csv").write_text("claims,name\nclaims,A paper\n")
    with pytest.raises(InputError, match=r"papers\.csv: its columns are claims, title, source, url"):
        rules.papers(tmp_path / "claims.yaml")
