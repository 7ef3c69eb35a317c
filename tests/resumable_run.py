"""A run that a test kills: ``resumable_run.py FOLDER``, where FOLDER holds photos and space.toml. Run again, it resumes."""

import sys
from pathlib import Path

import torch
from deterministic_meter import deterministic_meter
from tiny_runs import LOOSE_MS, TIGHT_MS, settings

from nassuite.progress import SILENT
from nassuite.study import search
from nassuite.train import loop


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    loop.CHECKPOINT_SECONDS = 0  # a kill can then fall between any two steps of an epoch
    run = folder / "run"
    if (run / "study.toml").exists():
        search(out=run, resume=True, meter=deterministic_meter, progress=SILENT)
    else:
        search(settings(folder, LOOSE_MS, TIGHT_MS), out=run, meter=deterministic_meter, progress=SILENT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
