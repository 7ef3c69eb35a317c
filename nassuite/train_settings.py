"""Every setting of one training in one value; imports no torch, for ``--help``."""

from __future__ import annotations

from dataclasses import dataclass

from nassuite import options
from nassuite.errors import InputError
from nassuite.options import option
from nassuite.settings import check_choices, check_least, check_positive, check_seed, flag

OF_A_TEACHER = (
    "teacher",
    "teacher_weights",
    "loss",
    "temperature",
    "teacher_weight",
    "teacher_schedule",
    "cache_teacher",
)
"""Settings that say nothing where there is no teacher."""


@dataclass(frozen=True)
class TrainSettings:
    """Settings of ``nassuite train``; a None is resolved before the training begins."""

    model: str = option(
        "", "network: NAME, 'NAME(option=value)', timm:NAME, torchvision:NAME, package.module:factory"
    )
    data: str = option(
        "digits", "digits, folder:DIR, cifar10|cifar100|fashion-mnist[:DIR], or masks:DIR for segmentation"
    )
    size: int | None = option(**options.SIZE)
    mask_size: str = option("256x256", "HEIGHTxWIDTH to which images with masks are brought")
    train_images: int | None = option(**options.TRAIN_IMAGES)
    metric: str = option(**options.METRIC)
    class_weights: str = option(**options.CLASS_WEIGHTS)
    epochs: int = option(10, "passes over the training images")
    batch_size: int = option(128, "images in a step")
    optimizer: str = option("sgd", "how weights move", choices=("sgd", "rmsprop", "adamw"))
    schedule: str = option("cosine", "how the learning rate moves", choices=("cosine", "cyclic", "plateau"))
    lr: float | None = option(None, "peak learning rate (default: fits optimizer and batch size)")
    warmup: float = option(0.2, "share of the steps in which the learning rate rises")
    weight_decay: float = option(5e-4, "weight decay; biases and batch norms have none")
    label_smoothing: float = option(0.1, "share of the label that all classes divide")
    mixup: float = option(0.0, "alpha of mixup, 0 is off")
    cutmix: float = option(0.0, "alpha of CutMix, 0 is off")
    ema: float = option(0.0, "decay of the moving average of the weights, 0 is off")
    zero_gamma: str = option(
        "on", "last batch norm of a residual branch starts at zero", choices=("on", "off")
    )
    teacher: str | None = option(
        None, "what to distil from: the folder of a trained model, or a network's name with --teacher-weights"
    )
    teacher_weights: str | None = option(
        None, "weights of a teacher given by name, for the same classes in the same order"
    )
    loss: str = option("soft", "what the teacher teaches by", choices=("soft", "dkd", "dist"))
    temperature: float | None = option(
        None, "softens the logits of teacher and student (default: 2, dkd and dist 4)"
    )
    teacher_weight: float | None = option(
        None, "weight of the teacher's part (default: 0.5 of the loss; added to it for dkd 1, for dist 2)"
    )
    teacher_schedule: str = option(
        "falling", "whether that weight falls to nothing by the end", choices=("falling", "constant")
    )
    cache_teacher: str = option(
        "off", "on: the teacher sees every image once (and mirrored, where images are), off: the student's views",
        choices=("on", "off"),
    )  # fmt: skip
    keep: str = option("last", "the weights of which epoch", choices=("last", "best"))
    init: str | None = option(None, "weights to start from: a file, or the folder of a training")
    device: str = option(**options.DEVICE)
    seed: int = option(**options.SEED)

    def __post_init__(self) -> None:
        check_choices(self)
        check_least(
            self,
            {
                "size": 8, "train_images": 1, "epochs": 1, "batch_size": 2, "warmup": 0, "weight_decay": 0,
                "label_smoothing": 0, "mixup": 0, "cutmix": 0, "ema": 0, "teacher_weight": 0,
            },
        )  # fmt: skip
        check_seed(self.seed)
        for name in ("warmup", "label_smoothing", "ema"):
            if not getattr(self, name) < 1:
                raise InputError(f"{flag(name)} {getattr(self, name):g}: expected less than 1")
        check_positive(self, "temperature", "lr")
        if self.teacher_weight is not None and self.loss == "soft" and not self.teacher_weight <= 1:
            raise InputError(
                f"--teacher-weight {self.teacher_weight:g}: a share of the loss, up to 1, for --loss soft"
            )
