import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training import Memory

from nassuite.data import Augment
from nassuite.data.masks import MaskData, MaskSplit
from nassuite.errors import InputError
from nassuite.metrics import mean_iou, pixel_confusion
from nassuite.train.loop import TrainConfig
from nassuite.train.segment import pixel_cross_entropy, segmentation_confusion, train_segmentation

CONFIG = TrainConfig(8, 4, lr=0.5, seed=3, augment=Augment(flip=True))


def split(count: int, seed: int, *, classes: int = 3) -> MaskSplit:
    """Blocks of 4 x 4 pixels whose grey is their class; the first row is ignored."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, classes, (count, 4, 4), generator=generator, dtype=torch.uint8)
    labels = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)
    images = (labels * 100).unsqueeze(1)
    labels[:, 0] = 255
    return MaskSplit(labels, images, classes)


DATA = MaskData(
    "toy", 3, 1, (16, 16), (0.39,), (0.32,), split(24, 0), split(8, 1), split(8, 2), skipped=(), digest=""
)


def make_network(classes: int = 3, *, stride: int = 1) -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(1, 8, stride, stride=stride), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, classes, 1)
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return network


def miou(network: nn.Module, part: MaskSplit) -> float:
    return mean_iou(segmentation_confusion(network, DATA, part, batch_size=3))


def test_learns_what_is_seen_in_each_pixel() -> None:
    network = make_network()
    before = miou(network, DATA.val)
    log = train_segmentation(network, DATA, CONFIG)
    assert [entry["epoch"] for entry in log] == list(range(1, 9))
    assert before < 0.7
    assert log[-1]["val_miou"] == miou(network, DATA.val) > 0.99
    assert miou(network, DATA.test) > 0.99
    assert not network.training


def test_coarse_maps_are_scaled_up() -> None:
    network = make_network(stride=4)
    train_segmentation(network, DATA, CONFIG)
    confusion = segmentation_confusion(network, DATA, DATA.val)
    assert confusion.sum() == 8 * 15 * 16
    assert mean_iou(confusion) > 0.6


def test_killed_and_resumed_is_uninterrupted() -> None:
    whole, memory = make_network(), Memory()
    log = train_segmentation(whole, DATA, CONFIG, checkpoints=memory)
    memory.saved = memory.saved[:3]
    resumed = make_network()
    assert train_segmentation(resumed, DATA, CONFIG, checkpoints=memory) == log
    expected = whole.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.state_dict().items())


def test_too_few_classes_are_told() -> None:
    with pytest.raises(InputError, match="the network has 2 classes, the masks 3"):
        train_segmentation(make_network(2), DATA, CONFIG)


def test_loss_is_the_mean_over_counted_pixels() -> None:
    logits = torch.randn((2, 3, 4, 4), generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.randint(0, 3, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    labels[0, :2] = 255
    for smoothing in (0.0, 0.1):
        expected = F.cross_entropy(logits, labels, ignore_index=255, label_smoothing=smoothing)
        assert torch.allclose(pixel_cross_entropy(logits, labels, label_smoothing=smoothing), expected)
    nothing = pixel_cross_entropy(logits, torch.full_like(labels, 255))
    nothing.backward()
    assert nothing.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_confusion_leaves_out_ignored_pixels() -> None:
    target = torch.tensor([[0, 0, 1], [1, 255, 255]])
    prediction = torch.tensor([[0, 1, 1], [1, 0, 2]])
    confusion = pixel_confusion(prediction, target, 4)
    assert confusion.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert mean_iou(confusion) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert pixel_confusion(prediction[:1], target[:1], 4, ignore=0).tolist()[1] == [0, 1, 0, 0]
    assert pixel_confusion(prediction, torch.full_like(target, 255), 4).sum() == 0
    with pytest.raises(ValueError, match="no pixel"):
        mean_iou(pixel_confusion(prediction, torch.full_like(target, 255), 4))
    with pytest.raises(ValueError, match="do not belong together"):
        pixel_confusion(prediction[0], target, 4)


def test_a_class_that_is_only_predicted_counts_as_missed() -> None:
    target, prediction = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 1])
    assert mean_iou(pixel_confusion(prediction, target, 3)) == pytest.approx((1 / 2 + 1 + 0) / 3)
