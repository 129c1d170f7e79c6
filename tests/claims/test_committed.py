"""The verdicts that come along are those of the ledgers and rules that come along."""

from pathlib import Path

import pandas as pd
import pytest

from slimming import study as studies
from slimming.claims import evaluation

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path.parent for path in (ROOT / "results").glob("*/ledger.csv"))


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_the_committed_verdicts_follow_from_the_committed_ledger_and_rules(study):
    papers = studies.load(ROOT / "config" / f"{study.name}.yaml").claims
    found = evaluation.evaluate(study, [ROOT / "config" / "claims" / f"{paper}.yaml" for paper in papers])
    pd.testing.assert_frame_equal(evaluation.read(study / "claims.csv"), found, rtol=1e-9)
    assert found.query("level == 'overall'")["claim"].is_unique
