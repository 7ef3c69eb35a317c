"""A folder with this file is on the import path of every test below it."""

from collections.abc import Iterator

import pytest
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
