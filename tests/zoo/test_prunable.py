"""Every network of the zoo through pruning: gate, forward pass, export, parity. What is prunable is in reports/prunable_zoo."""

import pytest

from nassuite.compress.coverage import coverage
from nassuite.errors import InputError
from nassuite.zoo import create_model, list_models
from nassuite.zoo.catalogue import NETWORKS
from nassuite.zoo.create import check_size, parse_model

QUICK = {
    "lenet5": (32, 0.5),
    "resnet20_cifar": (32, 0.9),
    "mobilenet_v2(width_mult=0.25)": (64, 0.5),
    "squeezenet1_1": (64, 0.9),
    "shufflenet_v2(width_mult=0.5)": (64, 0.2),
    "shufflenet_v1(groups=3)": (64, 0.3),
}
"""Small forms of the families, the images' size, and the least share of the channels that must be prunable."""
SIZES = (64, 96, 128, 224, 299, 512)


def through(call, size):
    name, config = parse_model(call)
    entry = NETWORKS[name]
    network = create_model(name, num_classes=None if entry.kind == "features" else 10, **config)
    found = coverage(network, (entry.in_chans, size, size), name=call)
    assert found.gate_difference <= 1e-4
    assert found.onnx_difference <= 1e-3
    assert 0 <= found.share <= 1
    assert (found.macs_left < 1) == (found.groups > 0)
    return found


@pytest.mark.parametrize(
    "call", [pytest.param(c, marks=[pytest.mark.slow] if "shuffle" in c else []) for c in QUICK]
)
def test_small_networks_of_the_families(call):
    size, least = QUICK[call]
    assert through(call, size).share >= least


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_the_whole_zoo(name):
    entry = NETWORKS[name]
    network = create_model(name)
    for size in (32, *SIZES) if max(entry.size) <= 32 else SIZES:
        try:
            check_size(network, entry.in_chans, (size, size), name)
        except InputError:
            continue
        through(name, size)
        return
    pytest.fail(f"{name} takes none of {SIZES} pixels")
