from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from training import Killed, Memory, noise

from nassuite.data import Augment
from nassuite.train import loop
from nassuite.train.loop import Checkpoint, TrainConfig, train

SPLIT = noise()
CONFIG = TrainConfig(3, 8, lr=0.05, seed=7, augment=Augment(flip=True, shift_px=2, cutout_px=3))
PER_EPOCH = 44 // 8


def make_module() -> nn.Module:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 5)
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return module


def backward_of(module: nn.Module, *, killed_at: int | None = None) -> Callable[[Tensor, Tensor, int], float]:
    def backward(images: Tensor, labels: Tensor, step: int) -> float:
        if step == killed_at:
            raise Killed
        loss = F.cross_entropy(module(images), labels)
        loss.backward()
        return loss.item()

    return backward


def run(module, *, killed_at=None, memory=None, config=CONFIG, **more):
    backward = backward_of(module, killed_at=killed_at)
    return train(module, SPLIT, config, backward, description="test", checkpoints=memory, **more)


@pytest.fixture(scope="module")
def whole() -> tuple[nn.Module, list[dict[str, float]]]:
    module = make_module()
    return module, run(module)


def check_same(module, log, whole) -> None:
    assert log == whole[1]
    expected = whole[0].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in module.state_dict().items())


def test_the_log_has_an_entry_an_epoch(whole):
    assert [entry["epoch"] for entry in whole[1]] == [1, 2, 3]
    assert whole[1][-1]["loss"] < whole[1][0]["loss"]


def test_the_same_again(whole):
    module = make_module()
    check_same(module, run(module), whole)


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["every step", "every epoch"])
@pytest.mark.parametrize("killed_at", [1, 4, 5, 6, 12, 14])
def test_killed_and_resumed_is_uninterrupted(whole, monkeypatch, seconds, killed_at):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", seconds)
    memory = Memory()
    with pytest.raises(Killed):
        run(make_module(), killed_at=killed_at, memory=memory)
    done = memory.load().meta["step"] if memory.load() else 0
    assert done == (killed_at if seconds == 0 else killed_at // PER_EPOCH * PER_EPOCH)
    module = make_module()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    if not memory.saved:
        module = make_module()
    check_same(module, run(module, memory=memory), whole)


def test_resuming_what_is_finished_does_nothing(whole):
    memory = Memory()
    run(make_module(), memory=memory)
    count, module = len(memory.saved), make_module()
    check_same(module, run(module, killed_at=0, memory=memory), whole)
    assert len(memory.saved) == count


def test_checkpoints_are_tensors_and_json(whole):
    import json

    memory = Memory()
    run(make_module(), memory=memory)
    last = memory.load()
    assert isinstance(last, Checkpoint)
    assert json.loads(json.dumps(last.meta)) == last.meta
    assert all(isinstance(tensor, Tensor) for tensor in last.tensors.values())


def test_what_is_told_after_an_epoch_is_logged():
    module, seen = make_module(), []

    def after_epoch() -> dict[str, float]:
        seen.append(len(seen))
        return {"val": 0.5 + len(seen)}

    log = run(module, after_epoch=after_epoch)
    assert [entry["val"] for entry in log] == [1.5, 2.5, 3.5]


def test_another_seed_takes_other_steps(whole):
    module = make_module()
    log = run(module, config=TrainConfig(3, 8, lr=0.05, seed=8, augment=CONFIG.augment))
    assert log != whole[1]


def test_global_randomness_does_not_matter(whole):
    torch.manual_seed(99)
    module = make_module()
    check_same(module, run(module), whole)


def test_gradients_are_clipped():
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(1.0)

    def backward(images: Tensor, labels: Tensor, step: int) -> float:
        module.weight.grad = torch.full((1, 1), 1000.0)
        return 1.0

    config = TrainConfig(1, 44, lr=1.0, weight_decay=0.0, clip=0.01)
    train(module, SPLIT, config, backward, description="test")
    assert module.weight.item() == pytest.approx(1 - 0.019)  # Nesterov's first step is 1.9 gradients


def test_a_loss_that_is_no_number_ends_the_training():
    with pytest.raises(FloatingPointError, match=r"test: the loss is nan at step 0; a smaller lr"):
        train(make_module(), SPLIT, CONFIG, lambda *_: float("nan"), description="test")


def test_a_batch_larger_than_the_split():
    module, steps = make_module(), []
    backward = backward_of(module)

    def counted(images: Tensor, labels: Tensor, step: int) -> float:
        steps.append((step, len(images)))
        return backward(images, labels, step)

    train(module, SPLIT, TrainConfig(2, 1000, lr=0.01), counted, description="test")
    assert steps == [(0, 44), (1, 44)]


def test_every_epoch_takes_every_image_but_a_short_last_batch():
    module, rows = make_module(), []
    numbered = type(SPLIT)(torch.arange(44), SPLIT.images, 44)
    train(module, numbered, TrainConfig(3, 8), lambda x, y, s: rows.append(y) or 1.0, description="test")
    epochs = torch.cat(rows).view(3, 40)
    assert all(len(set(epoch.tolist())) == 40 for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
