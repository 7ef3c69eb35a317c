import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nassuite.errors import InputError
from nassuite.resources import shipped_names
from nassuite.space import Stage
from nassuite.space_file import load_space

GOOD = """
resolution = [32, 48]

[stem]
width = [16, 24]
stride = 2

[[stages]]
width = 24
depth = [1, 2]
stride = 2
operator = ["inverted_residual", "shuffle"]
kernel = [3, 5]
expand = [2, 3.5]
se = [false, true]

[[stages]]
width = [32, 48]
depth = 3
stride = 1
operator = "dwcb"
kernel = 7
expand = 1
act = ["gelu", "silu"]

[head]
width = 128
act = "hard_swish"
"""

WRONG = [
    ("kernel = [3, 5]", "kernels = [3, 5]", r"stages\[0\].kernels", "no such key"),
    ("resolution =", "resolutions =", "resolutions", "no such key"),
    ("stride = 2\n\n[[", "stride = 2\nse = true\n\n[[", "stem.se", "no such key"),
    ("width = 128", "width = 128\ndepth = 2", "head.depth", "no such key"),
    ("width = 24\n", "width = 20\n", r"stages\[0\].width", "multiples of 8"),
    ("width = 24\n", "width = 0\n", r"stages\[0\].width", "positive multiples of 8"),
    ("width = 24\n", "width = -8\n", r"stages\[0\].width", "positive"),
    ("width = 24\n", "width = 24.0\n", r"stages\[0\].width", "multiples of 8"),
    ("width = 24\n", 'width = "24"\n', r"stages\[0\].width", "multiples of 8"),
    ("width = 24\n", "width = true\n", r"stages\[0\].width", "multiples of 8"),
    ("width = 24\n", "width = []\n", r"stages\[0\].width", "multiples of 8"),
    ("width = 24\n", "width = [[24]]\n", r"stages\[0\].width", "multiples of 8"),
    ("width = 24\n", "", r"stages\[0\].width", "multiples of 8"),
    ("width = [32, 48]", "width = [48, 32]", r"stages\[1\].width", "rising"),
    ("width = [32, 48]", "width = [32, 32]", r"stages\[1\].width", "every choice once"),
    ("resolution = [32, 48]", "resolution = [48, 32]", "resolution", "rising"),
    ("resolution = [32, 48]", "resolution = [4]", "resolution", ">= 8"),
    ("resolution = [32, 48]", "resolution = [32, 50]", "resolution", "a multiple of the strides' product 4"),
    ("resolution = [32, 48]", "", "resolution", "whole numbers"),
    ("depth = [1, 2]", "depth = [0, 1]", r"stages\[0\].depth", ">= 1"),
    ("depth = [1, 2]", "depth = [1, 2.5]", r"stages\[0\].depth", "whole numbers"),
    ('"shuffle"', '"shufle"', r"stages\[0\].operator", "inverted_residual, ghost, shuffle"),
    ('"shuffle"', "3", r"stages\[0\].operator", "one or several of"),
    ('"shuffle"', '"inverted_residual"', r"stages\[0\].operator", "every choice once"),
    ("depth = 3\nstride = 1", "depth = 3\nstride = 3", r"stages\[1\].stride", "one of 1, 2|one or several of 1, 2"),
    ("depth = 3\nstride = 1", "depth = 3\nstride = [1, 2]", r"stages\[1\].stride", "one of 1, 2"),
    ("kernel = [3, 5]", "kernel = [3, 4]", r"stages\[0\].kernel", "3, 5, 7"),
    ("kernel = [3, 5]", "kernel = [3, 9]", r"stages\[0\].kernel", "3, 5, 7"),
    ("kernel = [3, 5]", "kernel = [5, 3]", r"stages\[0\].kernel", "rising"),
    ("expand = [2, 3.5]", "expand = [1, 2]", r"stages\[0\].expand", "1 alone"),
    ("expand = [2, 3.5]", "expand = 0.5", r"stages\[0\].expand", "ratios above 1"),
    ("expand = [2, 3.5]", "expand = [2, 2.0]", r"stages\[0\].expand", "every choice once"),
    ("expand = [2, 3.5]", "expand = [3.5, 2]", r"stages\[0\].expand", "rising"),
    ("expand = [2, 3.5]", "expand = nan", r"stages\[0\].expand", "ratios above 1"),
    ("expand = [2, 3.5]", "expand = inf", r"stages\[0\].expand", "ratios above 1"),
    ("expand = [2, 3.5]", 'expand = "2"', r"stages\[0\].expand", "ratios above 1"),
    ("se = [false, true]", "se = [0, 1]", r"stages\[0\].se", "false, true"),
    ("se = [false, true]", 'se = "yes"', r"stages\[0\].se", "false, true"),
    ('act = ["gelu", "silu"]', 'act = ["gelu", "swish"]', r"stages\[1\].act", "relu, relu6, hard_swish"),
    ('act = "hard_swish"', 'act = ["relu", "relu6"]', "head.act", "one of relu"),
    ("[head]\nwidth = 128", "[tail]\nwidth = 128", "tail", "no such key"),
    ('[head]\nwidth = 128\nact = "hard_swish"', "", "head", r"a table \[head\]"),
    ("[stem]\nwidth = [16, 24]\nstride = 2", "stem = 3", "stem", r"a table \[stem\]"),
    ("[[stages]]", "[[stage]]", "stage", "no such key"),
]  # fmt: skip


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_file_by_path(tmp_path):
    space = load_space(str(written(tmp_path, GOOD)))
    assert space.name == "mine"
    assert space.resolution == (32, 48)
    assert (space.stem_width, space.stem_kernel, space.stem_stride, space.stem_act) == (
        (16, 24),
        3,
        2,
        "relu",
    )
    assert space.stages == (
        Stage(
            (24,), (1, 2), 2, ("inverted_residual", "shuffle"), (3, 5), (2.0, 3.5), (False, True), ("relu",)
        ),
        Stage((32, 48), (3,), 1, ("dwcb",), (7,), (1.0,), (False,), ("gelu", "silu")),
    )
    assert (space.head_width, space.head_act) == ((128,), "hard_swish")


@pytest.mark.parametrize(("good", "wrong", "key", "expected"), WRONG)
def test_a_wrong_file_is_told_by_file_key_and_what_was_expected(tmp_path, good, wrong, key, expected):
    assert GOOD.count(good) >= 1
    path = written(tmp_path, GOOD.replace(good, wrong, 1))
    with pytest.raises(InputError) as caught:
        load_space(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert re.search(rf": {key} = ", message), message
    assert re.search(f"expected .*({expected})", message), message
    assert "\n" not in message


def test_no_stages(tmp_path):
    text = "stages = []\nresolution = 32\n[stem]\nwidth = 8\nstride = 1\n[head]\nwidth = 8\n"
    with pytest.raises(InputError, match=r"stages = \[\]: expected at least one table \[\[stages\]\]"):
        load_space(str(written(tmp_path, text)))


def test_operator_counts_that_no_step_could_serve_fairly(tmp_path):
    five = '["inverted_residual", "ghost", "shuffle", "dwcb", "group_dwcb"]'
    three = '["ghost", "shuffle", "dwcb"]'
    text = GOOD.replace('["inverted_residual", "shuffle"]', five).replace('"dwcb"\n', f"{three}\n")
    with pytest.raises(InputError, match=r"stages = \[5, 3\].*common multiple of at most 12"):
        load_space(str(written(tmp_path, text)))


@pytest.mark.parametrize("content", [b"resolution = [32", b"\x89PNG\r\n\x1a\n\xff\xfe", b"a = 1\na = 2"])
def test_what_is_not_toml(tmp_path, content):
    path = tmp_path / "space.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"space\.toml is not a readable TOML file"):
        load_space(str(path))


@pytest.mark.parametrize("name", ["tinny", "", "no/such/file.toml", "..", "a\0b"])
def test_a_name_that_is_none(name):
    with pytest.raises(InputError, match=r"no search space .*tiny"):
        load_space(name)


@pytest.mark.parametrize("name", shipped_names("search_spaces"))
def test_shipped_spaces(name):
    space = load_space(name)
    assert space.name == name
    assert space.size > 1e6
    families = (
        {"dwcb", "group_dwcb", "alt_dwcb"}
        if name == "henet"
        else {"inverted_residual", "ghost", "shuffle", "dwcb"}
    )
    assert families <= set(space.operators)


def test_tiny_is_shipped():
    assert "tiny" in shipped_names("search_spaces")
    assert load_space("tiny").resolution == (32,)


@given(st.binary(max_size=200))
def test_no_file_raises_anything_else(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "any.toml"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_space(str(path))


scalars = st.one_of(
    st.integers(-100, 100), st.floats(), st.booleans(), st.sampled_from(["relu", "ghost", ""])
)


@given(
    st.sampled_from(["width", "depth", "stride", "operator", "kernel", "expand", "se", "act"]),
    st.lists(scalars, max_size=3),
)
def test_no_value_raises_anything_else(tmp_path_factory, key, values):
    text = ", ".join(f'"{v}"' if isinstance(v, str) else str(v).lower() for v in values)
    stage = {"width": "8", "depth": "1", "stride": "1", "operator": '"ghost"', "kernel": "3", "expand": "2"}
    stage[key] = f"[{text}]"
    lines = "\n".join(f"{k} = {v}" for k, v in stage.items())
    path = tmp_path_factory.mktemp("value") / "value.toml"
    path.write_text(
        f"resolution = 32\n[stem]\nwidth = 8\nstride = 1\n[head]\nwidth = 8\n[[stages]]\n{lines}\n"
    )
    try:
        load_space(str(path))
        told = f"stages[0].{key}"
    except InputError as error:
        told = str(error)
    assert f"stages[0].{key}" in told
