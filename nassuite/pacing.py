"""``--time-limit``: this machine's speed is measured first, then the time is shared out (``time_shares``).

What is said before the run begins is a plan. The winners' own training, which is the last that can be more or
less, gets what is left when their turn comes: so errors of the plan do not add up.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nassuite import deploy, refining
from nassuite.errors import InputError
from nassuite.flow import SEARCH_VAL_IMAGES, Flow
from nassuite.latency.calibrate import BATCH, measure_archs
from nassuite.latency.choosing import next_batch
from nassuite.latency.footprint import predicted
from nassuite.nn.network import build
from nassuite.nn.supernet import Supernet
from nassuite.progress import SILENT
from nassuite.refining import SHORT_IMAGES
from nassuite.run_directory import read_record
from nassuite.search.finalists import PLACES
from nassuite.settings import SHARED_SETTINGS
from nassuite.spec import Arch
from nassuite.stages import FINALISTS, accuracy_of
from nassuite.time_shares import (
    Speeds,
    TooShort,
    Work,
    duration,
    epochs_that_fit,
    parse_duration,
    share_out,
)  # fmt: skip
from nassuite.train.distill import SoftLabels, train_network
from nassuite.train.loop import TrainConfig, steps_per_epoch
from nassuite.train.sandwich import train_supernet

STEPS = 4
"""Training steps that are timed, after as many that are not."""
FILES = 4
"""Files measured together to time a certificate: as many as a winner has."""
TRIALS = 3
TIMINGS = 6
UNTIMED = 3
"""How many times as long as what is timed first the whole takes: a limit to try, on the safe side."""
PLANNED = 0.97
"""Of the limit: the report and what nobody thought of take the rest."""


def fit_to_limit(flow: Flow, *, started: float, trained: bool, sampled: bool) -> dict[str, Any]:
    """Fills in the settings that a time limit decides, says so, and returns the evidence for the run's facts.

    ``started`` is when the run began (``time.monotonic``). ``trained`` and ``sampled`` say that the supernet and the
    latencies are another run's. Raises InputError where the limit is too short.
    """
    settings = flow.settings
    assert settings.time_limit is not None
    if flow.by_hand:
        raise InputError(
            f"--time-limit: how long it takes to carry files to {settings.target} is not known: leave it out"
        )
    flow.progress.say("timing what a run does on this machine: a minute or two, longer where it is busy")
    limit = parse_duration(settings.time_limit)
    given = {name: getattr(settings, name) for name in SHARED_SETTINGS}
    winners = len(settings.budget_ms) or PLACES
    work = Work(winners, FINALISTS * winners, _prunings(flow))
    timings = flow.progress.track(
        measure_speeds(flow, trained=trained, sampled=sampled), "timing", total=TIMINGS
    )
    for number, speeds in enumerate(timings, start=1):
        gone = time.monotonic() - started
        try:
            amounts = share_out(PLANNED * limit - gone, speeds, given, work)
        except TooShort as error:
            least = (error.seconds + gone) / PLANNED
            raise InputError(
                f"--time-limit {settings.time_limit}: too short, {_said_least(least, TIMINGS - number)} "
                f"({error.amounts.said(work)})"
            ) from None
    seconds = gone + amounts.seconds(speeds, work)
    flow.progress.say(f"about {duration(seconds)}: {amounts.said(work)}")
    flow.settings = dataclasses.replace(settings, **dataclasses.asdict(amounts))
    return {
        "limit_seconds": limit,
        "gone_seconds": round(gone, 1),
        "planned_seconds": round(seconds, 1),
        **({} if given["trials"] is not None else {"search_seconds": amounts.trials * speeds.trial}),
        "speeds": dataclasses.asdict(speeds),
        "given": [name for name, value in given.items() if value is not None],
        "settled": given["finetune_epochs"] is not None,
    }


def settle_fine_tuning(flow: Flow, plan: dict[str, Any]) -> bool:
    """Gives the winners' training what is left of the time; whether there was anything to settle.

    Call it when the finalists are known, and keep the settings and the plan: a resumed run trains for as long.
    """
    if plan["settled"]:
        return False
    plan["settled"] = True
    entries = [read_record(flow.run.finalists)[f"{budget:g}"]["winner"] for budget in flow.budgets]
    winners = {Arch.from_json(winner["arch"]) for winner in entries if winner}
    if winners:
        gone = plan["gone_seconds"] + sum(flow.run.stage_seconds().values())
        timed = [_winner_epoch_seconds(flow, arch) for arch in winners]
        speeds = dataclasses.replace(Speeds(**plan["speeds"]), winner_epoch=sum(timed) / len(timed))
        planned = flow.settings.finetune_epochs
        fitting = epochs_that_fit(
            PLANNED * plan["limit_seconds"] - gone, speeds, Work(len(winners), 0, _prunings(flow)),
            prune_epochs=flow.settings.prune_epochs if "prune_epochs" in plan["given"] else None,
        )  # fmt: skip
        epochs = fitting.finetune_epochs
        if epochs != planned:
            flow.progress.say(f"{epochs} epochs of fine-tuning fit into what is left (planned: {planned})")
        flow.settings = dataclasses.replace(
            flow.settings, finetune_epochs=epochs, prune_epochs=fitting.prune_epochs
        )
    return True


def _prunings(flow: Flow) -> int:
    """How many smaller forms of a winner are trained."""
    return 2 if flow.settings.refine else 1


def _said_least(seconds: float, untimed: int) -> str:
    if not untimed:
        return f"the least takes about {duration(seconds)} here"
    return (
        f"what is timed of the least takes about {duration(seconds)} here, and there is more: try "
        f"{duration(UNTIMED * seconds)}"
    )


def measure_speeds(flow: Flow, *, trained: bool, sampled: bool) -> Iterator[Speeds]:
    """What takes how long here, by doing a little of each with networks that learnt nothing.

    Yields ``TIMINGS`` times, with more of them known each time, so that a limit that is far too short is seen
    early: what takes longest to time comes last.
    """
    # The run's own supernet may start from other weights, which are not there yet.
    scratch = dataclasses.replace(flow, progress=SILENT)
    settings = scratch.settings
    batch = next_batch(scratch.space, [], BATCH, seed=settings.seed, in_chans=scratch.data.in_chans)
    archs = sorted((arch for arch, _ in batch), key=lambda a: predicted("macs", a, scratch.interface))
    trial = _trial_seconds(scratch, archs[:: max(1, len(archs) // (TRIALS + 1))])
    all_val = trial * len(scratch.data.val) / min(SEARCH_VAL_IMAGES, len(scratch.data.val))
    speeds = Speeds(sample=0.0, epoch=0.0, trial=trial, finalist=all_val, winner_epoch=0.0, winner=0.0)
    yield speeds
    if not trained:
        speeds = dataclasses.replace(speeds, epoch=_supernet_epoch_seconds(scratch) + 2 * trial)
    yield speeds
    middle = archs[len(archs) // 2]
    speeds = dataclasses.replace(speeds, winner_epoch=_winner_epoch_seconds(scratch, middle))
    yield speeds
    # The first that are measured, so that a cache has them when the run asks.
    sample = 0.0 if sampled else _timed(lambda: _sample(scratch, [arch for arch, _ in batch])) / len(batch)
    speeds = dataclasses.replace(speeds, sample=sample)
    yield speeds
    measured = _timed(lambda: _measure_files(scratch, archs[:: max(1, len(archs) // FILES)]))
    # A winner and the teacher are each held to the validation images, and so is each candidate for the teacher.
    winner = measured + (2 + len(scratch.space.operators)) * all_val
    if settings.refine:
        short = speeds.winner_epoch * min(1.0, SHORT_IMAGES / len(scratch.data.train)) + all_val
        # In each step every block is measured at two widths, and proposed.
        winner += refining.STEPS * (len(middle.blocks) * (2 * sample + short) + measured / 2)
    speeds = dataclasses.replace(speeds, finalist=measured / FILES + all_val, winner=winner)
    yield speeds
    yield dataclasses.replace(speeds, winner=winner + _hand_over_seconds(scratch, middle))


def _timed(work: Callable[[], Any]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _sample(flow: Flow, archs: Sequence[Arch]) -> None:
    measure_archs(archs, flow.export, flow.meter, flow.target, seed=flow.settings.seed)


def _trial_seconds(flow: Flow, archs: Sequence[Arch]) -> float:
    val = flow.search_val
    accuracy_of(flow, archs[0], val)
    return sum(_timed(lambda: accuracy_of(flow, arch, val)) for arch in archs[1:]) / len(archs[1:])  # noqa: B023


def _measure_files(flow: Flow, archs: Sequence[Arch]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.onnx" for number in range(FILES)]
        for number, path in enumerate(paths):
            flow.export(archs[number % len(archs)], path)
        flow.meter(paths, flow.target, seed=flow.settings.seed)


def _epoch_seconds(flow: Flow, training: Callable[[Any, TrainConfig, Any], Any]) -> float:
    """Of ``training`` (split, config, what to call after an epoch) on all training images."""
    config = flow.training(2, flow.settings.lr, flow.settings.seed)
    split = flow.data.train
    few = split.subset(min(len(split), STEPS * config.batch_size), seed=flow.settings.seed)
    ends: list[float] = []

    def after_epoch() -> dict[str, float]:
        ends.append(time.monotonic())
        return {}

    training(few, config, after_epoch)
    first, second = ends
    return (second - first) / steps_per_epoch(config, few) * steps_per_epoch(config, split)


def _supernet_epoch_seconds(flow: Flow) -> float:
    supernet = Supernet(flow.space, flow.interface, seed=flow.settings.seed).to(flow.device)
    return _epoch_seconds(
        flow,
        lambda few, config, after_epoch: train_supernet(
            supernet, few, config,
            device=flow.device, class_weights=flow.class_weights, after_epoch=after_epoch,
        ),
    )  # fmt: skip


def _winner_epoch_seconds(flow: Flow, arch: Arch) -> float:
    network = build(arch, flow.interface, seed=flow.settings.seed)
    return _epoch_seconds(
        flow,
        lambda few, config, after_epoch: train_network(
            network, few, config, resolution=arch.resolution,
            device=flow.device, class_weights=flow.class_weights, after_epoch=after_epoch,
        ),
    )  # fmt: skip


def _hand_over_seconds(flow: Flow, arch: Arch) -> float:
    """What the winner ``arch`` would take beside its training and its certificates."""
    settings, data = flow.settings, flow.data
    network = build(arch, flow.interface, seed=settings.seed).eval()
    largest = flow.space.extreme("largest")
    teachers = [(build(largest, flow.interface), largest), (build(arch, flow.interface), arch)]
    few = data.train.subset(min(len(data.train), 512), seed=settings.seed)
    taught = sum(
        _timed(lambda: SoftLabels(teacher, of.resolution).logits(few, flow.device))  # noqa: B023
        for teacher, of in teachers
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        pruned, _ = deploy.prune_winner(
            network, arch, data, settings.prune, meter=flow.meter, target=flow.target, seed=settings.seed
        )
        variants = deploy.export_variants(
            {"fp32": network, "pruned": pruned},
            arch,
            data,
            Path(folder),
            metric=settings.metric,
            progress=SILENT,
        )
        sized = data.resized(arch.resolution)
        images, labels = deploy.evaluation_images(sized.val), sized.val.labels.numpy()
        reading = _timed(
            lambda: deploy.read_test(
                variants[0], images, labels,
                target=flow.target, metric=settings.metric, classes=len(data.labels),
            )
        )  # fmt: skip
    others = reading * (len(variants) * len(data.test) / len(data.val) - 1)
    return time.monotonic() - started + others + taught * len(data.train) / len(few)
