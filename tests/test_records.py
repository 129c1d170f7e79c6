"""Records are JSON that is whole, of this schema, and says what made it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimming import records
from slimming.errors import InputError

RECORD = {"schema": records.SCHEMA, "stage": "pruned", "ratio": 0.1 + 0.2, "name": "é", "layers": [{"kept": 3}]}


def test_what_was_written_is_read_and_the_text_is_sorted(tmp_path):
    records.write(tmp_path / "new folder" / "x.json", RECORD)
    records.write(tmp_path / "y.json", dict(reversed(RECORD.items())))
    text = (tmp_path / "y.json").read_text(encoding="utf-8")
    assert (tmp_path / "new folder" / "x.json").read_text(encoding="utf-8") == text
    assert text.endswith("}\n")
    assert records.read(tmp_path / "y.json") == RECORD


def test_a_number_that_json_does_not_know_is_never_written(tmp_path):
    records.write(tmp_path / "x.json", RECORD)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON compliant"):
            records.write(tmp_path / "x.json", RECORD | {"loss": value})
    assert records.read(tmp_path / "x.json") == RECORD


@given(st.one_of(st.binary(max_size=60), st.sampled_from([b"[]", b"{}", b"1", b'{"schema": 0}', b'{"schema": "1"}'])))
def test_what_is_no_record_is_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json: not a .*make it again") as caught:
        records.read(path)
    assert "\n" not in str(caught.value)


def test_every_truncated_record_is_refused(tmp_path):
    records.write(tmp_path / "x.json", RECORD)
    text = (tmp_path / "x.json").read_bytes().rstrip()
    for length in range(len(text)):
        (tmp_path / "x.json").write_bytes(text[:length])
        with pytest.raises(InputError, match="not a readable record"):
            records.read(tmp_path / "x.json")


def test_a_missing_record_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: not a readable record"):
        records.read(tmp_path / "none.json")
