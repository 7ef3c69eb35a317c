from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import write_class

from nassuite.data.augment import Augment
from nassuite.data.dataset import Data, DataConfig, default_augment, load_data
from nassuite.data.preprocess import Preprocess, as_float, preprocess_image
from nassuite.data.split import Split
from nassuite.errors import InputError
from nassuite.progress import Progress


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data(DataConfig("digits"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folder")
    for seed, (name, count) in enumerate({"cat": 20, "dog": 30}.items()):
        write_class(root / name, count, seed=seed)
    return root


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_digits(digits: Data) -> None:
    assert len(digits.train) + len(digits.val) + len(digits.test) == 1797
    assert (len(digits.val), len(digits.test)) == (359, 359)
    assert digits.val.class_counts().min() >= 34
    assert (digits.size, digits.in_chans, digits.labels[3]) == (32, 1, "3")
    assert digits.preprocess == Preprocess(32, 1)
    assert digits.digest == load_data(DataConfig("digits", size=16)).digest
    assert digits.digest != load_data(DataConfig("digits", seed=1)).digest


def test_splits_are_disjoint_and_mean_is_that_of_train(digits: Data) -> None:
    indices = np.concatenate(list(digits._origin.indices.values()))
    assert np.array_equal(np.sort(indices), np.arange(1797))
    assert isinstance(digits.train.images, torch.Tensor)
    pixels = digits.train.images.double() / 255
    assert digits.mean[0] == pytest.approx(pixels.mean().item())
    assert digits.std[0] == pytest.approx(pixels.std(unbiased=False).item())


def test_batches_are_preprocess_image_of_the_files(folder: Path) -> None:
    data = load_data(DataConfig(f"folder:{folder}", size=24))
    files = [folder / data._origin.source.images[index] for index in data._origin.indices["test"]]
    expected = np.stack([as_float(preprocess_image(file, data.preprocess)) for file in files])
    images = torch.cat([images for images, _ in data.test.batches(3)])
    assert np.array_equal(images.numpy(), expected)
    assert images.dtype == torch.float32
    assert [file.parent.name for file in files] == [data.labels[label] for label in data.test.labels]


def epoch(split: Split, seed: int, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    parts = list(split.batches(16, generator=generator(seed), **options))  # type: ignore[arg-type]
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


def test_an_epoch_can_be_repeated(digits: Data) -> None:
    augment = Augment(shift_px=3, cutout_px=4)
    images, labels = epoch(digits.train, 1, augment=augment)
    again, same_labels = epoch(digits.train, 1, augment=augment)
    other, _ = epoch(digits.train, 2, augment=augment)
    assert torch.equal(images, again)
    assert torch.equal(labels, same_labels)
    assert not torch.equal(images, other)
    assert torch.equal(labels.sort().values, digits.train.labels.sort().values)
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize("name", ["digits", "folder"])
def test_a_stream_gives_the_same_values(name: str, folder: Path) -> None:
    config = DataConfig(
        f"folder:{folder}" if name == "folder" else name, train_images=40 if name == "digits" else None
    )
    held, streamed = load_data(config), load_data(config, memory_bytes=0)
    assert held.train.held_bytes == held.train.images.numel()  # type: ignore[union-attr]
    assert streamed.train.held_bytes == 0
    assert (held.mean, held.std, held.digest) == (streamed.mean, streamed.std, streamed.digest)
    augment = default_augment(held)
    state = torch.get_rng_state()
    for split in ("train", "test"):
        one, other = getattr(held, split).subset(8, 3), getattr(streamed, split).subset(8, 3)
        for ours, theirs in zip(
            epoch(one, 5, augment=augment), epoch(other, 5, augment=augment), strict=True
        ):
            assert torch.equal(ours, theirs)
        read = other.held()
        assert torch.equal(read.images, one.images)
        assert torch.equal(read.labels, one.labels)
        assert one.held() is one
    assert torch.equal(torch.get_rng_state(), state)


def test_a_streamed_file_that_vanishes_is_named(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_class(tmp_path / name, 4)
    data = load_data(DataConfig(f"folder:{tmp_path}"), memory_bytes=0)
    held = load_data(DataConfig(f"folder:{tmp_path}"))
    (tmp_path / "cat" / "001.png").unlink()
    with pytest.raises(InputError, match=r"cat/001.png can no longer be read"):
        [list(split.batches(4)) for split in (data.train, data.val, data.test)]
    with pytest.raises(InputError, match=r"cat/001.png can no longer be read"):
        held.resized(16)


def test_resized_keeps_split_and_rule(folder: Path) -> None:
    data = load_data(DataConfig(f"folder:{folder}"))
    small = data.resized(16)
    direct = load_data(DataConfig(f"folder:{folder}", size=16))
    assert data.resized(16) is small
    assert data.resized(data.size) is data
    assert small.resized(32) is data
    assert (small.mean, small.digest, small.labels) == (data.mean, data.digest, data.labels)
    assert torch.equal(small.val.labels, data.val.labels)
    assert torch.equal(small.val.images, direct.val.images)  # type: ignore[arg-type]


def test_memory_is_bounded_over_all_sizes(folder: Path) -> None:
    room = 50 * 3 * (32**2 + 16**2)
    data = load_data(DataConfig(f"folder:{folder}"), memory_bytes=room)
    assert data.train.held_bytes > 0
    assert data.resized(16).train.held_bytes > 0
    streamed = data.resized(24)
    assert streamed.train.held_bytes == 0
    direct = load_data(DataConfig(f"folder:{folder}", size=24))
    for (ours, _), (theirs, _) in zip(streamed.val.batches(4), direct.val.batches(4), strict=True):
        assert torch.equal(ours, theirs)


def test_train_images_takes_a_stratified_subset_of_train_only(digits: Data) -> None:
    data = load_data(DataConfig("digits", train_images=100))
    assert len(data.train) == 100
    assert set(data.train.class_counts().tolist()) <= {9, 10, 11}
    assert torch.equal(data.test.images, digits.test.images)  # type: ignore[arg-type]
    assert len(load_data(DataConfig("digits", train_images=5000)).train) == len(digits.train)


def test_subset(digits: Data) -> None:
    part = digits.val.subset(50, 0)
    assert part.class_counts().tolist() == [5] * 10
    assert torch.equal(part.labels, digits.val.subset(50, 0).labels)
    assert not torch.equal(part.images, digits.val.subset(50, 1).images)  # type: ignore[arg-type]
    assert digits.val.subset(9999, 0) is digits.val
    assert len(digits.val.subset(4, 0)) == 4


def test_batch_sizes_layout_and_refusals(digits: Data) -> None:
    split = digits.val.subset(25, 0)
    sizes = [len(labels) for _, labels in split.batches(10)]
    assert sizes == [10, 10, 5]
    assert [len(labels) for _, labels in split.batches(10, drop_last=True)] == [10, 10]
    assert [len(labels) for _, labels in split.batches(30, drop_last=True)] == [25]
    images, labels = next(split.batches(10, device="cpu"))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64
    with pytest.raises(ValueError, match="generator"):
        next(split.batches(10, augment=Augment(flip=True)))
    assert split.to("cpu").labels.tolist() == split.labels.tolist()


def test_default_augment(digits: Data, folder: Path) -> None:
    assert default_augment(digits) == Augment(flip=False, shift_px=2, cutout_px=8)
    assert default_augment(load_data(DataConfig(f"folder:{folder}", size=64))) == Augment(True, 8, 16)


def test_progress_counts_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, int] = {}

    class Counting(Progress):
        def track(self, items, description, *, total=None, done=0, unit=""):  # type: ignore[no-untyped-def]
            for item in items:
                seen[description] = seen.get(description, 0) + 1
                yield item
            assert seen[description] == total

    load_data(DataConfig(f"folder:{folder}"), progress=Counting())
    assert seen == {"reading train images": 36, "reading val images": 7, "reading test images": 7}


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (DataConfig("digit"), "unknown data 'digit': did you mean digits"),
        (DataConfig("imagenet"), "unknown data 'imagenet': expected digits, folder:DIR"),
        (DataConfig("/"), "did you mean folder:/"),
        (DataConfig("digits:x"), "take no folder"),
        (DataConfig("digits", size=7), "image size 7: expected 8 to 1024"),
        (DataConfig("digits", train_images=9), "9 training images for 10 classes"),
        (DataConfig("digits", seed=-1), "seed -1"),
        (DataConfig("digits", val_fraction=0.5), "val fraction 0.5"),
    ],
)
def test_refused_settings(config: DataConfig, match: str) -> None:
    with pytest.raises(InputError, match=match):
        load_data(config)


def test_a_refused_size_of_resized(digits: Data) -> None:
    with pytest.raises(InputError, match="image size 4"):
        digits.resized(4)
