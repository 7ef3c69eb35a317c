"""How good predictions are, how sure that is, and how classes are weighted."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from nassuite.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def score(outputs: Any, labels: Any, *, metric: str = "top1") -> float:
    """A figure in 0..1, higher is better.

    ``outputs`` are logits (N, classes) or predicted classes (N,); ``labels`` (N,); arrays or tensors.
    ``top1`` is the share that is right, ``balanced`` the mean of the classes' recalls (classes
    without a label count for nothing), ``f1`` the unweighted mean of the classes' F1. Raises InputError for
    another metric, ValueError for shapes that do not fit.
    """
    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}: expected one of {', '.join(METRICS)}")
    return METRICS[metric](confusion_matrix(outputs, labels))


def confusion_matrix(outputs: Any, labels: Any, *, classes: int | None = None) -> np.ndarray:
    """int64 (classes, classes): row the true class, column the predicted one."""
    outputs, labels = _array(outputs), _array(labels).astype(np.int64)
    predictions = outputs.argmax(1) if outputs.ndim == 2 else outputs.astype(np.int64)
    if predictions.shape != labels.shape or labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"outputs {outputs.shape} and labels {labels.shape} do not belong together")
    if classes is None:
        seen = int(max(predictions.max(), labels.max())) + 1
        classes = max(seen, outputs.shape[1]) if outputs.ndim == 2 else seen
    cells = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return cells.reshape(classes, classes)


def binomial_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Low and high end of the share behind ``correct`` of ``n``, in 0..1 (Wilson 1927, score interval)."""
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} of {n} cannot be correct")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, scale = correct / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    low = 0.0 if correct == 0 else centre - half
    return max(0.0, low), 1.0 if correct == n else min(1.0, centre + half)


def evaluation(
    logits: np.ndarray, labels: np.ndarray, *, metric: str = "top1", classes: int | None = None
) -> dict[str, Any]:
    """What is recorded of a model on a split: accuracy by ``metric``, top-1 counts with their 95 % interval, confusion.

    ``logits`` (N, classes), ``labels`` (N,). Raises InputError for another metric, ValueError for shapes that do not fit.
    """
    confusion = confusion_matrix(logits, labels, classes=classes)
    correct, n = int(confusion.trace()), len(labels)
    return {
        "accuracy": score(logits, labels, metric=metric),
        "correct": correct,
        "n": n,
        "interval": list(binomial_interval(correct, n)),
        "confusion": confusion.tolist(),
    }


def class_weights(labels: Any, mode: str | None, *, classes: int | None = None) -> Tensor | None:
    """Weights of the classes for a loss: float32 (classes,) of mean 1, or None for ``"none"``.

    ``"auto"`` weighs a class by the inverse of its number of images. Raises InputError for another mode.
    """
    if mode is None or mode == "none":
        return None
    if mode != "auto":
        raise InputError(f"unknown class weights {mode!r}: expected auto or none")
    import torch

    counts = np.bincount(_array(labels).astype(np.int64), minlength=classes or 0)
    inverse = 1.0 / np.maximum(counts, 1)
    return torch.tensor(inverse / inverse.mean(), dtype=torch.float32)


def _top1(matrix: np.ndarray) -> float:
    return float(matrix.trace() / matrix.sum())


def _balanced(matrix: np.ndarray) -> float:
    present = matrix.sum(1) > 0
    return float((matrix.diagonal()[present] / matrix.sum(1)[present]).mean())


def _f1(matrix: np.ndarray) -> float:
    touched = matrix.sum(0) + matrix.sum(1)  # 2 TP + FP + FN
    present = touched > 0
    return float((2 * matrix.diagonal()[present] / touched[present]).mean())


METRICS = {"top1": _top1, "balanced": _balanced, "f1": _f1}


def _array(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):  # a tensor, whose device or bfloat16 numpy cannot read
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    return np.asarray(values)


def pixel_confusion(prediction: Any, target: Any, classes: int, *, ignore: int = 255) -> np.ndarray:
    """``confusion_matrix`` of label maps, int64 (classes, classes), without the pixels whose target is ``ignore``.

    ``prediction`` and ``target`` are classes, of one shape, (N, H, W) for instance; arrays or tensors. The matrices
    of several batches can be added. Raises ValueError for shapes that differ.
    """
    prediction, target = _array(prediction), _array(target)
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} do not belong together")
    counted = target != ignore
    if not counted.any():
        return np.zeros((classes, classes), np.int64)
    return confusion_matrix(prediction[counted], target[counted], classes=classes)


def mean_iou(confusion: np.ndarray) -> float:
    """Mean over the classes of intersection over union, 0..1: the figure of PASCAL VOC and Cityscapes.

    ``confusion`` is as ``pixel_confusion`` gives it. Classes that neither occur nor were predicted count for nothing.
    Raises ValueError if no pixel was counted.
    """
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    touched = union > 0
    if not touched.any():
        raise ValueError("no pixel has a class")
    return float((confusion.diagonal()[touched] / union[touched]).mean())
