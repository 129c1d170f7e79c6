"""Verdicts as readers see them, from a claims.csv."""

from __future__ import annotations

from pathlib import Path

import pytest

import synthetic
from slimming import ledger
from slimming.claims import evaluation
from slimming.errors import InputError
from slimming.reporting import verdicts

CLAIMS = Path(__file__).parents[2] / "config" / "claims" / "nonconvex-slimming.yaml"


def _read(folder: Path, text: str) -> list[dict]:
    (folder / "claims.csv").write_text(text)
    return verdicts.read(folder / "claims.csv")


def test_every_claim_of_the_paper_is_there_with_its_words_and_verdict(tmp_path):
    ledger.write("synthetic", synthetic.write(tmp_path), tmp_path)
    evaluation.write(tmp_path, CLAIMS, tmp_path / "claims.csv")
    found = verdicts.read(tmp_path / "claims.csv", CLAIMS)
    assert len(found) == 5
    assert all(claim["words"] and claim["source"] and claim["reading"] and claim["reason"] for claim in found)
    assert {claim["verdict"] for claim in found} <= set(verdicts.GLYPHS)
    attempted = {claim["id"]: claim["verdict"] != "not attempted" for claim in found}
    assert [name for name in attempted if not attempted[name]] == ["tl1-beats-bayesian"]
    tables = {claim["id"]: [table["title"] for table in claim["tables"]] for claim in found}
    assert tables["tl1-preserves-accuracy"] == ["By data set and network", "Comparisons", "At each ratio"]


def test_without_a_file_there_are_no_claims(tmp_path):
    assert verdicts.read(tmp_path / "claims.csv") is None


def test_a_number_has_its_interval_and_unit_and_leads_to_its_measurements(tmp_path):
    (claim,) = _read(
        tmp_path,
        "claim,level,dataset,network,stage,ratio,estimate,low,high,unit,margin\n"
        "A,ratio,digits,vgg19,pruned,0.4,-1.23456,-2,0.5,points,1.0\n",
    )
    (row,) = claim["tables"][0]["rows"]
    assert row["cells"]["estimate"] == "−1.23 [−2, 0.5] points"
    assert row["cells"]["margin"] == "1 point"
    assert row["cells"]["ratio"] == "40 %"
    assert row["measured"] == {"dataset": "digits", "network": "vgg19", "stage": "pruned", "ratio": "0.4"}


def test_few_columns_are_enough_and_unknown_ones_are_shown(tmp_path):
    (claim,) = _read(tmp_path, "claim,level,verdict,sample\nA,panel,partly,all\nA,overall,partly,\n")
    assert (claim["id"], claim["verdict"], claim["words"]) == ("A", "partly", "")
    assert claim["tables"][0]["heads"] == {"verdict": "verdict", "sample": "sample"}
    assert claim["tables"][0]["rows"][0]["cells"] == {"verdict": "partly", "sample": "all"}


def test_a_claim_without_overall_row_is_there_without_verdict(tmp_path):
    (claim,) = _read(tmp_path, "claim,level,network,verdict\nA,panel,vgg19,partly\n")
    assert (claim["id"], claim["verdict"]) == ("A", "")


def test_an_unreadable_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"claims\.csv: not a readable table"):
        _read(tmp_path, '"a\n')


def test_verdicts_are_counted_best_first():
    told = ["inconclusive", "partly", "inconclusive", "reproduced", "new"]
    counted = verdicts.tally([{"verdict": verdict} for verdict in told])
    assert list(counted.items()) == [("reproduced", 1), ("partly", 1), ("inconclusive", 2), ("new", 1)]
