"""Processes that train one network together: each a share of every batch, one all-reduce a step (torchrun).

Not through ``DistributedDataParallel``: its hooks refuse several forward passes before one backward, which a
sandwich is, and it makes its buckets anew where other parameters are used in every step.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from nassuite.errors import InputError

PATIENCE = timedelta(hours=2)
"""How long the others wait for the first process, which alone evaluates after an epoch and reads data first."""


@dataclass(frozen=True)
class Team:
    """This process (``rank``) among all (``size``); a team of one needs no torch.distributed."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, evaluates and speaks."""
        return self.rank == 0

    @torch.no_grad()
    def combine(self, parameters: Iterable[nn.Parameter], loss: float, *, weight: float) -> float:
        """Turns gradients of this process's share into those of the whole batch, and gives the whole batch's loss.

        ``weight`` is the share's part of the batch. All gradients and the loss travel in one flat tensor; a
        gradient that is missing counts as zero. The result is the same, bit for bit, in every process.
        """
        if self.size == 1:
            return loss
        trained = [p for p in parameters if p.requires_grad]
        pieces = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained]
        flat = torch.cat([*pieces, pieces[0].new_tensor([loss])]).mul_(weight)
        distributed.all_reduce(flat)
        *gradients, whole = flat.split([*(p.numel() for p in trained), 1])
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient.view_as(parameter)
        return whole.item()

    def given(self, make: Callable[[], Any]) -> Any:
        """What ``make`` gives in the first process, a JSON value, in every process.

        Where it raises InputError there, all end: the first with the error, the others with its exit code.
        """
        if self.size == 1:
            return make()
        answer: dict[str, Any] = {}
        refused = None
        if self.leads:
            try:
                answer = {"value": make()}
            except InputError as error:
                refused = error
        answer = _broadcast(answer)
        if refused is not None:
            raise refused
        if "value" not in answer:
            raise SystemExit(2)
        return answer["value"]

    @torch.no_grad()
    def same(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first process's tensors, in every process."""
        looks = self.given(
            lambda: {k: (list(t.shape), str(t.dtype), t.device.type) for k, t in tensors.items()}
        )
        copies = {}
        for name, (shape, dtype, device) in looks.items():
            kind = getattr(torch, dtype.removeprefix("torch."))
            copies[name] = torch.empty(shape, dtype=kind, device=device)
            if self.leads:
                copies[name].copy_(tensors[name])
            distributed.broadcast(copies[name], 0)
        return copies

    def check_agrees(self, what: str, value: str) -> None:
        """Ends all processes, as ``given`` does, where ``value`` is not the same in all of them."""
        if self.size == 1:
            return
        number = int.from_bytes(hashlib.sha256(value.encode()).digest()[:7], "big")
        found = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        distributed.all_gather(found, torch.tensor([number]))
        others = [str(rank) for rank, theirs in enumerate(found) if not torch.equal(theirs, found[0])]
        if others and not self.leads:
            raise SystemExit(2)
        if others:
            raise InputError(f"{what} of process {', '.join(others)} differ from those of process 0")


ALONE = Team()


def _broadcast(value: Any) -> Any:
    """JSON in bytes, for nothing is unpickled here."""
    data = json.dumps(value).encode()
    size = torch.tensor([len(data)])
    distributed.broadcast(size, 0)
    content = torch.zeros(int(size), dtype=torch.uint8)
    if distributed.get_rank() == 0:
        content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    distributed.broadcast(content, 0)
    return json.loads(content.numpy().tobytes())


@contextmanager
def team_of_environment() -> Iterator[Team]:
    """The team that ``torchrun`` made this process a part of; ``ALONE`` without it.

    gloo serves tensors on the CPU, NCCL those on GPUs; each process of a machine takes one of its GPUs. Raises
    InputError where there are GPUs, and fewer than processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        place, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if place >= count:
            raise InputError(
                f"--nproc-per-node: this machine has {count} GPUs, so {count} processes at the most"
            )
        torch.cuda.set_device(place)
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Team(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
