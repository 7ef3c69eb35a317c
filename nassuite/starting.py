"""A supernet that starts from another run's weights (``--init``): for images too few to train one from nothing."""

from __future__ import annotations

import dataclasses

from nassuite.checkpoints import FileCheckpoints
from nassuite.errors import InputError
from nassuite.flow import Flow
from nassuite.nn.supernet import Supernet
from nassuite.run_directory import RunDirectory
from nassuite.train.loop import Checkpoint

CLASSIFIER = "slots.head.classifier."
STEM = "slots.stem.conv.weight"


def trained_supernet(other: RunDirectory, flag: str) -> Checkpoint:
    """The checkpoint of another run. Raises InputError where its training has not ended."""
    found = FileCheckpoints(other.supernet).load()
    if found is None or "supernet" not in other.stages_done():
        raise InputError(
            f"{flag} {other.root}: its supernet is not trained yet; continue it with --resume first"
        )
    return found


def check_initial(flow: Flow, other: RunDirectory) -> Checkpoint:
    """The other run's supernet. Raises InputError where its weights are not of this run's space and channels.

    Weights do not depend on the size of the images, so the resolution may be another.
    """
    theirs, facts = other.read_settings()
    resolution = tuple(facts.get("resolution", [theirs.size]))
    if dataclasses.replace(flow.space, resolution=resolution).digest != facts["space_digest"]:
        raise InputError(
            f"--init {other.root}: its space ({theirs.space}) is not this run's ({flow.space.name}), whose weights "
            "are others: give --space as there, or leave --init out"
        )
    found = trained_supernet(other, "--init")
    channels = found.tensors[f"model.{STEM}"].shape[1]
    if channels != flow.data.in_chans:
        raise InputError(
            f"--init {other.root}: its images have {channels} channel(s), these {flow.data.in_chans}: its weights do "
            "not fit"
        )
    return found


def start_from(flow: Flow, other: RunDirectory) -> None:
    """Writes the weights that the training starts from, where they are not there yet.

    All are the other run's, but the classifier where the classes are not the same: that is new, as is the
    normalisation.
    """
    if flow.run.initial_supernet.exists():
        return
    found = check_initial(flow, other)
    supernet = Supernet(flow.space, flow.interface, seed=flow.settings.seed)
    state = dict(supernet.state_dict())
    same_classes = other.read_settings()[1].get("classes") == list(flow.data.labels)
    for name, _ in supernet.named_parameters():
        if same_classes or not name.startswith(CLASSIFIER):
            state[name] = found.tensors[f"model.{name}"]
    tensors = {f"model.{name}": tensor for name, tensor in state.items()}
    FileCheckpoints(flow.run.initial_supernet).save(Checkpoint(tensors))
