import pytest
import torch
from torch import nn

from nassuite.compress.prune import PruneConfig, prune
from nassuite.compress.surgery import cut
from nassuite.compress.verify import MaskEquivalenceError, mask_equivalence, masked, scrambled


def images():
    return torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(5))


def conv_bn(inputs, outputs, kernel=1, *, stride=1, groups=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class ShuffleNet(nn.Module):
    """One ShuffleNetV2 unit of stride 2, its channels interleaved, and a convolution that reads them."""

    def __init__(self):
        super().__init__()
        self.stem = conv_bn(1, 16, 3)
        self.left = nn.Sequential(conv_bn(16, 16, 3, stride=2, groups=16), conv_bn(16, 16))
        self.right = nn.Sequential(conv_bn(16, 16), conv_bn(16, 16, 3, stride=2, groups=16), conv_bn(16, 16))
        self.last, self.classifier = conv_bn(32, 32), nn.Linear(32, 10)

    def forward(self, x):
        x = self.stem(x)
        y = torch.cat((self.left(x), self.right(x)), 1)
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.classifier(self.last(y).mean((2, 3)))


@pytest.fixture
def shuffle_net():
    torch.manual_seed(0)
    return scrambled(ShuffleNet(), images(), torch.Generator().manual_seed(0))


def test_torch_pruning_cuts_a_shuffle_wrongly_and_the_gate_sees_it(shuffle_net):
    history = [("right.2.0", True, (0, 3, 4, 9, 10, 11, 12, 13))]
    pruned, _, _ = cut(shuffle_net, history, images())
    assert pruned(images()).shape == (6, 10)  # it runs, which proves nothing
    with pytest.raises(MaskEquivalenceError, match="differs from the masked dense one"):
        mask_equivalence(shuffle_net, pruned, history, images())


def test_inside_the_branch_the_same_net_is_cut_exactly(shuffle_net):
    history = [("right.0.0", True, (0, 3, 4, 9)), ("last.0", True, tuple(range(8)))]
    pruned, _, _ = cut(shuffle_net, history, images())
    assert mask_equivalence(shuffle_net, pruned, history, images()) <= 1e-5


def test_a_pruned_model_with_other_channels_than_its_record_fails(make_network):
    model = scrambled(make_network(), images(), torch.Generator().manual_seed(0))
    pruned, record = prune(model, PruneConfig(0.5), example=images())
    mask_equivalence(model, pruned, record.history, images())
    name, is_out, channels = record.history[0]
    width = model.get_submodule(name).out_channels
    others = tuple(c for c in range(width) if c not in channels)[: len(channels)]
    with pytest.raises(MaskEquivalenceError):
        mask_equivalence(model, pruned, [(name, is_out, others), *record.history[1:]], images())


def test_a_moved_weight_fails(make_network):
    model = scrambled(make_network(), images(), torch.Generator().manual_seed(0))
    pruned, record = prune(model, PruneConfig(0.5), example=images())
    with torch.no_grad():
        weight = pruned.blocks[1].project.conv.weight
        weight[:, [0, 1]] = weight[:, [1, 0]]
    with pytest.raises(MaskEquivalenceError):
        mask_equivalence(model, pruned, record.history, images())


def test_masked_channels_are_zero_where_they_leave_the_batch_norm(make_network):
    model = make_network("inverted_residual", act="hard_swish").eval()
    history = [("blocks.0.expand.conv", True, (1, 5, 7))]
    _, kept, _ = cut(model, history, images())
    seen = {}
    copied = masked(model, kept)
    copied.blocks[0].expand.register_forward_hook(lambda m, i, o: seen.update(expand=o))
    copied.blocks[0].depthwise.register_forward_hook(lambda m, i, o: seen.update(depthwise=o))
    copied.eval()(images())
    for output in seen.values():
        silent = (output.abs().amax((0, 2, 3)) == 0).nonzero().flatten().tolist()
        assert {1, 5, 7} <= set(silent)


def test_scrambling_gives_every_residual_branch_a_voice(make_network):
    model = make_network("inverted_residual").eval()
    quiet, loud = model, scrambled(model, images(), torch.Generator().manual_seed(0))
    assert quiet.blocks[1].project.bn.weight.abs().max() == 0.0
    assert loud.blocks[1].project.bn.weight.abs().min() >= 0.5
    with torch.no_grad():
        logits = loud(images())
    assert logits.std(0).min() > 1e-3
    assert torch.isfinite(logits).all()


def test_a_wrong_cut_behind_a_silent_branch_is_found_on_scrambled_weights(shuffle_net):
    """Where a branch adds nothing any cut passes; prune therefore does not ask the model's own weights only."""
    with torch.no_grad():
        shuffle_net.last[0].weight.zero_()
    history = [("right.2.0", True, tuple(range(8)))]
    pruned, _, _ = cut(shuffle_net, history, images())
    assert mask_equivalence(shuffle_net, pruned, history, images()) == 0.0
    _, record = prune(shuffle_net, PruneConfig(0.5), example=images())
    assert "right.2.0" not in {layer.layer for layer in record.pruned}
