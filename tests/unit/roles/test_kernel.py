"""The role kernel's decisions that need no node: what GRUB's menu holds, what a configuration says, what is wrong."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils import kernel_facts as facts
from ansible.module_utils import kernel_record as records

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent
FIXTURES = REPOSITORY / "tests" / "fixtures" / "kernel"

OLD, NEW = "6.1.0-56-amd64", "5.10.0-32-amd64"


def module(name: str) -> ModuleType:
    """Return one of the role's modules."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "roles" / "kernel" / "library" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


state = module("kernel_state")
package = module("kernel_package")
build = module("kernel_build")

PARAMS: dict[str, Any] = {
    "line": "5.10",
    "preempt": "",
    "cmdline": [],
    "managed": True,
    "allow_reboot": True,
    "method": "package",
    "lines": {"5.10": "bullseye"},
    "room_boot_mib": 1,
    "room_modules_mib": 1,
    "booted_from": "",
}


@pytest.mark.parametrize("menu", ["flat", "submenu"])
def test_both_kernels_are_found_in_the_menu_that_grub_wrote(menu: str) -> None:
    text = (FIXTURES / f"grub-{menu}.cfg").read_text()
    assert {entry.release for entry in facts.grub_entries(text)} == {OLD, NEW}
    for release in (OLD, NEW):
        choice = facts.entry_of(text, release)
        assert choice is not None
        assert choice.split(">")[-1].startswith(f"gnulinux-{release}-advanced-")
        assert (">" in choice) is (menu == "submenu")
    assert facts.entry_of(text, "5.10.0-1-amd64") is None


def test_an_entry_without_an_id_is_chosen_by_its_title() -> None:
    text = "menuentry 'Debian GNU/Linux, with Linux 6.1.0-56-amd64' {\n\tlinux /boot/vmlinuz-6.1.0-56-amd64 root=x\n}\n"
    assert facts.entry_of(text, OLD) == "Debian GNU/Linux, with Linux 6.1.0-56-amd64"


def test_recovery_entries_and_comments_are_no_choice() -> None:
    text = (
        "# menuentry 'x' {\n"
        "menuentry 'Debian (recovery mode)' --class debian $menuentry_id_option 'gnulinux-r' {\n"
        "  if [ x = y ]; then insmod z; fi\n\tlinux\t/vmlinuz-6.1.0-56-amd64 single\n}\n"
    )
    assert facts.entry_of(text, OLD) is None


def test_the_newest_release_goes_by_its_numbers() -> None:
    assert facts.newest(["5.10.0-9-amd64", "5.10.0-32-amd64"]) == "5.10.0-32-amd64"
    assert facts.newest([]) is None


@pytest.mark.parametrize(
    ("release", "line", "fits"),
    [(NEW, "5.10", True), ("5.100.1", "5.10", False), ("5.1.0", "5.10", False), ("5.10.223-labctl-1", "5.10", True)],
)
def test_a_release_belongs_to_its_line(release: str, line: str, fits: bool) -> None:
    assert facts.is_of_line(release, line) is fits


@pytest.mark.parametrize(
    ("config", "cmdline", "model"),
    [
        ("CONFIG_PREEMPT_NONE=y\n# CONFIG_PREEMPT is not set", [], "none"),
        ("CONFIG_PREEMPT_VOLUNTARY=y", ["preempt=none"], "voluntary"),  # 5.10 does not know the word
        ("CONFIG_PREEMPT_VOLUNTARY=y\nCONFIG_PREEMPT_DYNAMIC=y", ["preempt=full", "preempt=none"], "none"),
        ("CONFIG_PREEMPT=y\nCONFIG_PREEMPT_DYNAMIC=y", [], "full"),
        ("CONFIG_X=y", [], None),
    ],
)
def test_the_preemption_model_is_that_of_the_build_or_of_the_boot(config: str, cmdline: list[str], model: str) -> None:
    assert facts.preemption(facts.parse_config(config), cmdline) == model


def test_the_newest_package_of_the_line_is_taken_and_no_special_build() -> None:
    names = [
        "linux-image-5.10.0-9-amd64",
        "linux-image-5.10.0-32-amd64",
        "linux-image-5.10.0-32-amd64-dbg",
        "linux-image-5.10.0-32-amd64-unsigned",
        "linux-image-5.10.0-33-rt-amd64",
        "linux-image-5.10.0-33-cloud-amd64",
        "linux-image-5.101.0-40-amd64",
    ]
    assert package.newest_of("5.10", "amd64", names) == NEW
    assert package.newest_of("5.11", "amd64", names) is None


@pytest.mark.parametrize(
    ("line", "names", "newest"),
    [
        ("6.12", ["6.12.74+deb13+1-amd64", "6.12.73+deb13-amd64", "6.12.9+bpo-amd64"], "6.12.74+deb13+1-amd64"),
        ("6.12", ["6.12.74+deb13+1-cloud-amd64", "6.12.74+deb13+1-rt-amd64", "6.12.74+deb13+1-amd64-dbg"], None),
        ("6.1", ["6.12.74+deb13-amd64", "6.1.0-37-amd64", "6.1.0-0.deb11.13-amd64"], "6.1.0-37-amd64"),
        ("6.12", ["6.12~rc7-amd64", "6.12.1-amd64", "6.12.0-1-amd64"], "6.12.1-amd64"),
        ("6.12", ["6.12-amd64", "6.12~rc7-amd64"], "6.12-amd64"),
        ("6.12", ["6.12.74+deb13+1-arm64"], None),
    ],
)
def test_kernels_are_found_however_debian_names_them(line: str, names: list[str], newest: str | None) -> None:
    assert package.newest_of(line, "amd64", [f"linux-image-{name}" for name in names]) == newest


@pytest.mark.parametrize(
    ("rows", "site"),
    [
        (["bookworm-security main http://s", "bookworm main http://a", "bookworm main http://b"], "http://a"),
        (["stable-updates main http://u", "stable contrib http://c", "stable main http://a"], "http://a"),
        (["stable main http://a", "bookworm main http://b"], "http://b"),
        (["./ $(COMPONENT) http://flat", "nodistro main http://other"], None),
        ([], None),
    ],
)
def test_the_archive_of_a_node_is_found_by_name_and_by_age(rows: list[str], site: str | None) -> None:
    assert package.archive_of("bookworm", [row.split(" ") for row in rows]) == site


def test_what_a_configuration_lost_is_named() -> None:
    config = facts.parse_config('CONFIG_A=y\nCONFIG_B=m\nCONFIG_LOCALVERSION="-labctl"\n')
    wanted = ["CONFIG_A=y", "CONFIG_B=y", "CONFIG_C=n", "CONFIG_D=y", 'CONFIG_LOCALVERSION="-labctl"']
    assert build.lost(wanted, config) == ["CONFIG_B is m, not y", "CONFIG_D is n, not y"]


def test_the_fragment_ends_in_the_preemption_model_alone() -> None:
    lines = build.fragment(
        {"preempt": "none", "base": "distribution", "guest_config": ["CONFIG_X=y"], "fragment": []}, "k"
    )
    assert "CONFIG_X=y" not in lines
    assert lines[-3:] == ["CONFIG_PREEMPT_NONE=y", "CONFIG_PREEMPT_VOLUNTARY=n", "CONFIG_PREEMPT=n"]


def differences(release: str, ours: tuple[str, ...] = (), **changed: object) -> list[str]:
    found: list[str] = state.differences(PARAMS | changed, release, ["ro", "panic=1"], ours)
    return found


def test_what_is_not_as_wanted_is_said() -> None:
    assert differences(OLD) == [f"{OLD} runs, not a kernel of the line 5.10"]
    assert differences(NEW) == []
    assert differences(NEW, cmdline=["panic=1", "mitigations=off"]) == [
        "mitigations=off is not on the kernel command line"
    ]
    assert differences(NEW, preempt="none") == [f"{NEW} has the preemption model unknown, not none"]
    assert differences(NEW, (NEW,), line="distribution") == [f"{NEW} runs, which labctl installed"]
    assert differences(OLD, (NEW,), line="distribution") == []


def test_every_obstacle_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "os_release", lambda: {"ID": "arch", "PRETTY_NAME": "Arch Linux"})
    monkeypatch.setattr(state.facts, "secure_boot", lambda: True)
    monkeypatch.setattr(state, "read_text", lambda _: None)
    monkeypatch.setattr(state.os, "statvfs", lambda _: SimpleNamespace(f_bavail=3 << 8, f_frsize=4096), raising=False)
    monkeypatch.setattr(state.os.path, "exists", lambda _: False)
    params = PARAMS | {"line": "9.99", "method": "source", "room_boot_mib": 160, "room_modules_mib": 700}
    told = [problem["what"] for problem in state.obstacles(params, "install", None)]
    assert [words.split(",")[0].split(":")[0] for words in told] == [
        "The node does not boot through GRUB",
        "The role installs kernels on Debian only.",
        "No Debian release is known to carry the kernel line 9.99.",
        "Secure Boot is on",
        "There is too little room for a kernel in /boot.",
        "There is too little room for a kernel in /lib/modules.",
    ]


def test_a_node_that_shares_its_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state.os.path, "exists", lambda path: path == "/run/systemd/container")
    (problem,) = state.obstacles(PARAMS, "install", None)
    assert problem["what"].startswith("The node shares its kernel")


def test_a_reboot_that_ends_on_the_old_kernel_is_told() -> None:
    params = PARAMS | {"booted_from": "a"}
    (same,) = state.came_back(params, OLD, "a", [])
    assert same["what"] == "The node did not reboot."
    (back,) = state.came_back(params, OLD, "b", ["6.1 runs"])
    assert back["what"].startswith(f"The node came back, but on {OLD}")
    assert list(state.came_back(params, NEW, "b", [])) == []


def test_the_file_for_grub_keeps_what_the_user_has() -> None:
    text = records.grub_defaults("gnulinux-x", ["mitigations=off", "panic=1"])
    assert "GRUB_DEFAULT=gnulinux-x\n" in text
    assert """GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX "'mitigations=off panic=1'""" in text
    assert "CMDLINE" not in records.grub_defaults("gnulinux-x", [])


# Each came out of a real GRUB as it stands here: written by 10_linux of Debian 12, and read by grub-emu 2.06.
WORDS = [
    "memmap=4G$12G",
    "quiet",
    "a=`id`",
    "b=$(id)",
    "c=x;reboot",
    "d={1,2}",
    "e=*",
    "f=#x",
    "g=!a",
    "%x",
    "j=${HOME}",
]


def test_the_words_for_the_kernel_pass_the_shell_and_grubs_own_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "labctl.cfg"
    file.write_text(records.grub_defaults('gnulinux-"a"$b`c`\\', WORDS))
    script = f'GRUB_CMDLINE_LINUX=before; . {file}; printf "%s\\n" "$GRUB_DEFAULT" "$GRUB_CMDLINE_LINUX"'
    sourced = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert sourced[0] == r"gnulinux-\"a\"\$b`c`\\"  # update-grub writes it between double quotes
    # GRUB reads single quotes as a shell does: nothing between them means anything.
    assert shlex.split(sourced[1]) == ["before", *WORDS]
    assert shlex.split(sourced[1], posix=False) == ["before", *map(records.grub_word, WORDS)]


def test_a_word_that_grub_would_change_is_refused_before_anything_is(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ["a b", 'a"b', "a'b", "a\\b", "a\nb", "\u00e4", ""]
    assert records.unfit([*WORDS, *wrong]) == wrong
    monkeypatch.setattr(state, "read_text", lambda _: "")
    monkeypatch.setattr("os.path.exists", lambda _: False)
    seen = [problem["seen"] for problem in state.obstacles(PARAMS | {"cmdline": ["a b", "ok"]}, "boot", OLD)]
    assert seen == ["'a b'"]
