import pytest
import torch

from nassuite.data.augment import Augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES = torch.randint(256, (64, 3, 16, 16), dtype=torch.uint8, generator=generator(9))


def test_off_changes_nothing() -> None:
    assert torch.equal(Augment()(IMAGES, generator()), IMAGES)


def test_flip_mirrors_about_half() -> None:
    out = Augment(flip=True)(IMAGES, generator())
    kept = (out == IMAGES).flatten(1).all(1)
    flipped = (out == IMAGES.flip(3)).flatten(1).all(1)
    assert torch.equal(kept, ~flipped)
    assert 16 <= int(flipped.sum()) <= 48


def test_shift_moves_whole_pictures_and_mirrors_the_border() -> None:
    out = Augment(shift_px=2)(IMAGES, generator())
    padded = torch.nn.functional.pad(IMAGES.float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
    offsets = set()
    for image, source in zip(out, padded, strict=True):
        found = [
            (dy, dx)
            for dy in range(5)
            for dx in range(5)
            if torch.equal(image, source[:, dy : dy + 16, dx : dx + 16])
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert {dy for dy, _ in offsets} == {dx for _, dx in offsets} == set(range(5))


def test_cutout_greys_one_square_at_most() -> None:
    out = Augment(cutout_px=4)(IMAGES, generator())
    changed = (out != IMAGES).any(1)  # (N, H, W)
    for image, source, where in zip(out, IMAGES, changed, strict=True):
        rows, columns = where.any(1).nonzero(), where.any(0).nonzero()
        assert len(rows) > 0
        assert rows.max() - rows.min() < 4
        assert columns.max() - columns.min() < 4
        grey = source.float().mean((1, 2)).to(torch.uint8)
        assert torch.equal(image[:, where], grey[:, None].expand(-1, int(where.sum())))


def test_same_generator_state_same_batch() -> None:
    augment = Augment(flip=True, shift_px=3, cutout_px=5)
    assert torch.equal(augment(IMAGES, generator(1)), augment(IMAGES, generator(1)))
    assert not torch.equal(augment(IMAGES, generator(1)), augment(IMAGES, generator(2)))


def test_extreme_sizes() -> None:
    tiny = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2)
    out = Augment(flip=True, shift_px=9, cutout_px=9)(tiny, generator())
    assert out.shape == tiny.shape
    with pytest.raises(ValueError, match="negative"):
        Augment(shift_px=-1)
