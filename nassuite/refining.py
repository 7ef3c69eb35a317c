"""A winner whose channel counts are refined one layer at a time, by accuracy: ``--refine netadapt``.

As MobileNetV3 was made (Howard et al. 2019, section 4.2): the search decides on blocks, NetAdapt (Yang et al. 2018)
on channels. Each of a few steps asks for the same number of milliseconds; every layer alone makes a proposal that
has them by a table measured on the target; each is trained shortly, and the most accurate is kept.
"""

from __future__ import annotations

from torch import nn

from nassuite import deploy
from nassuite.checkpoints import FileCheckpoints
from nassuite.compress.goal import Goal, Judge
from nassuite.compress.prune import PruneRecord
from nassuite.compress.steps import Plan, prepare, prune_in_steps
from nassuite.compress.widths import PruneConfig
from nassuite.errors import InputError
from nassuite.flow import Flow
from nassuite.latency.kernels import BLOCK
from nassuite.metrics import score
from nassuite.run_directory import remembering
from nassuite.spec import Arch
from nassuite.train.distill import SoftLabels, train_network
from nassuite.train.recalibrate import predict

SPEEDUP = 1.15
"""Over the winner: more is what pruning is for, and is no refinement."""
STEPS = 4
SHORT_IMAGES = 1024
"""Training images that a proposal sees before it is judged."""


def refined(flow: Flow, arch: Arch, dense: nn.Module) -> tuple[nn.Module, PruneRecord] | None:
    """A smaller form of the trained winner, trained again; None, with a word, where it cannot be made.

    Validation images decide. What was measured and tried is kept, so that a run that was killed makes the same.
    """
    name = f"{arch.digest}-refined"
    path = flow.run.tried(name)
    plan = _plan(flow, arch, dense, name)
    try:
        # Measurements of a run that goes on are those that it began with.
        prepared = None if path.exists() else prepare(dense, plan, name="the winner")
        return prune_in_steps(dense, plan, prepared)
    except InputError as error:
        flow.progress.say(f"the winner is not refined: {error}")
        return None


def _plan(flow: Flow, arch: Arch, dense: nn.Module, name: str) -> Plan:
    settings = flow.settings
    sized = flow.data.resized(arch.resolution)
    example = next(sized.val.batches(8, channels_last=False))[0]
    shape = (sized.in_chans, arch.resolution, arch.resolution)

    def accuracy(network: nn.Module) -> float:
        batches = (x for x, _ in flow.data.val.batches(512))
        return score(predict(network, batches, arch.resolution), flow.data.val.labels, metric=settings.metric)

    def short_tune(network: nn.Module, step: int) -> None:
        seed = settings.seed + 3 + step
        few = flow.data.train.subset(min(SHORT_IMAGES, len(flow.data.train)), seed=seed)
        train_network(
            network, few, flow.training(1, settings.lr / 4, seed), resolution=arch.resolution,
            description="training a proposal shortly", device=flow.device, class_weights=flow.class_weights,
        )  # fmt: skip
        network.cpu().eval()

    def tune(network: nn.Module, step: int, last: bool) -> None:
        short_tune(network, step)
        if last:
            assert settings.prune_epochs is not None
            deploy.distil(
                network, arch, flow.data, flow.training(settings.prune_epochs, settings.lr / 4, settings.seed + 3),
                soft_labels=SoftLabels(dense, arch.resolution), device=flow.device,
                class_weights=flow.class_weights, checkpoints=FileCheckpoints(flow.run.training(name)),
                progress=flow.progress, description="distilling the refined winner",
            )  # fmt: skip
            dense.cpu()

    return Plan(
        "netadapt",
        PruneConfig(0.0, "magnitude", "global", BLOCK, settings.seed),
        STEPS,
        example,
        Judge(Goal("speedup", SPEEDUP), dense, shape, flow.target, flow.meter, settings.seed),
        tune=tune,
        short_tune=short_tune,
        accuracy=accuracy,
        remember=remembering(flow.run.tried(name)),
        progress=flow.progress,
    )
