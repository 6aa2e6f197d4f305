"""The options that several commands share, each declared once."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.catalog import dimensions
from labctl.cli.crash import keep_secret
from labctl.core.errors import Problem, UsageError
from labctl.plan.options import RawOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labctl.engine.session import AnsibleOptions

LabOption = Annotated[str, typer.Option("--lab", "-i", help="Inventory directory of the lab, or its name.")]
BecomeOption = Annotated[bool, typer.Option("--ask-become-pass", "-K", help="Ask for the sudo password.")]
LimitOption = Annotated[str | None, typer.Option("--limit", "-l", help="Ansible's --limit.")]
VerboseOption = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Ansible's verbosity.")]
OtherLabOption = Annotated[
    str | None, typer.Option("--lab", "-i", help="The lab, as elsewhere [default: local, or with --resume the run's].")
]


def _known_style(style: str) -> str:
    """A style that there is: a wrong one is to cost no measurement."""
    from labctl.core.tables import renderer

    renderer(style)
    return style


FormatOption = Annotated[str, typer.Option("--format", callback=_known_style, help="table, github, csv or json.")]


def _text(help: str) -> object:  # noqa: A002  (typer's word)
    return Annotated[str | None, typer.Option(help=help)]


def _flag(name: str, help: str) -> object:  # noqa: A002  (typer's word)
    return Annotated[bool, typer.Option(name, help=help)]


# The options that say what is measured; `plan` and `matrix` take the same ones. Name to annotation and default.
MATRIX_OPTIONS: dict[str, tuple[object, str | bool | None]] = {
    "variant": (_text("Variants, separated by commas [default: all]."), None),
    **{one.name: (_text(one.help), None) for one in dimensions.ALL},
    "workload": (_text("Workloads, separated by commas [default: all]."), None),
    "processes": (_text("netperf processes: numbers or max, separated by commas [default: 1,max]."), None),
    "duration": (_text("Measured window of a sample: 10, 10s, 2m [default: 10s]."), None),
    "warmup": (_text("Time before the window [default: 2s]."), None),
    "repeat": (_text("Samples of a cell per round [default: 1]."), None),
    "rounds": (_text("Visits of every setup; an interval needs 6 [default: 6]."), None),
    "idle": (_text("CPUs while measuring: awake, system (they may sleep), awake:N us [default: awake]."), None),
    "steal_limit": (_text("Percent of the CPUs a hypervisor may take during a sample that counts [default: 5]."), None),
    "pin": (_text("cores: one CPU thread per process, or none [default: cores on a shared kernel]."), None),
    "endpoint": (_text("Only variants with these endpoints: pod or node."), None),
    "seed": (_text("Seed of the order of setups [default: the time]."), None),
    "noise_floor": (_flag("--noise-floor", "Measure the reference twice (A/A)."), False),
    "no_reference": (_flag("--no-reference", "Leave out reference setups that were not asked for."), False),
    "quick": (_flag("--quick", "Three variants, 2 s, three rounds: a look, not a result."), False),
}
# Those that say which lab, where it is an existing cluster.
CLUSTER_OPTIONS: dict[str, tuple[object, None]] = {
    "kubeconfig": (_text("Measure an existing cluster: its kubeconfig. Needs neither SSH nor root."), None),
    "context": (_text("With --kubeconfig: a context of it [default: its current one]."), None),
    "client": (_text("With --kubeconfig: the node that netperf runs on."), None),
    "server": (_text("With --kubeconfig: the node that netserver runs on."), None),
    "image": (_text("With --kubeconfig: image with netperf, netserver and python3 (docs/cluster.md)."), None),
    "image_pull_secret": (_text("With --kubeconfig: secret of the cluster to pull it with: [NAMESPACE/]NAME."), None),
}
GROUPS: Mapping[str, Mapping[str, tuple[object, object]]] = {"raw": MATRIX_OPTIONS, "cluster": CLUSTER_OPTIONS}


def takes_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace those of a command's parameters `raw` and `cluster` that it has by the options declared once above."""
    groups = {name: group for name, group in GROUPS.items() if name in inspect.signature(command).parameters}
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for own in inspect.signature(command, eval_str=True).parameters.values()
        for name, (annotation, default) in GROUPS.get(own.name, {own.name: (own.annotation, own.default)}).items()
    ]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        taken: dict[str, Any] = {
            name: {option: given.pop(option) for option in group} for name, group in groups.items()
        }
        if "raw" in taken:
            taken["raw"] = RawOptions.of(**taken["raw"])
        command(**taken, **given)

    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def ansible_options(
    become: bool, limit: str | None = None, check: bool = False, diff: bool = False, verbose: int = 0
) -> AnsibleOptions:
    """What a user passes through to Ansible; asks for the password of sudo where that is wanted."""
    from labctl.engine.session import AnsibleOptions

    password = typer.prompt("BECOME password", hide_input=True) if become else None
    if password is not None:
        keep_secret(password)
    return AnsibleOptions(become_password=password, limit=limit, check=check, diff=diff, verbosity=verbose)


def named_lab(lab: str | None, cluster: Mapping[str, str | None]) -> str | None:
    """The lab that the options name, an inventory or a cluster behind a kubeconfig; None where they name none."""
    if all(value is None for value in cluster.values()):
        return lab
    from labctl.labs import kubeconfig as clusters

    if lab is not None:
        raise UsageError(Problem("two labs are named", "--lab, --kubeconfig", hint="name one of them"))
    return str(clusters.lab(clusters.ClusterOptions(**cluster)))


def refuse_beside_resume(raw: RawOptions, resume: str | None, accept_drift: bool) -> None:
    """A run that is resumed has its plan: whatever else would change it is a misunderstanding."""
    if resume is None:
        if accept_drift:
            raise UsageError(Problem("--accept-drift goes with --resume RUN"))
        return
    own = [name for name, (_, default) in MATRIX_OPTIONS.items() if getattr(raw, name, default) != default]
    given = [name for name in MATRIX_OPTIONS if name in own or name in raw.dimensions]
    hint = "leave them out: the run goes on with the plan it was begun with"
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(
            Problem("these options say what is measured, which is settled for a run that is resumed", names, hint=hint)
        )
