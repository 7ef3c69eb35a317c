import copy
import dataclasses
import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import ALL_OPERATORS, INTERFACE, SIX, arch_of, images, scrambled_supernet, touched
from torch import nn

from nassuite.nn.network import Network
from nassuite.nn.supernet import Supernet
from nassuite.space import UNORDERED, Genes
from nassuite.spec import DOWNSAMPLINGS, OPERATORS, Arch
from nassuite.train.recalibrate import recalibrate

seeds = st.integers(0, 2**32)
EXAMPLES = settings(max_examples=10)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return scrambled_supernet()


def pure(operator: str, seed: int) -> Arch:
    """A random architecture with one operator in every layer."""
    genes = SIX.encode(arch_of(SIX, seed))
    return SIX.decode(genes | {name: operator for name in genes if name.endswith(".operator")})


def check_bit_equal(supernet: Supernet, arch: Arch, seed: int) -> None:
    x = images(arch.resolution, seed=seed)
    assert torch.equal(supernet(x, arch), supernet.extract(arch)(x))
    statistics = recalibrate(supernet, arch, [images(arch.resolution, seed=seed + 1)])
    network = supernet.extract(arch, statistics)
    assert not network.training
    assert torch.equal(supernet(x, arch, statistics), network(x))


@EXAMPLES
@given(seed=seeds)
def test_extraction_is_bit_equal(supernet, seed):
    check_bit_equal(supernet, arch_of(SIX, seed), seed % 1000)


@pytest.mark.parametrize("operator", ALL_OPERATORS)
@pytest.mark.parametrize("seed", range(3))
def test_extraction_of_each_family_is_bit_equal(supernet, operator, seed):
    check_bit_equal(supernet, pure(operator, seed), seed)


@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize("operator", ALL_OPERATORS)
def test_extraction_of_both_ends_is_bit_equal(supernet, which, operator):
    check_bit_equal(supernet, SIX.extreme(which, operator), 0)


def test_an_extraction_is_a_plain_module_of_its_own(supernet):
    arch = arch_of(SIX, 3)
    before = copy.deepcopy(supernet.state_dict())
    network = supernet.extract(arch)
    assert type(network) is Network
    assert network.training
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    after = supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_supernet_keeps_no_statistics_and_no_architecture(supernet):
    before = copy.deepcopy(supernet.state_dict())
    assert not [name for name in before if "running" in name or "num_batches" in name]
    logits = {seed: supernet(images(arch_of(SIX, seed).resolution), arch_of(SIX, seed)) for seed in range(6)}
    for seed in (5, 2, 0, 4, 1, 3):
        arch = arch_of(SIX, seed)
        assert torch.equal(supernet(images(arch.resolution), arch), logits[seed])
    after = supernet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_evaluation_mode_changes_nothing(supernet):
    """The statistics say whether a call trains or evaluates, not a mode that could be forgotten."""
    arch = arch_of(SIX, 4)
    x = images(arch.resolution)
    expected = supernet(x, arch)
    supernet.eval()
    assert torch.equal(supernet(x, arch), expected)
    supernet.train()


@EXAMPLES
@given(seed=seeds)
def test_a_gradient_touches_active_slices_only(supernet, seed):
    arch = arch_of(SIX, seed)
    supernet.zero_grad()
    supernet(images(arch.resolution), arch).square().sum().backward()
    active = touched(supernet, arch)
    for name, parameter in supernet.named_parameters():
        if parameter.grad is None:
            assert not active[name].any(), name
        else:
            assert not parameter.grad[~active[name]].any(), name
    used = torch.cat([p.grad[active[n]] for n, p in supernet.named_parameters() if p.grad is not None])
    assert used.isfinite().all()
    assert (used != 0).float().mean() > 0.3


def test_several_forwards_before_one_backward_add_their_gradients(supernet):
    archs = [arch_of(SIX, seed) for seed in range(4)]
    losses = [lambda a=arch: supernet(images(a.resolution), a).square().mean() for arch in archs]
    supernet.zero_grad()
    for loss in losses:
        loss().backward()
    one_by_one = {n: p.grad.clone() for n, p in supernet.named_parameters() if p.grad is not None}
    supernet.zero_grad()
    torch.stack([loss() for loss in losses]).sum().backward()
    for name, parameter in supernet.named_parameters():
        assert (parameter.grad is None) == (name not in one_by_one)
        if parameter.grad is not None:
            assert torch.allclose(parameter.grad, one_by_one[name], rtol=1e-3, atol=1e-5), name


def widened(genes: Genes, rng: random.Random) -> Genes:
    """Every width, expansion and kernel drawn among those that are as large or larger."""
    return {
        name: rng.choice([c for c in choices if c >= genes[name]])
        if name.endswith(("width", "expand", "kernel"))
        else genes[name]
        for name, choices in SIX.genes.items()
    }


def check_that_channels_mean_the_same(supernet: Supernet, genes: Genes, rng: random.Random) -> None:
    """Weights that the narrow network does not have are set to zero. In the wide one its further
    channels are zero then, as wide as it is and whatever its operators, so both compute the same: if and only if every
    channel of the narrow one is the channel that the wide one has computed for it.
    """
    narrow, wide = SIX.decode(genes), SIX.decode(widened(genes, rng))
    lean = copy.deepcopy(supernet).double()
    with torch.no_grad():
        for name, mask in touched(supernet, narrow).items():
            lean.get_parameter(name).mul_(mask)
    x = images(narrow.resolution).double()
    expected, found = lean(x, narrow), lean(x, wide)
    assert expected.std() > 1e-3
    # All comes out the same in double precision, but for what 1 / sqrt(var + eps) makes of rounding.
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-8), (narrow, wide)


@settings(max_examples=10)
@given(seed=seeds)
def test_a_channel_means_the_same_feature_at_every_width(supernet, seed):
    rng = random.Random(seed)
    genes = {name: rng.choice(choices) for name, choices in SIX.genes.items()}
    check_that_channels_mean_the_same(supernet, genes, rng)


@pytest.mark.parametrize(("operator", "after"), itertools.combinations_with_replacement(ALL_OPERATORS, 2))
def test_a_channel_means_the_same_feature_to_every_pair_of_operators(supernet, operator, after):
    """Narrowest against widest, in chains of residual blocks that take turns."""
    genes = SIX.extreme_genes("smallest")
    for name, choices in SIX.genes.items():
        if name.endswith(".operator"):
            layer = int(name.split(".")[1].removeprefix("layer"))
            genes[name] = (operator, after)[layer % 2]
        if name.endswith((".depth", ".se")):
            genes[name] = max(choices)
    check_that_channels_mean_the_same(supernet, genes, random.Random(0))


def test_widening_widens():
    genes = SIX.extreme_genes("smallest")
    wide = widened(genes, random.Random(0))
    assert sum(wide[name] > genes[name] for name in genes if not name.endswith(UNORDERED)) > 10


def test_slots_hold_the_largest_of_every_operator_and_no_more(supernet):
    assert len(supernet.slots) == 2 + sum(max(s.depth) * len(s.operator) for s in SIX.stages)
    used = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in supernet.named_parameters()}
    for arch in SIX.maximal_archs():
        for name, mask in touched(supernet, arch).items():
            used[name] |= mask
    assert all(mask.all() for mask in used.values())


def test_weights_come_from_the_seed():
    torch.manual_seed(1)
    one = Supernet(SIX, INTERFACE, seed=5).state_dict()
    torch.manual_seed(2)
    again, other = (
        Supernet(SIX, INTERFACE, seed=5).state_dict(),
        Supernet(SIX, INTERFACE, seed=6).state_dict(),
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["slots.stem.conv.weight"], other["slots.stem.conv.weight"])


def test_operators_of_the_test_space_are_all_there_are():
    assert set(ALL_OPERATORS) == set(OPERATORS) - set(DOWNSAMPLINGS)  # those: test_downsampling.py
    assert {dataclasses.replace(s, width=()).operator for s in SIX.stages} == {ALL_OPERATORS}
    assert not [m for m in Network(arch_of(SIX, 0), INTERFACE).modules() if isinstance(m, nn.Dropout)]
