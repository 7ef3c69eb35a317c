import json
from dataclasses import replace

import pytest

from nassuite.errors import InputError
from nassuite.latency.target import Target, target_key


def test_a_description_is_json_and_gives_the_same_key():
    target = Target()
    assert target_key(json.loads(json.dumps(target.describe()))) == target.key


@pytest.mark.parametrize(
    ("field", "value"),
    [("host", "another"), ("runtime_version", "0.1"), ("threads", 2), ("batch", 8), ("cpu", {"name": "Z80"})],
)
def test_what_changes_times_changes_the_key(field, value):
    description = Target().describe()
    assert target_key({**description, field: value}) != target_key(description)


def test_what_does_not_change_times_keeps_the_key():
    description = Target().describe()
    assert target_key({**description, "load": 3.0}) == target_key(description)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"runtime": "tflite"}, r"unknown runtime 'tflite': --runtime takes onnxruntime"),
        ({"threads": 0}, "--threads 0"),
        ({"threads": 100_000}, "--threads 100000"),
        ({"batch": 0}, "batch 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        replace(Target(), **fields)
