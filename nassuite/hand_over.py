"""The last stages of a run: from winners to deployed files, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nassuite import deploy, deploy_card
from nassuite.checkpoints import FileCheckpoints
from nassuite.compress.prune import PruneRecord, replay
from nassuite.errors import DeviceNeeded
from nassuite.flow import Flow
from nassuite.latency.meter import normalised_ms
from nassuite.records import write_json
from nassuite.refining import refined
from nassuite.report import write_report
from nassuite.report.comparison import read_comparison, with_baselines
from nassuite.run_directory import read_record
from nassuite.search.finalists import within_noise
from nassuite.spec import Arch
from nassuite.summary import Inputs, report_content
from nassuite.train.distill import SoftLabels
from nassuite.train.recalibrate import predict, recalibrated

SAID = 1.05
"""A machine that takes so many times as long as before has changed its speed."""


@dataclass(frozen=True)
class BudgetResult:
    """What a budget led to. ``chosen`` is a variant's record, None where nothing keeps the budget.

    With ``--objective mnas`` the chosen one may be over it; then ``message`` says so.
    """

    budget_ms: float
    folder: Path | None
    chosen: dict[str, Any] | None
    variants: tuple[dict[str, Any], ...]
    message: str


def deploy_budgets(flow: Flow) -> tuple[BudgetResult, ...]:
    """``deploy_budget`` for each; raises DeviceNeeded once, with all that one walk to a device can bring."""
    results, needed = [], []
    for budget in flow.budgets:
        try:
            results.append(deploy_budget(flow, budget))
        except DeviceNeeded as error:
            needed.append(str(error))
    if needed:
        raise DeviceNeeded("\n".join(needed))
    return tuple(results)


def deploy_budget(flow: Flow, budget: float) -> BudgetResult:
    """Distils, prunes, quantises, exports and certifies the winner of one budget; test is read last."""
    winner = _finalists(flow, budget)["winner"]
    if winner is None:
        return BudgetResult(budget, None, None, (), _miss(flow, budget))
    folder = flow.run.deploy(budget)
    if not (folder / "card.json").exists():
        _deploy(flow, budget, Arch.from_json(winner["arch"]), folder)
    card = read_record(folder / "card.json", "variants")
    chosen = next((v for v in card["variants"] if v["chosen"]), None)
    message = ""
    if chosen is None:
        fastest = min(card["variants"], key=lambda variant: variant[_percentile(flow)])
        message = (
            f"no variant of the winner keeps {budget:g} ms{_limits(flow)}: the fastest, {fastest['name']}, "
            f"{_over(fastest[_percentile(flow)], budget)}{_change_of_pace(winner, fastest)}"
        )
    elif chosen["verdict"] != "pass":
        message = f"of most reward for {budget:g} ms is {chosen['name']}, which {_over(chosen[_percentile(flow)], budget)}"
    return BudgetResult(budget, folder, chosen, tuple(card["variants"]), message)


def _percentile(flow: Flow) -> str:
    return f"p{flow.settings.percentile}_ms"


def _change_of_pace(winner: dict[str, Any], variant: dict[str, Any]) -> str:
    """What the machine has to do with it: both were measured beside the same reference network."""
    pace = variant["reference_ms"] / winner.get("reference_ms", variant["reference_ms"])
    if pace < SAID:
        return ""
    return f"; but this machine now takes {pace:.2f} times as long for anything as when the winner was chosen"


def _finalists(flow: Flow, budget: float) -> dict[str, Any]:
    return read_record(flow.run.finalists, f"{budget:g}")[f"{budget:g}"]


def _deploy(flow: Flow, budget: float, arch: Arch, folder: Path) -> None:
    settings = flow.settings
    dense, smaller = compressed(flow, arch)
    networks = {"fp32": dense, **{name: network for name, (network, _) in smaller.items()}}
    variants = deploy.export_variants(
        networks, arch, flow.data, folder, metric=settings.metric, progress=flow.progress
    )
    variants = deploy.scored_in(flow.target, variants, arch, flow.data, metric=settings.metric)
    shape = (flow.data.in_chans, arch.resolution, arch.resolution)
    variants = deploy.limited(variants, flow.limits, shape)
    variants = deploy.certify_variants(
        variants, budget, flow.meter, flow.target, percentile=settings.percentile,
        confidence=settings.confidence, progress=flow.progress, seed=settings.seed,
    )  # fmt: skip
    chosen = deploy.choose_variant(variants, soft=settings.objective == "mnas")
    deploy_card.write(
        folder, variants, chosen, arch=arch, data=flow.data, budget_ms=budget, target=flow.target,
        metric=settings.metric, cuts={name: record.to_json() for name, (_, record) in smaller.items()},
        trained_on={"name": settings.data, "seed": settings.seed, "train_images": settings.train_images},
    )  # fmt: skip


def compressed(flow: Flow, arch: Arch) -> tuple[Any, dict[str, tuple[Any, PruneRecord]]]:
    """The winner, distilled from the largest subnet; and its smaller forms by name, distilled from the winner.

    After few epochs the largest subnet may know no more than the winner does: then labels alone teach it.
    """
    settings = flow.settings
    assert settings.finetune_epochs is not None
    assert settings.prune_epochs is not None
    inherited = recalibrated(flow.supernet, arch, flow.recalibration_batches)
    teacher = flow.teacher
    better = not within_noise(_correct(flow, teacher.network, teacher.arch), _correct(flow, inherited, arch))
    if not better:
        flow.progress.say("the largest subnet knows no more than the winner: training on labels alone")
    common: dict[str, Any] = {
        "device": flow.device,
        "class_weights": flow.class_weights,
        "progress": flow.progress,
    }
    dense = deploy.distil(
        inherited, arch, flow.data,
        flow.training(settings.finetune_epochs, settings.lr / 2, settings.seed + 1),
        soft_labels=SoftLabels(teacher.network, teacher.arch.resolution) if better else None,
        checkpoints=FileCheckpoints(flow.run.training(f"{arch.digest}-dense")),
        description="training the winner", **common,
    )  # fmt: skip
    smaller = {}
    if flow.settings.refine and (found := refined(flow, arch, dense)):
        smaller["refined"] = found
    pruned, record = _pruned(flow, arch, dense)
    pruned = deploy.distil(
        pruned, arch, flow.data,
        flow.training(settings.prune_epochs, settings.lr / 4, settings.seed + 2),
        soft_labels=SoftLabels(dense, arch.resolution),
        checkpoints=FileCheckpoints(flow.run.training(f"{arch.digest}-pruned")),
        description="distilling the pruned winner", **common,
    )  # fmt: skip
    return dense.cpu(), {"pruned": (pruned, record), **smaller}


def _correct(flow: Flow, network: Any, arch: Arch) -> Any:
    """For each validation image, whether the network is right."""
    batches = (x for x, _ in flow.data.val.batches(512, device=flow.device))
    return (predict(network, batches, arch.resolution).argmax(1).cpu() == flow.data.val.labels.cpu()).numpy()


def _pruned(flow: Flow, arch: Arch, dense: Any) -> tuple[Any, PruneRecord]:
    """Measurements decide how much is cut, so the cuts are kept: a resume could measure otherwise."""
    path = flow.run.cuts(arch.digest)
    if path.exists():
        record = PruneRecord.from_json(read_record(path))
        return replay(dense, record), record
    pruned, record = deploy.prune_winner(
        dense, arch, flow.data, flow.settings.prune,
        # By hand a measurement is a walk to the device: the certificate's is the only one for these files.
        meter=None if flow.by_hand else flow.meter, target=flow.target, seed=flow.settings.seed,
    )  # fmt: skip
    write_json(path, record.to_json())
    return pruned, record


def draw(flow: Flow, results: Sequence[BudgetResult]) -> None:
    """Writes the run's report, against baselines where the settings name some."""
    _, facts = flow.run.read_settings()
    held_out = [(float(p), float(m)) for p, m in flow.predictor.held_out]
    content = report_content(
        Inputs(
            flow.run, flow.settings, facts, flow.data, flow.space, flow.evaluated, held_out,
            notes=flow.notes(), misses=[r.message for r in results if r.message],
        )
    )  # fmt: skip
    if flow.settings.baselines:
        content = with_baselines(content, read_comparison(Path(flow.settings.baselines)))
    write_report(content, flow.run.report)


def _miss(flow: Flow, budget: float) -> str:
    """Why a budget has no winner: the fastest of all that was measured, and by how much it misses."""
    finalists = [f for f in _finalists(flow, budget)["finalists"] if not f.get("exceeds")]
    measured = [(f["latency_ms"], Arch.from_json(f["arch"])) for f in finalists]
    timed = zip(normalised_ms(flow.samples), flow.samples, strict=True)
    measured += [(ms, sample.arch) for ms, sample in timed]
    within = [(ms, arch) for ms, arch in measured if all(over <= 0 for over in flow.excess(arch).values())]
    missed = f"no architecture keeps {budget:g} ms{_limits(flow)}"
    if not within:
        return f"{missed}: none that was measured keeps the limits beside the latency"
    fastest, arch = min(within, key=lambda pair: pair[0])
    return f"{missed}: the fastest, {arch}, {_over(fastest, budget)}"


def _limits(flow: Flow) -> str:
    return "".join(f" with {limit}" for limit in flow.limits)


def _over(latency_ms: float, budget: float) -> str:
    if latency_ms <= budget:
        return f"takes {latency_ms:.3g} ms, but varies too much for a certificate: try a quieter machine"
    return f"takes {latency_ms:.3g} ms, {100 * (latency_ms / budget - 1):.0f} % over"
