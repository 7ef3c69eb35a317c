from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import encoded, picture
from PIL import Image

from nassuite.data import Augment
from nassuite.data.masks import MaskData, MaskSplit, load_masks
from nassuite.errors import InputError
from nassuite.progress import Progress

SIDE = 12


class Notes(Progress):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__(enabled=False)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def labels(seed: int, side: int | tuple[int, int] = SIDE, classes: int = 3) -> np.ndarray:
    return picture(seed, side=side, channels=1) % classes


def write(folder: Path, count: int, *, seed: int = 0, classes: int = 3) -> Path:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(picture(seed + number, side=SIDE)).save(folder / "images" / f"{number:02d}.jpg")
        Image.fromarray(labels(seed + number, classes=classes)).save(folder / "masks" / f"{number:02d}.png")
    return folder


def load(root: Path, notes: Progress | None = None, **settings) -> MaskData:
    return load_masks(str(root), **({"size": (SIDE, SIDE)} | settings), progress=notes or Notes())


def refused(root: Path, match: str, **settings) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load(root, **settings)
    assert "\n" not in str(caught.value)


def test_a_flat_folder_is_split_by_seed(tmp_path: Path) -> None:
    write(tmp_path, 20)
    notes = Notes()
    data = load(tmp_path, notes)
    assert [len(split) for split in (data.train, data.val, data.test)] == [14, 3, 3]
    assert "15% for val and 15% for test" in notes.said[0]
    assert (data.classes, data.in_chans, data.size, data.skipped) == (3, 3, (SIDE, SIDE), ())
    every = torch.cat([data.train.labels, data.val.labels, data.test.labels])
    assert len({mask.numpy().tobytes() for mask in every}) == 20
    assert load(tmp_path).digest == data.digest
    assert load(tmp_path, size=(8, 10)).digest == data.digest
    assert load(tmp_path, seed=1).digest != data.digest
    assert len(load(tmp_path, val_fraction=0.3).val) == 6


def test_pixels_and_labels_are_the_files(tmp_path: Path) -> None:
    write(tmp_path / "train", 3)
    write(tmp_path / "valid", 2, seed=50)
    write(tmp_path / "test", 1, seed=90)
    notes = Notes()
    data = load(tmp_path, notes)
    assert notes.said == []
    assert [len(split) for split in (data.train, data.val, data.test)] == [3, 2, 1]
    assert data.train.labels.dtype == data.train.images.dtype == torch.uint8
    for number in range(3):
        with Image.open(tmp_path / "train" / "images" / f"{number:02d}.jpg") as image:
            assert np.array_equal(data.train.images[number].permute(1, 2, 0), np.asarray(image))
        assert np.array_equal(data.train.labels[number], labels(number))
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert data.std == pytest.approx(pixels.std((0, 2, 3), unbiased=False).tolist())
    expected = torch.bincount(data.train.labels.flatten().long(), minlength=3)
    assert torch.equal(data.train.class_counts(), expected)
    assert len(load(tmp_path, in_chans=1).mean) == 1


def test_missing_split_folders_are_taken_from_train(tmp_path: Path) -> None:
    write(tmp_path / "train", 10)
    write(tmp_path / "test", 4, seed=50)
    notes = Notes()
    data = load(tmp_path, notes)
    assert [len(split) for split in (data.train, data.val, data.test)] == [9, 1, 4]
    assert "10% for val" in notes.said[0]


def test_image_and_mask_are_resized_to_the_same_place(tmp_path: Path) -> None:
    write(tmp_path, 5)
    wide = labels(3, side=(20, 60), classes=2)
    wide[:, 30:], wide[:, :30] = 1, 0
    Image.fromarray(wide * 255).convert("RGB").save(tmp_path / "images" / "wide.png")
    Image.fromarray(wide).save(tmp_path / "masks" / "wide.png")
    data = load(tmp_path, size=(10, 16))
    rows = [s for s in (data.train, data.val, data.test) for s in zip(s.images, s.labels, strict=True)]
    assert all(image.shape == (3, 10, 16) and mask.shape == (10, 16) for image, mask in rows)
    image, mask = next(
        row for row in rows if set(row[1].flatten().tolist()) == {0, 1} and (row[0][0] > 250).any()
    )
    assert torch.equal(mask[0], torch.tensor([0] * 8 + [1] * 8, dtype=torch.uint8))
    assert torch.equal(image[0] > 127, mask == 1)


def test_palettes_bits_and_nested_folders(tmp_path: Path) -> None:
    write(tmp_path, 4)
    palette = Image.fromarray(labels(0)).convert("P")
    palette.putpalette([value for colour in ((0, 0, 0), (128, 0, 0), (0, 128, 0)) for value in colour])
    palette.putdata(labels(0).flatten().tolist())
    palette.save(tmp_path / "masks" / "00.png")
    Image.fromarray(labels(1, classes=2).astype(bool)).save(tmp_path / "masks" / "01.png")
    Image.fromarray(labels(2).astype(np.uint16)).save(tmp_path / "masks" / "02.png")
    for kind in ("images", "masks"):
        (tmp_path / kind / "town").mkdir()
        (tmp_path / kind / "03.jpg" if kind == "images" else tmp_path / kind / "03.png").rename(
            tmp_path / kind / "town" / ("03.jpg" if kind == "images" else "03.png")
        )
    data = load(tmp_path)
    found = {m.numpy().tobytes() for split in (data.train, data.val, data.test) for m in split.labels}
    assert found == {labels(number, classes=2 if number == 1 else 3).tobytes() for number in range(4)}


def test_unreadable_files_are_named_counted_and_skipped(tmp_path: Path) -> None:
    write(tmp_path, 20)
    whole = encoded(Image.fromarray(picture(0, side=64)), "JPEG")
    damaged = {"images/00.jpg": whole[: len(whole) // 2], "masks/01.png": b"", "masks/02.png": b"GIF89a"}
    deep = Image.fromarray(picture(1, side=SIDE, channels=1).astype(np.uint16) * 200)
    damaged["images/03.jpg"] = encoded(deep, "PNG")
    for file, content in damaged.items():
        (tmp_path / file).write_bytes(content)
    notes = Notes()
    data = load(tmp_path, notes)
    assert sorted(file for file, _ in data.skipped) == sorted(damaged)
    assert all(reason and "\n" not in reason for _, reason in data.skipped)
    assert len(data.train) + len(data.val) + len(data.test) == 16
    assert "skipped 4 unreadable images or masks" in notes.said[1]


def test_ignored_pixels_are_no_class(tmp_path: Path) -> None:
    write(tmp_path, 4)
    for file in (tmp_path / "masks").iterdir():
        values = labels(int(file.stem), classes=2)
        values[0] = 255
        Image.fromarray(values).save(file)
    data = load(tmp_path)
    assert data.classes == 2
    assert int(data.train.class_counts().sum()) == len(data.train) * SIDE * (SIDE - 1)
    assert load(tmp_path, classes=5).classes == 5
    for file in (tmp_path / "masks").iterdir():
        Image.fromarray(labels(0, classes=2) * 255).save(file)
    refused(tmp_path, "no class but 0; 255 means ignored, so foreground should be 1")
    for file in (tmp_path / "masks").iterdir():
        Image.fromarray(np.full((SIDE, SIDE), 255, np.uint8)).save(file)
    refused(tmp_path, "every pixel in train is ignored", classes=3)


def test_refused_folders(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no folder .*nowhere")
    refused(tmp_path, "expected images/ and masks/")
    (tmp_path / "images").mkdir()
    refused(tmp_path, "no files in .*images")
    write(tmp_path, 3)
    (tmp_path / "masks" / "01.png").unlink()
    refused(tmp_path, r"1 of 3 images in .*images have no mask: images/01.jpg; expected .*01.png or .bmp")
    write(tmp_path, 3)
    (tmp_path / "masks" / "00.bmp").write_bytes(b"x")
    refused(tmp_path, "both masks/00.bmp and masks/00.png")
    refused(write(tmp_path / "few", 2), "2 images in train are too few to take val and test")
    write(tmp_path / "bare" / "train", 3)
    (tmp_path / "bare" / "val" / "images").mkdir(parents=True)
    refused(tmp_path / "bare", "no files in .*val/images")


def test_a_mask_without_an_image_is_told(tmp_path: Path) -> None:
    write(tmp_path, 6)
    (tmp_path / "images" / "05.jpg").unlink()
    notes = Notes()
    load(tmp_path, notes)
    assert notes.said[0] == "note: 1 masks have no image and are left out: masks/05.png"


def test_refused_masks(tmp_path: Path) -> None:
    write(tmp_path, 4)
    file = tmp_path / "masks" / "02.png"
    refused(tmp_path, r"masks/0\d.png has the value 2: expected 0 to 1 for 2 classes, or 255", classes=2)
    Image.fromarray(labels(0, side=(12, 10))).save(file)
    refused(tmp_path, "images/02.jpg is 12 x 12 pixels, its mask masks/02.png 10 x 12")
    Image.fromarray(picture(0, side=SIDE)).save(file)
    refused(tmp_path, r"masks/02.png has colours \(RGB\)")
    Image.fromarray(labels(0).astype(np.uint16) + 300).save(file)
    refused(tmp_path, "masks/02.png has the value 302")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"size": (4, 64)}, "image size"),
        ({"seed": -1}, "seed -1"),
        ({"val_fraction": 0.6}, "val fraction 0.6"),
        ({"in_chans": 2}, "in_chans 2"),
        ({"classes": 1}, "1 classes"),
        ({"memory_bytes": 1000}, "4 images and masks of 12 x 12 take"),
    ],
)
def test_refused_settings(tmp_path: Path, settings: dict[str, object], match: str) -> None:
    refused(write(tmp_path, 4), match, **settings)


def split_of(count: int = 7) -> MaskSplit:
    """Images whose first channel is their mask, so that whatever moves one must move the other."""
    masks = torch.randint(
        0, 200, (count, 9, 8), generator=torch.Generator().manual_seed(3), dtype=torch.uint8
    )
    return MaskSplit(masks, torch.stack([masks, 255 - masks], 1), 200)


def test_batches_in_order() -> None:
    split = split_of()
    images, masks = zip(*split.batches(3), strict=True)
    assert [len(batch) for batch in images] == [3, 3, 1]
    assert masks[0].dtype == torch.int64
    assert torch.equal(torch.cat(masks), split.labels.long())
    assert torch.allclose(torch.cat(images) * 255, split.images.float())
    with pytest.raises(ValueError, match="needs a generator"):
        next(split.batches(3, augment=Augment(flip=True)))


def test_labels_move_with_their_images() -> None:
    split = split_of()
    augment = Augment(flip=True, shift_px=2, cutout_px=3)

    def drawn() -> list[tuple[torch.Tensor, torch.Tensor]]:
        generator = torch.Generator().manual_seed(5)
        return list(split.batches(3, generator=generator, augment=augment, drop_last=True))

    batches = drawn()
    assert len(batches) == 2
    assert any(not torch.equal(masks, split.labels[:3].long()) for _, masks in batches)
    for images, masks in batches:
        moved = (images[:, 0] * 255).round() == masks
        assert 0.8 < moved.float().mean() < 1.0  # all but the squares that were cut out of the image alone
    for (images, masks), (again, masks_again) in zip(batches, drawn(), strict=True):
        assert torch.equal(images, again)
        assert torch.equal(masks, masks_again)


def test_subset_and_size() -> None:
    split = split_of()
    small = split.subset(4, seed=1)
    rows = [next(i for i in range(7) if torch.equal(mask, split.labels[i])) for mask in small.labels]
    assert len(small) == 4
    assert rows == sorted(rows)
    assert split.subset(7, seed=1) is split
    assert split.held_bytes == 7 * 9 * 8 * 3
    assert len(split.to("cpu")) == 7
