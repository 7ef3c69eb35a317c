"""The one exception that a user's mistake raises, and what its messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from the user: the message says what is wrong and what to do.

    The command line prints it as one line on stderr and exits with code 2.
    """


class DeviceNeeded(Exception):
    """A measurement has to be made on another device first: the message says where and how to go on.

    The command line prints it and exits with code 1.
    """


class Busy(InputError):
    """Another process holds what this one needs (a run directory, say)."""


def first_line(error: BaseException) -> str:
    """What an exception says, in one line; its type where it says nothing."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__


def typed_line(error: BaseException) -> str:
    """The same after its type, for what other people's code raises."""
    said = str(error).strip()
    return f"{type(error).__name__}: {said.splitlines()[0]}" if said else type(error).__name__


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3, sign: str = "") -> str:
    """A question for the names most like ``name``, each behind ``sign``; empty where none is."""
    close = difflib.get_close_matches(name, list(known), n=most)
    return f"did you mean {' or '.join(sign + one for one in close)}?" if close else ""
