"""Every setting of ``nassuite audit`` in one value; imports no torch, for ``--help``."""

from __future__ import annotations

from dataclasses import dataclass

from nassuite import options
from nassuite.options import option
from nassuite.settings import check_least, check_positive, check_seed


@dataclass(frozen=True)
class AuditSettings:
    """Settings of ``nassuite audit``."""

    architectures: int = option(60, "architectures trained from scratch, a third of them twice")
    epochs: int = option(8, "epochs of each training")
    train_images: int | None = option(**options.TRAIN_IMAGES)
    max_macs: int | None = option(
        None,
        "only architectures of at most this many MACs, which train sooner: the verdict is on those alone",
    )
    batch_size: int = option(64, "images in a training step")
    lr: float = option(0.1, "peak learning rate")
    workers: int = option(1, "processes that train at the same time")
    seed: int = option(0, "seed of the architectures and of the trainings")

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_least(
            self,
            {
                "architectures": 8,
                "epochs": 1,
                "train_images": 1,
                "max_macs": 1,
                "batch_size": 2,
                "workers": 1,
            },
        )
        check_positive(self, "lr")
