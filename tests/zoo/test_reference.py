"""The whole of zoo/reference.csv: parameters, MACs, shapes; and what every network has to be able to do."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from nassuite.latency.cost import cost
from nassuite.onnx_export import onnx_bytes, onnx_parity
from nassuite.zoo import create_model, list_models
from nassuite.zoo.catalogue import NETWORKS
from nassuite.zoo.create import factory
from nassuite.zoo.network import ZooNetwork
from nassuite.zoo.reference import parse_call, references, variants

BIG = 4e6
"""Networks of more parameters are built with real weights in the slow suite only."""

SMALL_SIZES = {
    "alexnet": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "inception_v4": 96,
    "inception_resnet_v2": 96,
}
SMALL_SIZES |= {"vgg16": 32, "vgg16_bn": 32, "lenet5": 32}


IDLE = ("down.eesp.act.", "stage4.level.down.reinforce.")
"""Parameters that ESPNetv2's released weights hold and its code does not use."""


def small_size(name: str) -> int:
    """A size at which a network runs fast and its maps still have more than one pixel."""
    return SMALL_SIZES.get(name, 32 if max(NETWORKS[name].size) == 32 else 64)


def on_meta(name, config, *, num_classes=None, in_chans=None):
    entry = NETWORKS[name]
    with torch.device("meta"):
        return factory(entry)(
            num_classes=num_classes or entry.num_classes,
            in_chans=in_chans or entry.in_chans,
            **entry.config,
            **config,
        )


def by_cost(names):
    """As parameters of a test; the big ones slow."""
    return [pytest.param(n, marks=[pytest.mark.slow] if variants(n)[0].params > BIG else []) for n in names]


@pytest.mark.parametrize("row", references(), ids=lambda row: f"{row.call}-{row.size[0]}")
def test_parameters_and_macs(row):
    in_chans = NETWORKS[row.name].in_chans
    network = on_meta(row.name, row.config, num_classes=row.num_classes or None).eval()
    counted = cost(network, (in_chans, *row.size))
    if row.rounded:
        assert counted.params == pytest.approx(row.params, rel=0.02)
        assert counted.macs == pytest.approx(row.macs, rel=0.02)
    else:
        assert counted.params == row.params
        assert counted.macs == pytest.approx(row.macs, rel=1e-3)
    with torch.no_grad():
        output = network(torch.empty(2, in_chans, *row.size, device="meta"))
    kind = NETWORKS[row.name].kind
    if kind == "classification":
        assert output.shape == (2, row.num_classes)
    elif kind == "segmentation":
        assert output.shape[:2] == (2, row.num_classes)


def test_every_network_has_a_row_and_every_row_a_network():
    assert {row.name for row in references()} == set(list_models())


@pytest.mark.parametrize("name", list_models())
def test_other_classes_and_channels(name):
    entry = NETWORKS[name]
    network = on_meta(name, {}, num_classes=7, in_chans=5)
    size = small_size(name)
    output = network.eval()(torch.empty(3, 5, size, size, device="meta"))
    if entry.kind != "features":
        assert output.shape[:2] == (3, 7)


@pytest.mark.parametrize(
    "name", [n for n, e in NETWORKS.items() if e.kind == "classification" and max(e.size) > 32]
)
def test_the_form_for_small_images(name):
    """The stem that keeps the size: 32 pixels end at 4, and features begin at stride 1."""
    entry = NETWORKS[name]
    network = on_meta(name, {"stem_stride": 1}, num_classes=10)
    assert network.eval()(torch.empty(2, entry.in_chans, 32, 32, device="meta")).shape == (2, 10)
    x, reductions = torch.empty(1, entry.in_chans, 64, 64, device="meta"), []
    for stage in network.stages.values():
        x = stage(x)
        reductions.append(64 / x.shape[-1])
    assert reductions[0] <= 1.1, "the stem keeps the size"
    # VGG for CIFAR has all of its poolings, and one pixel at the end.
    assert reductions[-1] <= (32 if name.startswith("vgg") else 11), "the last map is at stride 8"


@pytest.mark.parametrize("name", by_cost(list_models()))
def test_it_learns_and_repeats_itself(name):
    """Every parameter gets a gradient; evaluation depends on nothing but the input; the file says the same."""
    entry = NETWORKS[name]
    network = create_model(name, num_classes=5, seed=3)
    size = small_size(name)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, entry.in_chans, size, size, generator=generator)
    with torch.random.fork_rng(devices=[]):  # dropout and stochastic depth
        torch.manual_seed(0)
        _check_gradients(network.train(), images)
        _settle(network, images)
    network.eval()
    exact = copy.deepcopy(network).double()  # a deep random network makes much of the last bit
    with torch.no_grad():
        first, again = network(images), network(images)
        whole, alone = exact(images.double()), exact(images[:2].double())
    assert all(torch.equal(a, b) for a, b in zip(_maps(first), _maps(again), strict=True))
    for a, b in zip(_maps(whole), _maps(alone), strict=True):
        torch.testing.assert_close(a[:2], b, rtol=1e-6, atol=1e-6 * float(a.abs().max()))
    if entry.kind == "features":
        return
    shape = (entry.in_chans, size, size)
    parity = onnx_parity(
        network, onnx_bytes(network, shape), input_shape=shape, images=images, tolerance=float("inf")
    )
    rounding = float((first - whole).abs().max())  # PyTorch's own; of note in the deepest networks alone
    assert parity.max_abs_diff <= 1e-3 * max(1.0, parity.scale) + 10 * rounding


def _settle(network: nn.Module, images: torch.Tensor) -> None:
    """Running statistics of these images: fresh ones give logits of zero behind adder layers."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    with torch.no_grad():
        network(images)


def _maps(output):
    return output if isinstance(output, list | tuple) else [output]


def _check_gradients(network: nn.Module, images: torch.Tensor) -> None:
    if isinstance(network, ZooNetwork):
        logits, aux = network.forward_with_aux(images)
        outputs = [logits, *aux]
    else:
        outputs = _maps(network(images))
    sum(output.square().mean() for output in outputs).backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert not [name for name in without if not any(part in name for part in IDLE)]
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", [n for n, e in NETWORKS.items() if e.kind == "classification"])
def test_feature_maps(name):
    """One map for each stride, with the channels and reductions that are announced."""
    entry = NETWORKS[name]
    network = on_meta(name, {})
    from nassuite.zoo.network import FeatureNetwork

    features = FeatureNetwork(copy.deepcopy(network), size=max(entry.size), in_chans=entry.in_chans)
    size = max(entry.size)
    with torch.no_grad():
        maps = features.eval()(torch.empty(2, entry.in_chans, size, size, device="meta"))
    assert [m.shape[1] for m in maps] == [info.channels for info in features.feature_info]
    for m, info in zip(maps, features.feature_info, strict=True):
        assert size / m.shape[-1] == pytest.approx(info.reduction, rel=0.35)
    reductions = [info.reduction for info in features.feature_info]
    assert reductions == sorted(set(reductions))
    assert np.prod(maps[-1].shape[2:]) >= 1


def test_calls_are_read_as_python_without_running_it():
    assert parse_call("mobilenet_v2(width_mult=0.5)") == ("mobilenet_v2", {"width_mult": 0.5})
    assert parse_call("resnet18") == ("resnet18", {})
    for wrong in ("f(1)", "f(**{})", "f(a=open('x'))", "a.b(c=1)", "f(", ""):
        with pytest.raises(ValueError, match="expected NAME"):
            parse_call(wrong)
