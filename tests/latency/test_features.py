import random

import numpy as np
import pytest
import torch

from nassuite.latency.cost import cost
from nassuite.latency.features import BUCKETS, feature_names, features, layers
from nassuite.nn.network import Interface, Network
from nassuite.spec import Arch, BlockSpec, HeadSpec, StemSpec

CLASSES = 7
OPS = ("inverted_residual", "ghost", "shuffle", "dwcb", "group_dwcb", "alt_dwcb")


def random_arch(rng):
    channels = stem = rng.choice([16, 24])
    stages = []
    for _ in range(3):
        blocks, width = [], rng.choice([16, 24, 48])
        for layer in range(rng.choice([1, 2, 3])):
            op, size = rng.choice(OPS), rng.choice([3, 5, 7])
            shaped = op in ("inverted_residual", "ghost")
            blocks.append(
                BlockSpec(
                    op,
                    channels,
                    width,
                    kernel=(1, size) if op == "alt_dwcb" else (size, size),
                    stride=rng.choice([1, 2]) if layer == 0 else 1,
                    expand=1.0 if op == "shuffle" else rng.choice([1.0, 2.0, 3.0]),
                    se=shaped and rng.random() < 0.5,
                    act=rng.choice(["relu", "hard_swish"]),
                    shortcut="identity" if layer else "pool",
                )
            )
            channels = width
        stages.append(tuple(blocks))
    return Arch(rng.choice([31, 32]), StemSpec(stem, stride=rng.choice([1, 2])), tuple(stages), HeadSpec(64))


def arch_of(block, resolution=32):
    return Arch(resolution, StemSpec(block.in_channels), ((block,),), HeadSpec(64))


def value(arch, name):
    return features(arch, 3)[feature_names().index(name)]


@pytest.mark.parametrize("seed", range(12))
def test_macs_and_weights_are_those_of_the_network_that_is_built(seed):
    arch = random_arch(random.Random(seed))
    with torch.device("meta"):
        network = Network(arch, Interface(3, CLASSES, (0.5,) * 3, (0.2,) * 3))
    counted = cost(network, (3, arch.resolution, arch.resolution))
    classifier = arch.head.width * CLASSES
    assert sum(layer.macs for layer in layers(arch, 3)) == counted.macs - classifier
    weights = sum(p.numel() for p in network.parameters() if p.ndim > 1) - classifier
    assert sum(layer.weights for layer in layers(arch, 3)) == weights


@pytest.mark.parametrize("seed", range(5))
def test_features_are_named_finite_and_sum_over_buckets(seed):
    arch = random_arch(random.Random(seed))
    row = dict(zip(feature_names(), features(arch, 3), strict=True))
    assert len(row) == len(feature_names())
    assert np.isfinite(list(row.values())).all()
    for quantity in ("macs", "traffic"):
        assert sum(row[f"{bucket}.{quantity}"] for bucket in BUCKETS) == pytest.approx(row[quantity])
    assert sum(row[f"{bucket}.count"] for bucket in BUCKETS) == row["layers"]
    assert sum(row[f"{op}.count"] for op in OPS) == len(arch.blocks)
    assert row["macs"] == pytest.approx(sum(layer.macs for layer in layers(arch, 3)) / 1e6)


def test_aligned_channels_are_told_from_unaligned_ones():
    kinds = {
        width: {layer.bucket for layer in layers(arch_of(BlockSpec("inverted_residual", width, width)), 3)}
        for width in (32, 40, 36)
    }
    assert {"pointwise", "depthwise_3"} <= kinds[32]
    assert {"pointwise_half", "depthwise_unaligned"} <= kinds[40]
    assert {"pointwise_unaligned", "depthwise_unaligned"} <= kinds[36]


def test_kernel_sizes_strides_and_options_have_columns_of_their_own():
    def block(**options):
        return arch_of(BlockSpec("inverted_residual", 32, 32, expand=2.0, **options))

    assert value(block(kernel=(5, 5)), "depthwise_5.count") == 1
    assert value(block(stride=2), "depthwise_stride.count") == 1
    assert value(block(se=True), "squeeze_excite.count") == 1
    assert value(block(act="hard_swish"), "activation.count") == 2
    assert value(block(), "activation.count") == 0
    assert value(block(shortcut="identity"), "add.count") == 1
    flat = arch_of(BlockSpec("alt_dwcb", 32, 32, kernel=(1, 5), expand=2.0, shortcut="identity"))
    assert value(flat, "depthwise_flat.count") == 1
    assert value(flat, "scale.count") == 1
    grouped = arch_of(BlockSpec("group_dwcb", 32, 32, expand=2.0))
    assert value(grouped, "grouped.macs") == pytest.approx(16 * 64 * 32 * 32 / 1e6)


def test_an_operator_that_it_does_not_know_counts_as_another():
    unknown = arch_of(BlockSpec("sandglass", 32, 32))
    assert value(unknown, "other.count") == 1
    assert value(unknown, "other.macs") > 0


def test_a_larger_image_costs_more_of_everything():
    small, large = (arch_of(BlockSpec("ghost", 32, 32, expand=2.0), size) for size in (32, 64))
    for name in ("macs", "traffic", "resolution", "log_macs"):
        assert value(large, name) > value(small, name)
    assert value(large, "weights") == value(small, "weights")


def test_rows_are_not_shared():
    arch = arch_of(BlockSpec("shuffle", 32, 32))
    first = features(arch, 3)
    first[:] = 0
    assert features(arch, 3).any()
