import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import DIGIT, SIX, space_of

from nassuite.latency import choosing
from nassuite.latency.calibrate import BATCH, Sample
from nassuite.latency.choosing import FIRST_DRAWN, arrays, collect, draw, learnt_from, next_batch, settled
from nassuite.latency.features import feature_names, features
from nassuite.latency.kernels import layers
from nassuite.latency.meter import Measurement
from nassuite.latency.target import Target
from nassuite.space import Stage
from nassuite.space_file import load_space
from nassuite.spec import Arch

TARGET = Target()
TINY = load_space("tiny")


def ms_of(arch):
    """Adds up over layers."""
    return sum(0.002 + 5e-9 * layer.macs + 2e-8 * layer.traffic for layer in layers(arch, 3))


def sample_of(arch, drawn=True, noisy=False, noise=0.0):
    return Sample(arch, ms_of(arch) * (1 + noise) / 0.2, 0.2, noisy, drawn)


def samples_of(space, count, seed=0, noise=0.0):
    """What ``collect`` would have, all drawn at random, each off by up to ``noise``."""
    rng = random.Random(seed)
    return [sample_of(arch, noise=rng.uniform(-noise, noise)) for arch in draw(space, count, rng)]


class FakeMeter:
    """Measures by ``ms_of``; the files are named after architectures that ``export`` notes."""

    def __init__(self, stop_after=None):
        self.archs, self.measured, self.stop_after = {}, [], stop_after

    def export(self, arch, path):
        self.archs[path.name] = arch

    def __call__(self, paths, target, **more):
        if self.stop_after is not None and len(self.measured) >= self.stop_after:
            raise KeyboardInterrupt
        self.measured += [self.archs[path.name] for path in paths]
        ratios = [ms_of(self.archs[path.name]) / 0.2 for path in paths]
        return [
            Measurement(p.name, "", target.describe(), ((r * 0.2,),), r, r, r, 0.2, (1.0,), 0, {})
            for p, r in zip(paths, ratios, strict=True)
        ]


def collected(meter, space=TINY, most=72, **more):
    return collect(space, meter.export, meter, TARGET, most=most, seed=0, in_chans=3, **more)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([SIX, DIGIT, TINY]), st.integers(1, 60), st.integers(0, 1000))
def test_drawn_networks_are_of_the_space_and_all_different(space, count, seed):
    besides = set(draw(space, 10, random.Random(seed + 1)))
    archs = draw(space, count, random.Random(seed), besides=besides)
    assert len(set(archs)) == len(archs) == count
    assert not besides & set(archs)
    for arch in archs:
        space.encode(arch)  # raises where it is not in the space
    assert draw(space, count, random.Random(seed), besides=besides) == archs


@pytest.mark.parametrize("count", [5, 40, 1000])
def test_a_list_for_a_device_has_both_ends_and_is_the_same_every_time(count):
    archs = choosing.calibration_archs(DIGIT, count, 0)
    assert len(set(archs)) == len(archs) == min(count, DIGIT.size)
    ends = {DIGIT.extreme(which, op) for which in ("smallest", "largest") for op in DIGIT.operators}
    assert ends <= set(archs) or count < len(ends)
    assert choosing.calibration_archs(DIGIT, count, 0) == archs
    assert choosing.calibration_archs(DIGIT, 40, 1) != choosing.calibration_archs(DIGIT, 40, 0)


def test_they_spread_over_size_and_over_how_many_operators_are_mixed():
    archs = draw(SIX, 300, random.Random(0))
    numbers = Counter(len({block.op for block in arch.blocks}) for arch in archs)
    assert min(numbers[n] for n in (1, 2, 3)) > 30
    alone = Counter(arch.blocks[0].op for arch in archs if len({b.op for b in arch.blocks}) == 1)
    assert set(alone) == set(SIX.operators)
    macs = np.sort([features(arch, 3)[-1] for arch in archs])
    uniform = np.sort([features(SIX.sample(random.Random(i)), 3)[-1] for i in range(300)])
    assert macs[30] < uniform[30]
    assert macs[270] > uniform[270]


@pytest.mark.parametrize("operators", [("dwcb",), ("ghost", "shuffle")])
def test_small_spaces_are_measured_whole(operators):
    space = space_of(Stage((8, 16), (1,), 2, operators, (3, 5), (2.0,)))
    meter = FakeMeter()
    samples = collected(meter, space=space, most=100)
    assert len({sample.arch for sample in samples}) == len(samples) == space.size
    assert collected(meter, space=space, most=100, known=samples) == samples


def test_it_begins_with_both_ends_of_every_operator():
    first = next_batch(TINY, [], BATCH, seed=0, in_chans=3)
    ends = {TINY.extreme(which, op) for which in ("smallest", "largest") for op in TINY.operators}
    assert {arch for arch, drawn in first if not drawn} == ends
    assert sum(drawn for _, drawn in first) == BATCH - len(ends)


def test_then_half_of_a_batch_is_where_the_models_disagree(monkeypatch):
    before = samples_of(TINY, FIRST_DRAWN)
    batch = next_batch(TINY, before, BATCH, seed=0, in_chans=3)
    assert [drawn for _, drawn in batch] == [False] * (BATCH // 2) + [True] * (BATCH // 2)
    assert not {arch for arch, _ in batch} & {sample.arch for sample in before}
    assert next_batch(TINY, before, BATCH, seed=0, in_chans=3) == batch
    assert next_batch(TINY, before, BATCH, seed=1, in_chans=3) != batch
    # Two models that differ by the number of squeeze-and-excitation blocks, and agree on average: networks of
    # many are asked for.
    se = feature_names().index("squeeze_excite.count")
    disagreeing = {"one": lambda q: 1 / (1 + q[:, se]), "two": lambda q: 1 + q[:, se]}
    monkeypatch.setattr(choosing, "fit_all", lambda *_, **__: disagreeing)
    asked = [arch for arch, drawn in next_batch(TINY, before, BATCH, seed=0, in_chans=3) if not drawn]
    count = np.mean([features(arch, 3)[se] for arch in asked])
    assert count > np.mean([features(sample.arch, 3)[se] for sample in before]) + 0.5


def test_a_calibration_that_was_stopped_goes_on_with_the_same_list():
    whole = collected(FakeMeter(), most=88)
    assert len(whole) == 88
    assert 8 < sum(not sample.drawn for sample in whole) <= 8 + 88 // 2
    for done in (0, 5, 16, 70):  # also within a batch
        meter = FakeMeter()
        again = collected(meter, most=88, known=whole[:done])
        assert again == whole
        assert meter.measured == [sample.arch for sample in whole[done:]]


def test_each_batch_is_saved_before_the_next_is_begun():
    saved = []
    with pytest.raises(KeyboardInterrupt):
        collected(FakeMeter(stop_after=32), save=saved.append)
    assert saved == collected(FakeMeter())[:32]


def test_it_stops_when_more_samples_no_longer_help(monkeypatch):
    meter, asked = FakeMeter(), []

    def enough(samples, **more):
        asked.append(len(samples))
        return len(samples) >= 64

    monkeypatch.setattr(choosing, "settled", enough)
    assert len(collected(meter, most=200)) == 64
    assert asked == [0, 16, 32, 48, 64]


def test_settled_is_when_the_latest_told_nothing_new():
    noisy = samples_of(TINY, 240, noise=0.2)
    # 20 % of noise is all that is left to miss: no sample more helps.
    assert settled(noisy, seed=0, in_chans=3)
    assert not settled(noisy[:80], seed=0, in_chans=3)  # too few to say
    # The first 48 knew one operator only; the others came with the latest.
    first = [s for s in samples_of(TINY, 1200) if {b.op for b in s.arch.blocks} == {"ghost"}][:FIRST_DRAWN]
    assert len(first) == FIRST_DRAWN
    later = samples_of(TINY, 48, seed=1)
    assert not settled([*first, *later], seed=0, in_chans=3)


def test_what_was_measured_in_noise_is_not_learnt_from_unless_all_was():
    samples = samples_of(DIGIT, 40)
    noisy = [sample_of(sample.arch, noisy=True) for sample in samples[:10]]
    assert learnt_from([*noisy, *samples[10:]]) == samples[10:]
    loud = [sample_of(sample.arch, noisy=True) for sample in samples]
    assert learnt_from(loud) == loud
    x, y, drawn = arrays([*noisy, *samples[10:]], 3, seed=0)
    assert x.shape[0] == len(y) == len(drawn) == 30
    assert y == pytest.approx([ms_of(sample.arch) for sample in samples[10:]])


def test_a_sample_of_an_earlier_version_counts_as_drawn():
    arch = DIGIT.extreme("smallest")
    old = {"arch": arch.to_json(), "ratio": 1.0, "reference_ms": 0.2, "noisy": False}
    assert Sample.from_json(old).drawn
    assert isinstance(Sample.from_json(old).arch, Arch)
