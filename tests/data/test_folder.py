import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from image_files import encoded, picture, write_class
from PIL import Image

from nassuite.data.dataset import Data, DataConfig, load_data
from nassuite.errors import InputError
from nassuite.progress import Progress


class Notes(Progress):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__(enabled=False)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def flat(root: Path, **counts: int) -> Path:
    for seed, (name, count) in enumerate(counts.items()):
        write_class(root / name, count, seed=seed)
    return root


def load(root: Path, notes: Progress | None = None, **settings: object) -> Data:
    return load_data(DataConfig(f"folder:{root}", **settings), progress=notes or Notes())  # type: ignore[arg-type]


def test_flat_folder_is_split_stratified(tmp_path: Path) -> None:
    data = load(flat(tmp_path, cat=20, dog=40))
    assert data.labels == ("cat", "dog")
    assert data.train.class_counts().tolist() == [14, 28]
    assert data.val.class_counts().tolist() == [3, 6]
    assert data.test.class_counts().tolist() == [3, 6]
    assert (data.in_chans, data.size, data.skipped) == (3, 32, ())
    assert load(tmp_path, val_fraction=0.3).val.class_counts().tolist() == [6, 12]


def test_digest_tells_data_and_splits_apart_and_nothing_else(tmp_path: Path) -> None:
    root = flat(tmp_path / "a", cat=10, dog=10)
    digest = load(root).digest
    moved = tmp_path / "elsewhere"
    shutil.copytree(root, moved)
    assert load(moved).digest == digest
    assert load(root, size=16).digest == digest
    assert load(root, seed=1).digest != digest
    assert load(root, train_images=6).digest != digest
    (moved / "cat" / "000.png").write_bytes((root / "dog" / "000.png").read_bytes())
    assert load(moved).digest != digest
    os.rename(root / "cat", root / "cow")
    assert load(root).digest != digest


def test_train_val_test_folders_are_kept(tmp_path: Path) -> None:
    flat(tmp_path / "train", cat=6, dog=5)
    flat(tmp_path / "valid", cat=2, dog=1)
    flat(tmp_path / "test", cat=3)
    notes = Notes()
    data = load(tmp_path, notes)
    assert [split.class_counts().tolist() for split in (data.train, data.val, data.test)] == [
        [6, 5],
        [2, 1],
        [3, 0],
    ]
    assert not any("taken from train" in note for note in notes.said)


@pytest.mark.parametrize(
    ("there", "sizes", "said"),
    [
        (("test",), (36, 4, 6), "10% for val"),
        (("val",), (36, 6, 4), "10% for test"),
        ((), (32, 4, 4), "10% for val and 10% for test"),
    ],
)
def test_a_missing_split_is_taken_from_train(
    tmp_path: Path, there: tuple[str, ...], sizes: tuple[int, ...], said: str
) -> None:
    flat(tmp_path / "train", cat=20, dog=20)
    for split in there:
        flat(tmp_path / split, cat=3, dog=3)
    notes = Notes()
    data = load(tmp_path, notes)
    assert (len(data.train), len(data.val), len(data.test)) == sizes
    assert said in notes.said[0]


def test_classes_may_be_symlinks_nested_or_called_train(tmp_path: Path) -> None:
    flat(tmp_path / "store", cats=5)
    root = flat(tmp_path / "data", train=5, plane=5)
    (root / "cat").symlink_to(tmp_path / "store" / "cats")
    write_class(root / "plane" / "more", 2, seed=8)
    data = load(root)
    assert data.labels == ("cat", "plane", "train")
    assert len(data.train) + len(data.val) + len(data.test) == 17


def test_all_formats_and_modes(tmp_path: Path) -> None:
    colour = Image.fromarray(picture(0, side=20))
    contents = {
        "a.JPG": encoded(colour, "JPEG"),
        "b.jpeg": encoded(colour.convert("CMYK"), "JPEG"),
        "c.PnG": encoded(colour.convert("P"), "PNG"),
        "d.webp": encoded(colour.convert("RGBA"), "WEBP"),
        "e.bmp": encoded(colour, "BMP"),
        "f.png": encoded(Image.fromarray(picture(1, channels=1).astype(np.uint16) * 200), "PNG"),
        "g.png": encoded(colour.convert("1"), "PNG"),
        "h.jpg": encoded(colour.convert("L"), "JPEG"),
    }
    ignored = {".hidden.png": b"x", "notes.txt": b"x", "Thumbs.db": b"x"}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file, content in {**contents, **ignored}.items():
            (tmp_path / name / file).write_bytes(content)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "empty").mkdir()
    data = load(tmp_path)
    assert data.labels == ("one", "two")
    assert data.skipped == ()
    assert len(data.train) + len(data.val) + len(data.test) == 16


def test_grey_folders_have_one_channel(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_class(tmp_path / name, 4, channels=1)
    data = load(tmp_path)
    assert data.in_chans == 1
    assert len(data.mean) == 1
    write_class(tmp_path / "a", 5)
    assert load(tmp_path).in_chans == 3


def test_damaged_files_are_named_counted_and_skipped(tmp_path: Path) -> None:
    flat(tmp_path, cat=30, dog=30)
    whole = encoded(Image.fromarray(picture(0, side=64)), "JPEG")
    damaged = {
        "x0.png": b"",
        "x1.jpg": whole[: len(whole) // 2],
        "x2.bmp": b"BM nothing",
        "x3.png": encoded(Image.new("1", (30000, 30000)), "PNG"),
        "x4.webp": b"RIFF\x00\x00\x00\x00WEBP",
        "x5.png": b"GIF89a",
    }
    for file, content in damaged.items():
        (tmp_path / "cat" / file).write_bytes(content)
    (tmp_path / "cat" / "x6.png").symlink_to("nowhere.png")
    (tmp_path / "cat" / "x7.png").mkdir()
    (tmp_path / "cat" / b"\xff.png".decode("utf-8", "surrogateescape")).write_bytes(b"")
    notes = Notes()
    data = load(tmp_path, notes)
    assert sorted(file for file, _ in data.skipped) == [
        *(f"cat/{name}" for name in damaged),
        "cat/x6.png",
        "cat/\ufffd.png",
    ]
    assert all(reason and "\n" not in reason for _, reason in data.skipped)
    assert len(data.train) + len(data.val) + len(data.test) == 60
    assert len(notes.said) == 1
    assert "skipped 8 unreadable files" in notes.said[0]
    assert notes.said[0].count("cat/") == 5


def test_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat(tmp_path, cat=12, dog=12)
    expected = load(tmp_path).digest
    walk, iterdir = os.walk, Path.iterdir

    def backwards(top: str) -> object:
        for where, folders, files in walk(top):
            yield where, folders, sorted(files, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(iterdir(self), reverse=True)))
    assert load(tmp_path).digest == expected


def refused(root: Path, match: str, **settings: object) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load(root, **settings)
    assert "\n" not in str(caught.value)


def test_refused_folders(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no folder .*nowhere")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "no folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"no images in .*train/<class>")
    (tmp_path / "empty" / "a.JPG").write_bytes(b"")
    refused(tmp_path / "empty", r"1 images lie in .*empty itself: .* one folder per class")
    refused(flat(tmp_path / "one", cat=5), "only one class, 'cat'")
    refused(flat(tmp_path / "few", cat=5, dog=2), r"at least 3 for each class: dog \(2\)")
    refused(flat(tmp_path / "odd", **{"cat\nfish": 5, "dog": 5}), "not printable")
    refused(flat(tmp_path / "two", cat=5, dog=5), "1 training images for 2 classes", train_images=1)
    with pytest.raises(InputError, match="no folder ''"):
        load_data(DataConfig("folder:"))


def test_refused_split_folders(tmp_path: Path) -> None:
    flat(tmp_path / "a" / "train", cat=5, dog=5)
    flat(tmp_path / "a" / "test", cat=5, cow=5, eel=5)
    refused(tmp_path / "a", "test has classes that train has not: cow, eel")
    flat(tmp_path / "b" / "test", cat=5, dog=5)
    refused(tmp_path / "b", "there must be a train folder")
    flat(tmp_path / "c" / "train", cat=5, dog=5)
    flat(tmp_path / "c" / "val", cat=5)
    flat(tmp_path / "c" / "valid", cat=5)
    refused(tmp_path / "c", "keep one of them")


def test_a_class_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    flat(tmp_path, cat=5, dog=5)
    for file in (tmp_path / "dog").iterdir():
        file.write_bytes(b"")
    refused(tmp_path, "class 'dog' has no image in train that can be read")
    for file in (tmp_path / "cat").iterdir():
        file.write_bytes(b"")
    refused(tmp_path, "train has no image that can be read")


def test_copies_of_training_images_are_told(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        flat(tmp_path / split, cat=3, dog=3)
    (tmp_path / "val" / "cat" / "000.png").write_bytes(encoded(Image.fromarray(picture(77)), "PNG"))
    notes = Notes()
    load(tmp_path, notes)
    assert [note.split(" images")[0] for note in notes.said] == ["note: 5 of 6 val", "note: 6 of 6 test"]
