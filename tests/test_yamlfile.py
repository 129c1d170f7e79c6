"""A YAML file is read as its author meant it, or refused with the place of what means something else."""

from pathlib import Path

import pytest

from slimming import yamlfile
from slimming.errors import InputError

CONFIG = Path(__file__).parents[1] / "config"


def read(folder, text):
    (folder / "file.yaml").write_text(text)
    return yamlfile.read(folder / "file.yaml")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("a: true", True),
        ("a: False", False),
        ("a: 10", 10),
        ("a: -3", -3),
        ("a: +1.5e+3", 1500.0),
        ("a: .5", 0.5),
        ("a: 0.0", 0.0),
        ("a: 1e-4", "1e-4"),
        ("a: '010'", "010"),
        ('a: "off"', "off"),
        ("a: on-line", "on-line"),
        ("a:", None),
        ("a: ~", None),
        ("a: [{b: 1}, {b: 2}]", [{"b": 1}, {"b": 2}]),
        ("b: &x {c: 1, d: 2}\na: {<<: *x, c: 3}", {"c": 3, "d": 2}),
    ],
)
def test_what_means_what_it_looks_like_is_read(text, content, tmp_path):
    assert read(tmp_path, text)["a"] == content


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("a: 1\nb: 2\n a: 3", "", "not a readable YAML file"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: ", "the key 'a' stands twice here"),
        ("a:\n  - {b: 1,\n     b: 1}", "line 3, column 6: ", "the key 'b' stands twice here"),
        ("a: 010", "line 1, column 4: ", "YAML reads 010 as 8"),
        ("a: 0x1F", "line 1, column 4: ", "YAML reads 0x1F as 31"),
        ("a: 0b11", "line 1, column 4: ", "YAML reads 0b11 as 3"),
        ("a: 1_000", "line 1, column 4: ", "YAML reads 1_000 as 1000"),
        ("a: [1,\n 1:30]", "line 2, column 2: ", "YAML reads 1:30 as 90"),
        ("a: 1:30.5", "line 1, column 4: ", "YAML reads 1:30.5 as 90.5"),
        ("a: 2026-01-02", "line 1, column 4: ", "YAML reads 2026-01-02 as datetime.date"),
        ("a: no", "line 1, column 4: ", "YAML reads no as False"),
        ("on: 1", "line 1, column 1: ", "YAML reads on as True"),
        ("a: -0.0", "line 1, column 4: ", "-0.0 is no other number than 0"),
        ("a: -0", "line 1, column 4: ", "-0 is no other number than 0"),
        ("a: -0e3", "line 1, column 4: ", "-0e3 is no other number than 0"),
    ],
)
def test_what_means_something_else_is_refused_with_its_place(text, place, complaint, tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'file.yaml'}: {place}{complaint}")
    assert "\n" not in message


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_comes_along_is_read(path):
    assert yamlfile.read(path)
