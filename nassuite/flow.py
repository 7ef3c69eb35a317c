"""What every stage of a run needs: settings, data, space, and the values that stages share."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from nassuite import deploy
from nassuite.checkpoints import FileCheckpoints
from nassuite.data import Data, DataConfig, Split, default_augment, load_data
from nassuite.errors import InputError
from nassuite.latency.cache import CachedMeter
from nassuite.latency.calibrate import Sample
from nassuite.latency.choice import chosen_target
from nassuite.latency.choosing import arrays
from nassuite.latency.devices import StoredMeter
from nassuite.latency.features import features
from nassuite.latency.footprint import Limit, ordering, predicted
from nassuite.latency.meter import Meter, measure, normalised_ms
from nassuite.latency.predictor import Predictor, fit_predictor
from nassuite.latency.remote import meter_of
from nassuite.latency.target import FULL_PRECISION, Target
from nassuite.metrics import class_weights
from nassuite.nn.network import Interface
from nassuite.nn.supernet import Supernet
from nassuite.onnx_export import export_arch
from nassuite.options import AUTO
from nassuite.progress import Progress
from nassuite.report.comparison import read_comparison
from nassuite.run_directory import RunDirectory, read_lines
from nassuite.search.driver import Evaluation, evaluations, open_study
from nassuite.search.smallest import smallest
from nassuite.settings import LEAST_CALIBRATION, LIMITS, Settings, flag
from nassuite.space import Space
from nassuite.space_file import load_space
from nassuite.spec import Arch
from nassuite.train.loop import TrainConfig
from nassuite.training_job import cuda_or_cpu

if TYPE_CHECKING:
    import optuna

RECALIBRATION_IMAGES = 1024
SEARCH_VAL_IMAGES = 2000


@dataclass
class Flow:
    """The values that the stages share; the expensive ones are made when first asked for."""

    run: RunDirectory
    settings: Settings
    data: Data
    space: Space
    meter: Meter
    target: Target
    progress: Progress
    search_seconds: float | None = None
    """What a time limit leaves to the search, if its trials were not asked for."""

    @property
    def device(self) -> str:
        return self.settings.device

    @property
    def by_hand(self) -> bool:
        """Whether somebody has to carry what is to be measured to a device."""
        return isinstance(self.meter, StoredMeter)

    @property
    def interface(self) -> Interface:
        return Interface(self.data.in_chans, len(self.data.labels), self.data.mean, self.data.std)

    @property
    def class_weights(self) -> Tensor | None:
        weights = class_weights(
            self.data.train.labels, self.settings.class_weights, classes=len(self.data.labels)
        )
        return None if weights is None else weights.to(self.device)

    @cached_property
    def supernet(self) -> Supernet:
        """With trained weights where there are some, else with those that it is to start from."""
        supernet = Supernet(self.space, self.interface, seed=self.settings.seed)
        found = FileCheckpoints(self.run.supernet).load() or FileCheckpoints(self.run.initial_supernet).load()
        if found:
            state = {k.removeprefix("model."): v for k, v in found.tensors.items() if k.startswith("model.")}
            try:
                supernet.load_state_dict(state)
            except RuntimeError:
                raise InputError(
                    f"{self.run.supernet} holds other weights than this run's: delete it to train again"
                ) from None
        return supernet.to(self.device)

    @cached_property
    def recalibration_batches(self) -> list[Tensor]:
        count = min(RECALIBRATION_IMAGES, len(self.data.train) // 2)
        subset = self.data.train.subset(count, seed=self.settings.seed)
        return [x for x, _ in subset.batches(128, device=self.device)]

    @cached_property
    def search_val(self) -> Split:
        """The validation images that an evaluation of the search takes: read once, on the device."""
        val = self.data.val.subset(SEARCH_VAL_IMAGES, seed=self.settings.seed)
        return val.held().to(self.device)

    @cached_property
    def samples(self) -> list[Sample]:
        try:
            return [Sample.from_json(value) for value in read_lines(self.run.samples)]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.run.samples} is damaged ({error!r}): delete it, and --resume measures again"
            ) from None

    def samples_of_device(self) -> list[Sample]:
        """What the run's device has measured of its space. Raises InputError where that is too little."""
        assert isinstance(self.meter, StoredMeter)
        samples = self.meter.device.samples(self.space, self.data.in_chans)
        if len(samples) < LEAST_CALIBRATION:
            raise InputError(
                f"--target {self.settings.target} has measured {len(samples)} architectures of {self.space.name}: "
                f"a search takes {LEAST_CALIBRATION} or more"
            )
        return samples

    @cached_property
    def predictor(self) -> Predictor:
        x, y, drawn = arrays(self.samples, self.data.in_chans, seed=self.settings.seed)
        return fit_predictor(x, y, seed=self.settings.seed, drawn=drawn)

    @cached_property
    def teacher(self) -> deploy.Teacher:
        return deploy.choose_teacher(
            self.supernet, self.recalibration_batches, self.data.val, metric=self.settings.metric
        )

    @cached_property
    def evaluated(self) -> list[Evaluation]:
        return evaluations(self.study, self.space)

    @cached_property
    def study(self) -> optuna.Study:
        return open_study(self.run.journal, minimised=self.minimised_count)

    @property
    def minimised_count(self) -> int:
        """Objectives that are minimised: the latency, and what else is asked for."""
        return 2 if self.settings.minimise else 1

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What a model may take, beside time."""
        given = {name: getattr(self.settings, name) for name in LIMITS}
        return tuple(
            Limit(quantity, given[name] * unit, flag(name), unit)
            for name, (quantity, unit) in LIMITS.items()
            if given[name] is not None
        )

    def excess(self, arch: Arch) -> dict[str, float]:
        """For each limit, by what share of it the architecture is predicted to be over it."""
        return {
            limit.quantity: limit.excess(predicted(limit.quantity, arch, self.interface))
            for limit in self.limits
        }

    def minimised(self, arch: Arch) -> float:
        """What ``--minimise`` asks for, by prediction."""
        assert self.settings.minimise is not None
        return predicted(self.settings.minimise, arch, self.interface)

    @cached_property
    def least(self) -> tuple[Arch, ...]:
        """For each limit, the architecture that is predicted to have least of what it limits."""

        def least_of(quantity: str) -> Arch:
            return smallest(self.space, lambda arch: ordering(quantity, arch, self.interface))

        return tuple(least_of(limit.quantity) for limit in self.limits)

    def check_limits(self) -> None:
        """Raises InputError for a limit that nothing in the space keeps."""
        for limit, arch in zip(self.limits, self.least, strict=True):
            value = predicted(limit.quantity, arch, self.interface)
            if limit.excess(value) > 0:
                raise InputError(
                    f"{limit}: no architecture of the space {self.space.name} keeps it, the smallest has "
                    f"{limit.said(value)} for {len(self.data.labels)} classes"
                )

    def predict_ms(self, arch: Arch) -> float:
        return float(self.predictor.predict(features(arch, self.data.in_chans)[None])[0])

    @property
    def margin(self) -> float:
        """By how much a prediction has to be under a budget, as a factor: 1 where the settings ask for none."""
        probability = self.settings.predicted_confidence
        return self.predictor.margin(probability) if probability else 1.0

    def export(self, arch: Arch, path: Path) -> None:
        export_arch(arch, self.interface, path)

    def training(self, epochs: int, lr: float, seed: int) -> TrainConfig:
        assert self.settings.batch_size is not None
        return TrainConfig(
            epochs, self.settings.batch_size, lr, seed=seed, augment=default_augment(self.data)
        )

    @property
    def budgets(self) -> tuple[float, ...]:
        """In milliseconds; those of a search of the whole front are known as soon as that has ended."""
        return self.run.budgets_ms(self.settings)

    @property
    def hard_budgets(self) -> tuple[float, ...]:
        """Those that a search need not look beyond."""
        return self.settings.budget_ms if self.settings.objective == "budget" else ()

    def notes(self) -> list[str]:
        return budget_notes(self.hard_budgets, normalised_ms(self.samples))


def prepare(run: RunDirectory, settings: Settings, *, progress: Progress, meter: Meter = measure) -> Flow:
    """Loads the data and the space, and fills in the settings that depend on them."""
    device = cuda_or_cpu(settings.device)
    target, meter = _where(run, settings, meter)
    if settings.baselines:
        read_comparison(Path(settings.baselines))
    space = load_space(settings.space) if settings.space else None
    size = settings.size or (max(space.resolution) if space else None)
    data = load_data(
        DataConfig(settings.data, size=size, seed=settings.seed, train_images=settings.train_images),
        progress=progress,
    )
    settings = settings.resolved(images=len(data.train), size=data.size, device=device)
    assert settings.space is not None
    space = space or load_space(settings.space)
    if size is not None and size != max(space.resolution):
        raise InputError(
            f"--size {size}: the space {space.name} is for {max(space.resolution)} pixels; leave --size out, or "
            "give another --space"
        )
    if space.size < LEAST_CALIBRATION:
        raise InputError(
            f"the space {space.name} has only {space.size} architectures: a search takes {LEAST_CALIBRATION} or more"
        )
    if max(space.resolution) != data.size:
        data = data.resized(max(space.resolution))
        settings = replace(settings, size=data.size)
    settings = replace(settings, threads=target.threads)
    flow = Flow(run, settings, data, space, meter, target, progress)
    if flow.by_hand:
        flow.samples_of_device()
    elif settings.runtime == AUTO:
        # One network stands for all: a run is on one target.
        largest = space.extreme("largest")
        flow.target = chosen_target(
            AUTO, settings.precision, threads=settings.threads, progress=progress,
            export=lambda path: flow.export(largest, path),
        )  # fmt: skip
        flow.settings = replace(settings, runtime=flow.target.runtime, precision=flow.target.precision)
    return flow


def _where(run: RunDirectory, settings: Settings, meter: Meter) -> tuple[Target, Meter]:
    """The target and what measures on it; refuses what is not there. ``auto`` is decided later."""
    if settings.target is None:
        if settings.runtime == AUTO:
            return Target(threads=settings.threads), meter
        precision = settings.precision or FULL_PRECISION
        return Target(settings.runtime, settings.threads, precision=precision), meter
    promise = {"percentile": settings.percentile, "confidence": settings.confidence}
    target, there = meter_of(
        settings.target, threads=settings.threads, folder=run.root / "device",
        about={"budgets_ms": settings.budget_ms, **promise},
        go_on=f"nassuite search --resume {shlex.quote(str(run.root))}",
    )  # fmt: skip
    if isinstance(meter, CachedMeter) and not isinstance(there, StoredMeter):
        return target, replace(meter, meter=there)
    return target, there


def budget_notes(budgets: Sequence[float], latencies: Sequence[float]) -> list[str]:
    """For budgets that every architecture keeps: where they would begin to bind."""
    slowest = max(latencies)
    return [
        f"the budget of {budget:g} ms does not bind: the slowest architecture measured takes {slowest:.3g} ms, "
        "so only a budget below that would"
        for budget in budgets
        if budget >= slowest
    ]
