"""What a student is told by a teacher's logits: soft labels, DKD and DIST, as terms of its loss.

All take the student's and the teacher's logits (N, classes), the labels int64 (N,) and a temperature above 0, and
give a scalar. All carry the factor temperature² that keeps the gradients' size (Hinton et al. 2015, section 2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

LossName = Literal["soft", "dkd", "dist"]
TARGET_WEIGHT, OTHERS_WEIGHT = 1.0, 8.0
"""alpha and beta of DKD in most of its CIFAR-100 experiments."""
LEAST_NORM = 1e-8


def soft_loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Cross-entropy with the teacher's softened probabilities (Hinton et al. 2015, section 2)."""
    soft = F.softmax(teacher / temperature, 1)
    return -(soft * F.log_softmax(student / temperature, 1)).sum(1).mean() * temperature**2


def dkd_loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Decoupled knowledge distillation (Zhao et al. 2022, equation 7).

    The divergence over "the label or not", and that over the other classes among themselves, which in Hinton's
    loss counts the less the surer the teacher is.
    """
    (own, others), (known, known_others) = (_split(z / temperature, labels) for z in (student, teacher))
    target = _divergence(known, own)
    rest = _divergence(F.log_softmax(known_others, 1), F.log_softmax(others, 1))
    return (TARGET_WEIGHT * target + OTHERS_WEIGHT * rest) * temperature**2


def dist_loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Relations instead of values (Huang et al. 2022, equations 7 to 9): 1 - Pearson's correlation of the softened
    probabilities, over the classes of each image and over the images of each class.

    Where a student of little capacity cannot have the probabilities of a strong teacher, it can have their order.
    """
    ours, theirs = (F.softmax(z / temperature, 1) for z in (student, teacher))
    between_classes = 1 - _correlation(ours, theirs).mean()
    within_classes = 1 - _correlation(ours.T, theirs.T).mean()
    return (between_classes + within_classes) * temperature**2


LOSSES: dict[LossName, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "soft": soft_loss,
    "dkd": dkd_loss,
    "dist": dist_loss,
}
USUAL: dict[LossName, tuple[float, float]] = {"soft": (0.5, 2.0), "dkd": (1.0, 4.0), "dist": (2.0, 4.0)}
"""Weight and temperature that fit small images where a user gives none; the papers' for DKD and DIST on CIFAR-100."""


def taught_loss(name: LossName, hard: Tensor, term: Tensor, weight: float) -> Tensor:
    """The student's whole loss: soft labels take ``weight`` of the place of the labels, DKD and DIST are added."""
    return (1 - weight if name == "soft" else 1) * hard + weight * term


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (N, 2) of label and not label; the logits (N, classes - 1) of the others."""
    mine = F.one_hot(labels, logits.shape[1]).bool()
    others = logits[~mine].view(len(logits), -1)
    both = torch.stack([logits[mine], torch.logsumexp(others, 1)], 1)
    return F.log_softmax(both, 1), others


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Kullback-Leibler, from log-probabilities (N, K), mean over N."""
    return (teacher.exp() * (teacher - student)).sum(1).mean()


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, of each row of (N, K)."""
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(LEAST_NORM)
