"""A machine is alike only where all that decides bits is known to be the same."""

import pytest

import synthetic
from slimming import ledger, records
from slimming.origin import origin
from slimming.store import machines


@pytest.fixture
def study(tmp_path):
    """A function that writes a ledger measured on this machine, but for some of what is said of it."""

    def written(**changed):
        made = origin("cpu", 1)
        machine = {key: value for key, value in (made["machine"] | changed).items() if value}
        paths = synthetic.write(
            tmp_path, networks=("vgg19",), methods=("none",), seeds=(1,), ratios=(0.4,), finetuned=()
        )
        for path in paths:
            records.write(path, records.read(path) | {"provenance": made | {"machine": machine}})
        ledger.write("synthetic", paths, tmp_path)
        return tmp_path

    return written


def test_this_machine_is_like_itself(study):
    assert machines.alike(study())


@pytest.mark.parametrize(
    "changed",
    [
        {"processor": "Abacus"},
        {"instructions": "avx avx2 avx512f"},  # under the same name
        {"instructions": None},  # as older records have it
    ],
)
def test_another_processor_or_an_unknown_one_is_not(study, changed):
    assert not machines.alike(study(**changed))
