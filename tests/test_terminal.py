"""Tables on terminals of any width: whole columns or none."""

import io

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from nassuite.terminal import print_fitting

COLUMNS = ("model", "p50 ms", "p90 ms", "95 % CI", "MB")
ROWS = (("mobilenet_v2", "1.234", "2.345", "91.2-93.4", "9.1"), ("int8", "0.7", "10.25", "90.0-92.0", "2.41"))
SPARE = ("MB", "p90 ms", "95 % CI")


def printed(width: int) -> list[str]:
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for row in ROWS:
        table.add_row(*row)
    out = Console(width=width, file=io.StringIO(), markup=False)
    print_fitting(out, table, SPARE)
    return out.file.getvalue().splitlines()


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 80))
def test_columns_are_left_out_whole_and_in_their_order(width):
    head, *rows = printed(width)
    left_out = next(n for n in range(len(SPARE) + 1) if all(name in head for name in SPARE[n:]))
    kept = [name for name in COLUMNS if name not in SPARE[:left_out]]
    assert [name for name in COLUMNS if name in head] == kept
    for row, values in zip(rows, ROWS, strict=True):
        assert row.split() == [v for name, v in zip(COLUMNS, values, strict=True) if name in kept]
        assert len(row.rstrip()) <= width


def test_nothing_is_left_out_where_there_is_room():
    head = printed(80)[0]
    assert all(name in head for name in COLUMNS)
    assert "MB" not in printed(40)[0]
