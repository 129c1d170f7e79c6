"""The table of stages: what is made from what, and how its files are named."""

import pytest

from slimming.stages import table


@pytest.mark.parametrize(
    ("stage", "ratio", "name"),
    [
        ("trained", 0.0, "trained"),
        ("pruned", 0.5, "pruned-0.5"),
        ("pruned", 0.0, "pruned-0"),
        ("pruned", 0.1 + 0.2, "pruned-0.3"),
        ("finetuned", 0.875, "finetuned-0.875"),
        ("scratch-compute", 0.5, "scratch-compute-0.5"),
    ],
)
def test_files_are_named_by_stage_and_ratio(stage, ratio, name):
    assert table.stem(stage, ratio) == name


def test_every_stage_follows_the_one_it_is_made_from():
    seen = [None]
    for stage in table.STAGES.values():
        assert stage.parent in seen
        seen.append(stage.name)


def test_a_command_tells_the_stages_that_it_makes_apart():
    for rule in table.RULES:
        options = [stage.options for stage in table.made_by(rule)]
        assert len(set(options)) == len(options)
