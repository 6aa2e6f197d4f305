"""Cilium: the Helm values of every setup, and what its agents say of their datapath, in each version's own words."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils import cilium_api, cilium_status
from ansible.module_utils.labctl_node.refused import Refused

from labctl import catalog
from labctl.catalog import Encryption
from labctl.core.records import encode
from roles.cni_cilium.library import cilium_fingerprint

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent
ROLE = REPOSITORY / "roles" / "cni_cilium"
FIXTURES = REPOSITORY / "tests" / "fixtures" / "cilium"
GOLDEN = REPOSITORY / "tests" / "golden" / "cilium"

PLAY = """
- hosts: node1
  gather_facts: false
  connection: local
  vars_files: [{defaults}, {variables}]
  tasks:
    - ansible.builtin.set_fact:
        rendered: "{{{{ rendered | default({{}}) | combine({{item: __cni_cilium_all_values | to_nice_yaml}}) }}}}"
      vars:
        chosen: "{{{{ setups[item] }}}}"
        setup_edition: "{{{{ chosen.edition }}}}"
        setup_encryption: "{{{{ chosen.encryption }}}}"
        cni_cilium_host_routing: "{{{{ chosen.vars.cni_cilium_host_routing }}}}"
        cni_cilium_kube_proxy_replacement: "{{{{ chosen.vars.cni_cilium_kube_proxy_replacement }}}}"
        cni_cilium_no_conntrack: "{{{{ chosen.vars.cni_cilium_no_conntrack | default(false) }}}}"
      loop: "{{{{ setups | list }}}}"
    - ansible.builtin.copy:
        content: "{{{{ rendered | to_json }}}}"
        dest: "{out}"
        mode: "0644"
"""


# The chart of 1.9 knows no exemption from connection tracking.
NO_EXEMPTION = {f"cilium-{name}.2021" for name in ("ebpf", "legacy", "legacy+ipsec", "legacy-kpr")}


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def setups() -> dict[str, dict[str, Any]]:
    """Every setup of Cilium that exists, by its id."""
    found = {}
    for variant in catalog.load().variants.values():
        for edition in variant.editions if variant.role == "cni_cilium" else ():
            for encryption in Encryption:
                if variant.refusal(encryption, edition) is None:
                    label = "" if encryption is Encryption.NONE else f"+{encryption}"
                    chosen = {"edition": edition, "encryption": encryption.value, "vars": encode(variant.vars)}
                    found[f"{variant.name}{label}.{edition}"] = chosen
    return found


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The Helm values of every setup as Ansible renders them."""
    top = tmp_path_factory.mktemp("values")
    play = PLAY.format(defaults=ROLE / "defaults/main.yml", variables=ROLE / "vars/main.yml", out=top / "values.json")
    (top / "play.yml").write_text(play)
    node = {
        "ansible_python_interpreter": sys.executable,
        "cable_interface": "cable0",
        "cable_address": "198.18.0.139",
        "lab_kind": "local",
        "setups": setups(),
    }
    inventory = {"all": {"hosts": {"node1": node}, "children": {"control_plane": {"hosts": {"node1": {}}}}}}
    (top / "inventory.yml").write_text(yaml.safe_dump(inventory))
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    done = subprocess.run(
        [program, "-i", str(top / "inventory.yml"), str(top / "play.yml")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    values: dict[str, str] = load(top / "values.json")
    return values


@pytest.mark.parametrize("setup", list(setups()))
def test_helm_is_told_what_the_setup_is(
    rendered: dict[str, str], setup: str, golden: Callable[[str, str], None]
) -> None:
    golden(f"cilium/{setup}.txt", rendered[setup].rstrip("\n"))


@pytest.mark.parametrize("setup", list(setups()))
def test_the_chart_makes_of_the_values_what_the_setup_is_called(setup: str) -> None:
    """Helm and the charts are not here: what they made of these very values was captured."""
    (captured,) = (one for path in FIXTURES.glob("*.manifests.json") if setup in (one := load(path))["setups"])
    values = hashlib.sha256((GOLDEN / f"{setup}.txt").read_bytes()).hexdigest()
    assert captured["setups"][setup]["values"] == values, "the values have changed: tests/fixtures/cilium/render.py"
    chosen = setups()[setup]
    documents = [captured["documents"][number] for number in captured["setups"][setup]["documents"]]
    (config,) = (one["data"] for one in documents if one["metadata"]["name"] == "cilium-config")
    replaces, legacy = (chosen["vars"][f"cni_cilium_{what}"] for what in ("kube_proxy_replacement", "host_routing"))
    wanted = {
        "enable-host-legacy-routing": str(legacy == "legacy").lower(),
        "enable-bpf-masquerade": str(replaces).lower(),
        "enable-l7-proxy": "false",
        "enable-health-checking": "false",
        "auto-direct-node-routes": "true",
        "mtu": "1500",
        "devices": "cable0",
    }
    if chosen["edition"] == "2021":
        wanted |= {"kube-proxy-replacement": "strict" if replaces else "disabled", "tunnel": "disabled"}
    else:
        wanted |= {"kube-proxy-replacement": str(replaces).lower(), "routing-mode": "native"}
    if setup not in NO_EXEMPTION:
        exempt = str(chosen["vars"].get("cni_cilium_no_conntrack", False)).lower()
        wanted |= {"install-no-conntrack-iptables-rules": exempt}
    assert {key: config.get(key) for key in wanted} == wanted
    assert config.get("enable-hubble", "false") == "false"
    encrypting = {key for key in ("enable-wireguard", "enable-ipsec") if config.get(key) == "true"}
    assert encrypting == ({f"enable-{chosen['encryption']}"} - {"enable-none"})


def test_there_is_a_golden_file_for_each_setup_and_none_for_others() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(setups())


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.status.json")), ids=lambda path: str(path.name))
def test_every_version_is_understood(path: Path) -> None:
    said = cilium_status.said(json.loads(path.read_text()))
    assert said == json.loads(path.with_name(path.name.replace(".status.", ".said.")).read_text())


STATES = """src 198.18.0.139 dst 198.18.0.140
\tproto esp spi 0x00000003(3) reqid 1(0x00000001) mode tunnel
\treplay-window 0 flag 0x00000000
src 0.0.0.0 dst 198.18.0.139
\tproto esp spi 0x00000003(3) reqid 1(0x00000001) mode tunnel
"""


@pytest.mark.parametrize(("listed", "encryption", "keys"), [("", "none", None), (STATES, "ipsec", 1)])
def test_where_the_agent_has_no_word_for_encryption_the_kernels_keys_tell(
    listed: str, encryption: str, keys: int | None
) -> None:
    said = cilium_status.said({"cilium": {"state": "Ok"}}, cilium_status.ipsec_keys(listed))
    assert (said["encryption"], said["encryption_keys"]) == (encryption, keys)


def test_a_fallback_shows() -> None:
    status = json.loads((FIXTURES / "1.19.4-ebpf.status.json").read_text())
    status["routing"]["intra-host-routing-mode"] = "Legacy"
    status["kube-proxy-replacement"]["mode"] = "False"
    said = cilium_status.said(status)
    assert (said["host_routing"], said["kube_proxy_replacement"]) == ("legacy", False)


def test_what_is_not_said_is_not_guessed() -> None:
    said = cilium_status.said({"cilium": {"state": "Ok"}})
    assert said["host_routing"] == said["masquerading"] == cilium_status.UNKNOWN
    assert said["kube_proxy_replacement"] is None
    with pytest.raises(Refused, match=r"(?s)no status of a Cilium agent.*it holds nothing"):
        cilium_status.said({})


def test_controllers_that_fail_are_named() -> None:
    controllers = [
        {"name": "sync", "status": {"consecutive-failure-count": 2}},
        {"name": "rest", "status": {"consecutive-failure-count": 0}},
    ]
    assert cilium_status.failing({"controllers": controllers}) == ["sync"]


def test_forwarded_packets_are_summed_over_cpus_and_places() -> None:
    def entry(reason: int, direction: int, place: int, *packets: int) -> dict[str, Any]:
        def octets(*numbers: int) -> list[str]:
            return [f"0x{octet:02x}" for number in numbers for octet in number.to_bytes(8, sys.byteorder)]

        key = [f"0x{octet:02x}" for octet in (reason, direction, place, 0, 1, 0, 0, 0)]
        values = [{"cpu": cpu, "value": octets(count, 9000)} for cpu, count in enumerate(packets)]
        return {"key": key, "values": values}

    entries = [entry(0, 1, 10, 7, 1), entry(0, 2, 10, 3, 0), entry(0, 2, 20, 2, 300), entry(130, 2, 20, 99, 0)]
    assert cilium_status.forwarded(entries) == {"ingress": 8, "egress": 305}


def wanted(version: str, **values: object) -> dict[str, Any]:
    return {"socket": "/run/cilium.sock", "version": version, "values": values, "seal": False}


def status_of(version: str, capture: str = "1.19.4-ebpf") -> Any:
    """A captured status; the captured agents were built without a version, so it is the only thing that is put in."""
    status = load(FIXTURES / f"{capture}.status.json")
    if version:
        status["cilium"]["msg"] = f"{version} (v{version}-95e477fdcf)"
    return status


def test_the_fingerprint_of_an_agent_has_its_version() -> None:
    status = status_of("1.19.4")
    section = cilium_fingerprint.judged(status, 0, lambda: "not asked", wanted("1.19.4", MTU=1500))
    assert section["says"] == cilium_status.said(status)
    assert section["says"]["version"] == "1.19.4"
    assert section["helm"]["values"] == {"MTU": 1500}


def test_an_agent_whose_status_has_no_version_is_known_by_its_program() -> None:
    status = status_of("", "1.9.6-ebpf")
    assert cilium_fingerprint.judged(status, 0, lambda: "1.9.6", wanted("1.9.6"))["says"]["version"] == "1.9.6"


@pytest.mark.parametrize(("told", "seen"), [("1.18.1", "1.18.1"), ("", "the agent does not say its version")])
def test_an_agent_of_another_version_or_of_none_is_refused(told: str, seen: str) -> None:
    with pytest.raises(Refused) as raised:
        cilium_fingerprint.judged(status_of(told), 0, lambda: None, wanted("1.19.4"))
    (problem,) = raised.value.problems
    assert problem["what"] == "The Cilium agent is not of version 1.19.4, which its edition has."
    assert problem["seen"] == seen


def test_after_the_last_sample_an_agent_that_is_gone_or_another_is_told_and_not_refused(tmp_path: Path) -> None:
    seal = {**wanted("1.19.4"), "seal": True}
    section = cilium_fingerprint.judged(status_of("1.18.1"), 0, lambda: None, seal)
    assert section["says"]["version"] == "1.18.1"
    nobody = {**seal, "socket": str(tmp_path / "none.sock")}
    assert cilium_fingerprint.look(nobody) == {"fingerprint": {"cni": None}}
    with pytest.raises(Refused, match="does not answer"):
        cilium_fingerprint.look({**nobody, "seal": False})


def test_values_that_changed_have_another_hash_and_secret_ones_are_hidden() -> None:
    status = status_of("1.19.4")

    def helm(key: str) -> Any:
        encryption = {"key": key, "ipsec": {"keyFile": "keys"}, "enabled": True}
        return cilium_fingerprint.judged(status, 0, lambda: None, wanted("1.19.4", encryption=encryption))["helm"]

    first, second = helm("one"), helm("two")
    assert first["values"] == {"encryption": {"key": "hidden", "ipsec": {"keyFile": "keys"}, "enabled": True}}
    assert first["values"] == second["values"]
    assert first["sha256"] != second["sha256"]


class Agent(http.server.BaseHTTPRequestHandler):
    """Answers as an agent does, with a captured status; all else it does not know."""

    def do_GET(self) -> None:
        known = self.path == "/v1/healthz"
        body = (FIXTURES / "1.19.4-ebpf.status.json").read_bytes() if known else b"no"
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a socket"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "agent.sock")
    with socketserver.ThreadingUnixStreamServer(path, Agent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield path
        server.shutdown()


def test_an_agent_is_asked_over_its_socket(agent: str, tmp_path: Path) -> None:
    assert cilium_api.ask(agent, "healthz")["cilium"]["state"] == "Ok"
    with pytest.raises(Refused, match="answers debuginfo with 404"):
        cilium_api.ask(agent, "debuginfo")
    with pytest.raises(Refused, match="does not answer"):
        cilium_api.ask(str(tmp_path / "none.sock"), "healthz")


def test_what_answers_at_the_socket_and_has_no_program_of_the_agent_names_no_version(agent: str) -> None:
    assert cilium_api.program_version(agent) is None
