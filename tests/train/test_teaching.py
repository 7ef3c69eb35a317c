"""The losses of a teacher, against the papers' formulas written out with Python's numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nassuite.train.teaching import LOSSES, dist_loss, dkd_loss, soft_loss, taught_loss


def softmax(row, temperature):
    most = max(row)
    shares = [math.exp((value - most) / temperature) for value in row]
    return [share / sum(shares) for share in shares]


def slow_soft(student, teacher, labels, t):
    """Hinton et al. 2015: cross-entropy of the softened probabilities, times T squared."""
    total = 0.0
    for s, k in zip(student, teacher, strict=True):
        total -= sum(p * math.log(q) for p, q in zip(softmax(k, t), softmax(s, t), strict=True))
    return t * t * total / len(student)


def slow_dkd(student, teacher, labels, t):
    """Zhao et al. 2022, equations 5 to 7: alpha TCKD + beta NCKD with alpha 1 and beta 8."""
    total = 0.0
    for s, k, label in zip(student, teacher, labels, strict=True):
        q, p = softmax(s, t), softmax(k, t)
        # 1 - p, but summed: a label of probability 1 - 1e-17 leaves nothing of a difference.
        not_q, not_p = (sum(share for i, share in enumerate(row) if i != label) for row in (q, p))
        target = p[label] * math.log(p[label] / q[label]) + not_p * math.log(not_p / not_q)
        rest = 0.0
        for i in range(len(p)):
            if i != label:
                mine, known = q[i] / not_q, p[i] / not_p
                rest += known * math.log(known / mine)
        total += target + 8 * rest
    return t * t * total / len(student)


def pearson(a, b):
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    product = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    norms = [math.sqrt(sum((x - m) ** 2 for x in row)) for row, m in ((a, mean_a), (b, mean_b))]
    return product / max(norms[0] * norms[1], 1e-8)


def slow_dist(student, teacher, labels, t):
    """Huang et al. 2022, equations 7 to 9, both relations with weight 1."""
    q, p = ([softmax(row, t) for row in rows] for rows in (student, teacher))
    between = 1 - sum(pearson(a, b) for a, b in zip(q, p, strict=True)) / len(q)
    columns = list(zip(zip(*q, strict=True), zip(*p, strict=True), strict=True))
    within = 1 - sum(pearson(a, b) for a, b in columns) / len(columns)
    return t * t * (between + within)


SLOW = {"soft": slow_soft, "dkd": slow_dkd, "dist": slow_dist}


def logits(images, classes, seed, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    shape = (images, classes)
    return [spread * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]


@pytest.mark.parametrize("name", sorted(LOSSES))
@settings(max_examples=25, deadline=None)
@given(
    images=st.integers(2, 7),
    classes=st.integers(2, 9),
    seed=st.integers(0, 10_000),
    temperature=st.floats(0.5, 8),
)
def test_the_formulas_of_the_papers(name, images, classes, seed, temperature):
    student, teacher = logits(images, classes, seed)
    labels = torch.randint(0, classes, (images,), generator=torch.Generator().manual_seed(seed))
    found = LOSSES[name](student, teacher, labels, temperature)
    expected = SLOW[name](student.tolist(), teacher.tolist(), labels.tolist(), temperature)
    assert found.item() == pytest.approx(expected, rel=1e-8, abs=1e-9)
    in_float = LOSSES[name](student.float(), teacher.float(), labels, temperature)
    assert in_float.item() == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_student_that_says_the_same_has_nothing_to_learn(name):
    _, teacher = logits(6, 5, 1)
    student = teacher.clone().requires_grad_()
    LOSSES[name](student, teacher, torch.arange(6) % 5, 3.0).backward()
    assert student.grad.abs().max() < 1e-6
    if name != "soft":
        assert LOSSES[name](student, teacher, torch.arange(6) % 5, 3.0).item() == pytest.approx(0, abs=1e-9)


def test_what_each_loss_is_blind_to():
    student, teacher = logits(6, 5, 2)
    labels = torch.arange(6) % 5
    shift = torch.randn(6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for loss in (soft_loss, dkd_loss, dist_loss):
        torch.testing.assert_close(
            loss(student + shift, teacher, labels, 2.0), loss(student, teacher, labels, 2.0)
        )
    # DIST asks for relations alone: probabilities that are a mixture with the uniform ones correlate wholly.
    flat = torch.log(0.3 * torch.softmax(teacher, 1) + 0.7 / 5)
    assert dist_loss(flat, teacher, labels, 1.0).item() == pytest.approx(0, abs=1e-9)
    assert dkd_loss(flat, teacher, labels, 1.0).item() > 0.1


def test_very_sure_teachers_and_students_give_finite_gradients():
    labels = torch.tensor([0, 1])
    teacher = torch.tensor([[200.0, 0, 0], [0, -200.0, 150]])
    for loss in LOSSES.values():
        student = torch.tensor([[-300.0, 0, 90], [0, 400.0, 0]], requires_grad=True)
        value = loss(student, teacher, labels, 1.0)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(student.grad).all()


def test_soft_labels_take_the_place_of_labels_and_the_others_are_added():
    hard, term = torch.tensor(2.0), torch.tensor(10.0)
    assert taught_loss("soft", hard, term, 0.25).item() == pytest.approx(0.75 * 2 + 0.25 * 10)
    assert taught_loss("dkd", hard, term, 0.25).item() == pytest.approx(2 + 2.5)
    assert taught_loss("dist", hard, term, 3.0).item() == pytest.approx(32)
