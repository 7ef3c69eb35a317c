"""Two gloo processes train what one process trains that runs both halves of every batch by themselves."""

import json
import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from small_spaces import INTERFACE, SIX
from torch import multiprocessing
from training import Killed, Memory, noise

from nassuite.checkpoints import FileCheckpoints
from nassuite.data import Augment
from nassuite.data.masks import MaskSplit
from nassuite.errors import InputError
from nassuite.nn.supernet import Supernet
from nassuite.progress import Progress
from nassuite.train.loop import TrainConfig, train
from nassuite.train.sandwich import sandwich_step, train_supernet
from nassuite.train.team import ALONE, team_of_environment

CONFIG = TrainConfig(epochs=2, batch_size=18, lr=0.05, augment=Augment(flip=True, shift_px=2), seed=3)
SPLIT = noise(44)
"""Two steps an epoch, of 18 images each: nine for either half."""


def log_of(split=SPLIT, config=CONFIG, **more) -> tuple[list[dict], Supernet]:
    supernet = Supernet(SIX, INTERFACE)
    return train_supernet(supernet, split, config, **more), supernet


def by_halves() -> tuple[list[dict], Supernet]:
    supernet = Supernet(SIX, INTERFACE)
    step_on = sandwich_step(supernet, CONFIG)

    def backward(images, labels, step):
        losses, sums = [], {}
        for half in (slice(0, 9), slice(9, 18)):
            supernet.zero_grad()
            losses.append(step_on(images[half], labels[half], step))
            for p in supernet.parameters():
                if p.grad is not None:
                    sums[p] = sums.get(p, 0) + p.grad / 2
        for p in supernet.parameters():
            p.grad = sums.get(p)
        return sum(losses) / 2

    return train(supernet, SPLIT, CONFIG, backward, description="halves"), supernet


class Stopping(Progress):
    """Ends the training in the step after the first epoch's two."""

    def __init__(self) -> None:
        super().__init__(enabled=False)

    def track(self, items, description, *, total=None, done=0, unit=""):
        for item in items:
            if item == 2:
                raise Killed
            yield item


def process(rank: int, port: int, folder: Path) -> None:
    """One of two: whole; stopped after an epoch and resumed; and what a refusal of the first does to the second."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    evaluated = []

    def after_epoch() -> dict[str, float]:
        evaluated.append(rank)
        return {"val": 0.5}

    with team_of_environment() as team:
        log, supernet = log_of(team=team, after_epoch=after_epoch)
        found = {"log": log, "evaluated": len(evaluated), "leads": team.leads}
        torch.save(supernet.state_dict(), folder / f"whole{rank}.pt")
        # The second process finds no file: what it knows is what the first gave it.
        checkpoints = FileCheckpoints(folder / f"saved{rank}.safetensors")
        with suppress(Killed):
            log_of(checkpoints=checkpoints, team=team, progress=Stopping())
        found["saved"] = checkpoints.path.exists()
        if team.leads:
            shutil.copy(checkpoints.path, folder / "first_epoch.safetensors")
        resumed, supernet = log_of(checkpoints=checkpoints, team=team)
        torch.save(supernet.state_dict(), folder / f"resumed{rank}.pt")
        found["resumed"] = [entry["loss"] for entry in resumed]

        def refuse() -> None:
            raise InputError("no such run")

        for name, act in {
            "refused": lambda: team.given(refuse),
            "differ": lambda: team.check_agrees("the images", str(rank)),
        }.items():
            try:
                act()
            except (InputError, SystemExit) as error:
                found[name] = f"{type(error).__name__}: {error}"
        team.check_agrees("the images", "same")
    (folder / f"found{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.start_processes(process, (port, folder), nprocs=2, start_method="spawn")
    found = [json.loads((folder / f"found{rank}.json").read_text()) for rank in (0, 1)]

    def weights(name: str) -> dict[str, torch.Tensor]:
        return torch.load(folder / f"{name}.pt", weights_only=True)

    return found, weights, folder


@pytest.mark.slow
def test_two_processes_are_one_that_runs_both_halves(two):
    found, weights, _ = two
    log, supernet = by_halves()
    assert [e["loss"] for e in found[0]["log"]] == pytest.approx([e["loss"] for e in log], rel=1e-5)
    for name, tensor in supernet.state_dict().items():
        torch.testing.assert_close(weights("whole0")[name], tensor, rtol=1e-4, atol=1e-5)
    # Not what one process makes of whole batches: there the statistics are others.
    alone, _ = log_of()
    assert [e["loss"] for e in alone] != pytest.approx([e["loss"] for e in log], rel=1e-4)


@pytest.mark.slow
def test_all_processes_end_with_the_same_bits_and_log(two):
    found, weights, _ = two
    assert found[0]["log"] == found[1]["log"]
    for name in ("whole", "resumed"):
        one, other = weights(f"{name}0"), weights(f"{name}1")
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_only_the_first_evaluates_and_saves(two):
    found, _, _ = two
    assert [f["leads"] for f in found] == [True, False]
    assert [f["evaluated"] for f in found] == [2, 0]
    assert [f["saved"] for f in found] == [True, False]
    assert found[1]["log"][0]["val"] == 0.5


@pytest.mark.slow
def test_a_team_that_was_stopped_ends_as_if_it_had_not_been(two):
    found, weights, _ = two
    assert found[0]["resumed"] == found[1]["resumed"] == [entry["loss"] for entry in found[0]["log"]]
    whole, resumed = weights("whole1"), weights("resumed1")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.slow
def test_another_number_of_processes_goes_on(two):
    found, _, folder = two
    log, _ = log_of(checkpoints=FileCheckpoints(folder / "first_epoch.safetensors"))
    assert [e["epoch"] for e in log] == [1, 2]
    assert log[0]["loss"] == found[0]["log"][0]["loss"]
    assert log[1]["loss"] == pytest.approx(found[0]["log"][1]["loss"], rel=0.1)


@pytest.mark.slow
def test_what_the_first_refuses_ends_all_and_is_told_once(two):
    found, _, _ = two
    assert [f["refused"] for f in found] == ["InputError: no such run", "SystemExit: 2"]
    assert found[0]["differ"] == "InputError: the images of process 1 differ from those of process 0"
    assert found[1]["differ"] == "SystemExit: 2"


def test_one_process_needs_no_team(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with team_of_environment() as team:
        assert team is ALONE
    assert team.given(lambda: {"a": 1}) == {"a": 1}
    assert team.combine([], 0.25, weight=0.5) == 0.25
    memory = Memory()
    log, _ = log_of(checkpoints=memory, team=team)
    assert memory.saved[-1].meta["log"] == log == log_of()[0]


MASKS = MaskSplit(torch.randint(0, 3, (44, 16, 16), dtype=torch.uint8), SPLIT.images, 3)


@pytest.mark.parametrize("split", [SPLIT, MASKS], ids=["labels", "masks"])
@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_shares_make_up_the_batch(split, parts):
    def batches(share):
        return list(
            split.batches(
                13, generator=torch.Generator().manual_seed(1), augment=Augment(True, 3, 5), drop_last=True,
                share=share,
            )
        )  # fmt: skip

    whole = batches((0, 1))
    shares = [batches((k, parts)) for k in range(parts)]
    assert len(whole) == 3
    for number, (images, labels) in enumerate(whole):
        assert torch.equal(torch.cat([share[number][0] for share in shares]), images)
        assert torch.equal(torch.cat([share[number][1] for share in shares]), labels)
