"""A checkpoint is the whole network or an error, and needs no dense network to come back."""

import hashlib
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples import SMALL, randomised
from slimming import checkpoints, methods, pruning, tensorfile
from slimming.errors import InputError

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
RECORD = {"ratio": 0.5, "history": {"loss": [0.1 + 0.2, 1e-5]}}

LOAD = """
import hashlib, sys, torch
from slimming import checkpoints
images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
torch.set_num_threads(1)
for path in sys.argv[1:]:
    net, _ = checkpoints.load(path)
    with torch.no_grad():
        print(hashlib.sha256(net(images).numpy().tobytes()).hexdigest())
"""


def pruned(name):
    net = randomised(name)
    return pruning.apply(net, pruning.plan(methods.get("none").scores(net), 0.5))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A pruned network of every family, and where it is stored."""
    folder, found = tmp_path_factory.mktemp("stored"), {}
    for name in SMALL:
        found[name] = pruned(name), folder / f"{name}.safetensors"
        checkpoints.save(found[name][1], found[name][0], RECORD)
    return found


@pytest.mark.parametrize("name", SMALL)
def test_network_and_record_come_back(name, stored):
    net, path = stored[name]
    again, record = checkpoints.load(path)
    assert record == RECORD
    assert again.spec == net.spec
    assert not again.training
    state = again.state_dict()
    assert list(state) == list(net.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_another_process_computes_the_same_without_the_dense_network(stored):
    paths = [str(path) for _, path in stored.values()]
    done = subprocess.run([sys.executable, "-c", LOAD, *paths], capture_output=True, text=True, check=True)
    with torch.no_grad():
        outputs = [net(IMAGES).numpy().tobytes() for net, _ in stored.values()]
    assert done.stdout.split() == [hashlib.sha256(output).hexdigest() for output in outputs]


@pytest.mark.parametrize("name", SMALL)
def test_bytes_depend_on_the_content_alone(name, stored, tmp_path):
    net, path = stored[name]
    torch.manual_seed(123)
    checkpoints.save(tmp_path / "another name", net, RECORD)
    assert (tmp_path / "another name").read_bytes() == path.read_bytes()
    again, record = checkpoints.load(path)
    # Not on the memory format in which a training leaves the weights, either.
    checkpoints.save(tmp_path / "again", again.to(memory_format=torch.channels_last).train(), record)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@given(share=st.floats(0, 1, exclude_max=True), name=st.sampled_from(list(SMALL)))
def test_a_truncated_checkpoint_is_refused(share, name, stored, tmp_path_factory):
    content, short = stored[name][1].read_bytes(), tmp_path_factory.getbasetemp() / "short"
    short.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"short: truncated .* make it again") as caught:
        checkpoints.load(short)
    assert "\n" not in str(caught.value)


@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), name=st.sampled_from(list(SMALL)))
def test_a_checkpoint_with_one_altered_bit_is_refused(share, bit, name, stored, tmp_path_factory):
    content, altered = bytearray(stored[name][1].read_bytes()), tmp_path_factory.getbasetemp() / "altered"
    content[int(share * len(content))] ^= 1 << bit
    altered.write_bytes(content)
    with pytest.raises(InputError, match=r"altered: (altered|truncated|not written)") as caught:
        checkpoints.load(altered)
    assert "\n" not in str(caught.value)


def test_a_refused_write_leaves_the_old_checkpoint(stored, tmp_path):
    net, path = stored["vgg11"]
    (tmp_path / "old").write_bytes(path.read_bytes())
    with pytest.raises(TypeError):
        checkpoints.save(tmp_path / "old", net, {"not JSON": object()})
    assert checkpoints.load(tmp_path / "old")[1] == RECORD
    assert list(tmp_path.iterdir()) == [tmp_path / "old"]


def test_a_file_without_a_network_is_refused(tmp_path):
    tensorfile.write(tmp_path / "images", {"x": torch.zeros(2)}, {"name": "digits"})
    with pytest.raises(InputError, match="images: holds no network; a checkpoint is expected here"):
        checkpoints.load(tmp_path / "images")
    with pytest.raises(InputError, match="none: no such file"):
        checkpoints.load(tmp_path / "none")
