"""The fingerprint: what the module makes of captured files and outputs, and what two fingerprints say of each other."""

from __future__ import annotations

import copy
import json
import os
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import datapath_cgroups as cgroups
from ansible.module_utils import fingerprint_machine as machine
from ansible.module_utils import fingerprint_network as network
from ansible.module_utils import fingerprint_probe as probe
from ansible.module_utils import fingerprint_settings as settings

from labctl.core.errors import LabctlError
from labctl.nodes.fingerprint import Fingerprint, Span, differences, node_differences, parse
from roles.fingerprint.library import fingerprint as module

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent
CAPTURES = REPOSITORY / "tests" / "fixtures" / "fingerprint"


class Captured:
    """The recorded outputs of a node's commands."""

    def __init__(self, outputs: Mapping[str, str | None]) -> None:
        self.outputs = outputs

    def start(self, commands: Mapping[str, object], stdin: str | None = None) -> None:
        """Nothing is started: the outputs are there."""

    def output(self, name: str) -> str | None:
        return self.outputs.get(name)


def captured(name: str) -> Any:
    return json.loads((CAPTURES / name).read_text())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("node1")
    with tarfile.open(CAPTURES / "node1.tar.gz") as archive:
        archive.extractall(root, filter="data")
    return probe.Files(str(root))


@pytest.fixture
def outputs() -> dict[str, str | None]:
    recorded: dict[str, str | None] = captured("node1-outputs.json")
    return recorded


@pytest.fixture
def local() -> dict[str, Any]:
    recorded: dict[str, Any] = captured("local.json")
    return recorded


def test_captured_node_gives_the_fingerprint_that_the_module_gave_there(files: Any, outputs: Any, local: Any) -> None:
    taken = module.take(files, Captured(outputs), module.Place("cable0"))
    wanted = local["node1"]
    # The module ran twice on the node; between the captures the clock went on, and tests run on another Python.
    for name in ("kernel", "boot", "cpu", "link", "nic", "network", "sysctl", "congestion_control", "services"):
        assert taken[name] == wanted[name], name


def test_the_wake_latency_that_is_requested_is_read_and_left_as_it_was() -> None:
    device = Path("/dev/cpu_dma_latency")
    if not os.access(device, os.W_OK):
        pytest.skip("this machine has no such device, or it is not ours")
    alone = machine.wake_latency(probe.Files())
    assert alone == machine.wake_latency(probe.Files())
    with device.open("r+b", buffering=0) as held:
        held.write(struct.pack("=i", 5))
        requested = machine.wake_latency(probe.Files())["requested_us"]
    assert isinstance(requested, int)
    assert requested <= 5
    assert machine.wake_latency(probe.Files())["refused"] is None


def test_missing_files_and_commands_are_null_and_never_zero(tmp_path: Path) -> None:
    taken = module.take(probe.Files(str(tmp_path)), Captured({}), module.Place("cable0"))
    assert taken["link"] is None
    assert taken["nic"] is None
    assert taken["cpu"]["threads"] is None
    assert taken["cpu"]["frequency"]["governors"] is None
    assert taken["kernel"]["config"] is None
    assert taken["memory"]["total_kb"] is None
    assert taken["network"]["conntrack"] is None
    assert taken["network"]["filters"] is None
    assert taken["network"]["links"] is None
    assert taken["network"]["qdiscs"] is None
    assert taken["network"]["bpf"] is None
    assert taken["network"]["netfilter"] is None
    assert set(taken["versions"].values()) == {None, taken["versions"]["python"]}
    assert taken["state"]["load"] is None
    assert taken["state"]["steal_pct_since_boot"] is None
    assert taken["state"]["wake_latency"] == {"requested_us": None, "refused": "No such file or directory"}


def test_no_secret_and_no_machine_id_is_read(files: Any, outputs: Any) -> None:
    text = json.dumps(module.take(files, Captured(outputs), module.Place("cable0")))
    assert "tcp_fastopen_key" not in text
    assert "machine-id" not in text
    assert "rss_key" not in text


def test_option_not_in_the_configuration_is_not_built() -> None:
    config = machine.parse_config("CONFIG_HZ=250\n# CONFIG_WIREGUARD is not set\nCONFIG_VETH=m\n")
    assert (config["HZ"], config["WIREGUARD"], config["VETH"], config["NETKIT"]) == (250, "n", "m", "n")
    assert config["DEFAULT_TCP_CONG"] is None


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3,8", (0, 1, 2, 3, 8)), ("0", (0,)), ("", ()), (None, ()), ("0-1,4-5", (0, 1, 4, 5))]
)
def test_cpu_lists(text: str | None, cpus: tuple[int, ...]) -> None:
    assert probe.cpu_list(text) == cpus
    assert probe.cpu_ranges(cpus) == (text or "")


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("net.core.rmem_max", "host"),
        ("net.core.default_qdisc", "host"),
        ("net.core.somaxconn", "namespace"),
        ("net.core.xfrm_acq_expires", "namespace"),
        ("net.ipv4.tcp_rmem", "namespace"),
        ("net.ipv4.tcp_mem", "host"),
        ("kernel.panic", "host"),
        ("vm.swappiness", "host"),
    ],
)
def test_sysctl_belongs_to_the_namespace_or_to_the_machine(name: str, scope: str) -> None:
    assert settings.sysctl_scope(name) == scope


def test_veth_is_no_card_and_has_no_speed(files: Any, outputs: Any) -> None:
    card = network.nic(files, Captured(outputs), "cable0")
    assert card is not None
    assert (card["hardware"], card["driver"], card["speed_mbps"]) == (False, "veth", None)
    assert card["features"]["tcp-segmentation-offload"] is False
    assert card["features"]["rx-checksumming"] is True


def test_card_has_bus_rings_and_coalescing(files: Any) -> None:
    card = network.nic(files, Captured(captured("virtio-outputs.json")), "eth0")
    assert card is not None
    assert (card["hardware"], card["driver"], card["bus"]) == (True, "virtio_net", "0000:00:03.0")
    assert card["speed_mbps"] is None  # "Unknown!"
    assert card["rings"] == {"rx": 256, "tx": 256}
    assert card["channels"] == {"combined": 1}
    assert card["coalesce"]["adaptive_rx"] is False
    assert card["coalesce"]["adaptive_tx"] is None
    assert card["coalesce"]["rx_frames"] == 1
    assert card["pause"] is None


def test_sysfs_of_another_namespace_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "sys/class/net/cable0"
    folder.mkdir(parents=True)
    (folder / "ifindex").write_text("3\n")
    (folder / "address").write_text("02:00:00:00:00:01\n")
    files = probe.Files(str(tmp_path))
    own = {"ifindex": 3, "address": "02:00:00:00:00:01"}
    assert network.sysfs_path(files, own, "cable0") == "/sys/class/net/cable0"
    assert network.sysfs_path(files, own | {"address": "02:00:00:00:00:02"}, "cable0") is None
    assert network.sysfs_path(files, own | {"ifindex": 4}, "cable0") is None


def test_interrupts_and_steering_of_a_card(tmp_path: Path) -> None:
    for path, text in {
        "sys/class/net/eth0/device/msi_irqs/38": "",
        "sys/class/net/eth0/queues/rx-0/rps_cpus": "3",
        "sys/class/net/eth0/queues/tx-0/xps_cpus": "1",
        "proc/irq/38/smp_affinity_list": "0-1",
        "proc/irq/38/effective_affinity_list": "1",
        "proc/interrupts": "      CPU0  CPU1\n 38:  0  3306 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    files = probe.Files(str(tmp_path))
    assert network.queues(files, "/sys/class/net/eth0") == {"rx-0": "3", "tx-0": "1"}
    assert network.interrupts(files, "/sys/class/net/eth0") == {"virtio2-input.0": {"allowed": "0-1", "effective": "1"}}


def test_rules_filters_and_programs_are_counted(files: Any, outputs: Any) -> None:
    outputs |= {
        "qdisc": (CAPTURES / "hooked-tc-qdisc.json").read_text(),
        "filters": (CAPTURES / "hooked-tc-filters.txt").read_text(),
        "bpf": (CAPTURES / "hooked-bpf.json").read_text(),
        "nft": (CAPTURES / "hooked-nft.txt").read_text(),
    }
    hooked = Captured(outputs)
    seen = network.network(files, hooked)
    assert network.hooked_devices(hooked) == ["cable0"]
    assert network.filter_batch(["cable0"]) == "filter show dev cable0 ingress\nfilter show dev cable0 egress\n"
    assert seen["qdiscs"]["cable0"] == ["clsact", "noqueue"]
    (program,) = seen["filters"]["cable0 ingress"]
    assert json.loads(program)["options"]["bpf_name"] == "c.o:[tc/cable_ingress]"
    assert seen["filters"]["cable0 egress"] == [program]
    assert seen["bpf"] == [
        "cable0 clsact/egress c.o:[tc/cable_ingress]",
        "cable0 clsact/ingress c.o:[tc/cable_ingress]",
    ]
    assert {name: told["rules"] for name, told in seen["netfilter"].items()} == {"ip labctl_x": 3, "ip nat": 1}


def test_a_rule_that_changed_changes_the_hash_of_its_table_and_what_packets_leave_does_not() -> None:
    text = (CAPTURES / "hooked-nft.txt").read_text()

    def changed(old: str, new: str) -> list[str]:
        """The tables whose hash another text changes."""
        assert old in text
        before, after = network.parse_rules(text), network.parse_rules(text.replace(old, new))
        assert before is not None
        assert after is not None
        return [name for name in before if before[name] != after[name]]

    assert changed("10.9.9.9", "10.9.9.8") == ["ip nat"]
    assert changed("198.18.0.7", "198.18.0.8") == ["ip labctl_x"]
    assert changed("policy accept", "policy drop") == ["ip labctl_x", "ip nat"]
    assert changed("elements = { 198.18.0.1", "elements = { 198.18.0.3, 198.18.0.1") == []


def test_shaping_and_actions_are_told_without_the_numbers_that_the_kernel_draws(outputs: Any) -> None:
    qdisc = (CAPTURES / "shaped-tc-qdisc.json").read_text()
    told = (CAPTURES / "shaped-tc-filters.txt").read_text()
    seen = network.qdiscs(qdisc)
    assert seen is not None
    assert seen["cable0"] == ["clsact", 'tbf {"burst": 102375, "lat": 10000, "rate": 125000000}']

    def filters(text: str) -> Any:
        return network.filters(Captured({**outputs, "qdisc": qdisc, "filters": text}))

    before = filters(told)
    assert list(before) == ["cable0 ingress"]
    assert filters(told.replace('"index":1,"ref":1,"bind":1', '"index":7,"ref":2,"bind":2')) == before
    assert filters(told.replace('"to_dev":"mgmt0"', '"to_dev":"lo"')) != before
    # A version of tc that prints words among its JSON is compared by its words.
    wordy = told.replace('"actions":[', '"actions":[ police 0x1 rate 1Gbit ,')
    assert list(filters(wordy)) == ["all devices"]
    assert filters(wordy.replace("1Gbit", "2Gbit")) != filters(wordy)


def test_links_of_pods_are_told_without_the_names_that_are_drawn_for_them() -> None:
    def listed(*names: str) -> str:
        return json.dumps([{"ifname": name, "mtu": 1500 + len(name), "flags": ["UP"]} for name in names])

    before = network.links(listed("lo", "lxc0123456789ab", "lxc_health", "lxcabcdef0123"))
    assert before is not None
    assert set(before) == {"lo", "lxc*1", "lxc*2", "lxc_health"}
    assert network.links(listed("lxc1111111111", "lxc_health", "lxc22222222222e", "lo")) == before


def test_settings_of_a_namespace_are_read_without_secrets_and_those_of_the_machine() -> None:
    text = (
        "/proc/sys/net/ipv4/tcp_rmem:4096\t131072\t6291456\n/proc/sys/net/ipv4/tcp_fastopen_key:0-0-0-1\n"
        "/proc/sys/net/core/rmem_max:212992\n/proc/sys/net/core/somaxconn:4096\n"
    )
    assert settings.namespace_sysctl(text) == {
        "net.ipv4.tcp_rmem": "4096 131072 6291456",
        "net.core.somaxconn": "4096",
    }


def test_programs_of_sockets_are_named_but_those_of_units_and_containers() -> None:
    def program(kind: str, name: str, number: int = 7) -> dict[str, object]:
        return {"id": number, "attach_type": kind, "attach_flags": "multi", "name": name}

    of_units = [program("device", ""), program("egress", "sd_fw_egress"), program("cgroup_inet4_bind", "sd_bind4")]
    unit, slice_, netserver = (f"/sys/fs/cgroup/{name}" for name in ("a.service", "system.slice", cgroups.NETSERVER))
    tree = [
        {"cgroup": "/sys/fs/cgroup", "programs": [program("connect4", "sock4_connect")]},
        {"cgroup": unit, "programs": of_units},
        {"cgroup": slice_, "programs": [program("cgroup_inet_egress", "sd_fw_egress")]},
        {"cgroup": netserver, "programs": [program("cgroup_inet_ingress", "")]},
        {"cgroup": "/sys/fs/cgroup/kubepods", "programs": [program("cgroup_device", "")]},
    ]
    pod = "kubepods/pod12345678-1234-1234-1234-123456789abc/" + "0f" * 32
    of_pod = json.dumps([{"cgroup": pod, "programs": [program("connect4", "other")]}])
    assert network.parse_socket_programs(of_pod) == ["kubepods/pod*/* connect4 other"]
    # What systemd has on a slice for packets, all processes of its units pass, and netserver what is on its own.
    assert network.parse_socket_programs(json.dumps(tree)) == [
        "/sys/fs/cgroup connect4 sock4_connect",
        f"{netserver} cgroup_inet_ingress",
        f"{slice_} cgroup_inet_egress sd_fw_egress",
    ]
    assert network.parse_socket_programs("[]") == []
    assert network.parse_socket_programs(None) is None


def test_the_hierarchy_of_version_2_is_found_wherever_it_is_mounted() -> None:
    hybrid = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /run/cilium/cgroupv2 cgroup2 rw 0 0\n"
    assert cgroups.hierarchy(hybrid) == "/run/cilium/cgroupv2"
    assert cgroups.hierarchy(hybrid + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n") == "/sys/fs/cgroup/unified"
    assert cgroups.hierarchy("tmpfs /sys/fs/cgroup tmpfs ro 0 0\n") is None


def test_rules_are_not_asked_for_where_asking_would_load_a_module(tmp_path: Path) -> None:
    files = probe.Files(str(tmp_path))
    assert module.netfilter_is_loaded(files, {"config": {"NF_TABLES": "y"}})
    assert not module.netfilter_is_loaded(files, {"config": {"NF_TABLES": "m"}})
    assert not module.netfilter_is_loaded(files, {"config": None})
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/modules").write_text("veth 1 0 - Live 0x0\nnf_tables 303104 0 - Live 0x0\n")
    assert module.netfilter_is_loaded(files, {"config": None})


def test_services_are_told_apart_from_those_not_installed() -> None:
    text = (
        "Id=irqbalance.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\n"
        "Id=tuned.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n"
    )
    states = settings.parse_services(text)
    assert states["irqbalance"] == {"active": True, "enabled": True}
    assert states["tuned"] is None


def test_commands_that_are_missing_or_fail_give_none() -> None:
    commands = probe.Commands()
    commands.start({"none": ["labctl-has-no-such-tool"], "bad": ["ls", "/nowhere"], "good": ["echo", "here"]})
    commands.start({"fed": ["cat"]}, stdin="fed\n")
    assert [commands.output(name) for name in ("none", "bad", "good", "fed")] == [None, None, "here\n", "fed\n"]
    commands.end()


def test_identity_covers_what_must_not_change_and_nothing_that_a_setup_sets(local: Any) -> None:
    document = local["node1"]
    assert module.identity(document) == document["identity"]

    def changed(*path: str) -> str:
        other = copy.deepcopy(document)
        section = other
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = "something else"
        return str(module.identity(other))

    for path in (
        ("kernel", "cmdline"),
        ("cpu", "frequency", "governors"),
        ("nic", "features", "generic-receive-offload"),
        ("versions", "netperf"),
        ("services", "irqbalance"),
        ("sysctl", "host", "net.core.rmem_max"),
        ("sysctl", "namespace", "net.ipv4.tcp_rmem"),
    ):
        assert changed(*path) != document["identity"], path
    for path in (
        ("boot", "id"),
        ("link", "mtu"),
        ("network", "netfilter"),
        ("sysctl", "setup", "net.ipv4.ip_forward"),
        ("state", "load"),
        ("memory", "total_kb"),
    ):
        assert changed(*path) == document["identity"], path


def test_typed_access(local: Any) -> None:
    seen = parse(local["node1"], "node1")
    assert seen.whole("cpu", "threads") == 2
    assert seen.text("nic", "driver") == "veth"
    assert seen.text("nic", "firmware") is None
    assert seen.flag("link", "up") is True
    assert seen.kernel_version == (6, 18)
    with pytest.raises(KeyError, match=r"a fingerprint has no cpu\.treads"):
        seen.whole("cpu", "treads")
    with pytest.raises(LabctlError, match="wrong kind"):
        seen.text("cpu", "threads")


def test_what_is_no_fingerprint_is_refused() -> None:
    with pytest.raises(LabctlError, match=r"not a fingerprint of schema labctl.fingerprint/1"):
        parse({"schema": "labctl.fingerprint/99", "identity": ""}, "here")


def told(before: Any, later: Any, span: Span = Span.SETUP) -> list[str]:
    """Where two documents differ."""
    return [each.path for each in differences(Fingerprint(before), Fingerprint(later), span)]


def test_differences_of_one_node_leave_out_what_changes_by_itself(local: Any) -> None:
    before, later = local["node1"], copy.deepcopy(local["node1"])
    later["state"]["load"] = [9.0, 9.0, 9.0]
    later["identity"] = "0" * 64
    later["boot"]["time_s"] += 1
    later["memory"]["total_kb"] -= 200_000  # a balloon
    later["tunnels"]["drivers"] = {"aes": "aes-aesni"}
    later["congestion_control"]["available"].append("dctcp")
    later["link"]["addresses"][-1] = "fe80::1/64"
    assert all(told(before, later, span) == [] for span in Span)
    later["boot"]["time_s"] += 3600
    later["network"]["netfilter"] = {"ip labctl": {"rules": 3, "sha256": "ab"}}
    later["cpu"]["mitigations"]["retbleed"] = "Vulnerable"
    found = differences(Fingerprint(before), Fingerprint(later))
    assert [each.path for each in found] == [
        "boot.time_s",
        "cpu.mitigations.retbleed",
        "network.netfilter.ip labctl.rules",
        "network.netfilter.ip labctl.sha256",
    ]
    assert str(found[1]) == "cpu.mitigations.retbleed: Not affected / Vulnerable"
    assert (found[2].first, found[2].second) == (None, 3)


ALWAYS = frozenset(Span)
OF_ONE_SETUP = ALWAYS - {Span.RUN}


@pytest.mark.parametrize(
    ("path", "value", "spans"),
    [
        (("boot", "id"), "another", frozenset()),  # of the container
        (("boot", "time_s"), 1, ALWAYS),
        (("memory", "huge_pages"), 512, ALWAYS),
        (("memory", "total_kb"), 1_000_000, ALWAYS),
        (("nic", "features", "generic-receive-offload"), True, ALWAYS),
        (("sysctl", "namespace", "net.ipv4.tcp_rmem"), "1 2 3", ALWAYS),
        (("sysctl", "setup", "net.ipv4.ip_forward"), "1", OF_ONE_SETUP),
        (("sysctl", "host", "kernel.timer_migration"), "7", OF_ONE_SETUP),  # an agent sets it while it runs
        (("sysctl", "host", "kernel.unprivileged_bpf_disabled"), "1", frozenset()),
        (("congestion_control", "current"), "cubic", ALWAYS),
        (("link", "carrier"), False, ALWAYS),
        (("link", "mtu"), 9000, OF_ONE_SETUP),
        (("network", "links", "cable0", "gso_max_size"), 4096, ALWAYS),
        (("network", "links", "cable0", "mtu"), 9000, OF_ONE_SETUP),
        (("network", "links", "mgmt0"), {"mtu": 1500}, OF_ONE_SETUP),  # a setup may make devices
        (("network", "qdiscs", "cable0"), ['netem {"delay": 1}'], ALWAYS),
        (("network", "qdiscs", "cable0"), ["clsact", "noqueue"], OF_ONE_SETUP),  # the hook of a setup's programs
        (("network", "filters", "cable0 ingress"), ["{}"], OF_ONE_SETUP),
        (("network", "bpf"), ["cable0 tcx/ingress stranger"], OF_ONE_SETUP),
        (("network", "socket_programs"), ["/ connect4 stranger"], OF_ONE_SETUP),
        (("network", "netfilter"), {"ip nat": {"rules": 1}}, OF_ONE_SETUP),
        (("deployed", "images"), {"x on node1": ["c sha256:1"]}, OF_ONE_SETUP),
        (("deployed", "instances"), {"x on node1": ["pod 2"]}, {Span.VISIT}),
        (("cni", "says", "host_routing"), "legacy", OF_ONE_SETUP),
        (("cni", "says", "state"), "Warning", frozenset()),
    ],
)
def test_what_has_to_be_the_same_depends_on_what_was_deployed(
    local: Any, path: tuple[str, ...], value: object, spans: frozenset[Span]
) -> None:
    before = local["node1"]
    before["deployed"] = {"images": {}, "instances": {"x on node1": ["pod 1"]}}
    before["cni"] = {"says": {"host_routing": "bpf", "state": "Ok"}}
    later = copy.deepcopy(before)
    place = later
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert {span for span in Span if told(before, later, span)} == spans


def test_a_machine_is_known_to_be_restarted_by_the_id_of_its_boot(local: Any) -> None:
    before = local["node1"]
    before["machine"]["container"] = None
    clock_was_set, restarted = copy.deepcopy(before), copy.deepcopy(before)
    clock_was_set["boot"]["time_s"] += 3600
    restarted["boot"]["id"] = "another"
    for span in Span:
        assert told(before, clock_was_set, span) == []
        assert told(before, restarted, span) == ["boot.id"]


def test_what_was_not_looked_at_is_no_change_and_what_could_not_be_read_again_is_one(local: Any) -> None:
    before = local["node1"]
    before["deployed"] = {"images": {}, "instances": {}}
    older = {name: section for name, section in copy.deepcopy(before).items() if name not in ("deployed", "memory")}
    del older["network"]["links"]
    assert told(older, before) == []
    assert told(before, older) == []
    assert told(before, {**before, "deployed": None}) == ["deployed"]
    before["network"]["conntrack"], loaded = None, copy.deepcopy(before)
    loaded["network"]["conntrack"] = {"nf_conntrack_max": 262144}
    assert told(before, loaded) == []  # somebody's rule loaded the module
    changed = copy.deepcopy(loaded)
    changed["network"]["conntrack"]["nf_conntrack_max"] = 1
    assert told(loaded, changed) == ["network.conntrack.nf_conntrack_max"]


def test_two_nodes_of_one_machine_do_not_differ(local: Any) -> None:
    assert node_differences(Fingerprint(local["node1"]), Fingerprint(local["node2"])) == ()
