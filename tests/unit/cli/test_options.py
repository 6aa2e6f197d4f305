"""Options that several commands share: declared once, refused before anything is touched."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from labctl.cli import matrix, options
from labctl.core.errors import UsageError
from tests.unit.cli.run import Run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--variant", "veth-ebfp"), "unknown variant"),
        (("--variant", "veth-ebfp"), "did you mean veth-ebpf?"),
        (("--workload", "udp"), "unknown workload"),
        (("--encryption", "rot13"), "unknown encryption"),
        (("--duration", "0"), "not a usable time for --duration"),
        (("--duration", "-5"), "not a usable time for --duration"),
        (("--duration", "3d"), "not a usable time for --duration"),
        (("--processes", "0"), "not a number of processes"),
        (("--processes", "-1"), "not a number of processes"),
        (("--rounds", "0"), "not a usable number for --rounds"),
        (("--rounds", "1000000"), "not a usable number for --rounds"),
        (("--mtu", "20"), "not an MTU"),
        (("--idle", "awake:soon"), "not a latency in microseconds"),
        (("--steal-limit", "0"), "not a usable number for --steal-limit"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "matrix"])
def test_bad_options_are_refused_before_anything_is_touched(
    labctl: Run, command: str, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = labctl(command, *arguments, "--lab", "there-is-none")
    assert (code, out) == (2, "")
    assert message in err
    assert "there-is-none" not in err


def test_what_is_measured_cannot_be_said_again_when_resuming(labctl: Run) -> None:
    given = ("--variant", "baseline", "--noise-floor", "--rounds", "6", "--idle", "system")
    code, _, err = labctl("matrix", "--resume", "latest", *given)
    assert code == 2
    assert "--variant, --rounds, --idle, --noise-floor" in err
    assert "the plan it was begun with" in err


def test_drift_is_accepted_when_resuming_only(labctl: Run) -> None:
    code, _, err = labctl("matrix", "--accept-drift")
    assert (code, err) == (2, "error: --accept-drift goes with --resume RUN\n")


def test_plan_and_matrix_take_the_same_options_of_what_is_measured() -> None:
    taken = [set(inspect.signature(command).parameters) for command in (matrix.plan, matrix.matrix)]
    assert set(options.MATRIX_OPTIONS) <= taken[0] & taken[1]
    assert taken[1] - taken[0] == {"resume", "accept_drift", "fail_fast"}


def test_what_is_for_ansible_reaches_it_and_the_password_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def prompt(text: str, hide_input: bool) -> str:
        asked.append((text, hide_input))
        return "secret"

    monkeypatch.setattr("typer.prompt", prompt)
    assert options.ansible_options(False, "node1", check=True, verbose=2).become_password is None
    assert asked == []
    given = options.ansible_options(True, "node1", check=True, diff=True, verbose=2)
    assert (given.limit, given.check, given.diff, given.verbosity) == ("node1", True, True, 2)
    assert (given.become_password, asked) == ("secret", [("BECOME password", True)])
    assert "secret" not in repr(given)


def test_a_lab_is_named_once(tmp_path: Path) -> None:
    assert options.named_lab("mine", {"kubeconfig": None}) == "mine"
    assert options.named_lab(None, {"kubeconfig": None}) is None
    with pytest.raises(UsageError):  # and not the local lab
        options.named_lab(None, {"kubeconfig": "", "client": None})
    with pytest.raises(UsageError, match="two labs are named"):
        options.named_lab("mine", {"kubeconfig": str(tmp_path / "config")})
