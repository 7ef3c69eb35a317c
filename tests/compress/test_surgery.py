import pytest
import torch
from torch import Tensor, nn

from nassuite.blocks.attention import EfficientChannelAttention, ShuffleAttention
from nassuite.compress.surgery import cut, find_groups


def example():
    return torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_kept_positions_rebuild_every_pruned_tensor(make_network):
    model = make_network("ghost", se=True)
    history = [
        ("blocks.0.expand.primary.conv", True, (0, 2, 9)),
        ("head.conv.conv", True, tuple(range(5, 60))),
    ]
    pruned, kept, _ = cut(model, history, example())
    dense = model.state_dict()
    for name, tensor in pruned.state_dict().items():
        assert torch.equal(tensor, dense[name].flatten()[kept[name]])
        assert tensor.dtype == dense[name].dtype
    assert pruned.head.classifier.in_features == 9
    # Both halves of the ghost module lose the same channels.
    removed = set(range(48)) - {
        int(i) % 48 for i in kept["blocks.0.project.primary.conv.weight"][0].flatten()
    }
    assert removed == {0, 2, 9, 24, 26, 33}


def test_groups_name_their_members_and_the_period_of_grouped_layers(make_network):
    groups, failed = find_groups(make_network("group_dwcb"), example())
    assert not failed
    by_root = {group.root: group for group in groups}
    hidden = by_root["blocks.0.expand"]
    assert (hidden.width, hidden.unit, hidden.reaches_output) == (48, 2, False)
    assert hidden.units == tuple((place, place + 24) for place in range(24))
    assert [(m.module, m.side) for m in hidden.members] == [
        ("blocks.0.expand", "out"),
        ("blocks.0.project", "in"),
    ]
    assert by_root["head.classifier"].reaches_output
    ghost = {g.root: g for g in find_groups(make_network("ghost"), example())[0]}[
        "blocks.0.expand.primary.conv"
    ]
    (readers,) = (m for m in ghost.members if m.module == "blocks.0.project.primary.conv")
    assert sorted(zip(readers.channels, readers.roots, strict=True)) == [
        (channel, channel % 24) for channel in range(48)
    ]


class ShuffledResidual(nn.Module):
    """Shuffle attention on a residual's branch: there and back, the channels have another order every time."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch, self.gate = (
            nn.Conv2d(1, 32, 3),
            nn.Conv2d(32, 32, 1),
            ShuffleAttention(32, groups=2),
        )
        self.last, self.classifier = nn.Conv2d(32, 12, 1), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.gate(self.branch(x))
        return self.classifier(self.last(x).mean((2, 3)))


def test_channels_that_are_shuffled_round_a_residual_are_left_and_the_others_found():
    groups, failed = find_groups(ShuffledResidual(), example())
    round_and_round = {name for name, reason in failed.items() if "permuted round a residual" in reason}
    assert round_and_round == {"stem", "branch"}
    assert {group.root for group in groups} == {"last", "classifier"}


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_channels_along_a_convolutions_length_are_left_alone(kernel_size):
    class Gated(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Conv2d(1, 16, 3), EfficientChannelAttention(kernel_size), nn.Conv2d(16, 4, 1))

    groups, failed = find_groups(Gated(), example())
    assert [group.root for group in groups] == ["1.conv", "2"]
    assert failed == {"0": "its channels lie along a layer's length: 1.conv"}
