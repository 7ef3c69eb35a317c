"""A folder with this file is on the import path of every test below it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tiny_runs import TinyRun

settings.register_profile("no times", deadline=None)
settings.load_profile("no times")


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> Iterator[None]:
    """Bit equality is promised for equal numbers of threads, and small tensors are fastest on one."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Journals sync every line. A process that is killed loses nothing that the system has; no test cuts the power."""
    sync = os.fsync
    os.fsync = lambda handle: None
    yield
    os.fsync = sync


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A whole run, from photos to report, for three budgets: all keep the first, some the second, none the third."""
    from tiny_runs import whole_run

    return whole_run(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def nassuite(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command here; gives its exit code, stdout and stderr."""
    from nassuite import cli

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capsys.readouterr()

    return run
