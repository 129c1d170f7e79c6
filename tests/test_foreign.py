"""Functions of somebody else's are found by name, and only when a user names them."""

import sys

import pytest

from slimming import foreign
from slimming.errors import InputError


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("def small():\n    return 1\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text("")
    (tmp_path / "mine/models.py").write_text("def large():\n    return 2\n")
    (tmp_path / "faulty.py").write_text("import no_such_module\n")
    yield tmp_path
    for name in ("mine", "mine.models"):
        sys.modules.pop(name, None)


def test_a_file_and_a_package_in_the_working_directory(place):
    assert foreign.get("nets.py:small")() == 1
    assert foreign.locate("nets.py:small") == place / "nets.py"
    assert foreign.locate("mine.models:large") == place / "mine/models.py"
    assert "mine.models" not in sys.modules  # locating imports nothing
    assert foreign.get("mine.models:large")() == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:small", r"there is no file nowhere\.py"),
        ("nowhere.models:small", "there is no module nowhere"),
        ("mine.other:small", r"there is no module mine\.other"),
        ("nets.py:smal", "did you mean 'small'"),
        ("faulty.py:small", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_what_is_not_there_is_said(name, message, place):
    with pytest.raises(InputError, match=message):
        foreign.get(name)
