"""Whether a run's ranking can be trusted: ``nassuite audit``.

Architectures are drawn over all latencies and block families, trained from scratch with one recipe, a third of them
twice, and compared with what they inherit from the run's supernet. RUN/audit/ has audit.toml (settings),
trainings.jsonl (one line a training, written as it ends), then audit.json and audit.md; the run's report is drawn
again with the verdict in it. Interrupted it goes on: the same command again.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nassuite.audit_settings import AuditSettings
from nassuite.data import default_augment
from nassuite.errors import InputError
from nassuite.flow import Flow, prepare
from nassuite.latency.cost import cost
from nassuite.latency.footprint import predicted
from nassuite.latency.meter import Meter, measure
from nassuite.metrics import score
from nassuite.nn.network import build
from nassuite.progress import SILENT, Progress
from nassuite.records import append_jsonl, read_toml, write_json, write_text, write_toml
from nassuite.report import evidence as e
from nassuite.report import read_report, write_report
from nassuite.report.markdown import audit_markdown
from nassuite.run_directory import RunDirectory, read_lines
from nassuite.search.ranking import Correlation, Ranking, rank
from nassuite.settings import from_table, to_table
from nassuite.space import Space
from nassuite.spec import Arch
from nassuite.stages import accuracy_of, calibrate
from nassuite.train.distill import train_network
from nassuite.train.loop import TrainConfig
from nassuite.train.proxy import synflow
from nassuite.train.recalibrate import predict

CANDIDATES = 30
"""Random architectures for each one that is drawn."""
THIRDS = 3


@dataclass(frozen=True)
class Training:
    """One training from scratch: validation accuracy by the run's metric, and the seconds that it took."""

    digest: str
    seed: int
    accuracy: float
    seconds: float


def audit(
    root: Path,
    settings: AuditSettings | None = None,
    *,
    meter: Meter = measure,
    progress: Progress = SILENT,
) -> e.RankingFacts:
    """Audits the run in ``root``, or goes on with an audit that was begun there. Validation images only.

    A run of ``nassuite train-supernet``, which knows no latencies yet, is calibrated first, as its search would be.
    ``meter`` stands in for the measurement in tests.

    Raises InputError where the run has no trained supernet, and for other settings than the audit began with.
    """
    run = RunDirectory(root)
    run_settings, _ = run.read_settings()
    if "supernet" not in run.stages_done():
        raise InputError(
            f"{root}: its supernet is not trained yet: go on with nassuite search --resume {root}"
        )
    with run.locked():
        begun = root / "audit" / "audit.toml"
        settings = _settled(begun, settings)
        flow = prepare(run, run_settings, progress=progress, meter=meter)
        with run.stage("latency"):
            calibrate(flow)
        flow = dataclasses.replace(flow, data=_subset(flow, settings))
        archs = archs_of(flow, settings)
        begun.parent.mkdir(exist_ok=True)
        write_toml(begun, to_table(settings))
        trainings = _trainings(flow, settings, archs, root / "audit" / "trainings.jsonl")
        facts = _facts(flow, settings, archs, trainings)
        write_json(root / "audit" / "audit.json", dataclasses.asdict(facts))
        write_text(root / "audit" / "audit.md", audit_markdown(facts))
        if (run.report / "records.json").is_file():
            write_report(dataclasses.replace(read_report(run.report), ranking=facts), run.report)
    return facts


def _settled(path: Path, given: AuditSettings | None) -> AuditSettings:
    """The settings of the audit that began at ``path``, or the given ones."""
    if not path.is_file():
        return given or AuditSettings()
    found = AuditSettings(**from_table(read_toml(path), str(path), AuditSettings))
    # How many train at once, and how many there are in the end, change nothing of what is done.
    wanted = dataclasses.replace(given or found, workers=found.workers, architectures=found.architectures)
    if wanted != found:
        raise InputError(
            f"{path.parent} is an audit with other settings: leave them out to go on with it, or delete that folder"
        )
    return given or found


def _subset(flow: Flow, settings: AuditSettings) -> Any:
    data, count = flow.data, settings.train_images
    if count is None or count >= len(data.train):
        return data
    return dataclasses.replace(data, train=data.train.subset(count, settings.seed))


def archs_of(flow: Flow, settings: AuditSettings) -> list[Arch]:
    """The architectures of an audit, in the order in which they are trained."""
    most = settings.max_macs
    return draw_archs(
        flow.space, flow.predict_ms, settings.architectures, settings.seed,
        fits=lambda arch: most is None or predicted("macs", arch, flow.interface) <= most,
    )  # fmt: skip


def draw_archs(
    space: Space, latency_ms: Any, count: int, seed: int, *, fits: Callable[[Arch], bool] = lambda arch: True
) -> list[Arch]:
    """``count`` different architectures, as evenly as can be over thirds of the latency and over block families.

    The family is the operator of most layers. Drawn one after the other, so that a larger ``count`` begins
    with the same ones as long as the space has enough. Raises InputError where hardly any ``fits``.
    """
    rng = random.Random(f"audit/{seed}")
    drawn = dict.fromkeys(_candidate(space, rng) for _ in range(CANDIDATES * max(count, 60)))
    pool = [arch for arch in drawn if fits(arch)]
    if len(pool) < min(count, len(drawn)):
        raise InputError(
            f"of {len(drawn)} architectures of the space {len(pool)} fit: raise --max-macs, or ask for fewer"
        )
    latencies = {arch: latency_ms(arch) for arch in pool}
    edges = np.quantile(list(latencies.values()), [n / THIRDS for n in range(1, THIRDS)])
    cells: dict[tuple[int, str], list[Arch]] = {}
    for arch in pool:
        cells.setdefault((int(np.searchsorted(edges, latencies[arch])), family(arch)), []).append(arch)
    chosen: list[Arch] = []
    while len(chosen) < count and cells:
        for key in sorted(cells):
            chosen.append(cells[key].pop())
            if not cells[key]:
                del cells[key]
    return chosen[:count]


def _candidate(space: Space, rng: random.Random) -> Arch:
    """Half of them lean to one operator: uniform ones are all mixtures."""
    genes = space.encode(space.sample(rng))
    if rng.random() < 0.5:
        operator = rng.choice(space.operators)
        for name, choices in space.genes.items():
            if name.endswith(".operator") and operator in choices and rng.random() < 0.8:
                genes[name] = operator
    return space.decode(genes)


def family(arch: Arch) -> str:
    counts = Counter(block.op for block in arch.blocks)
    return min(counts, key=lambda op: (-counts[op], op))


def _trainings(
    flow: Flow, settings: AuditSettings, archs: Sequence[Arch], path: Path
) -> dict[tuple[str, int], Training]:
    """All trainings by digest and seed; what is in ``path`` is not done again."""
    done = {(t.digest, t.seed): t for t in (Training(**line) for line in read_lines(path))}
    jobs = [(arch, seed) for arch, seed in _jobs(archs) if (arch.digest, seed) not in done]
    total = len(list(_jobs(archs)))
    for training in flow.progress.track(
        _trained(flow, settings, jobs),
        "training from scratch",
        total=total,
        done=total - len(jobs),
        unit="networks",
    ):
        append_jsonl(path, dataclasses.asdict(training))
        done[training.digest, training.seed] = training
    return done


def _jobs(archs: Sequence[Arch]) -> Iterator[tuple[Arch, int]]:
    """Each architecture with the first seed, then every third with the second."""
    yield from ((arch, 0) for arch in archs)
    yield from ((arch, 1) for arch in archs[::3])


def _trained(flow: Flow, settings: AuditSettings, jobs: Sequence[tuple[Arch, int]]) -> Iterator[Training]:
    if settings.workers == 1 or len(jobs) < 2:
        yield from (train_from_scratch(flow, settings, arch, seed) for arch, seed in jobs)
        return
    context = torch.multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // settings.workers)
    with context.Pool(settings.workers, _prepare_worker, (flow.run.root, settings, threads)) as pool:
        yield from pool.imap_unordered(_train_in_worker, jobs)


_in_worker: list[tuple[Flow, AuditSettings]] = []
"""What a worker process prepared for all its trainings."""


def _prepare_worker(root: Path, settings: AuditSettings, threads: int) -> None:
    torch.set_num_threads(threads)
    run = RunDirectory(root)
    flow = prepare(run, run.read_settings()[0], progress=SILENT)
    _in_worker.append((dataclasses.replace(flow, data=_subset(flow, settings)), settings))


def _train_in_worker(job: tuple[Arch, int]) -> Training:
    return train_from_scratch(*_in_worker[0], *job)


def train_from_scratch(flow: Flow, settings: AuditSettings, arch: Arch, seed: int) -> Training:
    started = time.monotonic()
    own_seed = settings.seed + 1000 * seed
    network = build(arch, flow.interface, seed=own_seed)
    config = TrainConfig(
        settings.epochs, settings.batch_size, settings.lr, seed=own_seed, augment=default_augment(flow.data)
    )
    train_network(network, flow.data.train, config, resolution=arch.resolution, device=flow.device)
    val = flow.data.val.to(flow.device)
    logits = predict(network, (x for x, _ in val.batches(512, device=flow.device)), arch.resolution)
    accuracy = score(logits, val.labels, metric=flow.settings.metric)
    return Training(arch.digest, seed, float(accuracy), round(time.monotonic() - started, 1))


def _facts(
    flow: Flow,
    settings: AuditSettings,
    archs: Sequence[Arch],
    trainings: dict[tuple[str, int], Training],
) -> e.RankingFacts:
    val = flow.data.val.to(flow.device)
    inherited = np.array(
        [
            accuracy_of(flow, arch, val)
            for arch in flow.progress.track(archs, "inherited weights", unit="architectures")
        ]
    )
    scratch = np.array([trainings[arch.digest, 0].accuracy for arch in archs])
    latency = np.array([flow.predict_ms(arch) for arch in archs])
    networks = [build(arch, flow.interface, seed=settings.seed) for arch in archs]
    shapes = [(flow.data.in_chans, arch.resolution, arch.resolution) for arch in archs]
    counted = [cost(network, shape) for network, shape in zip(networks, shapes, strict=True)]
    twice = np.array(
        [[trainings[arch.digest, seed].accuracy for seed in (0, 1)] for arch in archs[::3]]
    )  # (n / 3, 2)
    ranking = rank(
        inherited, scratch, latency_ms=latency, seed=settings.seed, twice=(twice[:, 0], twice[:, 1]),
        baselines={
            "MACs": np.array([float(found.macs) for found in counted]),
            "parameters": np.array([float(found.params) for found in counted]),
            "latency": latency,
            "SynFlow": np.array([synflow(n, s) for n, s in zip(networks, shapes, strict=True)]),
        },
    )  # fmt: skip
    points = tuple(
        e.RankingPoint(arch.digest, str(arch), float(i), float(s), float(ms))
        for arch, i, s, ms in zip(archs, inherited, scratch, latency, strict=True)
    )
    return _plain(ranking, points, settings, train_images=len(flow.data.train))


def _plain(
    ranking: Ranking, points: tuple[e.RankingPoint, ...], settings: AuditSettings, *, train_images: int
) -> e.RankingFacts:
    ceiling = [_row("a second training (noise ceiling)", ranking.ceiling)] if ranking.ceiling else []
    return e.RankingFacts(
        verdict=ranking.verdict,
        reason=ranking.reason,
        n=len(points),
        epochs=settings.epochs,
        train_images=train_images,
        max_macs=settings.max_macs,
        rows=(
            _row("inherited accuracy", ranking.inherited),
            *(_row(name, found) for name, found in ranking.baselines.items()),
            *ceiling,
        ),
        over_macs=ranking.over_macs,
        gap=ranking.gap,
        bands=tuple((band.low_ms, band.high_ms, band.n, band.tau) for band in ranking.bands),
        points=points,
    )


def _row(name: str, found: Correlation) -> e.RankingRow:
    tau, rho = (found.tau_low, found.tau_high), (found.rho_low, found.rho_high)
    return e.RankingRow(name, found.n, found.tau, tau, found.rho, rho)
