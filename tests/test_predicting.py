"""predict.py and nassuite predict: the preprocessing of training, images from files, folders and streams."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_runs import write_photos
from torch import nn

from nassuite.card import confusion_lines, predict_program
from nassuite.cli import main
from nassuite.data.preprocess import Preprocess, as_float, preprocess_image
from nassuite.exporting import export
from nassuite.onnx_export import run_onnx
from nassuite.predicting import jpeg_images
from nassuite.train_settings import TrainSettings
from nassuite.training import train_model

LABELS = ("ant", "bee", "cat", "dog", "eel")


def picture(seed, size=(50, 40)):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def jpeg(seed, **settings):
    buffer = io.BytesIO()
    picture(seed).save(buffer, "JPEG", **settings)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def deploy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deploy") / "out"
    model = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.normal_(model[0].weight, std=5.0)
    export(model, out=folder, size=24, labels=LABELS)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    picture(0).save(folder / "a.png")
    picture(1, (30, 90)).convert("L").save(folder / "b.jpg")
    rotated = Image.Exif()
    rotated[0x0112] = 6
    picture(2).save(folder / "c.jpeg", exif=rotated)
    (folder / "d.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def expected(deploy, image):
    logits = run_onnx(deploy / "model.onnx", as_float(preprocess_image(image, Preprocess(24)))[None])[0]
    shares = np.exp(logits - logits.max())
    return dict(zip(LABELS, (shares / shares.sum()).tolist(), strict=True))


def test_the_program_needs_nothing_of_nassuite_and_gives_what_training_saw(deploy, photos):
    assert (deploy / "predict.py").read_text() == predict_program()
    watch = (
        "import runpy, sys\n"
        "sys.argv = ['predict.py', *sys.argv[1:]]\n"
        f"try: runpy.run_path({str(deploy / 'predict.py')!r}, run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        "assert not {'torch', 'nassuite'} & set(sys.modules)\n"
        "sys.exit(code)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", watch, str(photos), "--json", "--top", "5"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert [line["image"] for line in lines] == [str(photos / name) for name in ("a.png", "b.jpg", "c.jpeg")]
    assert said.stderr.count("\n") == 1
    assert "skipped" in said.stderr
    assert "d.jpg" in said.stderr
    for line in lines:
        found = {entry["label"]: entry["probability"] for entry in line["labels"]}
        assert found == pytest.approx(expected(deploy, line["image"]), abs=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_the_command_says_the_same(deploy, photos, capsys, monkeypatch):
    assert main(["predict", str(deploy), str(photos / "a.png"), "--top", "1"]) == 0
    shares = expected(deploy, photos / "a.png")
    best = max(shares, key=shares.get)
    assert capsys.readouterr().out == f"{photos / 'a.png'}\t{best} {shares[best]:.4f}\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(jpeg(3) + jpeg(4))))
    assert main(["predict", str(deploy), "-", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == ["frame 0", "frame 1"]
    for line, seed in zip(lines, (3, 4), strict=True):
        shares = expected(deploy, jpeg(seed))
        assert line["labels"][0]["probability"] == pytest.approx(max(shares.values()), abs=1e-5)


def with_thumbnail():
    """An image whose metadata hold another JPEG image."""
    exif = b"Exif\0\0" + jpeg(9)
    whole = jpeg(5)
    return whole[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + whole[2:]


FRAMES = [jpeg(6), with_thumbnail(), jpeg(7, progressive=True), jpeg(8, quality=100, restart_marker_rows=1)]


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, content, sizes):
        self.content, self.sizes, self.turn = content, sizes, 0

    def read1(self, _most):
        self.turn += 1
        size = self.sizes[self.turn % len(self.sizes)]
        given, self.content = self.content[:size], self.content[size:]
        return given


@given(
    chosen=st.lists(st.sampled_from(range(len(FRAMES))), max_size=4),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=5),
)
def test_a_stream_is_taken_apart_into_the_images_that_it_was_made_of(chosen, sizes):
    frames = [FRAMES[number] for number in chosen]
    sizes = [size + 40 for size in sizes]
    assert list(jpeg_images(Trickle(b"".join(frames), sizes))) == frames


def test_a_stream_that_is_cut_or_holds_something_else():
    assert list(jpeg_images(io.BytesIO(FRAMES[0] + FRAMES[1][:-40]))) == FRAMES[:1]
    with pytest.raises(ValueError, match="expected JPEG"):
        list(jpeg_images(io.BytesIO(FRAMES[0] + b"\x89PNG and so on")))


def test_over_the_test_images_it_has_the_accuracy_of_the_card(tmp_path, capsys):
    photos = write_photos(tmp_path)
    settings = TrainSettings(
        model="resnet20_cifar", data=f"folder:{photos}", size=16, epochs=6, batch_size=16, lr=0.05
    )
    folder = train_model(settings, out=tmp_path / "run").folder
    card = json.loads((folder / "card.json").read_text())
    right = 0
    for label in card["labels"]:
        assert main(["predict", str(folder), str(photos / "test" / label), "--top", "1"]) == 0
        right += sum(line.split("\t")[1].split()[0] == label for line in capsys.readouterr().out.splitlines())
    assert right == card["test"]["correct"]
    assert 0.3 * card["test"]["n"] < right  # it has learned something, so equal counts mean something
    text = (folder / "card.md").read_text()
    for number, label in enumerate(card["labels"]):
        assert f"| {label} | 10 | {card['test']['confusion'][number][number]} |" in text


def test_refusals(deploy, photos, tmp_path, capsys):
    cases = [
        ([str(tmp_path), str(photos / "a.png")], "no card.json"),
        ([str(deploy), str(photos / "a.png"), "--top", "0"], "--top 0"),
    ]
    for words, message in cases:
        assert main(["predict", *words]) == 2
        assert message in capsys.readouterr().err
    absent, empty = tmp_path / "absent.png", tmp_path / "empty"
    empty.mkdir()
    assert main(["predict", str(deploy), str(photos / "d.jpg"), str(absent), str(empty)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"skipped {photos / 'd.jpg'}: not a JPEG, PNG, WebP or BMP image",
        f"{absent} is not there",
        f"{empty} holds no images",
    ]
    card = json.loads((deploy / "card.json").read_text())
    card["preprocess"]["rule"] = "another"
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert main(["predict", str(tmp_path), str(photos / "a.png")]) == 2
    assert "other preprocessing" in capsys.readouterr().err


def test_classes_and_confusions_in_words():
    lines = confusion_lines(("cat", "dog"), [[3, 1], [0, 0]])
    assert "| cat | 4 | 3 | 75.0% |" in lines
    assert "| dog | 0 | 0 | none |" in lines
    assert "| cat | 3 | 1 |" in lines
    labels = [f"c{number}" for number in range(20)]
    matrix = np.eye(20, dtype=int) * 5
    matrix[2, 7] = 3
    lines = confusion_lines(labels, matrix.tolist())
    assert lines[-1] == "| c2 | c7 | 3 |"
