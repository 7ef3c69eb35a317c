"""Every setting of ``nassuite quantize`` in one value; imports no torch, for ``--help``."""

from __future__ import annotations

from dataclasses import dataclass

from nassuite import options
from nassuite.errors import InputError
from nassuite.options import option
from nassuite.settings import check_choices, check_least, check_positive, check_seed


@dataclass(frozen=True)
class QuantizeSettings:
    """Settings of ``nassuite quantize``."""

    model: str = option("", "folder of a trained model, deploy folder, or .onnx file")
    data: str = option("", "images, as for nassuite train (default: those that the model was trained on)")
    metric: str = option(**options.METRIC)
    max_drop: float = option(0.5, "points of validation accuracy that int8 may lose")
    calibration_images: int = option(256, "training images that the ranges of activations are taken from")
    finetune_epochs: int = option(
        3, "epochs of quantisation-aware fine-tuning where int8 loses more than --max-drop, 0 for none"
    )
    batch_size: int = option(128, "images in a step of the fine-tuning")
    lr: float = option(0.005, "its peak learning rate")
    device: str = option(**options.DEVICE | {"help": "where to fine-tune"})
    threads: int = option(**options.THREADS)
    seed: int = option(**options.SEED)

    def __post_init__(self) -> None:
        check_choices(self)
        check_seed(self.seed)
        check_least(self, {"calibration_images": 1, "threads": 1, "finetune_epochs": 0, "batch_size": 2})
        if not 0 <= self.max_drop < 100:
            raise InputError(f"--max-drop {self.max_drop:g}: expected points, from 0 up and less than 100")
        check_positive(self, "lr")
