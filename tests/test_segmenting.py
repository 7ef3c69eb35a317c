"""nassuite train on images with masks."""

import json

import numpy as np
import pytest
from PIL import Image

from nassuite.cli import main
from nassuite.models import load_model


@pytest.fixture
def masks(tmp_path):
    """Twelve pictures, each with a bright square whose pixels are class 1."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for number in range(12):
        pixels = rng.integers(0, 90, (24, 24, 3), dtype=np.uint8)
        labels = np.zeros((24, 24), np.uint8)
        top, left = rng.integers(0, 12, 2)
        pixels[top : top + 12, left : left + 12] += 150
        labels[top : top + 12, left : left + 12] = 1
        Image.fromarray(pixels).save(tmp_path / "data" / "images" / f"{number}.png")
        Image.fromarray(labels).save(tmp_path / "data" / "masks" / f"{number}.png")
    return tmp_path / "data"


def test_a_network_learns_bright_squares(masks, tmp_path, capsys):
    out = tmp_path / "run"
    command = [
        "train",
        "espnet_c(p=1, q=1)",
        "--data",
        f"masks:{masks}",
        "--mask-size",
        "24",
        "--out",
        str(out),
    ]
    assert main([*command, "--epochs", "12", "--batch-size", "4", "--lr", "0.05"]) == 0
    assert "mean IoU on test" in capsys.readouterr().out
    result = json.loads((out / "result.json").read_text())
    assert sum(map(sum, result["test"]["confusion"])) == result["test"]["n"] * 24 * 24
    assert 0 <= result["test"]["miou"] <= 1
    log = json.loads((out / "log.json").read_text())
    assert log[-1]["loss"] < log[0]["loss"]
    assert load_model(out).network is not None
    assert main(["train", "--resume", str(out)]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["espnet", "--mask-size", "24x"], "--mask-size 24x"),
        (["mobilenet_v2"], "no segmentation network"),
        (["espnet", "--mixup", "0.2"], "--mixup is for classifiers"),
        (["espnet", "--mask-size", "20x24"], "8"),
    ],
)
def test_refused_in_one_line(masks, tmp_path, arguments, message, capsys):
    out = tmp_path / "run"
    assert main(["train", *arguments, "--data", f"masks:{masks}", "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
    assert main(["train", "espnet", "--data", f"masks:{tmp_path / 'none'}", "--out", str(out)]) == 2
