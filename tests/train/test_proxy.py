import math

import torch
from torch import nn

from nassuite.train.proxy import synflow


def test_of_a_linear_network_it_is_the_sum_over_all_paths():
    """For a chain of matrices every weight's share is the output: the score is layers * ones^T |B| |A| ones."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False))
    a, b = network[1].weight.detach().double().abs(), network[2].weight.detach().double().abs()
    expected = math.log(2 * float((b @ a @ torch.ones(4, dtype=torch.float64)).sum()))
    assert math.isclose(synflow(network, (1, 2, 2)), expected, rel_tol=1e-9)


def test_the_network_is_left_as_it_is_and_wider_scores_more():
    def network(width):
        generator = torch.Generator().manual_seed(0)
        made = nn.Sequential(
            nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(width, 5),
        )  # fmt: skip
        for parameter in made.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        return made.train()

    small = network(4)
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    assert synflow(small, (3, 8, 8)) < synflow(network(32), (3, 8, 8))
    assert small.training
    assert all(torch.equal(before[name], tensor) for name, tensor in small.state_dict().items())
