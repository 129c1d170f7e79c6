"""The pages on how to add something show code that works as written, and that nothing else runs again for it."""

from __future__ import annotations

import re

import pytest
from project import ROOT, STUDY

CHECKPOINT = "results/tiny/checkpoints/{}/seed1/pruned-0.5.safetensors"
RUN = {"train": 1, "prune": 1, "finetune": 1, "scratch": 2, "measure": 1}  # jobs of a run of the tiny study


def times(number, jobs):
    return {rule: number * count for rule, count in jobs.items()}


@pytest.mark.parametrize(
    ("page", "old", "new", "jobs", "made"),
    [
        (
            "add-a-method",
            "methods: [",
            "methods: [{name: hoyer, lam: 1e-3}, ",
            RUN,
            "digits/vgg11/hoyer",
        ),
        (
            "add-a-penalty",
            "methods: [",
            "methods: [{name: logsum, a: 0.1}, {name: proximal-logsum, a: 0.1}, ",
            times(2, RUN),
            "digits/vgg11/proximal-logsum-0.1",
        ),
        (
            "add-a-network",
            "networks: {",
            "networks: {plain4: {width: 0.5}, ",
            times(3, RUN),
            "digits/plain4/l1",
        ),
        (
            "add-a-data-set",
            "datasets: {",
            "datasets: {bars: , ",
            times(3, RUN) | {"prepare": 1},
            "bars/vgg11/l1",
        ),
    ],
)
def test_a_recipe_works_as_written_and_reruns_nothing_else(page, old, new, jobs, made, again, downstream):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    (place, *_) = re.findall(r"`(src/slimming/\w+/\w+\.py)`", text)
    (again.root / place).write_text(code, encoding="utf-8")
    assert again.planned() == {}
    again.edit(STUDY, old, new)
    assert again.planned() == {**downstream, **jobs}
    again.snakemake(CHECKPOINT.format(made))
    assert (again.root / CHECKPOINT.format(made)).is_file()
