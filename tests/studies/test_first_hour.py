"""The study of the first hour: what it times is what a user sees, and its commands are ones that there are."""

import sys

import first_hour as study
from PIL import Image

from nassuite.cli import make_parser

WAITS = """
import sys, time
try:
    print("a word", file=sys.stderr, flush=True)
    time.sleep(0.3)
    print("\\x1b[1msupernet\\x1b[0m: 1/3", file=sys.stderr, flush=True)
    time.sleep(0.3)
    print("note: nothing yet", "deploy here", sep="\\n", flush=True)
    time.sleep(float(sys.argv[1]))
except KeyboardInterrupt:
    sys.exit(130)
"""


def step(seconds: str = "0", **more) -> study.Step:
    command = (sys.executable, "-c", WAITS, seconds)
    return study.Step("waits", "waits", command, **{"result": "^deploy", **more})


def test_line_progress_and_result_come_in_their_order(tmp_path):
    found = study.timed(step(), tmp_path)
    assert found.first_line + 0.25 < found.first_progress < found.first_result - 0.25
    assert found.first_result <= found.seconds
    assert (found.code, found.problems) == (0, ())
    absent = study.timed(step(result="^certificate"), tmp_path)
    assert absent.first_result is None


def test_ctrl_c_is_pressed_where_it_says(tmp_path):
    found = study.timed(step("60", stop_at=r"supernet\D*\d+/\d+"), tmp_path)
    assert found.seconds < 30
    assert (found.code, found.problems) == (130, ())
    never = study.timed(step(stop_at="no such stage"), tmp_path)
    assert never.problems == ("it ended before Ctrl-C",)


def test_what_goes_wrong_is_told(tmp_path):
    piped = study.timed(step(piped=True), tmp_path)
    assert piped.problems == ("control characters in a file",)
    fails = study.Step(
        "fails", "fails", (sys.executable, "-c", "import sys; print('no such thing'); sys.exit(2)")
    )
    assert study.timed(fails, tmp_path).problems == ("exit code 2: no such thing",)
    raises = study.Step("raises", "raises", (sys.executable, "-c", "1 / 0"))
    assert "a traceback" in study.timed(raises, tmp_path).problems
    wide = study.Step(
        "wide", "wide", (sys.executable, "-c", "print('* int8 0.1' + 70 * ' ' + 'x')"), columns=60
    )
    assert study.timed(wide, tmp_path).problems == ("a table wider than 60 columns",)


def test_its_commands_are_understood_and_all_are_told():
    planned = study.steps("folder:photos", "photos/a.jpg")
    parser = make_parser()
    for one in planned:
        words = one.command[3:]
        if one.command[1:3] == ("-m", "nassuite") and not words[0].startswith("--"):
            assert callable(parser.parse_args(words).run)
    timing = study.Timing("a", "nassuite a", 0.1, None, 2.0, 3.0, 0, ())
    record = {
        "environment": {"cpu": {"name": "x"}, "cores": 2, "python": "3"}, "remarks": ["Loud."], "command": "python first_hour.py",
        "timings": [vars(timing), vars(timing) | {"problems": ("slow",)}],
    }  # fmt: skip
    text = study.markdown(record)
    assert "| a | `nassuite a` | 0.1 | – | 2.0 | 3.0 | 0 | – |" in text
    assert "slow |" in text
    assert "Loud." in text


def test_photos_are_as_different_as_a_users(tmp_path):
    study.make_photos(tmp_path, of_a_class=6)
    opened = [Image.open(path) for path in sorted(tmp_path.glob("one/*"))]
    assert {image.format for image in opened} == {"JPEG", "PNG", "WEBP"}
    assert {image.mode for image in opened} == {"RGB", "L", "P", "RGBA"}
    assert len({image.size for image in opened}) > 4
    assert any(image.getexif().get(0x0112) == 6 for image in opened)
    assert (tmp_path / "zero" / "broken.jpg").is_file()
