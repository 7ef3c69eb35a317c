"""One fresh process of the meter: times ONNX files in turn and prints the raw samples.

It needs Python, numpy and onnxruntime and nothing of this package, so it starts in a third of
a second and runs alike on a device that has nothing else. A JSON request comes on stdin:

    reference, models   paths of ONNX files
    threads, batch      of the target
    cores               to pin to, or null
    warmup              untimed inferences of each model
    rounds              how many times each model has its turn; fewer, down to
    least_rounds        this, where all models together would take longer than
    seconds             this times their number
    repeats             timed inferences in a turn
    seed                of the inputs and of the order within each round

and one JSON object goes to stdout: ``samples_ns``, where ``samples_ns[model][round]`` lists the
``repeats`` single inferences of a turn (model 0 is the reference, the last one the reference
again), and ``cpu_ns``, the processor time of each, null where it is not known (several threads, a
coarse clock); or, where a file cannot be run, its path ``model`` and the ``error``.
"""

import gc
import json
import os
import sys
import time
from typing import NoReturn

import numpy as np
import onnxruntime

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


class Model:
    """A session with its input, ready to run."""

    def __init__(self, path: str, request: dict, rng: np.random.Generator) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = request["threads"]
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feed = {node.name: example_input(node, request["batch"], rng) for node in session.get_inputs()}
        self.infer = lambda: session.run(None, feed)

    def time_ns(self) -> tuple[int, int]:
        """Time and processor time of one inference."""
        cpu_start = time.thread_time_ns()
        start = time.perf_counter_ns()
        self.infer()
        end = time.perf_counter_ns()
        return end - start, time.thread_time_ns() - cpu_start

    def turn(self, repeats: int) -> list[tuple[int, int]]:
        # The other models have evicted this one's weights from the caches, and the first inferences
        # after that are up to a third slower: a turn is what an application sees that runs only this.
        for _ in range(LEAD):
            self.infer()
        return [self.time_ns() for _ in range(repeats)]


def example_input(node: "onnxruntime.NodeArg", batch: int, rng: np.random.Generator) -> np.ndarray:
    """Random values of the input's type and shape, a symbolic first dimension being the batch."""
    if node.type not in DTYPES:
        raise ValueError(f"input {node.name} is a {node.type}")
    shape = [batch if i == 0 and not isinstance(n, int) else n for i, n in enumerate(node.shape)]
    if not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(f"input {node.name} has an unknown shape {node.shape}")
    if node.shape and isinstance(node.shape[0], int) and node.shape[0] != batch:
        raise ValueError(f"its batch is fixed at {node.shape[0]}, not {batch}")
    return rng.random(shape).astype(DTYPES[node.type])


def load(path: str, request: dict, rng: np.random.Generator) -> tuple[Model, float]:
    """The warmed-up model and the seconds of its quickest inference."""
    try:
        model = Model(path, request, rng)
        return model, min(model.time_ns()[0] for _ in range(max(2, request["warmup"]))) / 1e9
    except Exception as error:
        # onnxruntime has no common base class for what it raises.
        fail(path, " ".join(str(error).split())[:300])


def fail(path: str, message: str) -> NoReturn:
    json.dump({"model": path, "error": message}, sys.stdout)
    sys.exit(1)


def main() -> None:
    request = json.load(sys.stdin)
    if request["cores"]:
        os.sched_setaffinity(0, request["cores"])
    rng = np.random.default_rng(request["seed"])
    paths = [request["reference"], *request["models"], request["reference"]]
    loaded = [load(path, request, rng) for path in paths]
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
    fine = request["threads"] == 1 and time.get_clock_info("thread_time").resolution <= 1e-6
    answer = {"samples_ns": both[..., 0].tolist(), "cpu_ns": both[..., 1].tolist() if fine else None}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
