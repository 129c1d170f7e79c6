"""Preparing, loading and serving images: exact contents, and properties of every batch."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slimming import data, datasets, tensorfile
from slimming.datasets import base
from slimming.errors import InputError

CIFAR10_ROOT = os.environ.get("SLIMMING_CIFAR10")


@pytest.fixture(scope="session")
def digits_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "digits.safetensors"
    data.prepare("digits", path.parent / "unused", path)
    return path


@pytest.fixture(scope="session")
def digits(digits_path) -> data.Dataset:
    return data.load(digits_path)


def colours(count: int = 50, padding: int = 2, flip: bool = True, size: int = 5) -> data.Dataset:
    """Random colour images whose label is their position, so that a batch tells which images it holds."""
    images = torch.randint(1, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.manual_seed(0))
    return data.Dataset(
        name="colours",
        image_size=size,
        classes=[str(index) for index in range(count)],
        mean=[0.5, 0.4, 0.3],
        std=[0.2, 0.3, 0.4],
        padding=padding,
        flip=flip,
        md5={},
        train_images=images,
        train_labels=torch.arange(count),
        test_images=images[:7],
        test_labels=torch.arange(7),
    )


def sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def same(first, second) -> bool:
    first, second = list(first), list(second)
    return len(first) == len(second) and all(
        torch.equal(a, b) for one, other in zip(first, second, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_digits_have_their_exact_content(digits):
    assert (digits.name, digits.image_size, digits.padding, digits.flip, digits.md5) == (
        "digits",
        8,
        0,
        False,
        {},
    )
    assert digits.classes == [str(digit) for digit in range(10)]
    assert digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.test_images.shape == (360, 1, 8, 8)
    assert digits.train_images.dtype == digits.test_images.dtype == torch.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == torch.int64
    assert digits.train_labels.bincount().tolist() == [142, 146, 142, 146, 145, 145, 145, 143, 139, 144]
    assert digits.test_labels.bincount().tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    levels = [round(255 * level / 16) for level in range(17)]
    assert digits.train_images.unique().tolist() == levels
    assert sha256(digits.train_images) == "c55533fa45b670a4c22db690f1f1cd894734457fc4545c248f93a5a49bbce78d"
    assert sha256(digits.test_images) == "ac6ada28192bd51afee49bd7498331d97a9233e21e762b219700b723b191dbf1"


def test_the_splits_of_digits_are_all_of_scikit_learns_images_once(digits):
    from sklearn.datasets import load_digits

    def rows(images, labels):
        return sorted((*image, label) for image, label in zip(images.tolist(), labels.tolist(), strict=True))

    images = torch.cat([digits.train_images, digits.test_images]).flatten(1)
    original = load_digits()
    levels = torch.tensor(original.data * 255 / 16).round().to(torch.uint8)
    assert rows(images, torch.cat([digits.train_labels, digits.test_labels])) == rows(levels, original.target)


def test_the_statistics_of_digits_are_those_of_their_training_pixels(digits):
    pixels = digits.train_images.double() / 255
    assert digits.mean == [round(pixels.mean().item(), 4)]
    assert digits.std == [round(pixels.std(correction=0).item(), 4)]


def test_digits_are_enlarged_bilinearly(tmp_path, digits):
    data.prepare("digits", tmp_path, tmp_path / "large", image_size=16)
    large = data.load(tmp_path / "large")
    assert (large.image_size, large.train_images.shape) == (16, (1437, 1, 16, 16))
    # Doubling puts each new pixel a quarter of a pixel from an old one: weights 3/4 and 1/4 along each axis.
    padded = np.pad(digits.train_images.numpy().astype(float), [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    tall = np.empty((1437, 1, 16, 10))
    tall[:, :, 0::2] = (padded[:, :, :-2] + 3 * padded[:, :, 1:-1]) / 4
    tall[:, :, 1::2] = (padded[:, :, 2:] + 3 * padded[:, :, 1:-1]) / 4
    expected = np.empty((1437, 1, 16, 16))
    expected[..., 0::2] = (tall[..., :-2] + 3 * tall[..., 1:-1]) / 4
    expected[..., 1::2] = (tall[..., 2:] + 3 * tall[..., 1:-1]) / 4
    assert np.array_equal(large.train_images.numpy(), expected.round())
    assert torch.equal(large.train_labels, digits.train_labels)


def test_preparing_twice_gives_the_same_bytes(tmp_path, digits_path):
    data.prepare("digits", tmp_path, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == digits_path.read_bytes()


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="unknown data set 'digit': did you mean 'digits'"):
        data.prepare("digit", tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing", "of something else"])
def test_a_damaged_file_is_refused_by_name(tmp_path, digits_path, damage):
    path = tmp_path / "digits.safetensors"
    content = bytearray(digits_path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[:-1])
    elif damage == "altered":
        content[-1000] ^= 1
        path.write_bytes(content)
    elif damage == "of something else":
        tensorfile.write(path, {"weight": torch.zeros(3)}, {})
    with pytest.raises(InputError, match=str(path)) as raised:
        data.load(path)
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_loaded_images_are_pages_of_the_file_and_not_a_copy(digits_path):
    """In a fresh process, since this one has the file open already."""
    code = f"""
from slimming import data
digits = data.load({str(digits_path)!r})
address = digits.train_images.data_ptr()
for line in open("/proc/self/maps"):
    low, high = (int(end, 16) for end in line.split()[0].split("-"))
    if low <= address < high:
        print(line.split()[-1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == str(digits_path), done.stderr


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_from_its_archive(tmp_path, monkeypatch, name):
    """A small archive in the layout of the real one, with sums of its own."""
    from slimming.vision import datasets as published

    kind = {"cifar10": published.CIFAR10, "cifar100": published.CIFAR100}[name]
    draw = np.random.default_rng(0)
    labels_key = {"cifar10": "labels", "cifar100": "fine_labels"}[name]
    pixels, lists, members = {}, {}, []
    with tarfile.open(tmp_path / kind.filename, "w:gz") as tar:

        def add(path: str, content: dict) -> str:
            raw = pickle.dumps(content)
            info = tarfile.TarInfo(f"{kind.base_folder}/{path}")
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
            members.append(base.File(info.name, hashlib.md5(raw).hexdigest()))
            return members[-1].md5

        for part in ("train_list", "test_list"):
            lists[part] = []
            for path, _ in getattr(kind, part):
                pixels[path] = draw.integers(0, 256, (2, 3072), dtype=np.uint8)
                lists[part].append([path, add(path, {"data": pixels[path], labels_key: [3, 1]})])
        meta = kind.meta | {"md5": add(kind.meta["filename"], {kind.meta["key"]: ["cat", "dog"]})}
    for attribute, value in (lists | {"meta": meta}).items():
        monkeypatch.setattr(kind, attribute, value)
    archive = base.File(kind.filename, hashlib.md5((tmp_path / kind.filename).read_bytes()).hexdigest())
    small = dataclasses.replace(datasets.get(name), downloads=(base.Download(archive, (), tuple(members)),))
    monkeypatch.setitem(datasets.registry(), name, small)

    data.prepare(name, tmp_path, tmp_path / "out")
    cifar = data.load(tmp_path / "out")
    train = np.concatenate([pixels[path] for path, _ in kind.train_list])
    assert np.array_equal(cifar.train_images.numpy(), train.reshape(-1, 3, 32, 32))
    assert np.array_equal(cifar.test_images.numpy(), pixels[kind.test_list[0][0]].reshape(-1, 3, 32, 32))
    assert cifar.train_labels.tolist() == [3, 1] * len(kind.train_list)
    assert cifar.classes == ["cat", "dog"]
    assert cifar.md5 == {member.path: member.md5 for member in members}
    assert (cifar.padding, cifar.flip) == (4, True)

    data.prepare(name, tmp_path, tmp_path / "half", image_size=16)
    half = data.load(tmp_path / "half")
    assert (half.test_images.shape, half.padding) == ((2, 3, 16, 16), 2)


def test_svhn_trains_on_train_and_extra_and_calls_its_label_ten_zero(tmp_path, monkeypatch):
    from scipy.io import savemat

    from slimming.vision import datasets as published

    draw = np.random.default_rng(0)
    splits, downloads = {}, []
    for split, count in (("train", 3), ("extra", 4), ("test", 2)):
        images = draw.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = np.arange(10, 10 - count, -1)
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": images, "y": labels[:, None]})
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setitem(published.SVHN.split_list, split, ["", path.name, md5])
        downloads.append(base.Download(base.File(path.name, md5), ()))
        splits[split] = torch.from_numpy(images.transpose(3, 2, 0, 1).copy())
    small = dataclasses.replace(datasets.get("svhn"), downloads=tuple(downloads))
    monkeypatch.setitem(datasets.registry(), "svhn", small)
    data.prepare("svhn", tmp_path, tmp_path / "svhn")
    svhn = data.load(tmp_path / "svhn")
    assert torch.equal(svhn.train_images, torch.cat([splits["train"], splits["extra"]]))
    assert torch.equal(svhn.test_images, splits["test"])
    assert svhn.train_labels.tolist() == [0, 9, 8, 0, 9, 8, 7]
    assert svhn.test_labels.tolist() == [0, 9]
    assert svhn.classes == [str(digit) for digit in range(10)]
    assert svhn.md5 == {item.file.path: item.file.md5 for item in downloads}
    assert (svhn.padding, svhn.flip) == (0, False)


def test_a_validation_set_is_a_part_of_the_training_images_and_holds_no_test_image(tmp_path, digits):
    """What it holds is what the whole set trains on, image by image, and each class gives its share."""
    data.prepare("digits-validation", tmp_path, tmp_path / "validation")
    split = data.load(tmp_path / "validation")
    assert (len(split.train_labels), len(split.test_labels)) == datasets.get("digits-validation").images == (1150, 287)

    def content(images, labels):
        return sorted((image.tobytes(), label) for image, label in zip(images.numpy(), labels.tolist(), strict=True))

    both = torch.cat([split.train_images, split.test_images]), torch.cat([split.train_labels, split.test_labels])
    assert content(*both) == content(digits.train_images, digits.train_labels)
    shares = split.test_labels.bincount() / digits.train_labels.bincount()
    assert shares.tolist() == pytest.approx([287 / 1437] * 10, abs=0.004)


@pytest.mark.skipif(not CIFAR10_ROOT, reason="SLIMMING_CIFAR10 names no directory with cifar-10-batches-py")
def test_the_real_cifar10_is_prepared_whole(tmp_path):
    data.prepare("cifar10", CIFAR10_ROOT, tmp_path / "cifar10")
    cifar = data.load(tmp_path / "cifar10")
    assert cifar.train_images.shape == (50_000, 3, 32, 32)
    assert cifar.test_images.shape == (10_000, 3, 32, 32)
    assert cifar.train_labels.bincount().tolist() == [5000] * 10
    assert cifar.test_labels.bincount().tolist() == [1000] * 10
    assert (cifar.padding, cifar.flip, cifar.classes[:2]) == (4, True, ["airplane", "automobile"])
    assert cifar.md5 == {file.path: file.md5 for file in datasets.get("cifar10").downloads[0].members}
    data.prepare("cifar10-validation", CIFAR10_ROOT, tmp_path / "validation")
    validation = data.load(tmp_path / "validation")
    assert validation.train_labels.bincount().tolist() == [4500] * 10
    assert validation.test_labels.bincount().tolist() == [500] * 10
    means = cifar.train_images.sum((0, 2, 3)) / (255 * 50_000 * 32 * 32)
    assert means.tolist() == pytest.approx(cifar.mean, abs=5e-5)


def crops(image: torch.Tensor, padding: int) -> list[torch.Tensor]:
    """By brute force, every crop of the padded image and its mirror, in order of top, left, flip."""
    size = image.shape[-1]
    padded = torch.zeros(3, size + 2 * padding, size + 2 * padding, dtype=image.dtype)
    padded[:, padding : padding + size, padding : padding + size] = image
    found = []
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = padded[:, top : top + size, left : left + size]
            found += [crop, torch.stack([crop[:, :, size - 1 - column] for column in range(size)], 2)]
    return found


@given(padding=st.integers(0, 3), size=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_an_augmented_image_is_the_crop_its_offsets_name(padding, size, seed):
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8, generator=draw)
    offsets = torch.randint(2 * padding + 1, (4, 2), generator=draw)
    flips = torch.randint(2, (4,), generator=draw).bool()
    augmented = data.augment(images, padding, offsets, flips)
    for image, (top, left), flip, result in zip(images, offsets.tolist(), flips.tolist(), augmented, strict=True):
        expected = crops(image, padding)[(top * (2 * padding + 1) + left) * 2 + flip]
        assert torch.equal(result, expected)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**63), epoch=st.integers(0, 1000), padding=st.integers(0, 2), flip=st.booleans(),
    batch_size=st.integers(1, 60),
)  # fmt: skip
def test_every_image_appears_once_an_epoch_as_one_of_its_own_crops(seed, epoch, padding, flip, batch_size):
    dataset = colours(padding=padding, flip=flip)
    mean, std = (torch.tensor(value)[:, None, None] for value in (dataset.mean, dataset.std))
    seen = []
    for images, labels in data.batches(dataset, batch_size, seed, epoch):
        assert images.dtype == torch.float32
        pixels = ((images * std + mean) * 255).round().to(torch.uint8)
        for image, label in zip(pixels, labels.tolist(), strict=True):
            allowed = crops(dataset.train_images[label], padding)[:: 1 if flip else 2]
            assert any(torch.equal(image, crop) for crop in allowed)
            seen.append(label)
    assert sorted(seen) == list(range(50))


def test_every_crop_and_both_mirrors_are_drawn_equally_often():
    _, offsets, flips = data._epoch(colours(count=10_000, padding=1, size=1), seed=0, epoch=0)
    cells = (offsets[:, 0] * 3 + offsets[:, 1]) * 2 + flips
    counts = cells.bincount(minlength=18)
    # Pearson's chi-squared with 17 degrees of freedom exceeds 40.8 once in a thousand draws.
    assert ((counts - 10_000 / 18) ** 2 / (10_000 / 18)).sum() < 40.8


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63), epoch=st.integers(0, 1000), noise=st.integers(0, 2**32))
def test_an_epoch_depends_on_seed_and_epoch_alone(seed, epoch, noise):
    dataset = colours()
    torch.manual_seed(noise)
    first = list(data.batches(dataset, 16, seed, epoch))
    state = torch.get_rng_state()
    torch.rand(noise % 7)
    assert same(first, data.batches(dataset, 16, seed, epoch))
    torch.set_rng_state(state)
    list(data.batches(dataset, 16, seed, epoch))
    assert torch.equal(torch.get_rng_state(), state)


def test_seeds_and_epochs_all_differ():
    dataset = colours()
    orders = {
        tuple(torch.cat([labels for _, labels in data.batches(dataset, 64, seed, epoch)]).tolist())
        for seed in range(20)
        for epoch in range(20)
    }
    assert len(orders) == 400


def test_order_crops_and_flips_are_drawn_apart():
    """So none depends on another, and images come in the same order with and without augmentation."""
    assert len({data._generator(stream, 3, 5).initial_seed() for stream in ("order", "crop", "flip")}) == 3
    plain, augmented = colours(padding=0, flip=False), colours()
    for (_, first), (_, second) in zip(data.batches(plain, 16, 3, 5), data.batches(augmented, 16, 3, 5), strict=True):
        assert torch.equal(first, second)


@given(first=st.integers(0, 6))
@settings(deadline=None)
def test_a_resumed_epoch_equals_the_tail_of_an_unbroken_one(first):
    dataset = colours()
    assert same(data.batches(dataset, 16, 1, 2, first=first), list(data.batches(dataset, 16, 1, 2))[first:])


def test_the_last_smaller_batch_is_kept():
    assert [len(labels) for _, labels in data.batches(colours(), 16, 0, 0)] == [16, 16, 16, 2]
    assert [len(labels) for _, labels in data.evaluation_batches(colours(), 5)] == [5, 2]


def test_evaluation_serves_the_test_split_in_order_without_augmentation():
    dataset = colours()
    images, labels = (torch.cat(parts) for parts in zip(*data.evaluation_batches(dataset, 3), strict=True))
    mean, std = (torch.tensor(value)[:, None, None] for value in (dataset.mean, dataset.std))
    assert torch.equal(labels, dataset.test_labels)
    torch.testing.assert_close(images, (dataset.test_images / 255 - mean) / std)


def test_torchvision_transforms_an_image_alike():
    from PIL import Image

    from slimming.vision import transforms

    dataset = colours(size=32, padding=4)
    normalise = transforms.Normalize(dataset.mean, dataset.std)
    order, offsets, flips = data._epoch(dataset, seed=0, epoch=0)
    ((images, _),) = data.batches(dataset, 50, seed=0, epoch=0)
    assert set(flips.tolist()) == {True, False}
    for index, (top, left), flip, ours in zip(order, offsets.tolist(), flips.tolist(), images, strict=True):
        image = Image.fromarray(dataset.train_images[index].permute(1, 2, 0).numpy())
        image = transforms.functional.pad(image, 4)
        image = transforms.functional.crop(image, top, left, 32, 32)
        image = transforms.functional.hflip(image) if flip else image
        theirs = normalise(transforms.functional.to_tensor(image))
        torch.testing.assert_close(ours, theirs)


def test_normalised_images_keep_the_asked_type():
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    mean, std = torch.tensor([0.5] * 3), torch.tensor([0.25] * 3)
    assert data.normalise(images, mean, std).dtype == torch.float32
    half = data.normalise(images, mean, std, torch.bfloat16)
    assert torch.equal(half, data.normalise(images, mean, std).bfloat16())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_have_the_same_bits_on_a_gpu():
    dataset = colours()
    tensors = {name: value for name, value in vars(dataset).items() if isinstance(value, torch.Tensor)}
    there = dataclasses.replace(dataset, **{name: value.cuda() for name, value in tensors.items()})
    batches = [(images.cpu(), labels.cpu()) for images, labels in data.batches(there, 16, 0, 0)]
    assert same(data.batches(dataset, 16, 0, 0), batches)


@given(images=st.integers(1, 200), batch_size=st.integers(2, 50))
def test_batches_hold_every_image_once_and_never_one_alone(images, batch_size):
    spans = data.spans(images, batch_size)
    sizes = [span.stop - span.start for span in spans]
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(images))
    assert all(size == batch_size for size in sizes[:-1])
    assert 1 < sizes[-1] <= batch_size + 1 or images == 1
