"""nassuite.prune and nassuite.load from Python."""

import pytest
import torch
from deterministic_meter import deterministic_meter
from small_networks import plain

import nassuite
from nassuite.compress.prune import replay
from nassuite.compress.verify import mask_equivalence
from nassuite.errors import InputError
from nassuite.latency.cost import cost


def images():
    return torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_module_in_memory_is_pruned_and_left_as_it_was():
    model = plain().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tuned = []
    found = nassuite.prune(
        model, example=images(), speedup=1.4, align=8, batches=[(images(), torch.arange(4))], tune=tuned.append,
        meter=deterministic_meter,
    )  # fmt: skip
    assert found.met
    assert found.record.gate_difference <= 1e-4
    assert cost(found.model, (1, 16, 16)).macs < cost(model, (1, 16, 16)).macs / 1.4
    assert tuned[-1] is found.model
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(replay(model.eval(), found.record)(images()), found.model(images()))
    assert mask_equivalence(model, found.model, found.record.history, torch.rand(2, 1, 16, 16)) <= 1e-4


def test_netadapt_keeps_what_accuracy_asks_for():
    def accuracy(network):
        return float(network.down[0].out_channels == 32) + float(network.stem[0].out_channels == 16)

    found = nassuite.prune(
        plain(), example=images(), target_macs=0.6, strategy="netadapt", steps=3, align=8, accuracy=accuracy,
        meter=deterministic_meter,
    )  # fmt: skip
    cut = {layer.layer for layer in found.record.pruned}
    assert cut
    assert cut <= {"block.0.0", "last.0"}


def test_a_model_by_name_is_pruned_into_a_folder(tmp_path):
    found = nassuite.prune(
        "small_networks:plain", data="digits", size=16, train_images=64, ratio=0.5, finetune_epochs=0,
        out=tmp_path / "out", meter=deterministic_meter,
    )  # fmt: skip
    assert found.result is not None
    with torch.no_grad():
        assert torch.equal(nassuite.load(tmp_path / "out")(images()), found.model(images()))


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (plain(), {"ratio": 0.5}, "example="),
        (plain(), {"ratio": 0.5, "example": images(), "data": "digits"}, "takes no data"),
        (plain(), {"ratio": 0.5, "example": images(), "ratios": 1}, "no setting 'ratios'"),
        (plain(), {"ratio": 0.5, "example": images(), "importance": "taylor"}, "needs batches="),
        (plain(), {"target_macs": 0.5, "example": images(), "strategy": "netadapt"}, "give accuracy="),
        ("small_networks:plain", {"ratio": 0.5, "example": images()}, "example is for a module"),
    ],
)
def test_bad_input_is_refused_by_name(model, arguments, message):
    with pytest.raises(InputError, match=message):
        nassuite.prune(model, meter=deterministic_meter, **arguments)
