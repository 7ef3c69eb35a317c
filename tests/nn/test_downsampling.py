"""Stages whose first layer has operators of its own: the same rules hold as in every other space."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_spaces import DOWN, INTERFACE, arch_of, images, scrambled_supernet

from nassuite.latency.cost import cost
from nassuite.latency.kernels import layers
from nassuite.nn.network import Network
from nassuite.space_file import load_space
from nassuite.spec import DOWNSAMPLINGS


@pytest.fixture(scope="module")
def supernet():
    return scrambled_supernet(DOWN)


def test_the_first_layer_alone_has_them():
    for seed in range(40):
        for stage, choices in zip(arch_of(DOWN, seed).stages, DOWN.stages, strict=True):
            assert stage[0].op in choices.downsample
            assert all(block.op in choices.operator for block in stage[1:])


@given(st.integers(0, 10_000))
def test_genes_and_architectures_are_one_to_one(seed):
    arch = arch_of(DOWN, seed)
    assert DOWN.decode(DOWN.encode(arch)) == arch


def test_the_size_is_the_number_of_architectures():
    stage = DOWN.stages[1]
    found = set()
    rng = random.Random(0)
    for _ in range(4000):
        arch = DOWN.sample(rng)
        found.add((arch.stages[1][0].out_channels, tuple((b.op, b.kernel) for b in arch.stages[1])))
    # Two widths; depth 1 has two downsamplings, depth 3 two blocks behind each, of two operators.
    assert len(found) == 2 * (2 + 2 * 2**2)
    assert DOWN.size % len(found) == 0
    assert stage.operators(0) == DOWNSAMPLINGS


@given(st.integers(0, 10_000))
def test_extraction_is_bit_equal(supernet, seed):
    arch = arch_of(DOWN, seed)
    x = images(arch.resolution)
    with torch.no_grad():
        assert torch.equal(supernet(x, arch), supernet.extract(arch)(x))


@pytest.mark.parametrize("seed", range(8))
def test_the_predictor_counts_what_the_network_has(seed):
    arch = arch_of(DOWN, seed)
    with torch.device("meta"):
        network = Network(arch, INTERFACE)
    counted = cost(network, (3, arch.resolution, arch.resolution))
    classifier = arch.head.width * INTERFACE.num_classes
    assert sum(layer.macs for layer in layers(arch, INTERFACE.in_chans)) == counted.macs - classifier


def test_a_step_is_fair_to_downsamplings_too():
    assert DOWN.step_subnets % 3 == 0
    assert DOWN.step_subnets % 2 == 0


def test_henet_is_shipped_with_its_downsamplings_as_choices():
    space = load_space("henet")
    assert set(space.operators) == {"dwcb", "group_dwcb", "alt_dwcb", "space_to_depth", "strided_conv"}
    largest = space.extreme("largest", "space_to_depth")
    assert [stage[0].op for stage in largest.stages] == ["space_to_depth"] * 4
    assert "s2d" in str(largest)
