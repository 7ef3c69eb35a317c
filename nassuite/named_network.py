"""A network by its name with weights from a file, behind the normalisation that they expect, for the images at hand."""

from __future__ import annotations

from nassuite.data import Data
from nassuite.models import Description, check_classifier, make_network, of_random_weights
from nassuite.nn.network import Normalised
from nassuite.progress import Progress
from nassuite.zoo.create import because_of_size, check_size, for_images
from nassuite.zoo.weights import load_weights, normalisation_of


def named_network(
    model: str,
    weights: str | None,
    data: Data,
    *,
    seed: int,
    progress: Progress,
    flag: str = "--weights",
) -> tuple[Normalised, Description]:
    """The network (eval mode, CPU, images (N, C, H, W) in 0..1) in its form for images of ``data``'s size and classes.

    ``weights`` is a file, ``flag`` what the user gave it by; without it they are random, which is said. Raises
    InputError where they do not fit, or where the network does not take the images.
    """
    name = for_images(model, data.size)
    if name != model:
        progress.say(because_of_size(name, data.size))
    network = make_network(name, num_classes=len(data.labels), in_chans=data.in_chans, seed=seed)
    if ":" not in name:
        check_size(network, data.in_chans, (data.size, data.size), name)
    mean, std = data.mean, data.std
    if weights is None:
        progress.say(of_random_weights(name))
    else:
        for line in load_weights(network, weights, verbose=progress.verbose):
            progress.say(f"{flag} {weights}: {line}")
        mean, std = normalisation_of(weights, data.in_chans) or (mean, std)
    wrapped = Normalised(network, mean, std).eval()
    check_classifier(wrapped, (data.in_chans, data.size, data.size), name, classes=len(data.labels))
    trained_on = {"name": data.name, "seed": seed}
    description = Description(
        name, len(data.labels), data.in_chans, data.size, mean, std, data.labels, trained_on=trained_on
    )
    return wrapped, description
