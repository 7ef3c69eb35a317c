import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from readme import README, ROOT, arguments_of, blocks, typed
from torch import nn

from nassuite.cli import make_parser
from nassuite.data.preprocess import Preprocess, as_float, preprocess_image
from nassuite.onnx_export import export_onnx, run_onnx
from nassuite.summary import PREDICT

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def test_the_report_shows_the_program_of_the_readme():
    assert PREDICT in blocks("python")


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_the_program_of_the_readme_classifies_as_the_suite_does(tmp_path, channels, mode):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (50, 70, 3), dtype=np.uint8)).convert(mode).save(
        tmp_path / "image.png"
    )
    model = nn.Sequential(nn.Conv2d(channels, 6, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    export_onnx(model, tmp_path / "model.onnx", input_shape=(channels, 24, 24))
    (tmp_path / "labels.txt").write_text("".join(f"label {n}\n" for n in range(6)))
    said = subprocess.run(
        [sys.executable, "-c", PREDICT, "image.png"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    pixels = as_float(preprocess_image(tmp_path / "image.png", Preprocess(24, channels)))
    expected = run_onnx(tmp_path / "model.onnx", pixels[None])[0].argmax()
    assert said.stdout == f"label {expected}\n"


def picture(mode: str) -> Image.Image:
    """Of 50 x 70 random colours, of random opacity where the mode knows of that."""
    noise = np.random.default_rng(0).integers(0, 256, (70, 50, 4), dtype=np.uint8)
    if mode == "P":
        image = Image.fromarray(noise[..., 0]).convert("P")
        image.info["transparency"] = bytes(range(255, -1, -1))
        return image
    return Image.fromarray(noise, "RGBA").convert(mode)


FILES = ("RGBA.png", "P.png", "LA.png", "RGBA.webp", "RGB.png", "L.png", "1.png", "CMYK.jpg")


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("file", FILES)
def test_the_program_of_the_readme_prepares_images_bit_for_bit_as_in_training(
    tmp_path, monkeypatch, file, channels
):
    monkeypatch.chdir(tmp_path)
    picture(Path(file).stem).save(file)
    shape = (channels, 24, 24)
    model = nn.Sequential(nn.Flatten(), nn.Linear(channels * 24 * 24, 2))
    export_onnx(model, tmp_path / "model.onnx", input_shape=shape)
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    monkeypatch.setattr(sys, "argv", ["predict", file])
    ran: dict[str, Any] = {}
    exec(PREDICT, ran)
    pixels = ran["pixels"].reshape(24, 24, channels).transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels, as_float(preprocess_image(file, Preprocess(24, channels))))
    with Image.open(file) as read:
        assert read.has_transparency_data == file.startswith(("RGBA", "P", "LA"))


FLAGS_OF_OTHERS = {
    "--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint", "--array", "--gpus", "--wrap",
}  # fmt: skip
"""Of torchrun and Slurm."""


def commands(page: Path) -> list[list[str]]:
    return [words for line in typed(page.read_text()) if (words := arguments_of(line)) is not None]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_every_nassuite_command_is_understood(page):
    for words in commands(page):
        assert callable(make_parser().parse_args(words).run)


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    below = (flags_of(command) for group in groups for command in group.choices.values())
    return set(parser._option_string_actions).union(*below)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_flag_that_is_named_exists(page):
    named = set(re.findall(r"(?<![-\w])--[a-z][a-z-]+", page.read_text()))
    assert named - FLAGS_OF_OTHERS <= flags_of(make_parser())


def test_the_pages_with_commands_are_found():
    found = {page.stem for page in PAGES if commands(page)}
    assert {"README", "your_images", "prune", "phone", "cluster", "compare"} <= found


def test_the_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_networks_of_the_readme_are_made():
    (program,) = [block for block in blocks("python") if "create_model" in block]
    made: dict[str, nn.Module] = {}
    exec(program, made)
    assert made["network"].eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 10)
    assert len(made["backbone"](torch.zeros(2, 3, 64, 64))) == 3


def test_the_study_of_the_documentation_runs_and_keeps_its_budgets():
    (program,) = blocks("python", (ROOT / "docs/explained/search.md").read_text())
    ran: dict[str, Any] = {}
    exec(program, ran)
    costs = [trial.values[1] for trial in ran["study"].trials]
    assert max(costs[4:]) <= 0.6, "the first plan knows of no parameters yet"
    assert len(costs) == 40
