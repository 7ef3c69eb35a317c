"""Mixup and CutMix: every pixel comes from where the share says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nassuite.train.mix import mix


def constant_images(n: int, side: int = 12) -> torch.Tensor:
    return torch.arange(1.0, n + 1)[:, None, None, None].expand(n, 3, side, side).clone()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_the_share_of_every_image_is_that_of_the_loss(seed, n):
    images = constant_images(n)
    for kind in ({"mixup": 0.8, "cutmix": 0.0}, {"mixup": 0.0, "cutmix": 1.0}):
        mixed = mix(images, **kind, rng=np.random.default_rng(seed))
        expected = mixed.share * images + (1 - mixed.share) * images[mixed.partner]
        torch.testing.assert_close(mixed.images.mean((1, 2, 3)), expected.mean((1, 2, 3)))
        assert 0 <= mixed.share <= 1
        assert sorted(mixed.partner.tolist()) == list(range(n))


def test_cutmix_pastes_a_box_of_whole_pixels():
    images = constant_images(4)
    mixed = mix(images, mixup=0.0, cutmix=1.0, rng=np.random.default_rng(3))
    for n, partner in enumerate(mixed.partner.tolist()):
        assert set(mixed.images[n].unique().tolist()) <= {n + 1.0, partner + 1.0}


def test_off_is_off_and_both_take_turns():
    images = constant_images(4)
    assert mix(images, mixup=0.0, cutmix=0.0, rng=np.random.default_rng(0)) is None
    whole = [
        bool(
            torch.isin(mix(images, mixup=1.0, cutmix=1.0, rng=np.random.default_rng(s)).images, images).all()
        )
        for s in range(20)
    ]
    assert any(whole)
    assert not all(whole)


def test_the_input_is_not_changed():
    images = constant_images(4)
    mix(images, mixup=0.0, cutmix=1.0, rng=np.random.default_rng(1))
    assert torch.equal(images, constant_images(4))
    assert mix(images, mixup=0.3, cutmix=0.0, rng=np.random.default_rng(1)).share == pytest.approx(
        mix(images, mixup=0.3, cutmix=0.0, rng=np.random.default_rng(1)).share
    )
