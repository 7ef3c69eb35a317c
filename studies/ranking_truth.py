"""The ground truth of ranking.py: architectures trained from scratch, in a file that is used again without training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nassuite.audit_settings import AuditSettings
from nassuite.auditing import Training, archs_of
from nassuite.data import Data, DataConfig, load_data
from nassuite.errors import InputError
from nassuite.flow import prepare
from nassuite.latency.cost import cost
from nassuite.latency.footprint import predicted
from nassuite.nn.network import Interface, build
from nassuite.progress import Progress
from nassuite.records import SCHEMA_VERSION, read_json, read_toml, write_text
from nassuite.run_directory import RunDirectory, read_lines
from nassuite.search.ranking import LEAST
from nassuite.settings import from_table
from nassuite.space import Space
from nassuite.space_file import load_space
from nassuite.spec import Arch
from nassuite.train.proxy import synflow

BASELINES = {"MACs": "macs", "parameters": "params", "latency": "latency_ms", "SynFlow": "synflow"}
"""What a ranking is set against, and where it stands in a row."""


@dataclass(frozen=True)
class Trained:
    """One architecture: what it costs, and its validation accuracy from scratch with one seed or two."""

    arch: Arch
    macs: int
    params: int
    latency_ms: float
    synflow: float
    accuracy: tuple[float, ...]


@dataclass(frozen=True)
class Truth:
    """``facts`` say of which space, images and trainings (the audit's settings) ``trained`` are."""

    facts: dict[str, Any]
    trained: tuple[Trained, ...]

    @property
    def archs(self) -> list[Arch]:
        return [row.arch for row in self.trained]

    @property
    def scratch(self) -> NDArray[np.float64]:
        """(n,) accuracies of the first seed."""
        return np.array([row.accuracy[0] for row in self.trained])

    @property
    def twice(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The accuracies of those that were trained with two seeds: (m,) and (m,)."""
        both = np.array([row.accuracy for row in self.trained if len(row.accuracy) == 2]).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def column(self, name: str) -> NDArray[np.float64]:
        """(n,): one of the rows' numbers."""
        return np.array([float(getattr(row, name)) for row in self.trained])


def truth_of_run(root: Path, progress: Progress) -> tuple[Truth, Data]:
    """From the audit of a run, finished or under way: of those architectures that are trained once already.

    Raises InputError where these are fewer than a ranking takes.
    """
    run = RunDirectory(root)
    settings, _ = run.read_settings()
    path = root / "audit" / "audit.toml"
    if not path.is_file():
        raise InputError(f"{root} was not audited: nassuite audit {root} trains the architectures")
    audited = AuditSettings(**from_table(read_toml(path), str(path), AuditSettings))
    done = [Training(**line) for line in read_lines(path.with_name("trainings.jsonl"))]
    by_arch: dict[str, dict[int, float]] = {}
    for training in done:
        by_arch.setdefault(training.digest, {})[training.seed] = training.accuracy
    flow = prepare(run, settings, progress=progress)
    planned = archs_of(flow, audited)
    archs = [arch for arch in planned if 0 in by_arch.get(arch.digest, {})]
    if len(archs) < LEAST:
        raise InputError(
            f"{root}: its audit has trained {len(archs)} architectures, {LEAST} or more are needed"
        )
    facts = {
        "schema_version": SCHEMA_VERSION,
        "space": settings.space, "space_digest": flow.space.digest, "data_digest": flow.data.digest,
        "size": flow.data.size, "seed": settings.seed, "run_train_images": settings.train_images,
        "metric": settings.metric, "target": flow.target.key,
        "train_images": audited.train_images, "epochs": audited.epochs, "batch_size": audited.batch_size,
        "lr": audited.lr, "audit_seed": audited.seed, "planned": len(planned),
        "most_macs": max(predicted("macs", arch, flow.interface) for arch in planned),
    }  # fmt: skip
    trained = tuple(
        _trained(arch, by_arch[arch.digest], flow.interface, flow.data, flow.predict_ms)
        for arch in progress.track(archs, "ground truth")
    )
    return Truth(facts, trained), flow.data


def _trained(
    arch: Arch,
    accuracies: dict[int, float],
    interface: Interface,
    data: Data,
    predict_ms: Callable[[Arch], float],
) -> Trained:
    network, shape = build(arch, interface), (data.in_chans, arch.resolution, arch.resolution)
    counted = cost(network, shape)
    return Trained(
        arch, counted.macs, counted.params, round(predict_ms(arch), 5), round(synflow(network, shape), 4),
        tuple(round(accuracies[seed], 5) for seed in (0, 1) if seed in accuracies),
    )  # fmt: skip


def write_truth(truth: Truth, space: Space, path: Path) -> None:
    """JSON with one line an architecture; ``genes`` has the place of each choice, in the order of ``Space.genes``."""
    rows = []
    for row in truth.trained:
        genes = space.encode(row.arch)
        places = [choices.index(genes[name]) for name, choices in space.genes.items()]
        rows.append(
            {
                "digest": row.arch.digest, "genes": "".join(f"{place:x}" for place in places),
                "macs": row.macs, "params": row.params, "latency_ms": row.latency_ms, "synflow": row.synflow,
                "accuracy": list(row.accuracy),
            }
        )  # fmt: skip
    facts = json.dumps(truth.facts, indent=1).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    write_text(path, f'{facts},\n "trained": [\n{lines}\n ]\n}}\n')


def read_truth(path: Path) -> tuple[Truth, Space]:
    """Raises InputError where there is none, or where it is of a space that has changed since."""
    if not path.is_file():
        raise InputError(f"{path} is not there: give --run RUN, a run that nassuite audit was used on")
    facts = read_json(path)
    rows = facts.pop("trained")
    space = load_space(facts["space"])
    if space.digest != facts["space_digest"]:
        raise InputError(
            f"{path}: the space {facts['space']} has changed since: its trainings are of no use any more"
        )
    trained = []
    for row in rows:
        places = zip(space.genes.items(), row["genes"], strict=True)
        arch = space.decode({name: choices[int(place, 16)] for (name, choices), place in places})
        if arch.digest != row["digest"]:
            raise InputError(f"{path} is damaged: {row['genes']} is not the architecture {row['digest']}")
        trained.append(
            Trained(
                arch, row["macs"], row["params"], row["latency_ms"], row["synflow"], tuple(row["accuracy"])
            )
        )
    return Truth(facts, tuple(trained)), space


def images_of_truth(truth: Truth, name: str, path: Path, progress: Progress) -> Data:
    """The images that it was trained on, which ``name`` has to have. Raises InputError for others."""
    facts = truth.facts
    config = DataConfig(
        name, size=facts["size"], seed=facts["seed"], train_images=facts["run_train_images"]
    )  # fmt: skip
    data = load_data(config, progress=progress)
    if data.digest != facts["data_digest"]:
        raise InputError(f"--data {name} are other images than those of {path}")
    return data
