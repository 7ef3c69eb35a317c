import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import INTERFACE, SIX, arch_of, images

from nassuite.nn.network import Interface, Network, Normalise, build, layout, make, parts
from nassuite.nn.slicing import layer_of

seeds = st.integers(0, 2**32)


@settings(max_examples=10)
@given(seeds)
def test_logits_and_repeatable_weights(seed):
    arch = arch_of(SIX, seed)
    one, again, other = (build(arch, INTERFACE, seed=s).eval() for s in (1, 1, 2))
    x = images(arch.resolution)
    assert one(x).shape == (3, INTERFACE.num_classes)
    assert torch.equal(one(x), again(x))
    assert not torch.equal(one.stem.conv.weight, other.stem.conv.weight)


def test_global_randomness_does_not_matter():
    arch = arch_of(SIX, 0)
    torch.manual_seed(1)
    one = build(arch, INTERFACE).state_dict()
    torch.manual_seed(2)
    again = build(arch, INTERFACE).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)


@settings(max_examples=20)
@given(seeds)
def test_parts_are_the_networks_modules_in_order(seed):
    arch = arch_of(SIX, seed)
    with torch.device("meta"):
        network = Network(arch, INTERFACE)
    found = parts(arch, INTERFACE)
    names = [part.name for part in found]
    assert names == ["stem", *(f"blocks.{n}" for n in range(len(arch.blocks))), "head"]
    assert [part.in_channels for part in found[1:]] == [
        arch.stem.width,
        *(block.out_channels for block in arch.blocks),
    ]
    assert len({part.slot for part in found}) == len(found)
    for part in found:
        module = network.get_submodule(part.name)
        shapes = {name: p.shape for name, p in module.named_parameters()}
        with torch.device("meta"):
            assert shapes == {name: p.shape for name, p in make(part).named_parameters()}
        for name, shape in shapes.items():
            channels = layout(part)[layer_of(name, layout(part))]
            assert [sum(s) for s, _ in zip(channels, shape, strict=False)] == list(shape[:2])


def test_normalisation_is_inside():
    normalise = Normalise((0.5, 0.25), (0.5, 0.125))
    x = torch.stack((torch.full((4, 4), 1.0), torch.full((4, 4), 0.5)))[None]
    assert torch.equal(normalise(x), torch.stack((torch.ones(4, 4), torch.full((4, 4), 2.0)))[None])
    assert {"normalise.mean", "normalise.std"} <= set(build(arch_of(SIX, 0), INTERFACE).state_dict())


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour(channels):
    interface = Interface(channels, 7, (0.5,) * channels, (0.25,) * channels)
    arch = arch_of(SIX, 1)
    assert build(arch, interface)(images(arch.resolution, channels=channels)).shape == (3, 7)
