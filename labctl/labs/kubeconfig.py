"""An existing cluster as a lab: an inventory whose ends are two of its nodes, reached through a kubeconfig.

Nothing is asked of the cluster here; whether it can be used is looked at by role existing_cluster.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl.catalog import CLUSTER
from labctl.core import paths, trust
from labctl.core.documents import parse_yaml, read_text
from labctl.core.errors import LabctlError, Problem, UsageError, collected
from labctl.core.files import OWN_PYTHON, write_yaml
from labctl.core.names import NODE

# Holds netperf, netserver and python3 (docs/cluster.md); this one is on the nodes of labctl's own clusters.
IMAGE = "localhost/labctl/netperf:node"
HOW = "see docs/cluster.md"
ENDS = ("client", "server")
LONGEST = 120  # characters of a text in an error
LONGEST_NAME = 40  # characters of a context's name in that of its lab
IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,511}")
SECRET_NAME = re.compile(r"([a-z0-9][a-z0-9-]{0,62}/)?[a-z0-9][a-z0-9.-]{0,252}")


@dataclass(frozen=True)
class ClusterOptions:
    """A cluster as a command line names it, None where an option was not given.

    `image_pull_secret` is [NAMESPACE/]NAME of a secret of the cluster.
    """

    kubeconfig: str | None = None
    context: str | None = None
    client: str | None = None
    server: str | None = None
    image: str | None = None
    image_pull_secret: str | None = None


def lab(options: ClusterOptions) -> Path:
    """Write the inventory of a cluster and return its directory; the same options give the same one.

    Raises UsageError with everything that is wrong with the options, LabctlError where it cannot be written.
    """
    if options.kubeconfig is None:
        given = ", ".join(f"--{_option(name)}" for name, value in vars(options).items() if value is not None)
        hint = "name the kubeconfig of the cluster: --kubeconfig ~/.kube/config"
        raise UsageError(Problem(f"{given} without --kubeconfig", hint=hint))
    problems = [*_empty(options), *_end_problems(options), *_image_problems(options)]
    kubeconfig = paths.expanded(options.kubeconfig, "--kubeconfig").absolute()
    context = Context("", "")
    with collected(problems):
        if options.kubeconfig:
            context = _context(kubeconfig, (options.context or "").strip() or None)
    if problems:
        raise UsageError(*problems)
    return _write(kubeconfig, context, options)


def _option(name: str) -> str:
    return name.replace("_", "-")


def _empty(options: ClusterOptions) -> list[Problem]:
    """Options that were given without a value, as by a variable that is not set."""
    hint = "give it a value, or leave it out: a variable in its place is empty perhaps"
    return [
        Problem("an option is empty", f"--{_option(name)}", hint=hint)
        for name, value in vars(options).items()
        if value is not None and not value.strip() and name not in ENDS
    ]


def _end_problems(options: ClusterOptions) -> list[Problem]:
    """What is wrong with the two nodes, as far as their names tell."""
    problems: list[Problem] = []
    for end in ENDS:
        name = getattr(options, end)
        wrong = NODE.problem(name, f"--{end}") if name else None
        if not name:
            problems.append(Problem(f"no node for the {end}", f"--{end}", hint="name one of: kubectl get nodes"))
        elif wrong is not None:
            problems.append(wrong)
    if options.client and options.client == options.server:
        what = "client and server are the same node: there is no path between nodes to measure"
        problems.append(
            Problem(what, "--server", options.server, "name two nodes; a cluster of one node has none to compare")
        )
    return problems


def _image_problems(options: ClusterOptions) -> list[Problem]:
    """What is wrong with the image and the secret to pull it with, as far as their names tell."""
    problems = []
    if options.image and not IMAGE_NAME.fullmatch(options.image):
        hint = f"write it as REGISTRY/NAME:TAG or REGISTRY/NAME@DIGEST; {HOW}"
        problems.append(Problem("this is no name of an image", "--image", shown(options.image), hint))
    if options.image_pull_secret and not SECRET_NAME.fullmatch(options.image_pull_secret):
        hint = "name a secret of the cluster: [NAMESPACE/]NAME"
        seen = shown(options.image_pull_secret)
        problems.append(Problem("this is no name of a secret", "--image-pull-secret", seen, hint))
    return problems


def shown(text: str) -> str:
    """A text of the user's or of a file in an error: on one line, and not longer than one."""
    return ascii(text) if len(text) <= LONGEST else f"{text[:LONGEST]!a}..."


@dataclass(frozen=True)
class Context:
    """A context of a kubeconfig: its name, and the namespace that it is for."""

    name: str
    namespace: str


def _context(kubeconfig: Path, wanted: str | None) -> Context:
    """The context to use, which the kubeconfig has to have, with all that it refers to."""
    where = str(kubeconfig)
    document = _document(kubeconfig)
    contexts, clusters, users = (_named(document, kind, where) for kind in ("contexts", "clusters", "users"))
    name = wanted or document.get("current-context")
    if not name:
        hint = f"name one with --context: {', '.join(map(shown, contexts)) or 'it has none'}"
        raise UsageError(Problem("the kubeconfig has no current context", where, hint=hint))
    name = str(name)
    if name not in contexts:
        has = ", ".join(map(shown, contexts)) or "none"
        raise UsageError(Problem("the kubeconfig has no such context", where, shown(name), f"it has: {has}"))
    context = contexts[name]
    cluster, user = (_word(context, kind) for kind in ("cluster", "user"))
    problems = [
        Problem(f"the context's {kind} is not in the kubeconfig", f"{where}:contexts[{shown(name)}].{kind}",
                shown(word), "correct the file: kubectl config view shows what it has")
        for kind, word, known in (("cluster", cluster, clusters), ("user", user, users))
        if word not in known and (word or kind == "cluster")
    ]  # fmt: skip
    if not problems:
        problems = [*_cluster_problems(clusters[cluster], kubeconfig), *_user_problems(users.get(user, {}), kubeconfig)]
    if problems:
        raise UsageError(*problems)
    return Context(name, str(context.get("namespace") or "default"))


def _document(kubeconfig: Path) -> Mapping[str, Any]:
    """What stands in a kubeconfig."""
    where = str(kubeconfig)
    hint = "name a file that this user may read; kubectl config view --kubeconfig FILE says whether it is one"
    if os.pathsep in where and not os.path.lexists(kubeconfig):
        hint = f"one file is taken. Make one of several: KUBECONFIG={where.removeprefix(f'{Path.cwd()}/')} kubectl"
        hint += " config view --flatten > FILE --raw (with umask 077), and name FILE"
    try:
        document = parse_yaml(read_text(kubeconfig), where)
    except LabctlError as error:
        seen = "; ".join(f"{one.what}: {one.seen}" if one.seen else one.what for one in error.problems)
        raise UsageError(Problem("the kubeconfig cannot be read", where, seen, hint)) from error
    if not isinstance(document, dict) or not isinstance(document.get("contexts"), list):
        hint = "name the file by which kubectl reaches the cluster"
        raise UsageError(Problem("this is no kubeconfig: it has no contexts", where, hint=hint))
    return document


def _named(document: Mapping[str, Any], kind: str, where: str) -> dict[str, Mapping[str, Any]]:
    """The entries of one kind, by their name: the first of a name counts, as for kubectl."""
    entries = document.get(kind) or []
    found: dict[str, Mapping[str, Any]] = {}
    for entry in entries if isinstance(entries, list) else []:
        content = entry.get(kind[:-1]) or {} if isinstance(entry, dict) else None
        if not isinstance(content, dict):
            hint = "each has a name, and a mapping of what it is"
            raise UsageError(
                Problem(f"an entry of {kind} is not as a kubeconfig has it", where, shown(str(entry)), hint)
            )
        if name := _word(entry, "name"):
            found.setdefault(name, content)
    return found


def _word(entry: Mapping[str, Any], key: str) -> str:
    """A name in an entry; empty where there is none."""
    value = entry.get(key)
    return "" if value is None else str(value)


def _cluster_problems(cluster: Mapping[str, Any], kubeconfig: Path) -> Iterator[Problem]:
    """What is missing to reach the cluster."""
    if not cluster.get("server"):
        hint = "name the API server there: server: https://ADDRESS:6443"
        yield Problem("the context's cluster names no server", str(kubeconfig), hint=hint)
    yield from _missing(cluster, ("certificate-authority",), kubeconfig)


def _user_problems(user: Mapping[str, Any], kubeconfig: Path) -> Iterator[Problem]:
    """What is missing to log in: files, and the program that gives a token, which cannot ask anybody."""
    yield from _missing(user, ("client-certificate", "client-key", "tokenFile"), kubeconfig)
    plugin = user.get("exec")
    if plugin is None:
        return
    command = str(plugin.get("command") or "") if isinstance(plugin, dict) else ""
    # As kubectl does: a name is looked for in PATH, and what has a slash from the kubeconfig's directory on.
    program = shutil.which(str(kubeconfig.parent / command) if "/" in command else command) if command else None
    if program is None:
        hint = "install it, or use a kubeconfig with a token: kubectl create token"
        yield Problem("the program that logs in is not there", f"{kubeconfig}:exec.command", shown(command), hint)
    elif doubt := trust.doubted(Path(program)):
        yield doubt.problem("the program that logs in")
    elif plugin.get("interactiveMode") == "Always":
        hint = "use a kubeconfig that logs in by itself, with a token or a certificate, say"
        yield Problem("the login of this kubeconfig wants to ask somebody", f"{kubeconfig}:exec", shown(command), hint)


def _missing(entry: Mapping[str, Any], keys: Iterable[str], kubeconfig: Path) -> Iterator[Problem]:
    """Files that an entry refers to and that cannot be read, from the kubeconfig's directory on."""
    for key in keys:
        if not (entry.get(key) and isinstance(entry[key], str)) or entry.get(f"{key}-data"):
            continue
        path = kubeconfig.parent / entry[key]
        if not os.path.isfile(path) or not os.access(path, os.R_OK):  # noqa: PTH113 - for any name at all
            hint = "correct the path; one that is relative begins in the directory of the kubeconfig"
            seen = "not a file that this user may read" if os.path.lexists(path) else "no such file"
            yield Problem(f"the kubeconfig's {key} cannot be read", shown(str(path)), seen, hint)


def _write(kubeconfig: Path, context: Context, options: ClusterOptions) -> Path:
    """Write the inventory."""
    client, server, secret = str(options.client), str(options.server), options.image_pull_secret or ""
    ends = json.dumps([str(kubeconfig), context.name, client, server])
    # What is made in the cluster carries this label: by it, and by nothing else, leftovers of this lab are known.
    owner = hashlib.sha256(f"{platform.node()} {os.geteuid()} {ends}".encode()).hexdigest()[:16]
    words = context.name.partition("@")[2].lower() or context.name.lower()
    name = re.sub(r"[^a-z0-9]+", "-", words)[:LONGEST_NAME].strip("-") or CLUSTER
    if secret and "/" not in secret:
        secret = f"{context.namespace}/{secret}"
    inventory = {
        "all": {
            "vars": {
                "lab_name": name,
                "lab_kind": CLUSTER,
                "ansible_connection": "local",
                "ansible_python_interpreter": OWN_PYTHON,
                "netperf_pods_kubeconfig": str(kubeconfig),
                "netperf_pods_context": context.name,
                "netperf_pods_owner": owner,
                "netperf_pods_image": options.image or IMAGE,
                "netperf_pods_pull_secret": secret,
                "netperf_pods_pull": "IfNotPresent",
                "netperf_pods_agents": True,
            },
            "children": {"client": {"hosts": {client: {}}}, "server": {"hosts": {server: {}}}},
        }
    }
    directory = paths.user_state_dir() / "clusters" / f"{name}-{owner}"
    write_yaml(directory / "hosts.yml", inventory, f"Written by labctl --kubeconfig; {HOW}.")
    return directory
