"""Models by name, and in folders."""

import sys
import types

import pytest
import torch
from torch import nn

from nassuite.errors import InputError
from nassuite.models import Description, load_model, make_network, save_model
from nassuite.nn.network import Normalised

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
    "damage", ["no json", "half a json", "other schema", "half the weights", "no weights"]
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
    monkeypatch.setitem(sys.modules, "my_networks", module)
    assert make_network("my_networks:both", num_classes=4, in_chans=2).weight.shape == (4, 2, 1, 1)
    assert isinstance(make_network("my_networks:plain", num_classes=4, in_chans=2), nn.Sequential)
    for name, message in (
        ("wrong", "gives a list"),
        ("number", "no function"),
        ("other", "cannot be imported"),
    ):
        with pytest.raises(InputError, match=message):
            make_network(f"my_networks:{name}", num_classes=4, in_chans=2)
