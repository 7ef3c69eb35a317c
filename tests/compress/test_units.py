"""Channels that go together: grouped convolutions stay even, and a shuffle deals what is left as before."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from nassuite.blocks.shuffle import ChannelShuffle
from nassuite.blocks.shuffle_v1 import GroupShuffleUnit
from nassuite.compress.prune import PruneConfig, prune, replay
from nassuite.compress.shuffles import tied
from nassuite.compress.surgery import find_groups
from nassuite.compress.units import even_units, units_behind_shuffles
from nassuite.compress.verify import MaskEquivalenceError, mask_equivalence


@given(st.integers(1, 6), st.integers(1, 9))
def test_even_units_divide_the_channels(parts, size):
    units = even_units(parts * size, parts)
    assert len(units) == size
    assert sorted(channel for unit in units for channel in unit) == list(range(parts * size))
    for unit in units:
        assert sorted(channel // size for channel in unit) == list(range(parts))


@given(groups=st.integers(2, 4), each=st.integers(2, 24), back=st.booleans(), data=st.data())
def test_any_units_may_go_behind_a_shuffle(groups, each, back, data):
    """Convolutions of as many groups before and behind it keep equal groups, and the order behind it is the same."""
    width, shuffle = groups * each, ChannelShuffle(groups, back=back)
    before = shuffle.order(width)
    assert sorted(before) == list(range(width))
    part_before = [channel // each for channel in range(width)]
    part_behind = [0] * width
    for place, channel in enumerate(before):
        part_behind[channel] = place // each
    sets = [[before[place] for place in together] for together in tied(shuffle, width)]
    units = units_behind_shuffles(width, [sets], [part_before, part_behind])
    assume(units)
    gone = data.draw(st.sets(st.sampled_from(units), max_size=len(units)))
    removed = {channel for unit in gone for channel in unit}
    assert len(removed) == len(gone) * len(units[0])
    left = [channel for channel in range(width) if channel not in removed]
    for part in (part_before, part_behind):
        assert len({sum(part[channel] == p for channel in left) for p in range(groups)}) == 1
    if left:
        dealt_anew = [left[place] for place in shuffle.order(len(left))]
        assert dealt_anew == [channel for channel in before if channel not in removed]


class Units(torch.nn.Module):
    """Two units of ShuffleNet between a stem and a classifier."""

    def __init__(self, form: str, groups: int, middle: int, *, first_groups: int, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = torch.nn.Conv2d(1, 24, 3, stride=2)
        self.down = GroupShuffleUnit(
            24, 48, middle, groups=groups, stride=2, form=form, first_groups=first_groups
        )
        self.keep = GroupShuffleUnit(48, 48, middle, groups=groups, form=form)
        self.last = torch.nn.Linear(48, 10)

    def forward(self, x):
        return self.last(self.keep(self.down(self.stem(x))).mean((2, 3)))


@pytest.mark.parametrize("form", ["paper", "megvii"])
@pytest.mark.parametrize(("groups", "middle"), [(3, 60), (2, 50), (4, 68)])
def test_the_inside_of_shufflenets_units_is_cut_exactly(form, groups, middle):
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    made = {"form": form, "groups": groups, "middle": middle, "first_groups": 1}
    model = Units(**made)
    found = {group.root: group for group in find_groups(model, images)[0]}
    # Behind a first convolution without groups the shuffle of the released code leaves those behind it even.
    units = {"down": groups if form == "megvii" else groups**2, "keep": groups**2}
    for name, unit in units.items():
        group = found[f"{name}.reduce.conv"]
        assert (group.width, group.unit) == (middle, unit)
    pruned, record = prune(model, PruneConfig(0.4, "random", align=1), example=images)
    after = {layer.layer: layer.after for layer in record.pruned}
    assert record.gate_difference <= 1e-4
    for name, unit in units.items():
        width = after[f"{name}.reduce.conv"]
        assert (middle - width) % unit == 0
        assert abs(width - 0.6 * middle) <= unit
        assert pruned.get_submodule(f"{name}.depthwise.conv").groups == width
    _, second = prune(pruned, PruneConfig(0.3, "random", align=1), example=images)
    assert second.gate_difference <= 1e-4
    again = replay(Units(**made, seed=1), record)
    again.load_state_dict(pruned.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(images), pruned.eval()(images))
        # The gate looks at these layers: another order of the inputs in a group does not pass.
        again.keep.project.conv.weight.copy_(pruned.keep.project.conv.weight.roll(1, 1))
    with pytest.raises(MaskEquivalenceError):
        mask_equivalence(model, again, record.history, images)


def test_a_width_that_no_alignment_allows_is_a_reason():
    images = torch.rand(4, 1, 16, 16)
    _, record = prune(Units("paper", 3, 60, first_groups=1), PruneConfig(0.4, align=16), example=images)
    reasons = {layer.layer: layer.reason for layer in record.kept}
    assert reasons["keep.reduce.conv"] == "no wider than 144 channels, one aligned step"
