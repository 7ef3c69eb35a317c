"""Models by name, and in folders."""

import json
import sys
import types

import pytest
import torch
from torch import nn

from nassuite.errors import InputError
from nassuite.models import Description, check_classifier, load_model, make_network, save_model
from nassuite.nn.network import Normalised
from nassuite.pruning_source import is_folder

DESCRIPTION = Description("resnet20_cifar", 4, 1, 32, (0.3,), (0.2,), ("a", "b", "c", "d"))


def saved(folder):
    network = make_network("resnet20_cifar", num_classes=4, in_chans=1, seed=5)
    model = Normalised(network, DESCRIPTION.mean, DESCRIPTION.std)
    images = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    model.train()(images)  # so that the batch norms have seen something
    save_model(folder, model, DESCRIPTION)
    return model.eval(), images


def test_what_is_loaded_is_what_was_saved(tmp_path):
    model, images = saved(tmp_path)
    again = load_model(tmp_path)
    with torch.no_grad():
        assert torch.equal(model(images), again(images))
        assert torch.equal(model(images), model.network((images - 0.3) / 0.2))


@pytest.mark.parametrize(
    "damage",
    ["no json", "half a json", "other schema", "half the weights", "no weights", "no cuts", "other cuts"],
)
def test_damaged_folders_are_refused_by_name(tmp_path, damage):
    saved(tmp_path)
    description, tensors = tmp_path / "model.json", tmp_path / "model.safetensors"
    if damage == "no json":
        description.unlink()
    elif damage == "half a json":
        description.write_text(description.read_text()[:40])
    elif damage == "other schema":
        description.write_text(description.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    elif damage.endswith("cuts"):
        value = json.loads(description.read_text())
        value["cuts"] = {"history": 1} if damage == "no cuts" else {
            "input_shape": [1, 32, 32], "history": [["nowhere", True, [0]]], "pruned": [], "kept": [],
            "gate_difference": 0.0, "config": {"ratio": 0.5},
        }  # fmt: skip
        description.write_text(json.dumps(value))
    elif damage == "half the weights":
        tensors.write_bytes(tensors.read_bytes()[:1000])
    else:
        tensors.unlink()
    with pytest.raises(InputError, match=str(tmp_path)):
        load_model(tmp_path)


def test_a_factory_of_the_users(monkeypatch):
    module = types.ModuleType("my_networks")
    module.plain = lambda num_classes: nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
    module.both = lambda **interface: nn.Conv2d(interface["in_chans"], interface["num_classes"], 1)
    module.wrong = lambda num_classes: [num_classes]
    module.number = 3

    def failing(num_classes):
        raise RuntimeError("no weights\nsecond line")

    module.failing = failing
    monkeypatch.setitem(sys.modules, "my_networks", module)
    assert make_network("my_networks:both", num_classes=4, in_chans=2).weight.shape == (4, 2, 1, 1)
    assert isinstance(make_network("my_networks:plain", num_classes=4, in_chans=2), nn.Sequential)
    for name, message in (
        ("wrong", "gives a list"),
        ("number", "no function"),
        ("other", "cannot be imported: AttributeError"),
        ("failing", "my_networks:failing raised RuntimeError: no weights$"),
    ):
        with pytest.raises(InputError, match=message):
            make_network(f"my_networks:{name}", num_classes=4, in_chans=2)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        ("def f(:", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import not_installed_anywhere", "ModuleNotFoundError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(tmp_path, monkeypatch, source, message):
    (tmp_path / "broken_networks.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_networks", raising=False)
    with pytest.raises(InputError, match=f"broken_networks:f cannot be imported: {message}"):
        make_network("broken_networks:f", num_classes=4, in_chans=2)
    with pytest.raises(InputError, match="cannot be imported"):
        make_network("..relative:f", num_classes=4, in_chans=2)


def test_options_that_make_no_network_are_one_line():
    with pytest.raises(InputError, match=r"making the network raised TypeError") as refused:
        make_network("shufflenet_v1(groups=[3])", num_classes=4, in_chans=3)
    assert "\n" not in str(refused.value)


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x.flatten(1), x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 4)), "does not run on images of 1x4x4: RuntimeError"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 5)), r"gives \(2, 5\) .* logits of 4 classes"),
        (TwoOutputs(), "gives tuple for two images"),
        (nn.Conv2d(1, 4, 1), r"gives \(2, 4, 4, 4\)"),
    ],
)
def test_what_is_no_classifier_for_the_images_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        check_classifier(model, (1, 4, 4), "mine", classes=4)
    assert model.training


def test_what_is_meant_by_a_name_that_a_folder_has_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "mobilenet_v2"):
        (tmp_path / name).mkdir()
    meant = {name: is_folder(name) for name in ("photos", "mobilenet_v2", "resnet20_cifar", "./mobilenet_v2")}
    assert meant == {
        "photos": True, "mobilenet_v2": False, "resnet20_cifar": False, "./mobilenet_v2": True
    }  # fmt: skip
    assert not is_folder("my.package:factory")
    (tmp_path / "mobilenet_v2" / "model.json").touch()
    assert is_folder("mobilenet_v2")
