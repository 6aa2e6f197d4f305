#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_gone
short_description: The cluster, or its network alone, is off the node
description:
  - Goes by the record that kubernetes_traces made before there was one. Everything of its kinds that is not in
    the record was brought by the cluster, or by a CNI on it, and is removed. Without a record nothing is touched.
options:
  what: {type: str, choices: [cluster, network], default: cluster, description: Which of the two.}
author: labctl
"""

RETURN = r"""
done: {type: list, description: What was removed.}
"""

import functools
import glob
import json
import os
import shutil
import time
from collections import Counter
from typing import Any, Optional

from ansible.module_utils import datapath_cgroups as cgroups
from ansible.module_utils import kubernetes_traces as traces
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kubernetes_traces import Traces
from ansible.module_utils.labctl_node.files import read_json, read_text
from ansible.module_utils.labctl_node.processes import end_all, of_processes, stat
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run
from ansible.module_utils.labctl_node.wait import wait_until

UNITS = ("kubelet.service", "containerd.service", "labctl-kubelet-settings.service", "labctl-control-groups.service")
UNIT_DIRECTORY = "/etc/systemd/system"
# Where runtime and kubelet mount what containers have. Those of the cluster itself may have been started again since.
PODS = ("/run/containerd/", "/var/lib/kubelet/pods/")
DATA = (
    "/etc/kubernetes",
    "/etc/containerd",
    "/run/containerd",
    "/run/labctl/kubelet-settings",
    "/var/lib/containerd",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)
PLUGINS = "/opt/cni/bin/"
REMOVED = " (deleted)"  # what the kernel adds to the path of a program that is no longer there
SHIM = "containerd-shim"
END_S = 15
LINK_END_S = 0.5


def container_processes() -> list[int]:
    """The shims of containerd and everything that runs below them."""
    tree = of_processes(stat)
    found = {pid for pid, (name, _) in tree.items() if name.startswith(SHIM)}
    while more := {pid for pid, (_, (_, parent, *_)) in tree.items() if int(parent) in found} - found:
        found |= more
    return sorted(found)


def plugin_processes() -> list[int]:
    """What still runs of CNI plugins that were removed."""
    programs = of_processes(lambda directory: os.readlink(f"{directory}/exe"))
    return [pid for pid, path in programs.items() if path.startswith(PLUGINS) and path.endswith(REMOVED)]


def stop_units() -> list[str]:
    """Stop what labctl installed, and remove the units. The kubelet goes first: it would start containers again."""
    there = [unit for unit in UNITS if os.path.exists(os.path.join(UNIT_DIRECTORY, unit))]
    for unit in there:
        run(["systemctl", "--quiet", "disable", "--now", unit])
    for unit in there:
        os.unlink(os.path.join(UNIT_DIRECTORY, unit))
    if there:
        run(["systemctl", "daemon-reload"])
    return there


def extra(before: Traces, after: Traces, kind: str) -> list[str]:
    """Traces of a kind that were not there, each once."""
    return sorted(set(after[kind]) - set(before.get(kind, [])))


def unmount(before: Traces, spared: tuple[str, ...] = ()) -> list[str]:
    """Unmount what was mounted since, the deepest and latest first, until nothing is left or nothing can be done.

    What is below the `spared` directories stays.
    """
    done: list[str] = []
    for _ in range(100):
        left = Counter(entry for entry in traces.read()["mounts"] if not entry.startswith(spared))
        left -= Counter(before["mounts"])
        if not left:
            break
        for entry in sorted(left.elements(), key=len, reverse=True):
            run(["umount", "--lazy", entry.rpartition(" ")[0]])
            done.append(f"mount {entry}")
    return done


def remove(path: str) -> None:
    """Remove a file, or a directory with all below it; what went with another is no longer there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def remove_files(before: Traces) -> list[str]:
    """Data of the cluster, and what is new in the places that others share."""
    done = []
    for path in DATA:
        if os.path.ismount(path):  # a file system of its own stays, empty
            for entry in os.scandir(path):
                remove(entry.path)
                done.append(entry.path)
        elif os.path.lexists(path):
            shutil.rmtree(path)
            done.append(path)
    done += remove_pins_and_files(before)
    for top in traces.CNI_DIRECTORIES:
        if os.path.isdir(top) and not any(entry.startswith(top) for entry in before["CNI files"]):
            shutil.rmtree(top)
    return done


def remove_pins_and_files(before: Traces) -> list[str]:
    """What is new in the places that a CNI shares with others. A program whose pinned link goes is detached.

    The kubelet lets a plugin clean up once more after pods that went a minute ago. One may then wait for its
    agent, and write down in the end that it was not there: so the program goes first, what runs of it, then the rest.
    """
    done = []
    for _ in range(2):
        after = traces.read()
        for kind in ("CNI files", "BPF pins", "network namespaces"):
            new = extra(before, after, kind)
            for path in new:
                remove(path)
            done += new
        end_all(plugin_processes, "CNI plugins that were removed do not end.", END_S)
    return done


def remove_hooks_and_rules(before: Traces) -> list[str]:
    """Programs of sockets, hooks, links, rules, routes, XFRM and netfilter tables that are new."""
    done = remove_socket_programs(before)
    for name in extra(before, traces.read(), "hooks"):
        run(["tc", "qdisc", "delete", "dev", name, "clsact"])
        done.append(f"hook {name}")
    for name in extra(before, traces.read(), "links"):
        if os.path.exists(f"/sys/class/net/{name}"):  # the other end of a pair goes with the first
            run(["ip", "link", "delete", name])
            done.append(f"link {name}")
    done += remove_rules(before)
    after = traces.read()
    for entry in extra(before, after, "routes"):
        route = json.loads(entry)
        where = ["table", route["table"]] if "table" in route else []
        run(["ip", "route", "delete", route["dst"], *where])
        done.append(f"route {entry}")
    if extra(before, after, "XFRM"):
        run(["ip", "xfrm", "state", "flush"])
        run(["ip", "xfrm", "policy", "flush"])
        done.append("XFRM")
    if extra(before, after, "IPVS"):
        run(["ipvsadm", "--clear"])
        done.append("IPVS")
    return done + remove_netfilter(before, after) + traces.restore_settings(before)


def remove_socket_programs(before: Traces) -> list[str]:
    """Detach programs on control groups that are new.

    Those that a link held whose pin has just gone are on their way, and cannot be detached by hand.
    """
    known = before.get("socket programs")
    if known is None:  # a record of a labctl that did not look at them
        return []

    def new() -> list[dict[str, Any]]:
        return [program for program in cgroups.attached() if cgroups.words(program) not in known]

    wait_until(lambda: not new(), LINK_END_S)
    done = new()
    for program in done:
        run(["bpftool", "cgroup", "detach", program["group"], program["type"], "id", str(program["id"])])
    return [f"program {cgroups.words(program)}" for program in done]


def remove_rules(before: Traces) -> list[str]:
    """Put back routing rules that are gone, then remove those that are new.

    In this order: a CNI may move the rule for the table `local` to another priority, and a node without one is cut off.
    """
    done, after = [], {"rules": sorted(traces.rules())}
    for action, entries in (("add", extra(after, before, "rules")), ("delete", extra(before, after, "rules"))):
        for entry in entries:
            family, _, text = entry.partition(" ")
            run(["ip", family, "rule", action, *rule_arguments(json.loads(text))])
            done.append(f"rule {action} {entry}")
    return done


def rule_arguments(rule: dict[str, object]) -> list[str]:
    """What `ip rule` takes for a rule that it printed. Raises Refused for selectors that are not known here."""
    left = dict(rule)
    found = ["priority", str(left.pop("priority")), "from", _narrowed(left, "src", "srclen")]
    for key, word, mask in (("dst", "to", "dstlen"), ("fwmark", "fwmark", "fwmask")):
        if key in left:
            found += [word, _narrowed(left, key, mask)]
    for key in ("iif", "oif", "table", "protocol"):
        if key in left:
            found += [key, str(left.pop(key))]
    if left:
        raise Refused(
            "A routing rule has selectors that labctl cannot put back or remove.",
            where="ip rule",
            seen=json.dumps(rule),
            hint="Put the rules back as they were by hand, then run the command again.",
        )
    return found


def _narrowed(rule: dict[str, object], key: str, mask: str) -> str:
    """A value of the rule and the mask that goes with it, if any; both are taken out of the rule."""
    value = str(rule.pop(key))
    return f"{value}/{rule.pop(mask)}" if mask in rule else value


def remove_netfilter(before: Traces, after: Traces) -> list[str]:
    """Tables that are new go whole; one that was there before goes back to what it held, if that was nothing."""
    done = []
    old = {entry for entry in before["netfilter"] if entry.startswith("table ")}
    for entry in after["netfilter"]:
        if entry.startswith("table ") and entry not in old:
            table = json.loads(entry.partition(" ")[2])
            run(["nft", "delete", "table", table["family"], table["name"]])
            done.append(f"table {table['family']} {table['name']}")
    for entry in extra(before, after, "netfilter"):
        if entry.startswith("legacy "):  # a table that goes with its module, which its rules hold
            _, family, _, name = entry.split()
            if program := shutil.which(f"{family}tables-legacy"):
                run([program, "--table", name, "--flush"])
                run([program, "--table", name, "--delete-chain"])
            run(["modprobe", "--remove", f"{family}table_{name}"])
            done.append(entry)
    return done


def remove_control_groups() -> list[str]:
    """Groups of pods and containers, which no process is in any more."""
    done = []
    for pattern in ("/sys/fs/cgroup/*/kubepods*", "/sys/fs/cgroup/kubepods*", "/sys/fs/cgroup/*/k8s.io"):
        for top in glob.glob(pattern):
            for directory, _, _ in os.walk(top, topdown=False):
                wait_until(functools.partial(is_empty, directory), END_S)
                os.rmdir(directory)
            done.append(top)
    return done


def is_empty(group: str) -> bool:
    return not read_text(os.path.join(group, "cgroup.procs"))


def remove_cluster(before: Traces) -> list[str]:
    # The mounts that make control groups and settings what they are on a shared kernel are undone by their units.
    done = stop_units()
    done += ["containers"] if end_all(container_processes, "Containers do not end.", END_S) else []
    return done + remove_control_groups() + unmount(before) + remove_files(before) + remove_hooks_and_rules(before)


def remove_network(before: Traces) -> list[str]:
    return unmount(before, PODS) + remove_pins_and_files(before) + remove_hooks_and_rules(before)


# What is removed, with the record of how it was before, and how.
WHAT = {"cluster": (traces.BEFORE, remove_cluster), "network": (traces.NETWORK_BEFORE, remove_network)}


def gone(what: str, check_mode: bool) -> dict[str, object]:
    record, action = WHAT[what]
    before: Optional[Traces] = read_json(record)
    if before is None:
        return {"changed": False, "done": []}
    if check_mode:
        return {"changed": True, "done": [f"the {what}"]}
    started = time.monotonic()
    done = action(before)
    return {"changed": True, "done": done, "seconds": round(time.monotonic() - started, 1)}


def main() -> None:
    what = {"what": {"type": "str", "choices": ["cluster", "network"], "default": "cluster"}}
    module = AnsibleModule(argument_spec=what, supports_check_mode=True)
    finish(module, lambda: gone(module.params["what"], module.check_mode))


if __name__ == "__main__":
    main()
