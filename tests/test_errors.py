"""Errors are one line, say the nearest known name, and carry the exit status."""

import doctest

import pytest

from slimming import errors
from slimming.errors import InputError, SlimmingError, unknown


def test_bad_input_and_failures_have_their_own_exit_status():
    assert SlimmingError.status == 1
    assert InputError.status == 2
    assert issubclass(InputError, SlimmingError)


@pytest.mark.parametrize(
    ("name", "nearest"), [("tl2", "tl1"), ("mpc", "mcp"), ("L1", "l1"), ("sacd", "scad"), ("nonee", "none")]
)
def test_nearest_known_name_is_proposed(name, nearest):
    error = unknown("penalty", name, ["none", "l1", "lp", "tl1", "mcp", "scad"])
    assert f"unknown penalty {name!r}: did you mean {nearest!r}?" in str(error)
    assert error.status == 2


def test_a_name_like_no_other_gets_the_list_alone():
    assert str(unknown("data set", "zzz", ["svhn", "digits"])) == "unknown data set 'zzz': Known: digits, svhn"


@pytest.mark.parametrize("name", ["two\nlines", 7, None, ["l1"], ""])
def test_whatever_was_given_the_message_is_one_line(name):
    message = str(unknown("key", name, ["lam", "p"]))
    assert repr(name) in message
    assert "\n" not in message


def test_documented_example_holds():
    assert doctest.testmod(errors).attempted > 0
    assert doctest.testmod(errors).failed == 0
