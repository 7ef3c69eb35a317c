"""nassuite export: the deploy contract, what the card says, and refusals in one line."""

import dataclasses
import hashlib
import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import nassuite.formats
from nassuite.cli import main
from nassuite.errors import InputError
from nassuite.exporting import export
from nassuite.models import Description, save_model
from nassuite.nn.network import Normalised
from nassuite.onnx_export import run_onnx
from nassuite.zoo.create import create_model

NAME = "mobilenet_v2(width_mult=0.1)"
LARGE = "mobilenet_v2(width_mult=0.1, stem_stride=2)"
"""The same network for images of any size: in the form for small ones only where it is not said."""
IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def card_of(folder):
    return json.loads((folder / "card.json").read_text())


def network(classes=1000, channels=3):
    return create_model("mobilenet_v2", num_classes=classes, in_chans=channels, width_mult=0.1).eval()


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """The folder of a training, but for the training."""
    folder = tmp_path_factory.mktemp("training")
    model = Normalised(network(4, 1), (0.4,), (0.3,))
    labels = ("a", "b", "c", "d")
    save_model(folder, model, Description(NAME, 4, 1, 24, (0.4,), (0.3,), labels))
    return folder, model.eval()


def test_a_name_becomes_one_file_under_the_contract_with_its_card(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", LARGE, "--size", "32", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "onnx" in said.out
    assert (
        f"{LARGE}: no --weights, so these are random: times and sizes will be right, accuracies not"
        in said.err
    )
    assert {path.name for path in out.iterdir()} - {".lock"} == {
        "model.onnx", "labels.txt", "predict.py", "card.json", "card.md",
    }  # fmt: skip
    model = onnx.load(out / "model.onnx")
    (image,), (logits,) = model.graph.input, model.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    assert [d.dim_value or "N" for d in image.type.tensor_type.shape.dim] == ["N", 3, 32, 32]
    assert [d.dim_value or "N" for d in logits.type.tensor_type.shape.dim] == ["N", 1000]
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    with torch.no_grad():
        expected = network()((IMAGES - mean) / std).numpy()
    np.testing.assert_allclose(run_onnx(out / "model.onnx", IMAGES.numpy()), expected, atol=1e-4)
    card = card_of(out)
    assert card["params"] == sum(p.numel() for p in network().parameters())
    assert card["weights"].startswith("fresh")
    assert "random" in (out / "card.md").read_text()
    assert len((out / "labels.txt").read_text().split()) == 1000
    for name, digest in card["hashes"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
        assert digest in (out / "card.md").read_text()


def test_a_training_is_exported_as_it_was_trained(training, tmp_path):
    folder, model = training
    exported = export(folder, out=tmp_path / "out", format=("onnx", "pt2"))
    assert exported.shape == (1, 24, 24)
    assert set(exported.parity) == {"onnx", "pt2"}
    assert all(parity.top1_agreement == 1.0 for parity in exported.parity.values())
    images = torch.rand(5, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(program(images), expected, atol=1e-5, rtol=1e-5)
    found = run_onnx(tmp_path / "out" / "model.onnx", images.numpy())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    card = card_of(tmp_path / "out")
    assert card["labels"] == ["a", "b", "c", "d"]
    assert card["normalisation"]["mean"] == pytest.approx([0.4])
    assert card["preprocess"]["size"] == 24


@pytest.mark.parametrize("given", ["model.safetensors", ""])
def test_weights_of_a_file_are_those_of_the_exported_file_with_its_normalisation(training, tmp_path, given):
    folder, model = training
    out = tmp_path / "out"
    (tmp_path / "names.txt").write_text("w\nx\ny\nz\n")
    words = ["export", LARGE, "--size", "24", "--classes", "4", "--channels", "1"]
    words += ["--weights", str(folder / given), "--labels", str(tmp_path / "names.txt")]
    assert main([*words, "--out", str(out)]) == 0
    images = torch.rand(2, 1, 24, 24)
    with torch.no_grad():
        expected = model(images).numpy()
    np.testing.assert_allclose(run_onnx(out / "model.onnx", images.numpy()), expected, atol=1e-4)
    assert card_of(out)["labels"] == ["w", "x", "y", "z"]
    other = tmp_path / "other"
    assert main([*words, "--mean", "0", "--std", "1", "--out", str(other)]) == 0
    normalised = ((images - 0.4) / 0.3).numpy()
    np.testing.assert_allclose(run_onnx(other / "model.onnx", normalised), expected, atol=1e-4)


def test_small_images_get_the_form_that_training_gives_them(tmp_path, capsys):
    assert main(["export", NAME, "--size", "32", "--out", str(tmp_path / "small")]) == 0
    small = "mobilenet_v2(width_mult=0.1, stem_stride=1)"
    said = capsys.readouterr().err
    assert f"{small}, because the images have 32 pixels (stem_stride=2: the form of its paper)\n" in said
    assert f"{small}: no --weights, so these are random" in said
    assert card_of(tmp_path / "small")["model"] == small
    assert main(["export", LARGE, "--size", "32", "--out", str(tmp_path / "large")]) == 0
    assert "because" not in capsys.readouterr().err
    assert main(["export", NAME, "--size", "96", "--out", str(tmp_path / "paper")]) == 0
    assert "because" not in capsys.readouterr().err
    macs = {name: card_of(tmp_path / name)["macs"] for name in ("small", "large")}
    assert macs["small"] > 2 * macs["large"]


def test_a_module_is_taken_as_it_is(tmp_path):
    module = nn.Sequential(nn.Conv2d(2, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    export(module, out=tmp_path / "out", size=8, channels=2)
    images = torch.rand(3, 2, 8, 8)
    with torch.no_grad():
        expected = module(images).numpy()
    np.testing.assert_allclose(run_onnx(tmp_path / "out" / "model.onnx", images.numpy()), expected, atol=1e-5)
    card = card_of(tmp_path / "out")
    assert card["normalisation"] is None
    assert card["preprocess"] is None  # images of two channels are in no file
    assert not (tmp_path / "out" / "predict.py").exists()


class Eigen(nn.Module):
    def forward(self, x):
        return torch.linalg.eigvalsh(x.mean(1))


class Branching(nn.Module):
    def forward(self, x):
        return x.flatten(1) if x.sum() > 0 else x.flatten(1) * 2


class Pair(nn.Module):
    def forward(self, x):
        return x.flatten(1), x


def broken(num_classes):
    raise RuntimeError("no weights\nsecond line")


def test_what_cannot_be_exported_names_the_operator_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="eigvalsh"):
        export(Eigen(), out=tmp_path / "out", size=8)
    with pytest.raises(InputError, match=r"torch\.export: .*data-dependent"):
        export(Branching(), out=tmp_path / "branching", size=8, format="pt2")
    for folder in ("out", "branching"):
        assert not [path for path in (tmp_path / folder).glob("*") if not path.name.startswith(".")]
    with pytest.raises(InputError, match="gives tuple for two images"):
        export(Pair(), out=tmp_path / "pair", size=8)
    assert not (tmp_path / "pair").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mobilenet_v22", "--size", "32"], "did you mean"),
        (["timm:nothing"], "--size"),
        ([f"{__name__}:broken", "--size", "8"], "RuntimeError: no weights"),
        ([NAME, "--size", "0"], "--size 0: expected 1 or more"),
        ([NAME, "--size", "32", "--classes", "0"], "--classes 0: expected 1 or more"),
        ([NAME, "--size", "32", "--channels", "0"], "--channels 0"),
        ([NAME, "--size", "32", "--seed", "-1"], "--seed -1"),
        ([NAME, "--size", "8", "--channels", "1", "--mean", "nan", "--std", "1"], "1 numbers each"),
        ([NAME, "--size", "8", "--channels", "1", "--mean", "0", "--std", "inf"], "1 numbers each"),
        ([NAME, "--size", "32", "--mean", "0.5"], "--mean and --std go together"),
        ([NAME, "--size", "32", "--mean", "0.5", "--std", "0.5"], "3 numbers each"),
        ([NAME, "--size", "32", "--weights", "/nowhere.pt"], "no such file"),
        ([NAME, "--size", "32", "--labels", "/nowhere.txt"], "no file of labels"),
        (["TRAINING", "--classes", "3"], "has its own"),
        ([NAME, "--size", "24", "--weights", "TRAINING"], "does not fit"),
    ],
)
def test_refused_in_one_line(words, message, training, tmp_path, capsys):
    words = [str(training[0]) if word == "TRAINING" else word for word in words]
    assert main(["export", *words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_converter_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(nassuite.formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"openvino is not installed here: pip install 'nassuite\[openvino\]'"
    ):
        export(NAME, size=32, out=tmp_path / "out", format="openvino")
    with pytest.raises(
        InputError, match=r"litert_torch is not installed here: pip install 'nassuite\[tflite\]'"
    ):
        export(NAME, size=32, out=tmp_path / "out", format="tflite")
    with pytest.raises(InputError, match="--format coreml: expected one of onnx"):
        export(NAME, size=32, out=tmp_path / "out", format="coreml")


def test_a_converter_that_is_there_and_broken_is_one_line(monkeypatch, tmp_path, capsys):
    def broken(model, folder, shape):
        raise ImportError("libcudart.so: cannot open shared object file")

    form = dataclasses.replace(nassuite.formats.FORMATS["openvino"], write=broken, package="json")
    monkeypatch.setitem(nassuite.formats.FORMATS, "openvino", form)
    assert main(["export", NAME, "--size", "32", "--format", "openvino", "--out", str(tmp_path / "out")]) == 2
    *notes, said = capsys.readouterr().err.splitlines()
    assert "json does not work here (libcudart.so: cannot open" in said
    assert len(notes) == 2


@pytest.mark.parametrize("name", ["openvino", "executorch", pytest.param("tflite", marks=pytest.mark.slow)])
def test_a_converters_file_agrees_at_every_batch_size(training, tmp_path, name):
    pytest.importorskip(nassuite.formats.FORMATS[name].package)
    exported = export(training[0], out=tmp_path / "out", format=name)
    assert exported.parity[name].top1_agreement == 1.0
    assert exported.parity[name].max_abs_diff < 1e-4
    assert set(nassuite.formats.FORMATS[name].files) <= set(card_of(tmp_path / "out")["hashes"])
    takes = card_of(tmp_path / "out")["formats"][name]["takes"]
    assert takes in (tmp_path / "out" / "card.md").read_text()
    assert ("[1, 24, 24, 1]" in takes) == (name == "tflite")


def test_executorch_runs_more_images_than_it_takes_at_once(training, tmp_path):
    pytest.importorskip("executorch")
    export(training[0], out=tmp_path / "out", format="executorch")
    images = torch.rand(70, 1, 24, 24)
    logits = nassuite.formats.FORMATS["executorch"].run(tmp_path / "out", images.numpy())
    with torch.no_grad():
        assert np.abs(logits - training[1](images).numpy()).max() < 1e-4
