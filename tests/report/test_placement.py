"""Labels cover nothing, stand by their own marks, and are left out only where there is no room."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample import sample_comparison, sample_content

from nassuite.report.charts import NARROW, WIDE, pareto_chart
from nassuite.report.drawing import Line, Marker, Text
from nassuite.report.front import build_front
from nassuite.report.paints import ENLARGED
from nassuite.report.placement import (
    CLEARLY,
    candidates,
    collide,
    curve_boxes,
    is_free,
    line_boxes,
    mark_box,
    place_labels,
    place_names,
)
from nassuite.report.runs_text import runs_chart

FRAME, EM = (0.0, 0.0, 800.0, 500.0), 12.0


def apart(a, b):
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def along(leader):
    """Points of a leader close to each other."""
    (x, y), (x2, y2) = leader
    return [(x + (x2 - x) * part, y + (y2 - y) * part) for part in np.linspace(0.01, 0.99, 50)]


def inside(point, box):
    return box[0] < point[0] < box[2] and box[1] < point[1] < box[3]


def distance(mark, box):
    outside = [max(box[axis] - mark[axis], 0, mark[axis] - box[axis + 2]) for axis in (0, 1)]
    return float(np.hypot(*outside))


@st.composite
def crowds(draw):
    """Up to 20 marks, labelled or not, the closer to each other the smaller their spread."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([1, 10, 40, 150]))
    count = draw(st.integers(1, 20))
    marks = [(float(x), float(y)) for x, y in np.clip(rng.normal((400, 250), spread, (count, 2)), 20, 480)]
    labels = [str(name) for name in rng.choice(["", "fp32", "pruned-int8 @0.35"], count)]
    return marks, labels, line_boxes([float(rng.uniform(300, 500))], FRAME), [(350.0, 0.0, 362.0, 90.0)]


@given(crowds())
@settings(deadline=None, max_examples=60)
def test_labels_cover_no_other_mark_and_no_text_and_none_is_left_out_that_has_a_free_place(crowd):
    marks, labels, lines, texts = crowd
    places = place_labels(marks, labels, frame=FRAME, em=EM, texts=texts, lines=lines)
    standing = [place for place in places if place]
    for number, (label, place) in enumerate(zip(labels, places, strict=True)):
        taken = texts + [mark_box(mark) for n, mark in enumerate(marks) if n != number]
        if not label:
            assert place is None
        elif place:
            assert all(apart(place.box, box) for box in taken)
            assert place.box[0] >= 0
            assert place.box[1] >= 0
            assert place.box[2] <= 800
            assert place.box[3] <= 500
            assert not place.leader or not any(inside(p, box) for p in along(place.leader) for box in taken)
        else:
            free = [place for place in candidates(marks[number], label, EM) if is_free(place, taken, FRAME)]
            assert all(any(collide(place, other) for other in standing) for place in free)
    for one, other in itertools.combinations(standing, 2):
        assert apart(one.box, other.box)
        assert not any(
            inside(p, b.box) for a, b in ((one, other), (other, one)) if a.leader for p in along(a.leader)
        )


@given(st.integers(0, 2**32 - 1))
def test_labels_of_marks_that_are_far_apart_stand_right_of_them(seed):
    rng = np.random.default_rng(seed)
    cells = rng.permutation(16)[:8]
    marks = [(100.0 + 200 * (c % 4) + rng.uniform(-20, 20), 100.0 + 100 * (c // 4)) for c in cells]
    places = place_labels(marks, ["fp32"] * 7 + [""], frame=(0, 0, 900, 500), em=EM)
    assert places[7] is None
    for (x, y), place in zip(marks[:7], places[:7], strict=True):
        assert (place.x, place.y, place.anchor, place.leader) == (x + 11, y + 4, "start", None)


def test_a_label_gives_way_to_the_frame_to_another_mark_and_to_a_line():
    frame = (0, 0, 400, 300)
    (at_the_edge,) = place_labels([(390, 150)], ["int8"], frame=frame, em=EM)
    assert at_the_edge.anchor == "end"
    first, _ = place_labels([(100, 150), (125, 150)], ["int8", ""], frame=frame, em=EM)
    assert first.anchor == "end"
    (beside,) = place_labels([(100, 150)], ["int8"], frame=frame, em=EM, lines=line_boxes([120], frame))
    assert (beside.anchor, beside.leader) == ("end", None)
    level = curve_boxes([(50, 150), (200, 150), (200, 90)])
    (above,) = place_labels([(100, 150)], ["int8"], frame=frame, em=EM, curves=level)
    assert (above.anchor, above.y < 150, above.leader) == ("middle", True, None)


@pytest.mark.parametrize("gap", [20, 30])
def test_no_label_stands_as_near_to_another_mark_as_to_its_own(gap):
    """A column of marks at the edge of the frame, each with a label between it and the next if one did not look."""
    marks = [(60.0 + gap * row, 150.0) for row in range(4)]
    places = place_labels(marks, ["pruned @0.2"] * 4, frame=(0, 0, 400, 300), em=EM)
    for mark, place in zip(marks, places, strict=True):
        nearest = min(distance(other, place.box) for other in marks if other != mark)
        assert place.leader or nearest >= distance(mark, place.box) + CLEARLY


def test_the_name_of_a_line_gives_way_to_marks_and_other_lines():
    frame = (0, 20, 400, 300)
    alone, *_ = place_names([200], ["budget 1 ms"], marks=[], frame=frame, em=EM)
    assert (alone.anchor, alone.x < 200) == ("end", True)
    below, *_ = place_names([200], ["budget 1 ms"], marks=[(195, 50)], frame=frame, em=EM)
    assert (below.anchor, below.x < 200) == ("start", True)
    _, beside = place_names([190, 200], ["budget 1 ms"] * 2, marks=[], frame=frame, em=EM)
    assert beside.x > 200


def crowded():
    """Six budgets with four variants each, close to each other."""
    content = sample_content(count=60)
    rng = np.random.default_rng(1)
    first = content.deployed[0]
    budgets = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
    deployed = tuple(
        dataclasses.replace(
            first, budget_ms=budget,
            variants=tuple(
                dataclasses.replace(
                    first.variants[n % 3], name=name, p50_ms=budget * (0.96 - 0.08 * n + 0.01 * rng.normal()),
                    val_accuracy=0.83 + 0.01 * step - 0.002 * n + 0.001 * rng.normal(), chosen=n == step % 4,
                )
                for n, name in enumerate(("fp32", "pruned", "int8", "pruned-int8"))
            ),
        )
        for step, budget in enumerate(budgets)
    )  # fmt: skip
    return dataclasses.replace(content, budgets_ms=budgets, deployed=deployed, finalists=())


CHARTS = {
    "sample": lambda: build_front(sample_content(count=60)).chart,
    "crowded": lambda: build_front(crowded()).chart,
    "runs": lambda: runs_chart(sample_comparison()),
}


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", CHARTS)
def test_every_chosen_model_is_named_and_no_name_lies_on_another_mark(name, size):
    chart = CHARTS[name]()
    em = ENLARGED if size == WIDE else EM
    drawing = pareto_chart(chart, *size, em=em)
    words = [shape for shape in drawing.shapes if isinstance(shape, Text) and shape.class_ == "label"]
    short = size == NARROW
    chosen = [mark.short if short and mark.short else mark.label for mark in chart.firm if mark.chosen]
    assert sorted(set(chosen)) == sorted({w.words for w in words} & set(chosen))
    marks = [s.at for s in drawing.shapes if isinstance(s, Marker) and s.reach]
    for text in words:
        width = 0.55 * em * len(text.words)
        left = text.at[0] - {"start": 0, "middle": width / 2, "end": width}[text.anchor]
        box = (left, text.at[1] - 0.7 * em, left + width, text.at[1])
        assert not any(inside(mark, box) for mark in marks), text.words


def test_a_label_that_stands_away_has_a_leader_and_most_of_a_crowd_keep_their_labels():
    chart = CHARTS["crowded"]()
    shapes = pareto_chart(chart, *WIDE, em=ENLARGED).shapes
    assert sum(isinstance(s, Line) and s.class_ == "leader" for s in shapes) >= 5
    assert sum(isinstance(s, Text) and s.class_ == "label" for s in shapes) >= 18
