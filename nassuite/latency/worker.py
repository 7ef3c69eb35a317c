"""One fresh process of the meter: times models in turn and prints the raw samples.

It needs Python, numpy and a runtime and nothing of this package, so it starts in a third of a second and
runs alike on a device that has nothing else. A JSON request comes on stdin:

    reference, models   {path, runtime, precision}, or a list of them
    threads, batch      of the target
    cores               to pin to, or null
    warmup              untimed inferences of each model
    rounds              how many times each model has its turn; fewer, down to
    least_rounds        this, where all models together would take longer than
    seconds             this times their number
    repeats             timed inferences in a turn
    seed                of the inputs and of the order within each round
    inputs, outputs     instead of timing: run the one model on this .npy file (null: on
                        ``examples`` random inputs) and save its first output to that one

and one JSON object goes to stdout: ``samples_ns``, where ``samples_ns[model][round]`` lists the
``repeats`` single inferences of a turn (model 0 is the reference, the last one the reference
again), and ``cpu_ns``, the processor time of each, null where it says nothing (several threads, a
coarse clock, a GPU); or, where a model cannot be run, its path ``model`` and the ``error``.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

NOT_ONNX = r"INVALID_PROTOBUF|No graph was found|not have a graph|Missing model IR|Unknown model file format"
LEAD = 2
"""Untimed inferences at the start of a turn."""

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int64)": np.int64,
}

Bind = Callable[[dict[str, np.ndarray]], Callable[[], list[np.ndarray]]]
"""Takes the inputs by name; what it gives back is one inference, and that gives the outputs."""


@dataclass(frozen=True)
class Input:
    """``kind`` is a key of ``DTYPES``; a dimension that is no integer is free."""

    name: str
    kind: str
    shape: tuple[Any, ...]


def open_onnxruntime(path: str, settings: dict[str, Any], *, cuda: bool = False) -> tuple[list[Input], Bind]:
    """``settings``, as of every opener: threads, batch and precision."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    providers: list[Any] = ["CPUExecutionProvider"]
    if cuda:
        providers.insert(
            0, ("CUDAExecutionProvider", {"use_tf32": str(int(settings["precision"] == "tf32"))})
        )
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    if cuda and session.get_providers()[0] != "CUDAExecutionProvider":
        # It would run on the CPU without a word.
        raise RuntimeError(
            "its CUDA provider does not start here: it takes an NVIDIA GPU, its driver, CUDA and cuDNN, and "
            "onnxruntime-gpu without onnxruntime beside it"
        )
    inputs = [Input(node.name, node.type, tuple(node.shape)) for node in session.get_inputs()]
    return inputs, lambda feed: lambda: session.run(None, feed)


def open_cuda(path: str, settings: dict[str, Any]) -> tuple[list[Input], Bind]:
    """Inputs and outputs in host memory, as an application has them: copies count."""
    return open_onnxruntime(path, settings, cuda=True)


OPENERS: dict[str, Callable[..., tuple[list[Input], Bind]]] = {
    "onnxruntime": open_onnxruntime,
    "onnxruntime-cuda": open_cuda,
}


def opener(runtime: str) -> Callable[..., tuple[list[Input], Bind]]:
    """What opens a model in a runtime; all but ONNX Runtime are in runtimes.py beside this file."""
    if runtime in OPENERS:
        return OPENERS[runtime]
    # By its path: the folder is kept off the import path, where its modules could hide others.
    spec = importlib.util.spec_from_file_location("runtimes", Path(__file__).with_name("runtimes.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.OPENERS[runtime]


class Model:
    """A model in a runtime, with its input, ready to run."""

    def __init__(self, model: dict[str, str], request: dict[str, Any], rng: np.random.Generator) -> None:
        settings = {"threads": request["threads"], "batch": request["batch"], "precision": model["precision"]}
        self.inputs, self.bind = opener(model["runtime"])(model["path"], settings)
        self.feed = {node.name: example_input(node, request["batch"], rng) for node in self.inputs}
        self.infer = self.bind(self.feed)

    def time_ns(self) -> tuple[int, int]:
        """Time and processor time of one inference."""
        cpu_start = time.process_time_ns()
        start = time.perf_counter_ns()
        self.infer()
        end = time.perf_counter_ns()
        return end - start, time.process_time_ns() - cpu_start

    def turn(self, repeats: int) -> list[tuple[int, int]]:
        # The other models have evicted this one's weights from the caches, and the first inferences
        # after that are up to a third slower: a turn is what an application sees that runs only this.
        for _ in range(LEAD):
            self.infer()
        return [self.time_ns() for _ in range(repeats)]


def example_input(node: Input, batch: int, rng: np.random.Generator) -> np.ndarray:
    """Random values of the input's type and shape, a free first dimension being the batch."""
    if node.kind not in DTYPES:
        raise ValueError(f"input {node.name} is a {node.kind}")
    shape = [batch if i == 0 and not isinstance(n, int) else n for i, n in enumerate(node.shape)]
    if not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(f"input {node.name} has an unknown shape {list(node.shape)}")
    if node.shape and isinstance(node.shape[0], int) and node.shape[0] != batch:
        raise ValueError(f"its batch is fixed at {node.shape[0]}, not {batch}")
    return rng.random(shape).astype(DTYPES[node.kind])


def load(model: dict[str, str], request: dict[str, Any], rng: np.random.Generator) -> tuple[Model, float]:
    """The warmed-up model and the seconds of its quickest inference."""
    try:
        loaded = Model(model, request, rng)
        return loaded, min(loaded.time_ns()[0] for _ in range(max(2, request["warmup"]))) / 1e9
    except Exception as error:
        # The runtimes have no common base class for what they raise.
        fail(model["path"], explained(" ".join(str(error).split()) or type(error).__name__))


def explained(message: str) -> str:
    """What a runtime says, in a user's words where it is one of the common mistakes."""
    if re.search(NOT_ONNX, message):
        return "it is not an ONNX file"
    operator = re.search(r"(?:Fatal error: |implementation for |No Op registered for )([\w.:]+)", message)
    return f"it has no operator {operator[1]}" if operator else message[:300]


def fail(path: str, message: str) -> NoReturn:
    """Ends the process with an answer that names the model and what is wrong with it."""
    json.dump({"model": path, "error": message}, sys.stdout)
    sys.exit(1)


def main() -> None:
    request = json.load(sys.stdin)
    if request["cores"]:
        os.sched_setaffinity(0, request["cores"])
    rng = np.random.default_rng(request["seed"])
    if "outputs" in request:
        save_outputs(request, rng)
        return
    described = [request["reference"], *request["models"], request["reference"]]
    loaded = [load(model, request, rng) for model in described]
    models = [model for model, _ in loaded]

    repeats = request["repeats"]
    round_seconds = sum(seconds for _, seconds in loaded) * (LEAD + repeats)
    affordable = int(request["seconds"] * len(models) / round_seconds)
    rounds = min(request["rounds"], max(request["least_rounds"], affordable))

    turns: list[list[list[tuple[int, int]]]] = [[] for _ in models]
    gc.disable()
    for _ in range(rounds):
        for i in rng.permutation(len(models)):
            turns[i].append(models[i].turn(repeats))
    both = np.array(turns)  # (models + 2, rounds, repeats, 2)
    told = (
        request["threads"] == 1
        and time.get_clock_info("process_time").resolution <= 1e-6
        and not any(model["runtime"] == "onnxruntime-cuda" for model in described)
    )
    answer = {"samples_ns": both[..., 0].tolist(), "cpu_ns": both[..., 1].tolist() if told else None}
    json.dump(answer, sys.stdout)


def save_outputs(request: dict[str, Any], rng: np.random.Generator) -> None:
    """The first output for each image of ``inputs``, ``batch`` at a time; what is left over is left out."""
    (described,) = request["models"]
    model, _ = load(described, request, rng)
    batch = request["batch"]
    if request["inputs"] is None:
        draws = range(-(-request["examples"] // batch))
        feeds = [{node.name: example_input(node, batch, rng) for node in model.inputs} for _ in draws]
    else:
        images = np.load(request["inputs"])
        starts = range(0, len(images) - batch + 1, batch)
        feeds = [{model.inputs[0].name: images[i : i + batch]} for i in starts]
    # A copy: a runtime may hand out its own buffer, which the next inference overwrites.
    np.save(request["outputs"], np.concatenate([np.array(model.bind(feed)()[0]) for feed in feeds]))
    json.dump({}, sys.stdout)


if __name__ == "__main__":
    main()
