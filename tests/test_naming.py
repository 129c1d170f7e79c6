"""Names and counts are written as people and LaTeX take them."""

import doctest

import pytest

from slimming import naming


@pytest.mark.parametrize(
    ("names", "spelled"),
    [
        (("vgg19",), "VggOneNine"),
        (("lp-0.5",), "LpZeroPointFive"),
        (("a.b", "c_d"), "ABCD"),
        (("latency_ms", 0.75), "LatencyMsZeroPointSevenFive"),
    ],
)
def test_names_are_spelled_in_letters(names, spelled):
    assert naming.letters(*names) == spelled


@pytest.mark.parametrize(("number", "text"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs")])
def test_a_count_of_one_is_singular(number, text):
    assert naming.counted(number, "job") == text


def test_examples_in_the_documentation_hold():
    assert doctest.testmod(naming) == (0, 2)
