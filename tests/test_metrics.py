import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from nassuite.errors import InputError
from nassuite.metrics import binomial_interval, class_weights, confusion_matrix, evaluation, score


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 999))
@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_of_scikit_learn(classes: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(n, classes)), rng.integers(0, classes, n)
    predictions = logits.argmax(1)
    expected = {
        "top1": accuracy_score(labels, predictions),
        "balanced": balanced_accuracy_score(labels, predictions),
        "f1": f1_score(labels, predictions, average="macro"),
    }
    for metric, value in expected.items():
        assert score(logits, labels, metric=metric) == pytest.approx(value)
        assert score(torch.from_numpy(predictions), torch.from_numpy(labels), metric=metric) == pytest.approx(
            value
        )


def test_a_row_of_the_confusion_is_the_true_class() -> None:
    matrix = confusion_matrix([0, 1, 1, 0], [0, 1, 0, 0], classes=3)
    assert matrix.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_what_is_recorded_of_a_model_agrees_with_itself() -> None:
    logits = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0], [0.5, 0.1, 0.2], [0.0, 5.0, 1.0]])
    found = evaluation(logits, np.array([0, 1, 0, 1]), metric="balanced", classes=4)
    assert (found["correct"], found["n"]) == (3, 4)
    assert found["accuracy"] == pytest.approx((1.0 + 0.5) / 2)
    assert found["interval"] == list(binomial_interval(3, 4))
    assert found["confusion"] == [[2, 0, 0, 0], [0, 1, 1, 0], [0] * 4, [0] * 4]


def test_bfloat16_logits_and_wrong_shapes() -> None:
    assert score(torch.eye(3, dtype=torch.bfloat16), torch.arange(3), metric="top1") == 1.0
    with pytest.raises(ValueError, match="do not belong together"):
        score(np.eye(3), np.arange(2))
    with pytest.raises(InputError, match="top1, balanced, f1"):
        score(np.eye(3), np.arange(3), metric="auc")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_interval_is_wilsons(n: int, share: float, confidence: float) -> None:
    correct = round(share * n)
    expected = binomtest(correct, n).proportion_ci(confidence, method="wilson")
    assert binomial_interval(correct, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_interval_edges() -> None:
    assert binomial_interval(0, 0) == (0.0, 1.0)
    assert binomial_interval(0, 10)[0] == 0.0
    assert binomial_interval(10, 10)[1] == 1.0
    with pytest.raises(ValueError, match="cannot be correct"):
        binomial_interval(11, 10)


def test_class_weights() -> None:
    weights = class_weights(torch.tensor([0] * 9 + [1] * 3), "auto")
    assert weights is not None
    assert weights.tolist() == pytest.approx([0.5, 1.5])
    assert class_weights([0, 1], "none") is None
    assert class_weights([0, 1], None) is None
    with pytest.raises(InputError, match="auto or none"):
        class_weights([0, 1], "heavy")
