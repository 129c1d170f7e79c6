"""A digest of the package's code stands for what a file does: rewording, layout and place change nothing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimming import code, study

PROGRAM = '''"""What it is for."""

import os
from slimming.stages.job import Job, made

RATE = 0.1


def decayed(rate: float, factor: float = 0.5) -> float:
    """The next rate."""
    if rate > RATE:  # a comment
        return rate * factor
    return f"{rate:g} of {'few'}"
'''


def digest(text):
    return code.digest(text.encode(), python=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What it is for", "What it does"),
        ('    """The next rate."""\n', ""),
        ("  # a comment", ""),
        ("return rate * factor", "return (\n            rate\n            * factor\n        )"),
        ("\n", "\r\n"),
        ("import os\n", "\n\n\nimport os\n"),
        ("slimming.stages.job", "slimming.work"),
        ("import Job, made", "import made, Job"),
        (
            "import os\nfrom slimming.stages.job import Job, made",
            "from slimming import made\nfrom slimming import Job\nimport os",
        ),
    ],
)
def test_what_changes_nothing_changes_no_digest(old, new):
    assert PROGRAM.count(old) >= 1
    assert digest(PROGRAM.replace(old, new)) == digest(PROGRAM)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RATE = 0.1", "RATE = 0.2"),
        ("RATE = 0.1", "RATE = 1"),
        ("factor: float = 0.5", "factor: float = 0.25"),
        ("rate * factor", "factor * rate"),
        ("rate > RATE", "rate >= RATE"),
        ("import os", "import os as system"),
        ("import Job, made", "import Job"),
        ("from slimming.stages.job", "from other.stages.job"),
        ("{rate:g}", "{rate:f}"),
        ("'few'", "'many'"),
        ("def decayed", "async def decayed"),
    ],
)
def test_what_a_program_does_changes_its_digest(old, new):
    assert PROGRAM.count(old) == 1
    assert digest(PROGRAM.replace(old, new)) != digest(PROGRAM)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_two_constants_have_one_digest_only_if_they_are_the_same(first, second):
    assert (digest(f"x = {first!r}") == digest(f"x = {second!r}")) == (repr(first) == repr(second))


def test_a_digest_is_the_same_in_every_version_of_python():
    """Found with Python 3.11 and 3.12: their trees differ in fields that this program leaves empty."""
    assert digest(PROGRAM) == "8a7b6727e6e1c30a"


def test_a_closure_is_made_of_files_that_the_package_has():
    run = study.load(Path(__file__).parents[1] / "config/quick.yaml").runs()[3]
    files = code.paths()
    used = {files[digest] for digest in code.closure("stages.train", *code.kind(run))}
    assert {"slimming/training/loop.py", "slimming/networks/vgg.py", "slimming/methods/penalised.py"} <= used
    assert not {f"slimming/{file}" for file in code.CARRIERS} & used
    assert all((code.PACKAGE / file).is_file() for file in code.CARRIERS), "a carrier moved"


def test_files_are_left_out_by_path_and_not_by_name(tmp_path, monkeypatch):
    package = tmp_path / "slimming"
    (package / "methods").mkdir(parents=True)
    (package / "errors.py").write_text("A = 1")
    (package / "methods/errors.py").write_text("B = 2")
    (package / "start.py").write_text("from slimming import errors\nfrom slimming.methods import errors")
    monkeypatch.setattr(code, "PACKAGE", package)
    files = code.paths(package)
    assert {files[digest] for digest in code.closure.__wrapped__("start")} == {
        "slimming/start.py",
        "slimming/methods/errors.py",
    }
