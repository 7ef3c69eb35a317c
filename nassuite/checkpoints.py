"""Checkpoints of a training as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nassuite.errors import InputError, first_line
from nassuite.records import write_bytes

if TYPE_CHECKING:
    from nassuite.train.loop import Checkpoint


@dataclass(frozen=True)
class FileCheckpoints:
    """Checkpoints of one training in one safetensors file, JSON values in its metadata."""

    path: Path

    def load(self) -> Checkpoint | None:
        from nassuite.train.loop import Checkpoint

        if not self.path.is_file():
            return None
        with self._opened("pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Checkpoint(tensors, json.loads(file.metadata()["meta"]))

    def meta(self) -> dict[str, Any] | None:
        """The JSON values alone."""
        if not self.path.is_file():
            return None
        with self._opened("np") as file:
            return json.loads(file.metadata()["meta"])

    @contextmanager
    def _opened(self, framework: str) -> Iterator[Any]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework=framework) as file:
                yield file
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise InputError(
                f"{self.path} is damaged ({first_line(error)}): delete it to train again"
            ) from None

    def save(self, checkpoint: Checkpoint) -> None:
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
        write_bytes(self.path, save(tensors, {"meta": json.dumps(checkpoint.meta)}))
