import json

import pytest
from sample import empty_content, sample_content

from nassuite.errors import InputError
from nassuite.records import write_json
from nassuite.report import read_report
from nassuite.report.content import ReportContent


@pytest.mark.parametrize("content", [sample_content(count=30), empty_content()], ids=["whole", "empty"])
def test_content_survives_the_trip_through_json_text(content):
    text = json.dumps(content.to_json())
    again = ReportContent.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    # The dataclasses are equal too, but for the tuples in free-form JSON, which come back as lists.
    assert (again.finalists, again.predictor, again.history) == (
        content.finalists,
        content.predictor,
        content.history,
    )


def broken(change):
    value = json.loads(json.dumps(sample_content(count=20).to_json()))
    change(value)
    return value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(kind="model card"), "nassuite report"),
        (lambda v: v.update(schema_version=99), "99"),
        (lambda v: v.update(metric="top5"), r"records\.metric: expected one of top1"),
        (lambda v: v.update(budgets_ms=0.3), r"records\.budgets_ms: expected list"),
        (lambda v: v.update(budget=1), "unknown field 'budget'"),
        (lambda v: v.pop("run"), "'run' is missing"),
        (lambda v: v["run"]["data"].update(train="many"), r"records\.run\.data\.train: expected int"),
        (lambda v: v["evaluations"][3].pop("macs"), r"records\.evaluations\[3\].*'macs'"),
        (lambda v: v["evaluations"][0].update(accuracy=True), "expected float, got True"),
        (lambda v: v["predictor"]["points"][0].append(1.0), "expected 2 values, got 3"),
        (lambda v: v["deployed"][0]["arch_json"].pop("stem"), "not an architecture"),
    ],
)
def test_wrong_records_are_refused_with_the_place_that_is_wrong(change, message):
    with pytest.raises(InputError, match=message) as error:
        ReportContent.from_json(broken(change))
    assert "\n" not in str(error.value)


def test_a_folder_without_records_and_a_torn_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"records\.json"):
        read_report(tmp_path)
    (tmp_path / "records.json").write_text('{"kind": "nass')
    with pytest.raises(InputError, match="cannot read"):
        read_report(tmp_path)


def test_not_a_number_never_reaches_a_file(tmp_path):
    value = sample_content(count=20).to_json()
    value["evaluations"][0]["accuracy"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "records.json", value)
    assert not (tmp_path / "records.json").exists()
