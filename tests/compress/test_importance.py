"""Importances against what their papers say, worked out by hand."""

import pytest
import torch
from torch import nn

from nassuite.compress.importance import group_scores, saliencies, taylor_scores
from nassuite.compress.surgery import Group, Member, find_groups
from nassuite.compress.units import even_units
from nassuite.compress.widths import PruneConfig, widths_at
from nassuite.errors import InputError


def one_layer(weight):
    layer = nn.Linear(weight.shape[1], len(weight), bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    model = nn.Sequential(layer)
    channels = tuple(range(len(weight)))
    return model, Group(
        "0", len(weight), even_units(len(weight), 1), (Member("0", "out", channels, channels),), False
    )


def scores_of(model, group, importance, **more):
    return group_scores(model, group, saliencies(model, importance, **more), importance)


def test_lamp_is_the_share_of_those_that_matter_no_less():
    model, group = one_layer(torch.diag(torch.tensor([3.0, 1.0, 2.0])))
    assert scores_of(model, group, "lamp").tolist() == pytest.approx([1.0, 1 / 14, 4 / 13])


def test_fpgm_drops_the_filter_that_the_others_can_stand_in_for():
    model, group = one_layer(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [4.0, 4.0]]))
    distances = torch.cdist(model[0].weight, model[0].weight).sum(1)
    scores = scores_of(model, group, "fpgm")
    assert torch.allclose(scores, distances / distances.mean())
    assert scores.argmin() == 3  # by norm it is the middle one of four, the origin the least
    assert scores_of(model, group, "magnitude").argmin() == 0


def test_hessian_is_half_the_weights_squared_times_the_mean_squared_gradient_per_image():
    model, group = one_layer(torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.0, 1.0]]))
    images, labels = torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([0, 2])
    expected = torch.zeros(3)
    for image, label in zip(images, labels, strict=True):
        wrong = torch.softmax(model[0].weight.detach() @ image, 0) - nn.functional.one_hot(label, 3)
        expected += 0.5 * (model[0].weight.detach() * torch.outer(wrong, image)).square().sum(1)
    found = scores_of(model, group, "hessian", batches=[(images, labels)])
    assert torch.allclose(found, expected, atol=1e-6)
    apart = scores_of(model, group, "hessian", batches=[(images[:1], labels[:1]), (images[1:], labels[1:])])
    assert torch.allclose(found, apart, atol=1e-6)  # gradients are of single images, however they are batched


class TestTaylor:
    """Against the network's own loss, with a channel multiplied by what is almost 1."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.expand, self.norm = nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6)
            self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
            self.project, self.beside = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1, bias=False)
            self.head = nn.Linear(4, 3)

        def forward(self, x, gates=1.0):
            x = self.depthwise(self.norm(self.expand(x)).relu()).sigmoid() * torch.as_tensor(gates).view(
                -1, 1, 1
            )
            return self.head((self.project(x) + self.beside(x)).mean((2, 3)))

    def network_and_group(self):
        torch.manual_seed(0)
        model = self.Network().eval()
        group, *_ = [g for g in find_groups(model, torch.rand(2, 3, 5, 5))[0] if g.root == "expand"]
        return model, group

    def test_it_is_the_slope_of_the_loss_in_what_the_layers_behind_are_given(self):
        model, group = self.network_and_group()
        batches = [(torch.rand(4, 3, 5, 5), torch.randint(3, (4,))) for _ in range(3)]
        slopes = torch.zeros(6)
        for images, labels in batches:
            gates = torch.ones(6, requires_grad=True)
            loss = nn.functional.cross_entropy(model(images, gates), labels)
            slopes += torch.autograd.grad(loss, gates)[0].abs() / len(batches)
        found = taylor_scores(model, [group], batches)["expand"]
        assert torch.allclose(found, slopes, rtol=1e-4, atol=1e-7)
        assert (found > 0).all()

    def test_channels_that_nothing_takes_have_the_score_of_their_own_weights(self):
        model, group = one_layer(torch.tensor([[1.0, -2.0], [0.5, 0.0]]))
        images, labels = torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([0, 1])
        weight = model[0].weight.detach()
        wrong = torch.softmax(images @ weight.T, 1) - nn.functional.one_hot(labels, 2)
        expected = (weight * (wrong.T @ images / 2)).sum(1).abs()
        assert torch.allclose(taylor_scores(model, [group], [(images, labels)])["0"], expected, atol=1e-6)

    def test_without_images_it_is_refused(self):
        model, group = self.network_and_group()
        with pytest.raises(InputError, match="'taylor' needs batches of images and labels"):
            taylor_scores(model, [group], None)

    def test_single_weights_have_none(self):
        with pytest.raises(ValueError, match="taylor_scores"):
            saliencies(nn.Linear(2, 2), "taylor")


def test_isomorphic_classes_lose_the_same_share_each():
    model = nn.Sequential(nn.Conv2d(1, 32, 1), nn.Conv2d(1, 32, 1), nn.Linear(4, 32))
    channels = tuple(range(32))
    groups = [
        Group(str(n), 32, even_units(32, 1), (Member(str(n), "out", channels, channels),), False)
        for n in range(3)
    ]
    scores = {"0": torch.arange(32.0), "1": 100 + torch.arange(32.0), "2": 1000 + torch.arange(32.0)}

    def widths(scope):
        return widths_at(model, groups, scores, PruneConfig(0.5, scope=scope, align=8))

    assert widths("global") == {"0": 8, "1": 16, "2": 32}  # aligned, never nothing
    assert widths("isomorphic") == {"0": 8, "1": 32, "2": 16}
    assert widths("local") == {"0": 16, "1": 16, "2": 16}
