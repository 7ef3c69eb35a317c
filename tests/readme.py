"""What README and documentation tell a user to type."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def typed(text: str = README) -> list[str]:
    """The command lines of its shell blocks, in order, without comments; a line that goes on is one."""
    lines = "\n".join(blocks("sh", text)).replace("\\\n", " ").splitlines()
    return [bare for line in lines if (bare := line.partition(" #")[0].strip())]


def mentioned(text: str = README) -> list[str]:
    """Commands with arguments inside sentences and tables."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"`((?:nassuite|make|pip|python3?|torchrun) [^`]+)`", prose)


def arguments_of(command: str) -> list[str] | None:
    """What ``nassuite`` is given in a command line, by itself or behind ``torchrun``; None where it is not called."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote that a later line closes
        return None
    return words[words.index("nassuite") + 1 :] if "nassuite" in words else None
