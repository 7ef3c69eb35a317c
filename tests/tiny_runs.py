"""Whole runs in seconds: a space of a few thousand small networks, a folder of photos, a meter that knows no time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from deterministic_meter import deterministic_meter
from PIL import Image

from nassuite.progress import Progress
from nassuite.records import read_jsonl
from nassuite.settings import Settings

if TYPE_CHECKING:
    from nassuite.study import Outcome

SPACE = """\
resolution = [16]

[stem]
width = [8]
stride = 1

[[stages]]
width = [8, 16]
depth = [1]
stride = 2
operator = ["inverted_residual", "ghost"]
kernel = [3]
expand = [2]

[[stages]]
width = [16, 24]
depth = [1, 2]
stride = 2
operator = ["inverted_residual", "ghost"]
kernel = [3, 5]
expand = [2, 3]

[head]
width = [32]
"""
LOOSE_MS, TIGHT_MS, IMPOSSIBLE_MS = 0.5, 0.08, 0.01
"""What every network here keeps by the deterministic meter, what half of them keep, and what none does."""

CLASSES = ("zero", "one", "two", "three")
PICTURES_OF_A_CLASS = 50


def write_space(folder: Path) -> Path:
    path = folder / "space.toml"
    path.write_text(SPACE)
    return path


def write_photos(folder: Path) -> Path:
    """``train`` and ``test`` of scanned digits as PNG and JPEG files, grey and coloured, square and not."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for label, name in enumerate(CLASSES):
        for number, index in enumerate(np.flatnonzero(digits.target == label)[:PICTURES_OF_A_CLASS]):
            pixels = (digits.images[index] * 255 / 16).round().astype(np.uint8)
            size = (20, 20 + 4 * (number % 3))
            image = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
            place = folder / "photos" / ("test" if number % 5 == 0 else "train") / name
            place.mkdir(parents=True, exist_ok=True)
            if number % 2:
                image.convert("RGB").save(place / f"{number}.jpg", quality=95)
            else:
                image.save(place / f"{number}.png")
    return folder / "photos"


def settings(folder: Path, *budgets: float, **changes: Any) -> Settings:
    """Settings of a run on the photos and the space in ``folder``."""
    values: dict[str, Any] = {
        "data": f"folder:{folder / 'photos'}", "space": str(folder / "space.toml"),
        "epochs": 3, "batch_size": 32, "calibration": 24, "trials": 14, "finetune_epochs": 3, "prune_epochs": 1,
    }  # fmt: skip
    return Settings(budget_ms=budgets, **(values | changes))


def lines(path: Path) -> list[dict[str, Any]]:
    return read_jsonl(path)


def stages_done(run: Path) -> list[str]:
    return [entry["stage"] for entry in lines(run / "stages.jsonl") if entry["done"]]


def trials(run: Path) -> list[tuple[dict[str, Any], list[float]]]:
    """Genes and values of every finished trial, in order."""
    import optuna

    from nassuite.search.driver import open_study

    study = open_study(run / "search.journal")
    finished = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    return [(trial.user_attrs["genes"], trial.values) for trial in finished]


@dataclass(frozen=True)
class Result:
    """What a run came to, without the times in it: equal for equal runs."""

    trials: list[Any]
    samples: list[Any]
    finalists: dict[str, Any]
    files: dict[str, bytes]
    variants: dict[str, list[Any]]


def result(run: Path) -> Result:
    cards = {
        path.parent.name: json.loads(path.read_text()) for path in sorted(run.glob("deploy/*/card.json"))
    }
    return Result(
        trials=trials(run),
        samples=lines(run / "latency" / "samples.jsonl"),
        finalists=json.loads((run / "finalists.json").read_text()),
        files={str(path.relative_to(run)): path.read_bytes() for path in sorted(run.glob("deploy/*/*.onnx"))},
        variants={name: card["variants"] for name, card in cards.items()},
    )


@dataclass(frozen=True)
class TinyRun:
    """``folder`` holds ``photos``, ``space.toml`` and the run directory ``run``."""

    folder: Path
    outcome: Outcome
    said: list[str]

    @property
    def run(self) -> Path:
        return self.outcome.run


def whole_run(folder: Path) -> TinyRun:
    from nassuite.study import search

    write_photos(folder)
    write_space(folder)
    progress = ListeningProgress()
    outcome = search(
        settings(folder, LOOSE_MS, TIGHT_MS, IMPOSSIBLE_MS),
        out=folder / "run", meter=deterministic_meter, progress=progress, command=["nassuite", "search"],
    )  # fmt: skip
    return TinyRun(folder, outcome, progress.said)


class ListeningProgress(Progress):
    def __init__(self) -> None:
        super().__init__(enabled=False)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Interruption(Exception):
    pass


class InterruptingProgress(Progress):
    """Raises once in each of some stages, after so many of their steps; shared by the run and those that resume it."""

    def __init__(self, after: dict[str, int]) -> None:
        super().__init__(enabled=False)
        self.after = dict(after)
        self.steps: dict[str, int] = {}

    def track(
        self, items: Any, description: str, *, total: int | None = None, done: int = 0, unit: str = ""
    ) -> Any:
        for count, item in enumerate(items, start=1):
            yield item
            self.steps[description] = self.steps.get(description, 0) + 1
            if count == self.after.get(description):
                del self.after[description]
                raise Interruption(description)
