import random
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import ALL_OPERATORS, DIGIT, INTERFACE, SIX, space_of, touched
from torch.nn import functional as F
from training import Killed, Memory, digits, noise

from nassuite.metrics import score
from nassuite.nn.network import Interface
from nassuite.nn.supernet import Supernet
from nassuite.space import Stage
from nassuite.space_file import load_space
from nassuite.spec import OPERATORS
from nassuite.train import loop, sandwich
from nassuite.train.loop import TrainConfig
from nassuite.train.recalibrate import predict, recalibrated
from nassuite.train.sandwich import (
    SandwichConfig,
    draw_sandwich,
    resize,
    sandwich_step,
    soft_cross_entropy,
    train_supernet,
)

MIXED = space_of(
    Stage((8, 16), (1, 2), 2, ALL_OPERATORS[:2], (3, 5), (2.0,)),
    Stage((8, 16), (2, 3), 2, ALL_OPERATORS[:3], (3, 5), (2.0, 3.0), (False, True), ("relu", "gelu")),
)
SPACES = [SIX, DIGIT, MIXED, load_space("tiny")]


def sizes(space, arch, pick):
    """Whether every elastic size that matters in ``arch`` is at its end."""
    assert arch.resolution == pick(space.resolution)
    assert arch.stem.width == pick(space.stem_width)
    assert arch.head.width == pick(space.head_width)
    for stage, blocks in zip(space.stages, arch.stages, strict=True):
        assert len(blocks) == pick(stage.depth)
        for block in blocks:
            assert block.out_channels == pick(stage.width)
            used = OPERATORS[block.op]
            if "expand" in used:
                assert block.expand == pick(stage.expand)
            if "se" in used:
                assert block.se == pick(stage.se)
            if block.op != "ghost" or block.stride == 2:
                assert max(block.kernel) == pick(stage.kernel)


@settings(max_examples=20)
@given(st.sampled_from(SPACES), st.integers(0, 2**32))
def test_a_step_is_largest_smallest_and_random_ones(space, seed):
    archs = draw_sandwich(space, random.Random(seed))
    assert len(archs) == space.step_subnets
    sizes(space, archs[0], max)
    sizes(space, archs[1], min)
    for arch in archs:
        space.encode(arch)  # raises where it is not in the space
    assert draw_sandwich(space, random.Random(seed)) == archs


@settings(max_examples=20)
@given(st.sampled_from(SPACES), st.integers(0, 2**32))
def test_in_every_step_every_operator_is_seen_equally_often(space, seed):
    archs = draw_sandwich(space, random.Random(seed))
    for s, stage in enumerate(space.stages):
        for layer in range(min(stage.depth)):
            seen = Counter(arch.stages[s][layer].op for arch in archs)
            assert seen == dict.fromkeys(stage.operator, len(archs) // len(stage.operator))
        for layer in range(max(stage.depth)):
            seen = Counter(arch.stages[s][layer].op for arch in archs if layer < len(arch.stages[s]))
            assert max(seen.values()) <= len(archs) // len(stage.operator)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("position", [0, 1], ids=["largest", "smallest"])
def test_the_ends_see_every_operator_and_activation_in_turn(space, position):
    steps = 400
    archs = [draw_sandwich(space, random.Random(f"0/{step}"))[position] for step in range(steps)]
    for s, stage in enumerate(space.stages):
        for layer in range((max, min)[position](stage.depth)):
            blocks = [arch.stages[s][layer] for arch in archs]
            expected = steps / len(stage.operator)
            counts = Counter(block.op for block in blocks)
            assert set(counts) == set(stage.operator)
            assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())
            assert {block.act for block in blocks} == set(stage.act)


def test_operators_of_different_layers_are_drawn_independently():
    teachers = [draw_sandwich(DIGIT, random.Random(f"0/{step}"))[0] for step in range(300)]
    assert len({tuple(block.op for block in teacher.blocks) for teacher in teachers}) == 2**4


def wide(arch) -> float:
    """Grows with every elastic size but depth's own."""
    return arch.resolution * sum(
        block.out_channels * block.expand * max(block.kernel) * (1 + block.se) for block in arch.blocks
    )


@settings(max_examples=20)
@given(st.sampled_from(SPACES), st.integers(0, 2**32), st.floats(0.05, 0.9))
def test_subnets_are_made_smaller_until_they_are_within(space, seed, share):
    least = max(wide(space.extreme("smallest", operator)) for operator in space.operators)
    most = max(wide(space.extreme("largest", operator)) for operator in space.operators)
    limit = least + share * (most - least)
    free = draw_sandwich(space, random.Random(seed))
    found = draw_sandwich(space, random.Random(seed), within=lambda arch: wide(arch) <= limit)
    assert all(wide(arch) <= limit for arch in found)
    for one, other in zip(free, found, strict=True):
        assert other == one or wide(one) > limit
        for blocks, left in zip(one.stages, other.stages, strict=True):
            assert [b.op for b in left] == [b.op for b in blocks][: len(left)]
    assert draw_sandwich(space, random.Random(seed), within=lambda arch: True) == free


def test_the_first_is_made_as_little_smaller_as_that_takes():
    space, sums = load_space("tiny"), [0.0, 0.0]
    limit = 0.3 * wide(space.extreme("largest"))
    for step in range(50):
        first, _, *others = draw_sandwich(space, random.Random(step), within=lambda arch: wide(arch) <= limit)
        sums = [sums[0] + wide(first), sums[1] + wide(others[0])]
    assert 0.85 * limit < sums[0] / 50 <= limit
    assert sums[1] / 50 < 0.8 * limit


def test_the_largest_can_be_that_of_the_whole_space():
    space = load_space("tiny")
    limit = 0.3 * wide(space.extreme("largest"))
    config = SandwichConfig(whole_largest=True)
    first, *others = draw_sandwich(space, random.Random(0), config, within=lambda arch: wide(arch) <= limit)
    assert first == draw_sandwich(space, random.Random(0))[0]
    assert all(wide(arch) <= limit for arch in others)


def test_kin_are_of_one_operator_and_fair():
    space = load_space("tiny")
    archs = draw_sandwich(space, random.Random(0), SandwichConfig(kinship=1.0))
    operators = [{block.op for block in arch.blocks} for arch in archs]
    assert sorted(map(tuple, operators)) == sorted((name,) for name in space.operators)


def test_other_compositions():
    space = load_space("tiny")
    random_only = draw_sandwich(space, random.Random(0), SandwichConfig(ends=False, subnets=8))
    assert len(set(random_only)) == 8
    assert space.extreme("largest").depths not in [arch.depths for arch in random_only[:2]]
    assert len(draw_sandwich(space, random.Random(0), SandwichConfig(subnets=1, ends=False, fair=False))) == 1
    unfair = [draw_sandwich(space, random.Random(step), SandwichConfig(fair=False)) for step in range(8)]
    assert any(len({arch.blocks[0].op for arch in archs}) < 4 for archs in unfair)
    assert len({archs[0] for archs in unfair}) == 8
    with pytest.raises(ValueError, match="zip"):
        draw_sandwich(space, random.Random(0), SandwichConfig(subnets=6))


def gradients(sandwich: SandwichConfig) -> dict[str, torch.Tensor]:
    supernet, split = Supernet(DIGIT, INTERFACE), noise(8)
    images, labels = next(split.batches(8))
    sandwich_step(supernet, TrainConfig(1, 8, label_smoothing=0.1), sandwich=sandwich)(images, labels, 0)
    return {name: p.grad for name, p in supernet.named_parameters() if p.grad is not None}


def test_labels_alone_are_a_sum_of_losses():
    supernet = Supernet(DIGIT, INTERFACE)
    images, labels = next(noise(8).batches(8))
    for arch in draw_sandwich(DIGIT, random.Random("0/0")):
        F.cross_entropy(supernet(images, arch), labels, label_smoothing=0.1).backward()
    found = gradients(SandwichConfig(soft_share=0.0))
    for name, parameter in supernet.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(found[name], parameter.grad, atol=1e-6), name


def test_what_all_share_can_be_moved_by_the_mean():
    summed, mean = gradients(SandwichConfig()), gradients(SandwichConfig(mean_shared=True))
    for name, gradient in summed.items():
        share = 4 if name.startswith(("slots.stem.", "slots.head.")) else 1
        assert torch.allclose(mean[name] * share, gradient, rtol=1e-5, atol=1e-8), name


def test_resize():
    x = torch.rand(2, 3, 16, 16)
    assert resize(x, 16) is x
    assert resize(x, 8).shape == (2, 3, 8, 8)
    assert torch.allclose(resize(torch.full((1, 1, 16, 16), 0.3), 24), torch.full((1, 1, 24, 24), 0.3))


def test_soft_cross_entropy_is_cross_entropy_with_probabilities():
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(6, 5, generator=generator), torch.randn(6, 5, generator=generator)
    soft = F.softmax(teacher, 1)
    assert torch.allclose(soft_cross_entropy(logits, soft), F.cross_entropy(logits, soft))
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    assert torch.allclose(soft_cross_entropy(logits, F.one_hot(labels, 5)), F.cross_entropy(logits, labels))
    # The teacher's own logits are the best answer.
    assert soft_cross_entropy(teacher, soft) <= soft_cross_entropy(logits, soft)


def test_a_step_moves_only_what_its_subnets_use():
    """Weight decay included; and from one step to the next, momentum."""
    supernet = Supernet(MIXED, INTERFACE)
    original = {name: p.detach().clone() for name, p in supernet.named_parameters()}
    train_supernet(supernet, noise(16), TrainConfig(1, 8, lr=0.1, weight_decay=0.5))
    used = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in original.items()}
    for step in range(2):
        for arch in draw_sandwich(MIXED, random.Random(f"0/{step}")):
            for name, mask in touched(supernet, arch).items():
                used[name] |= mask
    for name, parameter in supernet.named_parameters():
        assert torch.equal(parameter[~used[name]], original[name][~used[name]]), name
    moved = {name for name, p in supernet.named_parameters() if not torch.equal(p, original[name])}
    assert {"slots.stem.conv.weight", "slots.head.conv.conv.weight"} <= moved
    assert not all(mask.all() for mask in used.values())


def test_between_steps_momentum_moves_nothing_either():
    """A second step of two that uses other operators leaves what the first one moved where it is."""
    supernet, after = Supernet(MIXED, INTERFACE), []

    def remember() -> dict[str, float]:
        after.append({name: p.detach().clone() for name, p in supernet.named_parameters()})
        return {}

    train_supernet(supernet, noise(8), TrainConfig(2, 8, lr=0.1, weight_decay=0.5), after_epoch=remember)
    used = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in after[0].items()}
    for arch in draw_sandwich(MIXED, random.Random("0/1")):
        for name, mask in touched(supernet, arch).items():
            used[name] |= mask
    for name, first in after[0].items():
        assert torch.equal(after[1][name][~used[name]], first[~used[name]]), name


def test_killed_and_resumed_is_uninterrupted(monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    split, config = noise(24), TrainConfig(2, 8, lr=0.05, seed=3)
    whole = Supernet(MIXED, INTERFACE)
    log = train_supernet(whole, split, config)

    calls = []

    def killed_draw(*drawn, **how):
        calls.append(1)
        if len(calls) == 5:
            raise Killed
        return draw_sandwich(*drawn, **how)

    memory = Memory()
    monkeypatch.setattr(sandwich, "draw_sandwich", killed_draw)
    with pytest.raises(Killed):
        train_supernet(Supernet(MIXED, INTERFACE), split, config, checkpoints=memory)
    monkeypatch.setattr(sandwich, "draw_sandwich", draw_sandwich)
    resumed = Supernet(MIXED, INTERFACE, seed=9)
    assert train_supernet(resumed, split, config, checkpoints=memory) == log
    expected = whole.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.state_dict().items())


@pytest.mark.slow
def test_a_small_supernet_learns_digits():
    """Chance is 10 %; both ends share their weights."""
    data = digits(16)
    interface = Interface(1, 10, data.mean, data.std)
    supernet = Supernet(DIGIT, interface)
    log = train_supernet(supernet, data.train, TrainConfig(4, 64, lr=0.1))
    assert log[-1]["loss"] < log[0]["loss"]
    batches = [images for images, _ in data.train.subset(256, seed=0).batches(128)]
    for which in ("largest", "smallest"):
        arch = DIGIT.extreme(which)
        logits = predict(recalibrated(supernet, arch, batches), (x for x, _ in data.val.batches(256)), 16)
        assert score(logits, data.val.labels) > 0.4
