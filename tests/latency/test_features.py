import random

import numpy as np
import pytest

from nassuite.latency.features import OPERATORS, feature_names, features, operator_sums
from nassuite.latency.kernels import BUCKETS, layers
from nassuite.spec import Arch, BlockSpec, HeadSpec, StemSpec

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


@pytest.mark.parametrize("seed", range(5))
def test_features_are_named_finite_and_sum_over_kernels(seed):
    arch = random_arch(random.Random(seed))
    row = dict(zip(feature_names(), features(arch, 3), strict=True))
    kernels = list(layers(arch, 3))
    assert np.isfinite(list(row.values())).all()
    assert row["macs"] == pytest.approx(sum(k.macs for k in kernels) / 1e6)
    for quantity in ("work", "traffic"):
        counted = sum(getattr(k, quantity) for k in kernels) / 1e6
        assert sum(row[f"{bucket}.{quantity}"] for bucket in BUCKETS) == pytest.approx(counted)
    assert sum(row[f"{bucket}.count"] for bucket in BUCKETS) == len(kernels)
    for bucket in BUCKETS:
        roots = sum((k.work / 1e6) ** 0.5 for k in kernels if k.bucket == bucket)
        assert row[f"{bucket}.sqrt_work"] == pytest.approx(roots)


@pytest.mark.parametrize("seed", range(3))
def test_sums_over_operators_are_those_of_the_blocks_and_of_the_whole(seed):
    arch = random_arch(random.Random(seed))
    sums = operator_sums(arch, 3)
    operators, rest = sums[: 3 * len(OPERATORS)].reshape(-1, 3), sums[3 * len(OPERATORS) :]
    kernels = list(layers(arch, 3))
    assert operators[:, 0].tolist() == [sum(b.op == op for b in arch.blocks) for op in OPERATORS]
    assert rest[:4] == pytest.approx(
        [
            len(kernels),
            *(sum(getattr(k, name) for k in kernels) / 1e6 for name in ("macs", "traffic", "weights")),
        ]
    )
    assert rest[4] == arch.resolution
    assert rest[5:] == pytest.approx(np.log(rest[:3]))
    assert (operators[:, 1:].sum(0) < rest[1:3]).all()  # the stem and the head are in none


def test_an_operator_that_it_does_not_know_counts_as_another():
    other = OPERATORS.index("other")
    blocks, macs, _ = operator_sums(arch_of(BlockSpec("sandglass", 32, 32)), 3)[3 * other : 3 * other + 3]
    assert blocks == 1
    assert macs > 0


def test_rows_are_not_shared():
    arch = arch_of(BlockSpec("shuffle", 32, 32))
    first = features(arch, 3)
    first[:] = 0
    assert features(arch, 3).any()
