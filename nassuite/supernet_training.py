"""``nassuite train-supernet``: the supernet of a run, trained by all processes that ``torchrun`` started.

The first process of the team owns the run's folder; the others see the images, and of the folder nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from nassuite.errors import InputError
from nassuite.flow import Flow, prepare
from nassuite.progress import SILENT, Progress
from nassuite.run_directory import RunDirectory
from nassuite.settings import Settings, from_table
from nassuite.stages import train_shared_weights
from nassuite.starting import check_initial, start_from
from nassuite.study import refuse_other_ground, run_facts
from nassuite.train.team import ALONE, Team


def train_supernet_of_run(
    settings: Settings | None,
    *,
    out: Path,
    resume: bool = False,
    init: Path | None = None,
    team: Team = ALONE,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Settings:
    """Begins a run in ``out`` with its supernet, or trains on that of the run there; gives the run's settings.

    ``init`` is a run whose supernet's weights this one's begins with. Afterwards ``search(resume=True)`` goes on with the run,
    or ``reuse`` takes its supernet. Raises InputError for
    anything wrong with the input; of what the first process alone can see, in that one.
    """
    run = RunDirectory(out)
    if settings is not None and settings.time_limit is not None:
        raise InputError(
            "--time-limit shares a whole search's time out: for its supernet alone give --epochs"
        )
    with ExitStack() as held:
        flow = _prepared(run, settings, team, progress or Progress(), resume=resume)
        team.check_agrees("the images", flow.data.digest)
        team.check_agrees("the choices of the search space", flow.space.digest)
        _check_shares(flow, team)

        def begin() -> None:
            facts = run.read_settings()[1] if resume else run_facts(flow, command)
            if resume:
                refuse_other_ground(flow, facts, machine=False)
                held.enter_context(run.locked())
            else:
                if init is not None:
                    facts["initial"] = str(init.resolve())
                    check_initial(flow, RunDirectory(init))
                run.create()
                held.enter_context(run.locked())
                run.write_settings(flow.settings, facts)
            if "initial" in facts:
                start_from(flow, RunDirectory(Path(facts["initial"])))

        team.given(begin)
        with run.stage("supernet") if team.leads else nullcontext():
            train_shared_weights(flow, team)
        return flow.settings


def _prepared(
    run: RunDirectory, settings: Settings | None, team: Team, progress: Progress, *, resume: bool
) -> Flow:
    """The first process reads the images before the others do, for they may have to be fetched."""
    flows = []

    def first() -> dict[str, Any]:
        if not resume:
            run.check_new()
        wanted = run.read_settings()[0] if resume or settings is None else settings
        flows.append(prepare(run, wanted, progress=progress))
        return flows[0].settings.to_toml()

    resolved = team.given(first)
    if team.leads:
        return flows[0]
    mine = Settings(**from_table(resolved, "the first process"))
    # Latencies are the first process's business.
    mine = replace(mine, target=None, runtime="onnxruntime", precision=None, baselines=None)
    return prepare(run, mine, progress=SILENT)


def _check_shares(flow: Flow, team: Team) -> None:
    assert flow.settings.batch_size is not None
    batch = min(flow.settings.batch_size, len(flow.data.train))
    if batch // team.size < 2 and team.size > 1:
        if not team.leads:
            raise SystemExit(2)
        raise InputError(
            f"--batch-size {batch} for {team.size} processes leaves some of them less than 2 images, which batch norm "
            "needs: give a larger --batch-size, or fewer processes"
        )
