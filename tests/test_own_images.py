"""Images of somebody's own: a folder or an .npz file is a data set, and what is wrong with it is said by name."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from slimming import cli, data, datasets, study
from slimming.errors import InputError

STUDY = {"name": "own", "networks": {"vgg11": {}}, "methods": ["none"], "seeds": [1], "ratios": [0.5]}
LETTERS = ("cat", "dog")


def draw(folder, count, seed=0):
    """A folder a class, of images of many sizes and formats; dogs are brighter."""
    generator = np.random.default_rng(seed)
    for label, name in enumerate(LETTERS):
        (folder / name).mkdir(parents=True)
        for place in range(count):
            pixels = generator.integers(0, 100, (20 + place, 30, 3), dtype=np.uint8) + 100 * label
            ending = ("png", "jpg", "bmp")[place % 3]
            image = Image.fromarray(pixels.astype(np.uint8))
            (image.convert("L") if place == 1 else image).save(folder / name / f"{place}.{ending}")


def runs(**settings):
    (run,) = study.parse(STUDY | {"datasets": {"pets": settings}}, "study").runs()
    return run


def prepared(path, **settings):
    run = runs(**settings)
    assert cli.main(["prepare", json.dumps({"name": "pets", **run.source}), "--output", str(path)]) == 0
    return data.load(path)


def test_a_folder_with_its_own_split(tmp_path):
    draw(tmp_path / "images/train", 6)
    draw(tmp_path / "images/test", 2, seed=1)
    found = prepared(tmp_path / "a.safetensors", folder=str(tmp_path / "images"), image_size=16)
    assert found.classes == ["cat", "dog"]
    assert found.train_images.shape == (12, 3, 16, 16)
    assert found.test_labels.tolist() == [0, 0, 1, 1]
    assert (found.padding, found.flip) == (2, True)
    pixels = found.train_images.double() / 255
    assert torch.tensor(found.mean).allclose(pixels.mean((0, 2, 3)).float(), atol=1e-6)
    assert torch.tensor(found.std).allclose(pixels.std((0, 2, 3), correction=0).float(), atol=1e-6)
    assert datasets.get("pets").images == (12, 4)


def test_a_folder_is_split_with_equal_shares_of_classes(tmp_path):
    draw(tmp_path / "images", 10)
    settings = {"folder": str(tmp_path / "images"), "image_size": 8, "test": 0.3, "flip": False, "padding": 0}
    found = prepared(tmp_path / "a.safetensors", **settings)
    assert (len(found.train_labels), len(found.test_labels)) == datasets.get("pets").images == (14, 6)
    assert found.test_labels.bincount().tolist() == [3, 3]
    assert (found.padding, found.flip) == (0, False)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_arrays(tmp_path, channels):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (9, 12, 12, *channels), dtype=np.uint8)
    labels = np.array([3, 7, 9] * 3)[:, None]
    file = tmp_path / "pets.npz"
    np.savez(file, train_images=images[:6], train_labels=labels[:6], test_images=images[6:], test_labels=labels[6:])
    found = prepared(tmp_path / "a.safetensors", npz=str(file))
    assert found.classes == ["3", "7", "9"]
    assert found.train_images.shape == (6, 3 if channels else 1, 12, 12)
    assert found.test_labels.tolist() == [0, 1, 2]
    assert np.array_equal(found.test_images[0, 0], images[6][..., 0] if channels else images[6])


def test_images_that_cannot_be_read_are_named_all_at_once(tmp_path, capsys):
    draw(tmp_path / "images", 4)
    (tmp_path / "images/cat/broken.png").write_bytes(b"no image")
    whole = (tmp_path / "images/dog/0.png").read_bytes()
    (tmp_path / "images/dog/half.png").write_bytes(whole[: len(whole) // 2])
    source = runs(folder=str(tmp_path / "images"), image_size=8).source
    output = tmp_path / "a.safetensors"
    assert cli.main(["prepare", json.dumps({"name": "pets", **source}), "--output", str(output)]) == 2
    said = capsys.readouterr().err
    assert "broken.png" in said
    assert "half.png" in said
    assert said.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folder": "nowhere", "image_size": 8}, "nowhere: there is no such folder"),
        ({"folder": "empty", "image_size": 8}, "has the classes none; a folder a class is expected"),
        ({"folder": "images"}, "image_size is missing"),
        ({"folder": "images", "image_size": 1000}, "image_size is 224 at most"),
        ({"folder": "images", "npz": "x.npz"}, "are two data sets"),
        ({"npz": "x.npz"}, "no .npz file"),
        ({"npz": "other.npz"}, "has the arrays x"),
        ({"flip": True}, "flip is for images of your own"),
    ],
)
def test_what_is_no_data_set_is_said_before_anything_runs(settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "images", 2)
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match=message):
        runs(**settings)


def test_a_published_name_is_taken(tmp_path):
    draw(tmp_path / "images", 2)
    with pytest.raises(InputError, match="a published data set has this name"):
        study.parse(STUDY | {"datasets": {"digits": {"folder": str(tmp_path / "images"), "image_size": 8}}}, "s")
