"""The role local_lab's decisions that need no lab: addresses, archives, name servers, records, host state."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from pathlib import Path
from typing import IO, Any

import pytest
from ansible.module_utils import lab_host_apt as apt
from ansible.module_utils import local_lab_boot as boot
from ansible.module_utils import local_lab_host_state as host_state
from ansible.module_utils import local_lab_plan as plans
from ansible.module_utils import local_lab_record as records
from ansible.module_utils.labctl_node import processes
from ansible.module_utils.labctl_node.machine import boot_id
from ansible.module_utils.labctl_node.refused import Refused

from roles.lab_host.library import lab_host_tree as tree

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent

BOOKWORM_HOST = [
    apt.Source("http://mirror.example/debian", "bookworm", "main", "Debian", "bookworm"),
    apt.Source("http://mirror.example/debian", "bookworm-updates", "main", "Debian", "bookworm-updates"),
    apt.Source("http://other.example/security", "bookworm-security", "main", "Debian-Security", "bookworm-security"),
]


def test_labs_of_different_indexes_share_no_address_and_no_name() -> None:
    one, two = plans.plan("one", 3, ["node1", "node2"]), plans.plan("two", 4, ["node1", "node2"])
    for mine in one.networks:
        assert not any(ipaddress.ip_network(mine).overlaps(ipaddress.ip_network(other)) for other in two.networks)
    for node in one.nodes:
        for address in (node.address, node.cable_address):
            assert ipaddress.ip_address(address) in ipaddress.ip_network(one.networks[0])
    owned = [
        {one_of.table, *(n.netns for n in one_of.nodes), *(n.host_interface for n in one_of.nodes)}
        for one_of in (one, two)
    ]
    assert not owned[0] & owned[1]


def test_the_longest_names_fit_the_kernel() -> None:
    lab = plans.plan("a" * 20, 254, ["node1", "node2"])
    assert all(len(node.host_interface) <= 15 for node in lab.nodes)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("Lab_1", 0, ["node1", "node2"]), "lab_name"),
        (("lab", 255, ["node1", "node2"]), "local_lab_index"),
        (("lab", -1, ["node1", "node2"]), "local_lab_index"),
        (("lab", 0, ["node1"]), "groups client and server"),
        (("lab", 0, ["node1", "node1"]), "groups client and server"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[str, int, list[str]], where: str) -> None:
    assert [problem["where"] for problem in plans.wrong_arguments(*arguments)] == [where]


def test_all_wrong_arguments_are_named_at_once() -> None:
    assert len(list(plans.wrong_arguments("", 300, []))) == 3


def test_a_host_of_the_release_lends_all_of_its_suites() -> None:
    assert apt.suites_of("bookworm", BOOKWORM_HOST) == [
        ("http://mirror.example/debian", "bookworm"),
        ("http://mirror.example/debian", "bookworm-updates"),
        ("http://other.example/security", "bookworm-security"),
    ]


def test_of_another_release_the_main_suite_comes_from_the_same_archive() -> None:
    assert apt.suites_of("trixie", BOOKWORM_HOST) == [("http://mirror.example/debian", "trixie")]


def test_a_host_without_debian_leaves_the_archive_to_mmdebstrap() -> None:
    assert apt.suites_of("trixie", []) == []


def test_netperf_asks_for_non_free_only_where_it_is_there(tmp_path: Path) -> None:
    assert apt.sources("bookworm", "http://m.example", [], str(tmp_path)) == {
        "lines": ["deb http://m.example bookworm main non-free"],
        "components": ["main", "non-free"],
    }
    assert apt.sources("trixie", "http://m.example", [], str(tmp_path))["components"] == ["main"]


def test_a_stub_resolver_of_the_host_is_no_name_server_for_nodes() -> None:
    assert boot.without_stubs("nameserver 127.0.0.53\noptions edns0\n") is None
    assert boot.without_stubs("nameserver 127.0.0.1\nnameserver 192.0.2.1\n") == "nameserver 192.0.2.1\n"


def test_a_broken_record_stops_whoever_reads_it(tmp_path: Path) -> None:
    files = records.LocalFiles(str(tmp_path), "lab")
    Path(files.directory).mkdir(parents=True)
    Path(files.record).write_text("{}")
    with pytest.raises(Refused) as failed:
        records.read(str(tmp_path), "lab")
    (problem,) = failed.value.problems
    assert problem["where"] == files.record
    assert "ip link, ip netns" in problem["hint"]


def test_a_host_that_names_its_suites_by_their_age_lends_what_they_are_now() -> None:
    host = [
        apt.Source("http://m", "stable", "main", "Debian", "bookworm"),
        apt.Source("http://m", "stable-updates", "main", "Debian", "bookworm-updates"),
    ]
    assert apt.suites_of("bookworm", host) == [
        ("http://m", "bookworm"),
        ("http://m", "bookworm-updates"),
    ]


def test_how_the_host_fetches_is_on_no_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dump = "Acquire::http::Proxy http://me:hush@proxy:3128\nAcquire::Languages en\n"
    monkeypatch.setattr(apt, "run", lambda _: dump)
    seen: dict[str, object] = {}

    def build(argv: list[str], log: IO[str]) -> int:
        (acquire,) = (word.partition("=")[2] for word in argv if word.startswith("--aptopt="))
        seen.update(argv=argv, mode=Path(acquire).stat().st_mode & 0o777, text=Path(acquire).read_text())
        Path(argv[-1]).mkdir()
        return 0

    monkeypatch.setattr(tree, "run_while_wanted", build)
    params: dict[str, Any] = {"customise": [], "packages": ["a"], "release": "bookworm"}
    wanted: dict[str, Any] = {"dpkg": (), "keyring": "", "packages": ["a"], "release": "bookworm"}
    wanted["sources"] = {"components": ["main"], "lines": []}
    tree.build(wanted, params, str(tmp_path / "tree"))
    assert "hush" not in str(seen["argv"])
    assert (seen["mode"], 'Acquire::http::Proxy "http://me:hush@proxy:3128";' in str(seen["text"])) == (0o600, True)
    left = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert left
    assert "hush" not in str(left)


def test_a_list_of_mirrors_on_the_host_is_no_address_for_a_node(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# first\n\nhttp://m/debian\tpriority:1\nhttp://n/debian\n")
    for form in ("mirror+file:{}", "mirror+file://{}"):
        assert apt.plain(form.format(tmp_path / "list")) == "http://m/debian"
    assert apt.plain("http://m/debian") == "http://m/debian"
    assert apt.plain("mirror+file:/nowhere") == "mirror+file:/nowhere"


def recorded() -> records.Record:
    """A lab of this boot."""
    lab = plans.plan("lab", 7, ["node1", "node2"])
    origin = {"inventory": "/inventory", "boot_id": boot_id(), "created": "2026-01-01", "release": "bookworm"}
    return records.Record(plan=lab, tree="/tree", uplink=None, **origin)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = recorded()
    Path(records.LocalFiles(str(tmp_path), "lab").directory).mkdir(parents=True)
    records.write(str(tmp_path), record)
    assert records.read(str(tmp_path), "lab") == record


def test_a_process_is_not_taken_for_its_successor() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        seen = processes.process(child.pid)
        assert seen is not None
        assert seen.alive
        assert not processes.Process(seen.pid, seen.started + 1).alive
        assert processes.kill([child.pid]) == 1
        assert processes.process(child.pid) is None, "a zombie does not run"
    assert processes.kill([child.pid]) == 0


class TestHostState:
    @pytest.fixture
    def record(self, tmp_path: Path) -> Path:
        path = tmp_path / "host_state.json"
        assert host_state.record(str(path), [], str(tmp_path))["changed"]
        return path

    def tampered(self, record: Path, **changes: object) -> str:
        record.write_text(json.dumps(json.loads(record.read_text()) | changes))
        return str(record)

    def test_nothing_changed_is_no_difference(self, record: Path) -> None:
        compared = host_state.compare(str(record), [], str(record.parent))
        assert compared["keys"] > 100
        assert compared["modules"] == []

    def test_a_second_record_keeps_the_first(self, record: Path) -> None:
        assert host_state.record(str(record), [], str(record.parent)) == {"changed": False}

    def test_a_changed_and_a_vanished_setting_are_named_with_before_and_after(self, record: Path) -> None:
        settings = json.loads(record.read_text())["settings"]
        now = settings["kernel/panic"]
        path = self.tampered(record, settings=settings | {"kernel/panic": "77", "kernel/gone": "1"})
        with pytest.raises(Refused) as failed:
            host_state.compare(path, [], "/nowhere")
        seen = {problem["where"]: problem["seen"] for problem in failed.value.problems}
        assert seen == {
            "/proc/sys/kernel/panic": f"before: 77, after: {now}",
            "/proc/sys/kernel/gone": "before: 1, after: gone",
        }
        assert host_state.compare(path, ["kernel/panic", "kernel/gone"], "/nowhere")["changed"] is False

    def test_settings_of_an_earlier_boot_are_not_compared(self, record: Path) -> None:
        path = self.tampered(record, boot_id="another", settings={"kernel/gone": "1"})
        assert host_state.compare(path, [], "/nowhere")["keys"] == 0

    def test_what_changes_by_itself_is_left_out(self, record: Path) -> None:
        settings = json.loads(record.read_text())["settings"]
        for key in ("kernel/random/uuid", "fs/file-nr", "net/ipv4/conf/lo/rp_filter", "vm/drop_caches"):
            assert key not in settings
        assert {
            "net/ipv4/conf/all/forwarding",
            "net/ipv4/conf/lo/forwarding",
            "net/ipv4/conf/default/rp_filter",
            "kernel/panic",
        } <= set(settings)


def test_the_script_of_a_node_shows_how_it_is_started(tmp_path: Path) -> None:
    record = recorded()
    options = boot.Options(("CAP_BPF",), ("bpf",), ("/srv/data:/data",), ("--quiet",))
    node = record.plan.nodes[0]
    script = boot.start_script(record, records.LocalFiles(str(tmp_path), "lab"), node, options)
    assert f"lowerdir={tmp_path}/labs/lab/seeds/node1:/tree" in script
    last = script.splitlines()[-1]
    for words in ("exec systemd-nspawn", "--bind=/srv/data:/data", "--hostname=node1", "--capability=CAP_BPF"):
        assert words in last


def test_a_node_is_open_for_kubernetes_only_where_that_is_asked_for() -> None:
    lab = plans.plan("one", 3, ["node1", "node2"])
    tight = boot.nspawn_command(lab, lab.nodes[0], boot.Options((), (), (), ()))
    wide = boot.nspawn_command(lab, lab.nodes[0], boot.Options((), (), (), (), kubernetes=True))
    assert "--capability=all" not in tight
    assert not any("/dev/kmsg" in word or "/var/lib/containerd" in word for word in tight)
    assert set(boot.KUBERNETES_OPTIONS) <= set(wide)
    assert any(word.startswith("--system-call-filter=") and "@keyring" in word for word in wide)
