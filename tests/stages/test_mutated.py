"""A damaged file of any kind is refused in one line of the package's own, or says nothing else than before.

Files of tensors carry a checksum: whatever changes them is refused. Of text, a change may be a text as good as before,
so what is asked of it is that it is read or refused, and never half understood with a traceback.
"""

import random
import shutil
from pathlib import Path

import pytest

import synthetic
from slimming import checkpoints, data, findings, ledger, records, study, tensorfile, yamlfile
from slimming.claims import evaluation, references, rules
from slimming.errors import SlimmingError
from slimming.store import provenance

ROOT = Path(__file__).parents[2]
TIMES = 40  # mutations of each file


def sealed(path):
    """The content of a file of tensors, by value."""
    tensors, header = tensorfile.read(path)
    return {name: value.tolist() for name, value in tensors.items()}, header


SEALED = {"trained.safetensors": checkpoints.load, "digits.safetensors": data.load, "trained.resume": sealed}
TEXT = {
    **{f"{name}.csv": lambda path: ledger.read(path, path.stem) for name in ledger.TABLES},
    "missing.csv": lambda path: ledger.read(path, "missing"),
    "findings.csv": findings.read,
    "trained.json": records.read,
    "jobs.json": provenance.read,
    "claims.csv": evaluation.read,
    "quick.yaml": study.load,
    "nonconvex-slimming.yaml": rules.load,
    "references.csv": lambda path: references.compare(ROOT / "results/quick", path),
    "profile.yaml": yamlfile.read,
}


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """One file of every kind that the package writes or reads, by name."""
    folder = tmp_path_factory.mktemp("whole")
    for name in ("trained.safetensors", "trained.json"):
        shutil.copy(made.checkpoints / name, folder)
    shutil.copy(made.prepared, folder / "digits.safetensors")
    tensors, header = tensorfile.read(folder / "trained.safetensors")
    tensorfile.write(folder / "trained.resume", tensors, {"identity": "x", "epoch": 1, "header": header})
    paths = synthetic.write(folder / "study", networks=("vgg19",), methods=("none", "l1"), seeds=(1, 2))
    synthetic.forgo(paths[-1], "no memory")
    ledger.write("synthetic", paths, folder, allow_missing=True)
    record = records.read(folder / "trained.json")
    record["compression"] = {"found": {"residual": 0.5, "curve": {"conv": [[0.1, 2.0], [0.2, 3.0]]}}}
    records.write(folder / "found.json", record)
    findings.write([folder / "found.json"], folder / "findings.csv")
    (folder / "found.json").unlink()
    for name in (
        "config/quick.yaml",
        "config/claims/nonconvex-slimming.yaml",
        "config/references.csv",
        "results/quick/claims.csv",
    ):
        shutil.copy(ROOT / name, folder)
    shutil.copy(ROOT / "profiles/default/config.yaml", folder / "profile.yaml")
    known = provenance.read(ROOT / "results/quick/jobs.json")
    provenance.write(folder / "jobs.json", known._replace(jobs=known.jobs[:5]))
    return folder


def mutations(content: bytes, seed: str):
    """Random damage: bytes changed, parts cut out, doubled, exchanged or taken for others, and nothing but a part."""
    draw = random.Random(seed)
    for _ in range(TIMES):
        first, second, third = sorted(draw.randrange(len(content) + 1) for _ in range(3))
        yield draw.choice(
            [
                content[:first] + bytes([draw.randrange(256)]) + content[first + 1 :],
                content[:first] + content[second:],
                content[:second] + content[first:],
                content[:first] + content[second:third] + content[first:second] + content[third:],
                content[:first],
                content[:first] + draw.randbytes(second - first) + content[second:],
                content.replace(b"\n", b"", 1) if b"\n" in content else content[1:],
                content.replace(bytes([draw.choice(content)]), b"", 1),
            ]
        )


def test_every_kind_of_file_that_is_made_is_damaged_here(whole, made):
    kinds = {Path(name).suffix for name in [*SEALED, *TEXT]}
    assert {path.suffix for path in made.files()} <= kinds
    assert {f"{name}.csv" for name in ledger.COMPANIONS} <= TEXT.keys()
    assert {path.name for path in whole.iterdir() if path.is_file()} == {*SEALED, *TEXT}


@pytest.mark.parametrize("name", SEALED)
def test_a_damaged_file_of_tensors_is_refused(name, whole, tmp_path):
    content = (whole / name).read_bytes()
    SEALED[name](whole / name)
    for place, damaged in enumerate(mutations(content, name)):
        (tmp_path / name).write_bytes(damaged)
        if damaged == content:
            continue
        with pytest.raises(SlimmingError) as caught:
            SEALED[name](tmp_path / name)
        assert "\n" not in str(caught.value), place


@pytest.mark.parametrize("name", TEXT)
def test_a_damaged_text_is_refused_in_one_line_or_read(name, whole, tmp_path):
    TEXT[name](whole / name)
    said = []
    for damaged in mutations((whole / name).read_bytes(), name):
        (tmp_path / name).write_bytes(damaged)
        try:
            TEXT[name](tmp_path / name)
        except SlimmingError as error:
            said.append(str(error))
    assert said
    assert [line for line in said if "\n" in line] == []
