"""Files are written whole or not at all, have the same bytes everywhere, and are refused when altered."""

import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slimming import tensorfile
from slimming.errors import InputError

TENSORS = {
    "weight": torch.arange(12.0).view(3, 4),
    "half": torch.tensor([0.5, -2.0], dtype=torch.bfloat16),
    "labels": torch.tensor([7, 1 << 40]),
    "pixels": torch.arange(5, dtype=torch.uint8),
    "mask": torch.tensor([True, False]),
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 3),
}
# Numbers whose last digit or letter can change without changing their value: 0.1 + 0.2, 1e-05.
HEADER = {"loss": 0.1 + 0.2, "lam": 1e-5, "name": "é", "list": [1, None, True], "nested": {"b": 1, "a": 2}}

WRITE = """
import sys, torch
from test_tensorfile import HEADER, TENSORS
from slimming import tensorfile
tensorfile.write(sys.argv[1], dict(reversed(TENSORS.items())), dict(reversed(HEADER.items())))
"""

FULL = """
import resource, sys, torch
from slimming import tensorfile
from slimming.errors import SlimmingError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (
    lambda: tensorfile.write(sys.argv[1], {"x": torch.zeros(10_000)}, {}),
    lambda: tensorfile.write_text(sys.argv[2], "x" * 10_000),
    lambda: tensorfile.write_text(sys.argv[3], "x" * 10_000),
):
    try:
        write()
    except SlimmingError as error:
        print(error.status, error)
"""


def run(code, *arguments, **environment):
    """The lines that `code` prints in a Python of its own, in the folder of these tests."""
    folder = os.path.dirname(__file__)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | environment, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "file.safetensors"
    tensorfile.write(path, TENSORS, HEADER)
    return path


def test_what_was_written_is_read(whole):
    tensors, header = tensorfile.read(whole)
    assert header == HEADER
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_views_strides_and_shared_storage_are_written_as_plain_tensors(tmp_path):
    base = torch.arange(24.0)
    images = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    views = {"part": base[2:5], "other": base[3:9], "turned": base.view(4, 6).T, "images": images}
    tensorfile.write(tmp_path / "x", views, {})
    tensors, _ = tensorfile.read(tmp_path / "x")
    assert all(torch.equal(tensors[name], view) for name, view in views.items())
    assert (tmp_path / "x").stat().st_size < 4 * (3 + 6 + 24 + 96) + 1000


def test_a_parameter_that_needs_gradients_is_written(tmp_path):
    tensorfile.write(tmp_path / "x", {"w": torch.nn.Parameter(torch.ones(2))}, {})
    assert torch.equal(tensorfile.read(tmp_path / "x")[0]["w"], torch.ones(2))


def test_bytes_depend_neither_on_the_name_nor_on_the_process_nor_on_the_order(whole, tmp_path):
    run(WRITE, tmp_path / "another name.bin", PYTHONHASHSEED="1")
    assert (tmp_path / "another name.bin").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("flip", [0x01, 0x20])  # 4 becomes 5, e becomes E
def test_a_single_altered_byte_is_refused_wherever_it_is(flip, whole, tmp_path):
    content, altered = whole.read_bytes(), tmp_path / "altered"
    for place, byte in enumerate(content):
        altered.write_bytes(content[:place] + bytes([byte ^ flip]) + content[place + 1 :])
        with pytest.raises(InputError, match=r"altered: (altered|truncated|not written)") as caught:
            tensorfile.read(altered)
        assert "\n" not in str(caught.value)


def test_every_truncation_is_refused_in_one_line(whole, tmp_path):
    content, short = whole.read_bytes(), tmp_path / "short"
    for length in range(len(content)):
        short.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"short: truncated .* make it again") as caught:
            tensorfile.read(short)
        assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_other_file_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "other"
    path.write_bytes(content)
    with pytest.raises(InputError, match="other: truncated or not a safetensors file"):
        tensorfile.read(path)


def test_missing_files_folders_and_files_of_others_are_refused(tmp_path):
    from safetensors.torch import save_file

    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            tensorfile.read(path)
    for metadata in (None, {"slimming": "[]"}, {"slimming": '{"header": {}}'}):
        save_file({"x": torch.ones(2)}, tmp_path / "x", metadata=metadata)
        with pytest.raises(InputError, match=r"not written by slimming|altered since"):
            tensorfile.read(tmp_path / "x")


def test_a_full_disk_leaves_the_old_files_alone_and_no_others(tmp_path):
    paths = [tmp_path / "old.safetensors", tmp_path / "old.txt", tmp_path / "new.txt"]
    tensorfile.write(paths[0], TENSORS, HEADER)
    tensorfile.write_text(paths[1], "old\n")
    before = [path.read_bytes() for path in paths[:2]]
    lines = run(FULL, *paths)
    assert len(lines) == 3
    for line, path in zip(lines, paths, strict=True):
        assert line.startswith(f"2 cannot write {path}: ")
        assert "File too large" in line
    assert [path.read_bytes() for path in paths[:2]] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths[:2])


@pytest.mark.parametrize("below", ["file/x", "file/folder/x", "x" * 300, "folder"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, below):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    for write in (lambda path: tensorfile.write(path, {}, {}), lambda path: tensorfile.write_text(path, "new")):
        with pytest.raises(InputError, match=r"cannot write .*nothing was changed") as caught:
            write(tmp_path / below)
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_writer_that_fails_leaves_the_old_file_and_its_error(tmp_path):
    (tmp_path / "x").write_text("old")

    def write(aside):
        aside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tensorfile.write_aside(tmp_path / "x", write)
    assert (tmp_path / "x").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_folders_are_made_and_files_are_as_open_to_others_as_any(tmp_path):
    (tmp_path / "plain").touch()
    tensorfile.write_text(tmp_path / "a/b/text", "é\n")
    tensorfile.write(tmp_path / "a/b/tensors", TENSORS, {})
    assert (tmp_path / "a/b/text").read_bytes() == "é\n".encode()
    modes = {path.stat().st_mode for path in [tmp_path / "plain", *(tmp_path / "a/b").iterdir()]}
    assert len(modes) == 1


def test_the_header_is_json_that_other_tools_read(whole):
    from safetensors import safe_open

    with safe_open(whole, "pt") as stream:
        assert json.loads(stream.metadata()["slimming"])["header"] == HEADER


def test_sha256_is_that_of_the_whole_file(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert tensorfile.sha256(tmp_path / "x") == digest


@pytest.mark.parametrize("size", [1, 5, 5000])
def test_a_file_replaced_while_it_is_read_is_refused(size, tmp_path, monkeypatch):
    tensorfile.write(tmp_path / "x", {"x": torch.zeros(5)}, {})
    mapped = torch.UntypedStorage.from_file

    def replaced(*arguments, **keywords):  # safetensors opens a file twice: first for its header, then to map it
        tensorfile.write(tmp_path / "x", {"x": torch.ones(size)}, {})
        return mapped(*arguments, **keywords)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", replaced)
    with pytest.raises(InputError, match=r"x: truncated|x: altered") as caught:
        tensorfile.read(tmp_path / "x")
    assert "\n" not in str(caught.value)
