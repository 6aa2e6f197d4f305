"""An existing cluster as a lab: an inventory whose ends are two of its nodes, reached through a kubeconfig.

Nothing is asked of the cluster here; whether it can be used is looked at by role existing_cluster.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from labctl.catalog import CLUSTER
from labctl.core import paths
from labctl.core.errors import Problem, UsageError, collected
from labctl.core.files import OWN_PYTHON, write_yaml

# Holds netperf, netserver and python3 (docs/cluster.md); this one is on the nodes of labctl's own clusters.
IMAGE = "localhost/labctl/netperf:node"
HOW = "see docs/cluster.md"


@dataclass(frozen=True)
class ClusterOptions:
    """A cluster as a command line names it, None where an option was not given."""

    kubeconfig: str | None = None
    context: str | None = None
    client: str | None = None
    server: str | None = None
    image: str | None = None


def lab(options: ClusterOptions) -> Path:
    """Write the inventory of a cluster and return its directory; the same options give the same one.

    Raises UsageError with everything that is wrong with the options, LabctlError where it cannot be written.
    """
    if options.kubeconfig is None:
        given = ", ".join(f"--{name}" for name, value in vars(options).items() if value is not None)
        raise UsageError(Problem(f"{given} without --kubeconfig", hint="name the kubeconfig of the cluster"))
    problems = _end_problems(options)
    kubeconfig = Path(options.kubeconfig).expanduser().absolute()
    context = ""
    with collected(problems):
        context = _context(kubeconfig, options.context)
    if problems:
        raise UsageError(*problems)
    return _write(kubeconfig, context, str(options.client), str(options.server), options.image)


def _end_problems(options: ClusterOptions) -> list[Problem]:
    """What is wrong with the two nodes, as far as their names tell."""
    problems = [
        Problem(f"no node for the {end}", f"--{end}", hint="name one of: kubectl get nodes")
        for end in ("client", "server")
        if not getattr(options, end)
    ]
    if options.client and options.client == options.server:
        what = "client and server are the same node: there is no path between nodes to measure"
        problems.append(
            Problem(what, "--server", options.server, "name two nodes; a cluster of one node has none to compare")
        )
    return problems


def _context(kubeconfig: Path, wanted: str | None) -> str:
    """The context to use, which the kubeconfig has to have."""
    where = str(kubeconfig)
    try:
        document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(Problem("the kubeconfig cannot be read", where, error.strerror)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(Problem("the kubeconfig is not YAML", where, str(error).splitlines()[0])) from error
    if not isinstance(document, dict) or not isinstance(document.get("contexts"), list):
        raise UsageError(Problem("this is no kubeconfig: it has no contexts", where))
    names = [str(entry.get("name")) for entry in document["contexts"] if isinstance(entry, dict)]
    context = wanted or document.get("current-context")
    if not context:
        hint = f"name one with --context: {', '.join(names)}"
        raise UsageError(Problem("the kubeconfig has no current context", where, hint=hint))
    if context not in names:
        raise UsageError(
            Problem("the kubeconfig has no such context", where, repr(context), f"it has: {', '.join(names)}")
        )
    return str(context)


def _write(kubeconfig: Path, context: str, client: str, server: str, image: str | None) -> Path:
    """Write the inventory."""
    ends = json.dumps([str(kubeconfig), context, client, server])
    # What is made in the cluster carries this label: by it, and by nothing else, leftovers of this lab are known.
    owner = hashlib.sha256(f"{platform.node()} {os.geteuid()} {ends}".encode()).hexdigest()[:16]
    name = re.sub(r"[^a-z0-9]+", "-", context.partition("@")[2].lower() or context.lower()).strip("-") or CLUSTER
    inventory = {
        "all": {
            "vars": {
                "lab_name": name,
                "lab_kind": CLUSTER,
                "ansible_connection": "local",
                "ansible_python_interpreter": OWN_PYTHON,
                "netperf_pods_kubeconfig": str(kubeconfig),
                "netperf_pods_context": context,
                "netperf_pods_owner": owner,
                "netperf_pods_image": image or IMAGE,
                "netperf_pods_pull": "IfNotPresent",
                "netperf_pods_agents": True,
            },
            "children": {"client": {"hosts": {client: {}}}, "server": {"hosts": {server: {}}}},
        }
    }
    directory = paths.user_state_dir() / "clusters" / f"{name}-{owner}"
    write_yaml(directory / "hosts.yml", inventory, f"Written by labctl --kubeconfig; {HOW}.")
    return directory
