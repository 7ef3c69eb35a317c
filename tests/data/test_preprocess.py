import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import encoded, picture
from PIL import Image

import nassuite.data.preprocess
from nassuite.data.preprocess import RULE, Preprocess, as_float, preprocess_image


def test_json_round_trip_and_rule() -> None:
    rule = Preprocess(48, 1)
    assert Preprocess.from_json(rule.to_json()) == rule
    assert rule.to_json()["rule"] == RULE
    with pytest.raises(ValueError, match="other preprocessing"):
        Preprocess.from_json({**rule.to_json(), "rule": "stretch"})
    with pytest.raises(ValueError, match="in_chans"):
        Preprocess(32, 2)


def test_an_image_of_the_right_size_is_left_untouched() -> None:
    array = picture(0, side=32)
    for given_image in (array, Image.fromarray(array), encoded(Image.fromarray(array), "PNG")):
        assert np.array_equal(preprocess_image(given_image, Preprocess(32)), array.transpose(2, 0, 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 64), st.sampled_from([1, 3]))
def test_any_image_becomes_a_square(height: int, width: int, size: int, channels: int) -> None:
    pixels = preprocess_image(picture(1, side=(height, width)), Preprocess(size, channels))
    assert pixels.shape == (channels, size, size)
    assert pixels.dtype == np.uint8


def test_the_centre_is_kept() -> None:
    array = np.zeros((10, 30, 3), np.uint8)
    array[:, 10:20] = 200
    assert (preprocess_image(array, Preprocess(10)) == 200).all()


def test_resizing_is_antialiased() -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(
        np.uint8
    )  # averages to grey, aliases to black or white
    inner = preprocess_image(board, Preprocess(8, 1))[0, 1:-1, 1:-1]
    assert np.abs(inner.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8, :8] = 255  # top left
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo(upright)))
    content = encoded(stored, "PNG", exif=exif)
    assert np.array_equal(preprocess_image(content, Preprocess(16)), upright.transpose(2, 0, 1))


def test_broken_exif_does_not_cost_the_picture() -> None:
    image = Image.fromarray(picture(3))
    content = encoded(image, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage")
    assert np.array_equal(
        preprocess_image(content, Preprocess(12)), preprocess_image(encoded(image, "JPEG"), Preprocess(12))
    )


def test_transparency_is_composited_on_white() -> None:
    rgba = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30] + [0] * 765)
    assert (preprocess_image(encoded(rgba, "PNG"), Preprocess(8)) == 255).all()
    assert (preprocess_image(encoded(rgba, "WEBP", lossless=True), Preprocess(8)) == 255).all()
    assert (preprocess_image(encoded(half, "PNG"), Preprocess(8)) == 127).all()
    assert (preprocess_image(encoded(rgba.convert("LA"), "PNG"), Preprocess(8, 1)) == 255).all()
    assert (preprocess_image(encoded(palette, "PNG", transparency=0), Preprocess(8)) == 255).all()
    opaque = preprocess_image(encoded(palette, "PNG"), Preprocess(8))
    assert opaque[:, 0, 0].tolist() == [10, 20, 30]


def test_grey_16_bit_cmyk_and_bilevel() -> None:
    wide = Image.fromarray(np.array([[0, 257, 65535, 32768]] * 4, np.uint16))
    assert preprocess_image(encoded(wide, "PNG"), Preprocess(4, 1))[0, 0].tolist() == [0, 1, 255, 128]
    assert preprocess_image(encoded(wide, "PNG"), Preprocess(4, 3))[:, 0, 2].tolist() == [255, 255, 255]
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = preprocess_image(encoded(cmyk, "JPEG", quality=100), Preprocess(8))[:, 0, 0]
    assert red[0] > 250
    assert red[1:].max() < 5
    bilevel = Image.new("1", (8, 8), 1)
    assert (preprocess_image(encoded(bilevel, "PNG"), Preprocess(8, 1)) == 255).all()


def test_what_cannot_be_used_says_why_in_one_line() -> None:
    whole = encoded(Image.fromarray(picture(0, side=64)), "JPEG")
    cases: dict[object, str] = {
        b"": "empty file",
        b"hello": "not a JPEG, PNG, WebP or BMP image",
        encoded(Image.new("L", (8, 8)), "GIF"): "not a JPEG",
        whole[: len(whole) // 2]: "truncated",
        encoded(Image.fromarray(picture(0, side=64)), "PNG")[:2000]: ".",
        encoded(Image.new("1", (3000, 4)), "PNG"): "elongated",
        encoded(Image.new("1", (30000, 30000)), "PNG"): "bomb",
        "no/such/file.png": "No such file",
    }
    for content, reason in cases.items():
        with pytest.raises(ValueError, match=reason) as caught:
            preprocess_image(content, Preprocess(8))  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_as_float_is_exact() -> None:
    every = np.arange(256, dtype=np.uint8)
    floats = as_float(every)
    assert floats.dtype == np.float32
    assert np.array_equal(floats, (np.arange(256) / 255).astype(np.float32))


def test_the_file_alone_is_enough(tmp_path: Path) -> None:
    shutil.copy(nassuite.data.preprocess.__file__, tmp_path / "rule.py")
    code = "import sys, rule; print([name for name in sys.modules if name.split('.')[0] in ('torch', 'nassuite')])"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
