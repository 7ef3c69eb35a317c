"""Progress of whatever takes longer than two seconds: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

T = TypeVar("T")

QUIET_SECONDS = 2.0
LINE_EVERY_SECONDS = 15.0
CLEARED_LINE = "\r\x1b[2K"


class Progress:
    """``track`` wraps an iterable; ``say`` prints a line. Both write to stderr, none to stdout.

    ``verbose`` asks those who say something for the details too.
    """

    def __init__(self, *, enabled: bool = True, verbose: bool = False) -> None:
        self.enabled = enabled
        self.verbose = verbose
        self._bars: list[Bar] = []

    def stop(self) -> None:
        """Ends bars that an exception left behind: the frames in its traceback keep them alive."""
        while self._bars:
            self._bars.pop().stop()

    @contextmanager
    def starting(self, text: str) -> Iterator[None]:
        """Shows ``text`` on a terminal while a command imports its packages, which takes a second or two.

        It goes when that is done, so that what is refused then is one line there too.
        """
        shown = self.enabled and sys.stderr.isatty()
        if shown:
            print(text[: shutil.get_terminal_size().columns - 1], end="", file=sys.stderr, flush=True)
        try:
            yield
        finally:
            if shown:
                print(CLEARED_LINE, end="", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        if self.enabled:
            print(text, file=sys.stderr, flush=True)

    def track(
        self,
        items: Iterable[T],
        description: str,
        *,
        total: int | None = None,
        done: int = 0,
        unit: str = "steps",
    ) -> Iterator[T]:
        """Yields ``items``; ``total`` counts all, ``done`` those finished before (a resume), ``unit`` says what they are."""
        if total is None and hasattr(items, "__len__"):
            total = done + len(items)  # type: ignore[arg-type]
        if not self.enabled:
            yield from items
        elif sys.stderr.isatty():
            yield from self._bar(items, description, total, done, unit)
        else:
            yield from self._lines(items, description, total, done, unit)

    def _bar(
        self, items: Iterable[T], description: str, total: int | None, done: int, unit: str
    ) -> Iterator[T]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{unit}, left"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
        )
        task = bar.add_task(description, total=total, completed=done)
        started = time.monotonic()
        try:
            for item in items:
                yield item
                bar.advance(task)
                if bar not in self._bars and time.monotonic() - started > QUIET_SECONDS:
                    self._bars.append(bar)  # first: an interruption may fall into the start
                    bar.start()
        finally:
            if bar in self._bars:
                self._bars.remove(bar)
                bar.stop()

    def _lines(
        self, items: Iterable[T], description: str, total: int | None, done: int, unit: str
    ) -> Iterator[T]:
        started = last = time.monotonic()
        printed = False
        for count, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - last > (LINE_EVERY_SECONDS if printed else QUIET_SECONDS):
                left = ""
                if total:
                    seconds = (now - started) / count * (total - done - count)
                    left = f", {seconds:.0f} s left"
                self.say(f"{description}: {done + count}/{total or '?'} {unit}{left}")
                last, printed = now, True


SILENT = Progress(enabled=False)
