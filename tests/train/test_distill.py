import pytest
import torch
from small_spaces import DIGIT, INTERFACE, arch_of
from torch import nn
from torch.nn import functional as F
from training import Killed, Memory, noise

from nassuite.data import Augment
from nassuite.nn.network import build
from nassuite.train import distill, loop
from nassuite.train.distill import SoftLabels, train_network
from nassuite.train.loop import TrainConfig

ARCH = arch_of(DIGIT, 0)
SPLIT = noise(40)
CONFIG = TrainConfig(2, 8, lr=0.05, seed=1, augment=Augment(flip=True, shift_px=2))


def network(seed: int = 0) -> nn.Module:
    return build(ARCH, INTERFACE, seed=seed)


class Says(nn.Module):
    """A teacher with one answer for each image of ``SPLIT``, which it knows again."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.answers = dict(zip(SPLIT.images.flatten(1).sum(1).tolist(), logits, strict=True))
        assert len(self.answers) == len(SPLIT), "images that cannot be told apart"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sums = (x * 255).flatten(1).sum(1).round().int().tolist()
        return torch.stack([self.answers[each] for each in sums])


def says(labels: torch.Tensor) -> SoftLabels:
    return SoftLabels(Says(F.one_hot(labels, 5).float() * 100), 16, weight=1.0, temperature=1.0)


def test_a_teacher_speaks_of_every_image_in_order():
    teacher = network().eval()
    logits = SoftLabels(teacher, 16).logits(SPLIT)
    assert logits.shape == (40, 5)
    with torch.no_grad():
        assert torch.allclose(logits[7:9], teacher(SPLIT.images[7:9].float() / 255), atol=1e-4)


def test_each_image_gets_its_own_soft_labels():
    """A teacher with the right answers alone teaches as the labels do, whatever the order and augmentation."""
    plain = TrainConfig(2, 8, lr=0.05, seed=1, augment=CONFIG.augment, label_smoothing=0.0)
    by_teacher, by_labels = network(), network()
    train_network(by_teacher, SPLIT, plain, resolution=16, soft_labels=says(SPLIT.labels))
    train_network(by_labels, SPLIT, plain, resolution=16)
    for mine, other in zip(by_teacher.parameters(), by_labels.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=1e-2, atol=1e-3)
    wrong = says(torch.zeros_like(SPLIT.labels))
    train_network(misled := network(), SPLIT, plain, resolution=16, soft_labels=wrong)
    assert not torch.allclose(misled.head.classifier.bias, by_labels.head.classifier.bias, atol=1e-3)


def test_without_weight_soft_labels_say_nothing():
    nothing = SoftLabels(network(5), 16, weight=0.0)
    one, other = network(), network()
    log = train_network(one, SPLIT, CONFIG, resolution=16)
    assert train_network(other, SPLIT, CONFIG, resolution=16, soft_labels=nothing) == log
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_cached_teacher_speaks_of_the_image_and_its_mirror_image_alike():
    teacher = network().eval()
    x = SPLIT.images.float() / 255
    with torch.no_grad():
        expected = (teacher(x) + teacher(x.flip(3))) / 2
    torch.testing.assert_close(
        SoftLabels(teacher, 16, mirror=True).logits(SPLIT), expected, atol=1e-4, rtol=1e-4
    )


class Watching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        self.seen.append(x.clone())
        return x.flatten(1)[:, :5]


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_a_teacher_that_is_not_cached_sees_what_the_student_sees(mixup):
    student, shown, teacher = network(), [], Watching()
    student.register_forward_hook(lambda _module, inputs, _output: shown.append(inputs[0].clone()))
    config = TrainConfig(1, 8, lr=0.05, seed=1, augment=CONFIG.augment, mixup=mixup)
    train_network(student, SPLIT, config, resolution=16, soft_labels=SoftLabels(teacher, 16, cache=False))
    assert len(teacher.seen) == 5
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(teacher.seen, shown, strict=True))


def test_the_weight_of_the_teacher_falls_or_stays(monkeypatch):
    weights = {}
    for falling in (True, False):
        seen = weights[falling] = []
        monkeypatch.setattr(
            distill, "taught_loss", lambda name, hard, term, weight, seen=seen: seen.append(weight) or hard
        )
        soft = SoftLabels(network(5), 16, weight=0.8, loss="dist", falling=falling)
        train_network(network(), SPLIT, CONFIG, resolution=16, soft_labels=soft)
    assert weights[True] == pytest.approx([0.8 * (1 - step / 10) for step in range(10)])
    assert weights[False] == [0.8] * 10


def test_class_weights_count():
    weights = torch.tensor([10.0, 0.1, 0.1, 0.1, 0.1])
    heavy, even = network(), network()
    train_network(heavy, SPLIT, CONFIG, resolution=16, class_weights=weights)
    train_network(even, SPLIT, CONFIG, resolution=16)
    x = SPLIT.images.float() / 255
    with torch.no_grad():
        assert F.softmax(heavy(x), 1)[:, 0].mean() > F.softmax(even(x), 1)[:, 0].mean()


@pytest.mark.parametrize("killed_at", [3, 7])
def test_killed_and_resumed_is_uninterrupted(monkeypatch, killed_at):
    """Running statistics included."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    soft = SoftLabels(network(5), 16)
    whole = network()
    log = train_network(whole, SPLIT, CONFIG, resolution=16, soft_labels=soft)

    steps = []

    def killed(images, resolution):
        steps.append(1)
        if len(steps) > killed_at:
            raise Killed
        return images

    memory = Memory()
    monkeypatch.setattr(distill, "resize", killed)
    with pytest.raises(Killed):
        train_network(network(), SPLIT, CONFIG, resolution=16, soft_labels=soft, checkpoints=memory)
    monkeypatch.undo()
    assert memory.load().meta["step"] == killed_at
    resumed = network(3)
    assert log == train_network(resumed, SPLIT, CONFIG, resolution=16, soft_labels=soft, checkpoints=memory)
    expected = whole.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.state_dict().items())


def test_a_training_that_was_finished_asks_its_teacher_nothing():
    memory = Memory()
    train_network(network(), SPLIT, CONFIG, resolution=16, checkpoints=memory)
    teacher = Says(torch.zeros(40, 5))
    teacher.answers.clear()
    train_network(
        network(), SPLIT, CONFIG, resolution=16, soft_labels=SoftLabels(teacher, 16), checkpoints=memory
    )


def test_it_trains_in_training_mode_and_ends_in_evaluation_mode():
    student, modes = network(), []

    def after_epoch() -> dict[str, float]:
        modes.append(student.training)
        student.eval()
        return {"val": 0.0}

    student.stem.register_forward_hook(lambda module, *_: modes.append(module.training))
    log = train_network(student, SPLIT, CONFIG, resolution=16, after_epoch=after_epoch)
    assert all(modes)
    assert not student.training
    assert [entry["val"] for entry in log] == [0.0, 0.0]


def test_images_are_resized_to_the_networks_resolution():
    student, shapes = network(), []
    student.stem.register_forward_hook(lambda module, inputs, _: shapes.append(inputs[0].shape[-1]))
    train_network(student, noise(8, side=24), TrainConfig(1, 8), resolution=16)
    assert shapes == [16]
