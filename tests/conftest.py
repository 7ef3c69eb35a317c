"""A folder with this file is on the import path of every test below it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tiny_runs import TinyRun
from hypothesis import settings

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


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A whole run, from photos to report, for three budgets: all keep the first, some the second, none the third."""
    from tiny_runs import whole_run

    return whole_run(tmp_path_factory.mktemp("tiny"))
