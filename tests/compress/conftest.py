from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nassuite.nn.network import Interface, Network, build
from nassuite.spec import OPERATORS, Arch, BlockSpec, HeadSpec, StemSpec

SIZE = 16


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Network]:
    """A small network of one operator; settings that it has no use for are dropped."""

    def make(op: str = "inverted_residual", *, seed: int = 0, **settings: object) -> Network:
        known = {"expand": 3.0, **settings}
        known = {name: value for name, value in known.items() if name in OPERATORS[op]}
        stages = (
            (BlockSpec(op, 16, 24, stride=2, **known), BlockSpec(op, 24, 24, shortcut="identity", **known)),
            (BlockSpec(op, 24, 32, stride=2, **known),),
        )
        arch = Arch(SIZE, StemSpec(16), stages, HeadSpec(64))
        return build(arch, Interface(1, 10, (0.3,), (0.35,)), seed=seed)

    return make


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, test images and labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
    images, labels = F.interpolate(images, size=SIZE, mode="bilinear"), torch.tensor(data.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    return images[train], labels[train], images[test], labels[test]


@pytest.fixture(scope="session")
def trained(make_network, digits) -> Callable[..., Network]:
    """Trains a small network on digits to about 97 %, once for each kind."""
    made: dict[tuple, Network] = {}

    def train(op: str, **settings: object) -> Network:
        key = (op, *sorted(settings.items()))
        if key not in made:
            made[key] = _train(make_network(op, **settings), *digits[:2])
        return made[key]

    return train


def _train(model: Network, images: Tensor, labels: Tensor, epochs: int = 6) -> Network:
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.SGD(model.parameters(), momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = epochs * -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.15, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(images), generator=generator).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()
