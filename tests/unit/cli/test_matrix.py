"""labctl plan, matrix and report, on a lab whose playbooks are scripted."""

from __future__ import annotations

import json
from pathlib import Path

from labctl.engine.outcome import Outcome
from tests.unit.cli.run import Run
from tests.unit.scripted import Call, ScriptedSession, failing, looked_at, measuring, take

OPTIONS = ("--variant", "baseline", "--workload", "tcp_crr", "--processes", "1", "--rounds", "1")
SMALL = (*OPTIONS, "--duration", "2", "--warmup", "1")


def only_run(tmp_path: Path) -> Path:
    (run,) = (tmp_path / "runs").iterdir()
    return run


def test_a_plan_is_shown_and_nothing_is_done(labctl: Run, lab: ScriptedSession, tmp_path: Path) -> None:
    code, out, err = labctl("plan", "-i", "mine", *OPTIONS, "--format", "json")
    assert (code, err) == (0, "")
    assert [cell["id"] for cell in json.loads(out)["cells"]] == ["baseline.tcp_crr.1"]
    assert lab.played == ["check.yml"]
    assert not (tmp_path / "runs").exists()


def test_a_matrix_is_measured_and_reported(labctl: Run, lab: ScriptedSession, tmp_path: Path) -> None:
    code, out, err = labctl("matrix", "-i", "mine", *SMALL)
    assert code == 0, err
    assert "1 sample of 2 s in 1 round: 1 valid" in out
    run = only_run(tmp_path)
    assert f"{run.name}: 1 setups, 1 samples" in err
    assert "1/1  baseline.tcp_crr.1/1-1" in err
    assert err.endswith(f"run folder: {run}\n")


def test_a_run_of_which_something_failed_is_reported_and_a_failure(labctl: Run, lab: ScriptedSession) -> None:
    lab.plays["visit.yml"] = failing("node2", "no program")
    code, out, err = labctl("matrix", "-i", "mine", *SMALL)
    assert code == 1
    assert "0 valid, 0 invalid, 0 failed, 1 not taken" in out
    assert "node2, task 'A task' of visit.yml" in err
    assert "error:" not in err


def test_a_run_that_broke_off_ends_with_its_reason(labctl: Run, lab: ScriptedSession) -> None:
    lab.plays |= {"visit.yml": failing("node2", "timed out", lost=True), "wait.yml": failing("node2", "no answer")}
    code, out, err = labctl("matrix", "-i", "mine", *SMALL)
    assert code == 1
    assert "1 not taken" in out
    assert "error: a node was lost and did not come back" in err


def test_fail_fast_ends_a_run_at_the_first_failure(labctl: Run, lab: ScriptedSession) -> None:
    def visit(call: Call) -> Outcome:
        for item in call.variables["measure_samples"]:
            take(call, item, reason="netperf was killed")
        return measuring(call)

    lab.plays["visit.yml"] = visit
    code, _, _ = labctl("matrix", "-i", "mine", *OPTIONS[:-2], *SMALL[len(OPTIONS) :], "--rounds", "3", "--fail-fast")
    assert (code, lab.played) == (1, ["clear.yml", "visit.yml"])


def test_a_run_is_resumed_on_the_lab_that_it_was_begun_on(labctl: Run, lab: ScriptedSession, tmp_path: Path) -> None:
    lab.plays["visit.yml"] = failing("node2", "no program")
    assert labctl("matrix", "-i", "mine", *SMALL)[0] == 1
    lab.plays["visit.yml"] = measuring
    code, out, err = labctl("matrix", "--resume", "latest")
    assert code == 0, err
    assert "1 valid" in out
    assert f"{only_run(tmp_path).name}: 0 of 1 samples are there and count" in err


def test_drift_is_refused_unless_it_is_accepted(labctl: Run, lab: ScriptedSession) -> None:
    lab.plays["visit.yml"] = failing("node2", "no program")
    labctl("matrix", "-i", "mine", *SMALL)
    lab.plays |= {"visit.yml": measuring, "clear.yml": looked_at(kernel={"release": "7.0.0"})}
    code, out, err = labctl("matrix", "--resume", "latest")
    assert (code, out) == (1, "")
    assert err.count("the fingerprint is not what the run began with") == 2
    assert labctl("matrix", "--resume", "latest", "--accept-drift")[0] == 0


def test_a_run_without_its_plan_cannot_be_resumed(labctl: Run, tmp_path: Path) -> None:
    (tmp_path / "runs" / "20260101-000000-local").mkdir(parents=True)
    code, _, err = labctl("matrix", "--resume", "20260101")
    assert code == 1
    assert "plan.json" in err


def test_an_unknown_run_is_refused(labctl: Run, tmp_path: Path) -> None:
    (tmp_path / "runs" / "20260101-000000-local").mkdir(parents=True)
    code, _, err = labctl("report", "20990101-000000-local")
    assert code == 2
    assert "20990101-000000-local" in err


def test_no_run_at_all_is_said(labctl: Run) -> None:
    code, _, err = labctl("report")
    assert code == 2
    assert "labctl matrix" in err


def test_a_report_is_printed_in_a_style(labctl: Run, lab: ScriptedSession) -> None:
    labctl("matrix", "-i", "mine", *SMALL)
    code, out, err = labctl("report", "--format", "csv")
    assert (code, err) == (0, "")
    assert ",baseline.tcp_crr.1,baseline,tcp_crr," in out.splitlines()[1]
