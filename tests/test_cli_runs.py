"""``nassuite report`` and ``nassuite status`` of a run that is finished, stopped or going on."""

import shutil
import subprocess
import sys


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_report_is_drawn_again_the_same_from_its_records_alone(nassuite, tiny_run, tmp_path):
    folder = tiny_run.run / "report"
    names = {"index.html", "report.md", "pareto.svg", "pareto.png", "records.json", "figures"}
    before = files_in(folder)
    assert {path.parts[0] for path in before} == names
    again = tmp_path / "run" / "report"
    again.mkdir(parents=True)
    shutil.copy(folder / "records.json", again)
    code, out, _ = nassuite("report", tmp_path / "run")
    assert code == 0
    assert set(out.split()) == {str(again / name) for name in names}
    assert files_in(again) == before


def test_status_of_a_finished_run(nassuite, tiny_run):
    code, out, _ = nassuite("status", tiny_run.run)
    assert code == 0
    head, *stages, tail = out.splitlines()
    assert "space.toml, 0.5, 0.08, 0.01 ms, begun 20" in head
    assert [line.split()[:2] for line in stages] == [
        [stage, "done"] for stage in ("latency", "supernet", "search", "finalists", "deploy", "report")
    ]
    for part in ("24 of 24 samples", "3 of 3 epochs", "14 of 14 architectures", "models for 2 of 3 budgets"):
        assert part in out
    assert tail == f"all done: {tiny_run.run}/report/index.html"


def test_status_of_a_run_that_was_stopped_or_is_running(nassuite, tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run.run, run)
    stages = (run / "stages.jsonl").read_text().splitlines()
    (run / "stages.jsonl").write_text("\n".join(stages[:2]) + "\n")
    for name in ("deploy", "report"):
        shutil.rmtree(run / name)
    (run / "search.journal").unlink()
    _, out, _ = nassuite("status", run)
    assert [line.split()[1] for line in out.splitlines()[1:7]] == ["done", "done", "next", *["left"] * 3]
    assert "0 of 14 architectures" in out
    assert out.endswith(f"continue with: nassuite search --resume {run}\n")
    assert not (run / "search.journal").exists()

    code = "import sys, time; from pathlib import Path; from nassuite.run_directory import RunDirectory\n"
    code += "with RunDirectory(Path(sys.argv[1])).locked(): print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        _, out, _ = nassuite("status", run)
        assert out.splitlines()[3].split()[:2] == ["search", "running"]
        assert out.endswith("a process is working on it\n")
        code, _, err = nassuite("search", "--resume", run)
        assert (code, err) == (
            2,
            f"nassuite: {run} is in use by another nassuite process: wait for it or stop it\n",
        )
        process.kill()
