"""The schema of an inventory: which variables labctl reads, what each may be, and which kinds of lab need it.

Two places declare variables: the roles, each its own, in their argument_specs (type and choices); and `VARIABLES` here,
which holds what no role alone declares, and what a type cannot say. A variable of neither is the user's own.
"""

from __future__ import annotations

import difflib
import functools
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from labctl.catalog import CLUSTER, LOCAL
from labctl.core import names, paths
from labctl.core.errors import Problem
from labctl.engine import forms
from labctl.engine.forms import Form

VM, METAL = "vm", "metal"
KINDS = (LOCAL, VM, METAL, CLUSTER)
MADE = (LOCAL, VM)  # of labs whose nodes labctl makes on this machine
NODES = (*MADE, METAL)  # of labs whose nodes labctl reaches
SIMILAR = 0.86  # of two names, of which one is probably meant to be the other
SHOWN = 120  # characters of a value that are shown
OWN = ("lab_name", "lab_kind")  # what labctl itself has to know of a lab
SPECS = "roles/*/meta/argument_specs.yml"
# What runs before the variable is a secret of the user's, by its name.
SECRET = re.compile(r"(?i)passw|token|secret|private|credential|(^|_)keys?$")


@dataclass(frozen=True)
class Variable:
    """What one variable may be, what it is, and the kinds of lab that cannot do without it."""

    form: Form
    what: str
    needed: tuple[str, ...] = ()


def _table() -> dict[str, Variable]:
    """The variables that no role alone declares, or whose type does not say what they may be."""
    table = {
        "lab_name": Variable(forms.named(names.LAB), "name of the lab", KINDS),
        "lab_kind": Variable(forms.choice(KINDS), "how its nodes come about", KINDS),
        "node_pair": Variable(forms.TEXT, "which pair of nodes the host belongs to"),
        "node_return_timeout_s": Variable(forms.SECONDS, "how long a lost node is waited for"),
        "cable_interface": Variable(forms.INTERFACE, "the node's end of the cable", NODES),
        "cable_address": Variable(forms.ADDRESS, "its address on the cable", NODES),
        "pod_network": Variable(forms.NETWORK, "the network of its pods", NODES),
        "ansible_host": Variable(forms.REACHED, "where SSH reaches the node"),
        "ansible_port": Variable(forms.PORT, "the port of its SSH server"),
        "vm_lab_port": Variable(forms.whole(1024, forms.LAST_PORT - 1), "port of this machine that leads to node 1"),
        "local_lab_directory": Variable(forms.DIRECTORY, "where the lab's keys are"),
        "vm_lab_directory": Variable(forms.DIRECTORY, "where the lab's keys are"),
        "local_lab_index": Variable(forms.whole(0, 254), "number of the lab"),
        "kernel_line": Variable(
            forms.or_empty(
                forms.matching(
                    r"distribution|[0-9]{1,2}\.[0-9]{1,3}", 'a line in quotes such as "6.1", or distribution'
                )
            ),
            "the kernel that the lab wants",
        ),
        "kernel_cmdline": Variable(forms.each(forms.WORD), "words of the kernel's command line"),
        "kernel_builder": Variable(forms.named(names.NODE), "the machine that builds kernels"),
        "netperf_pods_image": Variable(forms.IMAGE, "image with netperf"),
        "netperf_pods_owner": Variable(forms.LABEL, "label of what a lab makes in a cluster"),
        "netperf_pods_kubeconfig": Variable(forms.TEXT, "the cluster's kubeconfig", (CLUSTER,)),
        "veth_datapath_services": Variable(forms.whole(0, 250), "how many service ports the rules serve"),
        "vm_lab_vcpus": Variable(forms.whole(1, 1024), "processors of each guest"),
        "vm_lab_memory_mib": Variable(forms.whole(256, 2**22), "memory of each guest"),
        "vm_lab_disk_gib": Variable(forms.whole(2, 2**12), "disk of each guest"),
        "kernel_archive": Variable(forms.or_empty(forms.ARCHIVE), "archive of the kernel's release"),
    }
    many: tuple[tuple[Form, str, str], ...] = (
        (
            forms.ADDRESS,
            "an address",
            "endpoint_address pod_address pod_gateway tunnel_inner_address tunnel_own_address tunnel_peer_address "
            "datapath_proof_tunnel_address fingerprint_address k8s_ptp_peer_address kubernetes_address "
            "kubernetes_api_address cni_cilium_api_address netperf_address veth_datapath_peer_address "
            "veth_datapath_pod_address veth_datapath_pod_gateway",
        ),
        (forms.or_empty(forms.ADDRESS), "an address", "tunnel_address"),
        (forms.each(forms.ADDRESS), "addresses", "node_datapath_addresses vm_lab_addresses vm_lab_cable_addresses"),
        (
            forms.NETWORK,
            "a network",
            "kubernetes_pod_subnet kubernetes_service_subnet cni_cilium_pod_subnet tunnel_own_network "
            "tunnel_peer_network veth_datapath_peer_network",
        ),
        (
            forms.INTERFACE,
            "an interface",
            "endpoint_interface fingerprint_interface datapath_proof_cable datapath_proof_tunnel_device "
            "cluster_path_cable cni_cilium_cable k8s_ptp_cable node_datapath_cable veth_datapath_cable",
        ),
        (
            forms.PORT,
            "a port",
            "netperf_port tunnel_port kubernetes_port cni_cilium_api_port datapath_proof_control_port "
            "datapath_proof_port datapath_proof_barrier_port datapath_proof_tunnel_port",
        ),
        (
            forms.MTU,
            "an MTU",
            "cluster_path_mtu cni_cilium_mtu k8s_ptp_mtu node_datapath_mtu veth_datapath_mtu veth_datapath_pod_mtu "
            "datapath_proof_mtu datapath_proof_endpoint_mtu tunnel_mtu",
        ),
        (
            forms.SECONDS,
            "a time",
            "kernel_reboot_timeout_s kubernetes_timeout_s cni_cilium_timeout_s netperf_pods_timeout "
            "datapath_proof_wait local_lab_boot_timeout_s vm_lab_boot_timeout_s",
        ),
        (
            forms.DIRECTORY,
            "a directory",
            "kernel_cache_dir local_lab_cache_dir local_lab_state_dir vm_lab_cache_dir vm_lab_state_dir",
        ),
        (forms.SUITE, "a release", "local_lab_release vm_lab_release"),
        (forms.or_empty(forms.ARCHIVE), "an archive", "local_lab_mirror vm_lab_mirror"),
        (forms.or_empty(forms.PATH), "a file", "local_lab_keyring vm_lab_keyring kernel_source_tarball"),
        (forms.PATH, "a file", "kernel_keyring"),
        (forms.each(forms.COMPONENT), "components", "local_lab_components vm_lab_components"),
        (forms.each(forms.PACKAGE), "packages", "local_lab_packages vm_lab_packages"),
    )
    return table | {name: Variable(form, what) for form, what, listed in many for name in listed.split()}


VARIABLES: Mapping[str, Variable] = _table()


@functools.cache
def known() -> Mapping[str, Variable]:
    """Every variable that labctl reads."""
    declared: dict[str, Variable] = {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in sorted(paths.content_root().glob(SPECS)):
        role = path.parent.parent.name
        for entry in yaml.load(path.read_text(encoding="utf-8"), Loader=loader)["argument_specs"].values():  # noqa: S506
            for name, option in entry.get("options", {}).items():
                declared.setdefault(name, Variable(_declared(option), f"read by role {role}"))
    return {**declared, **VARIABLES}


def _declared(option: Mapping[str, Any]) -> Form:
    """The form of an option of a role."""
    if "choices" in option:
        return forms.choice(option["choices"])
    if option["type"] == "list":
        return forms.each(_BY_TYPE[option.get("elements", "raw")])
    return _BY_TYPE[option["type"]]


_BY_TYPE: Mapping[str, Form] = {
    "str": forms.TEXT,
    "path": forms.TEXT,
    "int": forms.WHOLE,
    "float": forms.NUMBER,
    "bool": forms.TRUTH,
    "dict": forms.MAPPING,
    "list": forms.each(forms.ANY),
    "raw": forms.ANY,
}


@dataclass(frozen=True, eq=False)
class Host:
    """What an inventory says of one host.

    `values` are labctl's variables rendered, `errors` why others could not be, `places` where variables are set
    (file:line, as far as Ansible knows), and `raw` all variables as they are written.
    """

    name: str
    values: Mapping[str, Any]
    errors: Mapping[str, str]
    places: Mapping[str, str]
    raw: Mapping[str, Any]


def problems(kind: object, client: Host, server: Host, others: Iterable[Host], where: str) -> list[Problem]:
    """Everything that is wrong with the variables of a lab of this kind; `where` its inventory is."""
    ends = (client, server)
    found: dict[tuple[str, str, str | None], Problem] = {}
    for host in (*ends, *others):
        for problem in (*name_problems(kind, host.name, where), *_values(kind, host, where), *_unknown(host, where)):
            # A variable of a group is the same for each host: its place tells.
            found.setdefault((problem.what, problem.where or "", problem.seen), problem)
    for host in ends:
        for problem in _lacking(kind, host, where):
            found.setdefault((problem.what, problem.where or "", None), problem)
    return [*found.values(), *_of_pair(client, server, where)]


def _place(host: Host, name: str, where: str) -> str:
    """Where a variable is set: file:line and its name, else the inventory and the host."""
    return f"{host.places[name]}: {name}" if name in host.places else f"{where}: {name} of {host.name}"


def _shown(name: str, value: object) -> str:
    if SECRET.search(name):
        return "(not shown)"
    text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def name_problems(kind: object, name: str, where: str) -> Iterator[Problem]:
    """What is wrong with the name of a host, which becomes that of files and units."""
    problem = (names.MADE_NODE if kind in MADE else names.NODE).problem(name, f"{where}: host {name!a}"[:SHOWN])
    if problem is not None:
        yield problem
    elif ":" in name:
        hint = "give the host a name, and its address as ansible_host"
        yield Problem("a host cannot be called by an IPv6 address", f"{where}: host {name}", hint=hint)


def _values(kind: object, host: Host, where: str) -> Iterator[Problem]:
    """What is wrong with the values that are there."""
    for name, variable in known().items():
        at = _place(host, name, where)
        if name in host.errors:
            yield Problem(f"{name} ({variable.what}) cannot be rendered", at, host.errors[name], "correct its template")
        if name not in host.values:
            continue
        value = host.values[name]
        form = forms.named(names.MADE_LAB) if name == "lab_name" and kind in MADE else variable.form
        why = form.why_not(value)
        if forms.control_characters(value):
            why = "it holds a line break or another control character"
        if why is not None:
            yield Problem(f"{name} ({variable.what}): {why}", at, _shown(name, value), f"give {form.allowed}")


def _lacking(kind: object, host: Host, where: str) -> Iterator[Problem]:
    """What a lab of this kind needs and does not have."""
    for name, variable in VARIABLES.items():
        # Of a lab without a kind nobody knows what else it needs.
        needed = kind in variable.needed or (name in OWN and kind not in KINDS)
        if needed and name not in host.raw:
            typed = difflib.get_close_matches(name, host.raw, n=1, cutoff=SIMILAR)
            meant = f"is {_place(host, typed[0], where)} meant? " if typed else ""
            hint = f"{meant}it is {variable.what}: {variable.form.allowed}"
            yield Problem(f"the lab does not set {name}", f"{where}: host {host.name}", hint=hint)
        elif name in OWN and name not in host.values and name not in host.errors:
            at, hint = _place(host, name, where), "write it in the clear: it is no secret, and labctl itself reads it"
            yield Problem(f"{name} is kept by Ansible Vault", at, hint=hint)


def _unknown(host: Host, where: str) -> Iterator[Problem]:
    """Variables that are called nearly like one of labctl's, and that nothing in the inventory uses."""
    ours = known()
    used = " ".join(_templates(host.raw.values()))
    for name in host.raw:
        if name in ours or name.startswith("ansible_") or re.search(rf"\b{re.escape(name)}\b", used):
            continue
        meant = _similar(name)
        if meant and meant not in host.raw:
            hint = f"did you mean {meant}? If it is a variable of your own, call it something else"
            yield Problem(f"labctl reads no variable {name}", _place(host, name, where), hint=hint)


@functools.cache
def _similar(name: str) -> str | None:
    """The variable of labctl's that a name is nearly like. Every host of a group has the same ones."""
    return next(iter(difflib.get_close_matches(name, known(), n=1, cutoff=SIMILAR)), None)


def _templates(values: Iterable[object]) -> Iterator[str]:
    """Every text with a template in it, anywhere inside."""
    for value in values:
        if isinstance(value, str) and ("{{" in value or "{%" in value):
            yield value
        elif isinstance(value, Mapping):
            yield from _templates(value.values())
        elif isinstance(value, list):
            yield from _templates(value)


def _of_pair(client: Host, server: Host, where: str) -> Iterator[Problem]:
    """What is wrong with two ends that are right one by one."""
    for name in OWN:
        values = [host.values.get(name) for host in (client, server)]
        if values[0] != values[1] and None not in values:
            seen = ", ".join(f"{host.name}: {_shown(name, host.values[name])}" for host in (client, server))
            yield Problem(f"the two ends have different values of {name}", where, seen, "set it once, for all hosts")
    cables = {host: _read(ipaddress.IPv4Address, host, "cable_address") for host in (client, server)}
    pods = {host: _read(ipaddress.IPv4Network, host, "pod_network") for host in (client, server)}
    ours, theirs = cables[client], cables[server]
    if ours is not None and ours == theirs:
        hint = "give each its own"
        yield Problem("both ends have the same cable_address", _place(server, "cable_address", where), str(ours), hint)
    mine, yours = pods[client], pods[server]
    if mine is not None and yours is not None and mine.overlaps(yours):
        hint = "give each node a network of its own"
        yield Problem("the nodes' pod networks overlap", _place(server, "pod_network", where), f"{mine}, {yours}", hint)
    for host, network in pods.items():
        for address in cables.values():
            if network is not None and address is not None and address in network:
                seen, hint = f"{address} is in {network}", "take a network that no address of the cable is in"
                yield Problem("a cable's address lies in a pod network", _place(host, "pod_network", where), seen, hint)


def _read(cls: Any, host: Host, name: str) -> Any:
    """A value as an address or network; None where it is none."""
    try:
        return cls(host.values[name])
    except (KeyError, ValueError):
        return None
