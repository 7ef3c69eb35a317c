"""What every card says alike: the interface of its files, their hashes, what happened on test; and predict.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nassuite import predicting
from nassuite.data import preprocess
from nassuite.records import SCHEMA_VERSION, environment, sha256_file, write_json, write_text

MATRIX_CLASSES = 12
"""A confusion matrix of more classes is no table that anyone reads: its largest entries are listed instead."""
CONFUSIONS = 12
LISTED_LABELS = 12
HANDED_OVER = ("model*", "labels.txt", "predict.py", "certificate.json")
"""Files whose hashes a card gives; what else lies in the folder is the run's own."""


def write_card(
    folder: Path, card: dict[str, Any], markdown: Callable[[dict[str, Any]], Sequence[str]]
) -> None:
    """Writes labels.txt, predict.py, card.md and last card.json beside the model files of ``folder``.

    ``card`` has ``labels`` and ``shape`` (C, H, W), and what else it is to say. What all cards have is added:
    interface, preprocessing from file to tensor (null where images are no squares of one or three
    channels, or the network gives maps: then there is no predict.py), environment, SHA-256 of the files.
    """
    channels, height, width = card["shape"]
    write_text(folder / "labels.txt", "".join(f"{label}\n" for label in card["labels"]))
    rule = None
    if channels in (1, 3) and height == width and not card.get("maps") and (folder / "model.onnx").is_file():
        rule = preprocess.Preprocess(height, channels).to_json()
        write_text(folder / "predict.py", predict_program())
    maps = [height, width] if card.get("maps") else []
    whole = {
        "schema_version": SCHEMA_VERSION,
        **card,
        "input": {"name": "image", "shape": ["N", *card["shape"]], "type": "float32", "range": [0.0, 1.0]},
        "output": {"name": "logits", "shape": ["N", len(card["labels"]), *maps], "type": "float32"},
        "preprocess": rule,
        "environment": environment(),
        "hashes": {
            path.name: sha256_file(path)
            for path in sorted(path for pattern in HANDED_OVER for path in folder.glob(pattern))
        },
    }
    write_text(folder / "card.md", "\n".join(markdown(whole)) + "\n")
    # Written last: it says that the folder is complete.
    write_json(folder / "card.json", whole)


def predict_program() -> str:
    """predict.py: the preprocessing of training and the program around it, as one file that needs no nassuite."""
    parts = [Path(module.__file__ or "").read_text() for module in (preprocess, predicting)]
    body = parts[1].partition("from __future__ import annotations\n")[2]
    own = "".join(line for line in body.splitlines(keepends=True) if not line.startswith("from nassuite."))
    head = '"""Labels and probabilities for images: python predict.py IMAGE... (see --help)."""\n'
    first = parts[0].partition("from __future__ import annotations\n")
    start = '\n\nif __name__ == "__main__":\n    sys.exit(main(Path(__file__).resolve().parent))\n'
    return f"{head}\n{first[1]}{first[2]}\n{own.rstrip()}\n{start}"


def interface_lines(card: dict[str, Any]) -> list[str]:
    """Input, output and labels, as list items."""
    channels, height, width = card["shape"]
    labels = ", ".join(map(str, card["labels"][:LISTED_LABELS]))
    more = ", …" if len(card["labels"]) > LISTED_LABELS else ""
    rule = f" From a file: {card['preprocess']['rule']}." if card["preprocess"] else ""
    given = ", ".join(map(str, card["output"]["shape"]))
    lines = [
        f"- Input `image`: float32 [N, {channels}, {height}, {width}], 0..1.{rule}",
        f"- Output `logits`: float32 [{given}], in the order of `labels.txt`: {labels}{more}.",
    ]
    if card["preprocess"]:
        lines.append("- `python predict.py IMAGE` needs onnxruntime, numpy and Pillow only.")
    return lines


def confusion_lines(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[str]:
    """Accuracy per class and the confusion matrix (rows the true class) of test, as Markdown."""
    lines = [
        "## Test images, class by class",
        "",
        "| class | images | right | accuracy |",
        "|---|---|---|---|",
    ]
    for number, (label, row) in enumerate(zip(labels, confusion, strict=True)):
        right = f"{row[number] / sum(row):.1%}" if sum(row) else "none"
        lines.append(f"| {label} | {sum(row)} | {row[number]} | {right} |")
    lines += ["", "## Confusions on test", ""]
    if len(labels) <= MATRIX_CLASSES:
        lines += [f"| true \\ predicted | {' | '.join(labels)} |", "|---" * (len(labels) + 1) + "|"]
        lines += [
            f"| {label} | {' | '.join(str(count) for count in row)} |"
            for label, row in zip(labels, confusion, strict=True)
        ]
        return lines
    wrong = [
        (count, labels[true], labels[predicted])
        for true, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    lines += ["| true | predicted | images |", "|---|---|---|"]
    commonest = sorted(wrong, key=lambda entry: -entry[0])[:CONFUSIONS]
    return [*lines, *(f"| {true} | {predicted} | {count} |" for count, true, predicted in commonest)]


def limit_lines(card: dict[str, Any], tested: int) -> list[str]:
    """What a reader of any card is to know before relying on it, as Markdown; ``tested`` test images were read."""
    return [
        "## Limits",
        "",
        f"- Every image gets one of the {len(card['labels'])} classes, also one that shows none of them.",
        f"- Accuracy is that of {tested} test images, which were read once, after all choices: on images of another kind "
        "(camera, light, place) it is another. Who chooses between models by them has no test any more.",
        "- A latency is that of the machine and the minute in which it was measured; elsewhere measure again "
        "(`nassuite certify model.onnx --budget-ms MS`).",
    ]


def hash_lines(card: dict[str, Any]) -> list[str]:
    """The files and their SHA-256, as Markdown."""
    rows = [f"| {name} | `{digest}` |" for name, digest in card["hashes"].items()]
    return ["## Files", "", "| file | SHA-256 |", "|---|---|", *rows]
