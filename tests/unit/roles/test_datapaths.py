"""The pure parts of what builds datapaths and installs netperf on a node."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils import datapath_programs as programs
from ansible.module_utils import netperf_sources as sources
from ansible.module_utils.labctl_node import sockets

from labctl import catalog
from roles.datapath.library import datapath_tools as tools
from roles.veth_datapath.filter_plugins import kube_proxy_rules as rules

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent
ROLES = REPOSITORY / "roles"

SAVED = (ROLES / "veth_datapath" / "files" / "kube-proxy-1.20.2.rules").read_text()


def chains_of(saved: str, prefix: str) -> set[str]:
    return set(re.findall(rf"^:({prefix}\S*) ", saved, re.MULTILINE))


@pytest.mark.parametrize("services", [0, 1, 4, 100, 250])
def test_saved_rules_are_cut_to_a_number_of_services(services: int) -> None:
    cut = rules.kube_proxy_rules(SAVED, services)
    declared, used = chains_of(cut, ""), set(re.findall(r"^-A (\S+) ", cut, re.MULTILINE))
    targets = {target for target in re.findall(r" -j (\S+)", cut) if target.startswith("KUBE-")}
    assert len(chains_of(cut, "KUBE-SVC-")) == services
    # Every chain that is named exists, no endpoint is left without its service, and no service without its rules.
    assert used | targets <= declared
    assert chains_of(cut, "KUBE-SEP-") | chains_of(cut, "KUBE-SVC-") <= targets
    assert cut.count(" cluster IP") == 2 * services
    assert cut.count("\nCOMMIT\n") == 3


def test_all_services_are_the_saved_rules_as_they_are() -> None:
    assert rules.kube_proxy_rules(SAVED, 250) == SAVED


@pytest.mark.parametrize("services", [-1, 251])
def test_more_services_than_were_saved_are_refused(services: int) -> None:
    with pytest.raises(AnsibleFilterError, match=f"veth_datapath_services is {services}: .* have 0 to 250 services"):
        rules.kube_proxy_rules(SAVED, services)


@pytest.mark.parametrize("variant", sorted(path.stem for path in (REPOSITORY / "tests/fixtures/setups").glob("*.yml")))
def test_setups_written_by_hand_say_what_the_catalog_says(variant: str) -> None:
    known = catalog.load().variants[variant]
    setup = yaml.safe_load((REPOSITORY / "tests/fixtures/setups" / f"{variant}.yml").read_text())
    for variables in setup["all"]["hosts"].values():
        assert variables["setup_expected"] == known.expected
        assert (variables["setup_role"], variables["setup_endpoint"]) == (known.role, known.endpoint)
        assert {name: variables[name] for name in known.vars} == known.vars


def of_bare_nodes(variant: catalog.Variant) -> bool:
    """Whether a variant takes no cluster."""
    return not variant.editions and not variant.labs


def test_every_variant_without_a_cluster_has_a_setup_written_by_hand() -> None:
    written = {path.stem for path in (REPOSITORY / "tests/fixtures/setups").glob("*.yml")}
    assert written == {variant.name for variant in catalog.load().variants.values() if of_bare_nodes(variant)}


def test_expected_services_are_the_deployed_ones() -> None:
    for variant in filter(of_bare_nodes, catalog.load().variants.values()):
        assert variant.expected["kube_services"] == variant.vars.get("veth_datapath_services", 0), variant.name


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("cable_ingress", "cable_ingress"),
        ("decrypted_ingre", "decrypted_ingress"),  # as the kernel keeps it
        ("decrypted_ingress", "decrypted_ingress"),
        ("cil_from_netdev", None),
        ("", None),
    ],
)
def test_our_programs_are_known_by_what_the_kernel_keeps_of_their_names(name: str, program: str | None) -> None:
    assert programs.ours(name) == program


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (
            "8: (85) call unknown#155\ninvalid func unknown#155\nprocessed 3 insns",
            "Kernel 5.4.0 lacks bpf_redirect_peer, which came with Linux 5.10: the programs need Linux 5.10 or later",
        ),
        (
            "8: (85) call bpf_redirect_neigh#152\nunknown func bpf_redirect_neigh#152",
            "Kernel 5.4.0 lacks bpf_redirect_neigh, which came with Linux 5.10: the programs need Linux 5.10 or later",
        ),
        (
            "program of this type cannot use helper bpf_fib_lookup#69",
            "Kernel 5.4.0 lacks bpf_fib_lookup, which came with Linux 4.18: the programs need Linux 5.10 or later",
        ),
        (
            "libbpf: Error loading BTF: Operation not permitted\n",
            "Kernel 5.4.0 refuses the tc programs.",
        ),
    ],
)
def test_a_kernel_that_lacks_a_helper_is_told_which(failure: str, reason: str) -> None:
    assert programs.explain(failure, "5.4.0") == reason


def test_listening_sockets_are_found_in_the_kernel_s_table() -> None:
    # /proc/net/tcp of the pod on a local lab's server; the second row is an established connection.
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 82FB13C6:3241 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 524334 1\n"
        "   1: 82FB13C6:3242 02FB13C6:8A2E 01 00000000:00000000 02:000AE318 00000000     0        0 518847 2\n"
    )
    assert sockets.listening_in(table, "198.19.251.130", 12865)
    assert not sockets.listening_in(table, "198.19.251.130", 12866)
    assert not sockets.listening_in(table, "198.19.251.131", 12865)


DEBIAN_12 = 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'
DEBIAN_13 = 'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n'
UBUNTU = 'ID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n'
SID = "ID=debian\nVERSION_CODENAME=sid\n"
STANZAS = """\
# the mirror
Types: deb deb-src
URIs: http://mirror.test/ubuntu/
Suites: noble noble-updates
Components: main universe
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF

Types: deb
URIs: http://mirror.test/security/
Suites: noble-security
Components: main universe multiverse
"""


@pytest.mark.parametrize(
    ("os_release", "component"),
    [
        (DEBIAN_12, "non-free"),
        (DEBIAN_13, "main"),
        (UBUNTU, "multiverse"),
        (SID, "main"),
        ('ID=debian\nVERSION_ID="forky/sid"\n', "main"),
        ('ID=debian\nVERSION_ID=""\n', "main"),
        ('ID=debian\nVERSION_ID="12-rc1"\n', "non-free"),
        ("ID=arch\nBUILD_ID=rolling\n", "main"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="21.3"\nUBUNTU_CODENAME=jammy\n', "multiverse"),
        ("", "main"),
    ],
)
def test_the_component_that_holds_netperf(os_release: str, component: str) -> None:
    assert sources.component_of(sources.release_of(os_release)) == component


ONE_LINES = [
    "deb http://m.test/debian stable main",
    "deb\thttp://m.test/debian\tbookworm\tmain\tcontrib # by hand",
    "deb [ arch=amd64  signed-by=/k.gpg ] http://m.test/debian bookworm main",
]


@pytest.mark.parametrize("line", ONE_LINES)
def test_a_line_is_read_as_apt_reads_it(line: str) -> None:
    release = sources.release_of(DEBIAN_12)
    added = sources.source_for([f"# one\n\n  {line}\n"], release, "non-free")
    assert added is not None
    options = "[arch=amd64  signed-by=/k.gpg] " if "[" in line else ""
    suite = "stable" if "stable" in line else "bookworm"
    assert added.text == f"deb {options}http://m.test/debian {suite} non-free\n"


STANZA = """\
# head
Types: deb deb-src
URIs: http://m.test/debian
  http://n.test/debian
Suites: stable
 stable-updates
  # stable-backports
Components: main
 contrib
Trusted: yes
Enabled: {}
"""


@pytest.mark.parametrize(
    ("enabled", "used"), [("yes", True), ("True", True), ("no", False), ("False", False), ("0", False)]
)
def test_a_stanza_is_read_as_apt_reads_it(enabled: str, used: bool) -> None:
    release = sources.release_of(DEBIAN_12)
    added = sources.source_for([STANZA.format(enabled)], release, "non-free")
    text = (
        "Types: deb\nSuites: stable\nComponents: non-free\n"
        "Uris: http://m.test/debian\n  http://n.test/debian\nTrusted: yes\n"
    )
    assert added == (sources.SourceFile("sources", text) if used else None)


def test_a_component_is_added_on_the_mirror_of_main() -> None:
    release = sources.release_of(DEBIAN_12)
    line = "deb [signed-by=/k.gpg] http://mirror.test/debian bookworm main\n"
    updates = "deb http://mirror.test/debian bookworm-updates main non-free\n"
    assert not sources.lists_component(line + updates, release, "non-free")
    assert sources.lists_component(line.replace("main", "main non-free"), release, "non-free")
    added = sources.source_for([updates, line], release, "non-free")
    assert added == sources.SourceFile("list", "deb [signed-by=/k.gpg] http://mirror.test/debian bookworm non-free\n")


def test_a_component_is_added_in_the_format_of_stanzas_with_its_key() -> None:
    release = sources.release_of(UBUNTU)
    assert not sources.lists_component(STANZAS, release, "multiverse")
    added = sources.source_for([STANZAS], release, "multiverse")
    assert added == sources.SourceFile(
        "sources",
        "Types: deb\nSuites: noble\nComponents: multiverse\nUris: http://mirror.test/ubuntu/\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n",
    )


def test_no_source_is_made_up_where_main_has_no_mirror() -> None:
    stranger = "deb http://mirror.test/else bookworm contrib\n# deb http://mirror.test/debian bookworm main\n"
    assert sources.source_for([stranger], sources.release_of(DEBIAN_12), "non-free") is None


def test_the_package_of_a_tool() -> None:
    assert tools.package_of("tc", "debian") == "iproute2"
    assert tools.package_of("bpftool", "debian") == "bpftool"
    assert tools.package_of("bpftool", "ubuntu").startswith("linux-tools-")
