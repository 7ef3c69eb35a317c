"""How a time limit is shared out: for any machine, whatever is given."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nassuite.errors import InputError
from nassuite.time_shares import (
    LEAST,
    MOST,
    WEIGHTS,
    Amounts,
    Speeds,
    TooShort,
    Work,
    duration,
    epochs_that_fit,
    parse_duration,
    prune_epochs_of,
    share_out,
)  # fmt: skip

seconds = st.floats(1e-3, 1e3) | st.just(0.0)
speeds = st.builds(Speeds, *[seconds] * 6)
works = st.builds(Work, winners=st.integers(1, 4), finalists=st.integers(0, 40), prunings=st.integers(1, 2))
wishes = st.fixed_dictionaries({name: st.none() | st.integers(1, 300) for name in (*WEIGHTS, "prune_epochs")})


def shared(limit, machine, wished, work) -> Amounts | TooShort:
    try:
        return share_out(limit, machine, wished, work)
    except TooShort as error:
        return error


@given(st.floats(1, 1e6), speeds, wishes, works)
def test_the_limit_is_kept_and_used_and_what_is_given_stays(limit, machine, wished, work):
    amounts = shared(limit, machine, wished, work)
    if isinstance(amounts, TooShort):
        least = {name: value if value is not None else LEAST.get(name) for name, value in wished.items()}
        least["prune_epochs"] = least["prune_epochs"] or prune_epochs_of(least["finetune_epochs"])
        assert amounts.amounts == Amounts(**least)
        assert amounts.seconds == amounts.amounts.seconds(machine, work) > limit
        return
    assert amounts.seconds(machine, work) <= limit
    found = dataclasses.asdict(amounts)
    for name, value in wished.items():
        if value is not None:
            assert found[name] == value
        elif name != "prune_epochs":
            assert LEAST[name] <= found[name] <= MOST[name]
    if wished["prune_epochs"] is None:
        assert found["prune_epochs"] == prune_epochs_of(found["finetune_epochs"])
    for name in WEIGHTS:
        if wished[name] is None and found[name] < MOST[name]:
            more = found | {name: found[name] + 1}
            if wished["prune_epochs"] is None:
                more["prune_epochs"] = prune_epochs_of(more["finetune_epochs"])
            assert Amounts(**more).seconds(machine, work) > limit


@given(st.floats(1, 1e6), speeds, wishes, works)
def test_a_machine_of_half_the_speed_does_as_much_in_twice_the_time(limit, machine, wished, work):
    slow = Speeds(*(2 * value for value in dataclasses.astuple(machine)))
    whole, half = shared(2 * limit, slow, wished, work), shared(limit, machine, wished, work)
    if isinstance(half, TooShort):
        assert isinstance(whole, TooShort)
        whole, half = whole.amounts, half.amounts
    assert whole == half


@given(speeds, works)
def test_the_least_that_is_named_is_enough(machine, work):
    refused = shared(1e-6, machine, {}, work)
    if isinstance(refused, TooShort):
        assert share_out(refused.seconds, machine, {}, work).seconds(machine, work) <= refused.seconds


def test_time_goes_where_it_gains_most():
    """A 90-minute run on the machine on which CIFAR-10 was searched: two epochs of five minutes are no supernet."""
    machine = Speeds(sample=0.7, epoch=290.0, trial=3.0, finalist=8.0, winner_epoch=60.0, winner=60.0)
    amounts = share_out(0.97 * 5400, machine, {}, Work(winners=2, finalists=16))
    assert amounts.epochs in (6, 7, 8)
    assert amounts.trials >= 100
    assert amounts.finetune_epochs >= 10
    longer = share_out(0.97 * 5400, machine, {"trials": 24}, Work(winners=2, finalists=16))
    assert longer.trials == 24
    assert longer.epochs + longer.finetune_epochs > amounts.epochs + amounts.finetune_epochs


@given(st.floats(0, 1e6), speeds, st.integers(1, 4), st.none() | st.integers(0, 20))
def test_fine_tuning_takes_what_is_left(left, machine, winners, prune_epochs):
    work = Work(winners, 0)
    amounts = epochs_that_fit(left, machine, work, prune_epochs=prune_epochs)
    assert (amounts.calibration, amounts.epochs, amounts.trials) == (0, 0, 0)
    assert 1 <= amounts.finetune_epochs <= MOST["finetune_epochs"]
    if amounts.finetune_epochs > 1:
        assert amounts.seconds(machine, work) <= left
    if prune_epochs is not None:
        assert amounts.prune_epochs == prune_epochs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("45s", 45),
        ("90m", 5400),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h30m5s", 5405),
        ("1.5h", 5400),
        (" 3m ", 180),
    ],
)
def test_durations(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "90", "soon", "0m", "-5m", "5m3h", "1h 30m", "nan"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InputError, match="expected a duration such as 45s, 90m, 2h or 1h30m"):
        parse_duration(text)


def test_durations_are_said_in_round_units():
    assert [duration(s) for s in (0.4, 89, 91, 3540, 7201)] == [
        "1 s",
        "89 s",
        "2 min",
        "59 min",
        "2 h 01 min",
    ]
