import copy
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import SIX, arch_of, images, scrambled_supernet
from torch import nn

from nassuite.nn.supernet import Supernet
from nassuite.train.recalibrate import (
    batch_norm_statistics,
    predict,
    recalibrate,
    recalibrated,
)

BATCHES = [images(16, count=5, seed=seed) for seed in range(3)]
TEST = images(16, count=4, seed=99)
EXAMPLES = settings(max_examples=10)
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return scrambled_supernet()


def logits_of(supernet, arch):
    return predict(recalibrated(supernet, arch, BATCHES), [TEST], arch.resolution)


@EXAMPLES
@given(seed=seeds)
def test_shared_weights_are_left_untouched(supernet, seed):
    before = copy.deepcopy(supernet.state_dict())
    recalibrate(supernet, arch_of(SIX, seed), BATCHES)
    after = supernet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert supernet.training


def test_results_do_not_depend_on_the_order_of_evaluation(supernet):
    archs = [arch_of(SIX, seed) for seed in range(5)]
    first = {arch: logits_of(supernet, arch) for arch in archs}
    for seed in range(2):
        order = archs * 2
        random.Random(seed).shuffle(order)
        for arch in order:
            assert torch.equal(logits_of(supernet, arch), first[arch])


@EXAMPLES
@given(seed=seeds)
def test_the_recalibrated_network_is_the_supernet_with_its_statistics(supernet, seed):
    arch = arch_of(SIX, seed)
    x = images(arch.resolution, count=4)
    network = recalibrated(supernet, arch, BATCHES)
    statistics = recalibrate(supernet, arch, BATCHES)
    assert not network.training
    assert all(torch.equal(batch_norm_statistics(network)[name], statistics[name]) for name in statistics)
    plain = supernet.extract(arch, statistics)
    assert torch.equal(plain(x), supernet(x, arch, statistics))
    # The same in another memory format, whose kernels round differently.
    assert torch.allclose(network(x), plain(x), rtol=1e-3, atol=1e-4 * plain(x).abs().max().item())


def test_statistics_are_plain_averages_over_batches(supernet):
    arch = SIX.extreme("smallest")
    found = recalibrate(supernet, arch, BATCHES)
    each = [recalibrate(supernet, arch, [batch]) for batch in BATCHES]
    for name, tensor in found.items():
        if name.endswith("num_batches_tracked"):
            assert tensor == len(BATCHES)
        else:
            average = torch.stack([statistics[name] for statistics in each]).mean(0)
            assert torch.allclose(tensor, average, rtol=1e-4, atol=1e-5), name


def test_the_stems_statistics_by_hand(supernet):
    arch = SIX.extreme("smallest")
    stem = supernet.extract(arch)
    with torch.no_grad():
        y = stem.stem.conv(stem.normalise(BATCHES[0]))
    found = recalibrate(supernet, arch, BATCHES[:1])
    assert torch.allclose(found["stem.bn.running_mean"], y.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(found["stem.bn.running_var"], y.var((0, 2, 3)), rtol=1e-4)


def test_statistics_follow_the_architectures_resolution(supernet):
    genes = SIX.encode(SIX.extreme("largest"))
    small, large = (SIX.decode(genes | {"resolution": side}) for side in (16, 24))
    one, other = (recalibrate(supernet, arch, BATCHES) for arch in (small, large))
    assert not torch.equal(one["stem.bn.running_var"], other["stem.bn.running_var"])


def test_what_is_trained_on_has_the_usual_momentum(supernet):
    network = recalibrated(supernet, arch_of(SIX, 0), BATCHES)
    assert {layer.momentum for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)} == {0.1}


def test_predict_is_in_evaluation_mode_and_in_order():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 16 * 16, 5)).train()
    together = predict(network, BATCHES)
    assert together.shape == (15, 5)
    assert not together.requires_grad
    assert torch.allclose(together, predict(network, [torch.cat(BATCHES)]), atol=1e-6)
