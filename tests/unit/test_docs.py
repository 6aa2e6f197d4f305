"""The documentation is complete and true: commands, options, links, and files that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from labctl.cli.app import app

REPOSITORY = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("docs", "benchmarks", "molecule", "roles")
PAGES = sorted([*REPOSITORY.glob("*.md"), *(page for one in FOLDERS for page in (REPOSITORY / one).rglob("*.md"))])
MOST_LINES = 150  # of the README
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
# A path below a folder of the repository, or of the role whose page it is; braces and stars are those of a shell.
TOP = "benchmarks|docs|inventories|labctl|molecule|playbooks|roles|tests|tools"
OF_ROLE = "action_plugins|defaults|files|library|meta|module_utils|tasks|templates|vars"
NAMED = re.compile(rf"(?<![\w./<>~-])(?:{TOP}|{OF_ROLE})/[\w.*{{}},/+-]*[\w*}}](?![\w<])")
NO_FILES = {
    "labctl/_content",  # in a wheel alone
    "labctl/owner",  # a label of Kubernetes objects
}


def commands_of(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield full name and object of a command and all commands below it."""
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        yield from commands_of(below, f"{name} {child}")


def options_of(command: Any) -> set[str]:
    found = (option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts))
    return {option for option in found if option.startswith("-")}


def of_repository(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


COMMANDS = dict(commands_of(typer.main.get_command(app), "labctl"))
VERBS = {name: command for name, command in COMMANDS.items() if not hasattr(command, "commands")}
GUIDE = "\n".join(text_of(page) for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))))

each_page = pytest.mark.parametrize("page", PAGES, ids=of_repository)


def test_there_are_commands_and_pages() -> None:
    assert {"labctl lab create", "labctl matrix", "labctl report"} <= set(VERBS)
    assert {"README.md", "docs/measuring.md", "roles/netperf/README.md"} <= set(map(of_repository, PAGES))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


def test_the_readme_is_read_in_one_go() -> None:
    assert text_of(REPOSITORY / "README.md").count("\n") <= MOST_LINES


@pytest.mark.parametrize("name", VERBS)
def test_the_readme_names_every_command(name: str) -> None:
    group, _, verb = name.rpartition(" ")
    # `labctl lab create|destroy` names both.
    named = rf"{re.escape(group)} (?:[\w-]+\|)*{re.escape(verb)}(?![\w-])"
    assert re.search(named, text_of(REPOSITORY / "README.md")), f"README.md lacks {name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_guide_names_every_option(name: str) -> None:
    long = {option for option in options_of(COMMANDS[name]) if option.startswith("--")} - {"--help"}
    missing = [option for option in sorted(long) if not re.search(rf"(?<![\w-]){option}(?![\w-])", GUIDE)]
    assert not missing, f"README.md and docs/ lack options of {name}"


@each_page
def test_commands_that_a_page_shows_exist(page: Path) -> None:
    wrong = [line for line in commands_in(text_of(page)) for problem in problems_of(line) if problem]
    assert not wrong, f"{of_repository(page)} shows commands that labctl does not have"


def commands_in(text: str) -> Iterator[str]:
    """Yield commands of labctl in code: indented lines and backticks; one with a backslash at its end goes on."""
    joined = re.sub(r" *\\\n *", " ", text)
    for code in re.findall(r"^ {4}(?:\$ )?(labctl .*)$|`(labctl [^`\n]+)`", joined, re.MULTILINE):
        yield re.split(r"  +|#|\|(?= )| &&|[;)]", "".join(code))[0].strip()


def problems_of(line: str) -> Iterator[str]:
    """Yield what is wrong with a command line: words that are no command, options that this one does not have."""
    words = line.split()[1:]
    names = ["labctl"]
    while words and not words[0].startswith("-") and any(hasattr(COMMANDS.get(name), "commands") for name in names):
        choices = words.pop(0).split("|")
        names = [f"{name} {choice}" for name in names for choice in choices]
        if choices == ["COMMAND"]:  # any
            names = list(VERBS)
    for name in names:
        if name not in COMMANDS:
            yield f"{name} is no command"
            continue
        for word in words:
            if word.startswith("-") and word not in options_of(COMMANDS[name]) | {"--help"}:
                yield f"{name} has no {word}"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("labctl lab create -i vm", ""),
        ("labctl lab create|destroy", ""),
        ("labctl matrix --resume latest", ""),
        ("labctl lab make", "labctl lab make is no command"),
        ("labctl plan --resume latest", "labctl plan has no --resume"),
        ("labctl shell node1", "labctl shell is no command"),
    ],
)
def test_a_wrong_command_is_found(line: str, problem: str) -> None:
    assert "".join(problems_of(line)) == problem


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    dangling = [link for link in LINK.findall(FENCE.sub("", text_of(page))) if not leads_somewhere(page, link)]
    assert not dangling, f"{of_repository(page)} links to what is not there"


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether a link's file is there, and its heading, if it names one. What is on the net is not asked."""
    if re.match(r"[a-z]+:", link):
        return True
    place, _, anchor = link.partition("#")
    target = (page.parent / place).resolve() if place else page
    return target.exists() and (not anchor or anchor in anchors_of(target))


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("measuring.md#interrupted-runs", True),
        ("measuring.md#no-such-heading", False),
        ("../roles/kernel/README.md", True),
        ("roles/kernel/README.md", False),
        ("https://example.org/", True),
    ],
)
def test_a_dangling_link_is_found(link: str, leads: bool) -> None:
    assert leads_somewhere(REPOSITORY / "docs" / "labs.md", link) is leads


@each_page
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = NAMED.findall(text_of(page))
    missing = [name for name in named if name not in NO_FILES and not any(exists(page, one) for one in shell(name))]
    assert not missing, f"{of_repository(page)} names files that do not exist"


def exists(page: Path, name: str) -> bool:
    """Whether a file is there: in the repository, beside the page or, for a page of no role, in any role."""
    roles = [] if page.parent.parent.name == "roles" else (REPOSITORY / "roles").iterdir()
    return any(any(folder.glob(name)) for folder in (REPOSITORY, page.parent, *roles))


def shell(name: str) -> list[str]:
    """A name with its braces expanded."""
    match = re.search(r"\{([^}]*)\}", name)
    if match is None:
        return [name.rstrip("/")]
    return [one for part in match[1].split(",") for one in shell(name[: match.start()] + part + name[match.end() :])]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("`roles/x/y.yml` and labctl/foo.py.", ["roles/x/y.yml", "labctl/foo.py"]),
        ("(roles/{a,b}/tasks/*.yml)", ["roles/{a,b}/tasks/*.yml"]),
        ("/var/lib/labctl/kernel.json, runs/labctl/x, `roles/<name>/`, `roles/cni_<name>`", []),
    ],
)
def test_names_of_files_are_found(text: str, names: list[str]) -> None:
    assert NAMED.findall(text) == names
    assert not any(exists(REPOSITORY / "README.md", one) for name in names[:1] for one in shell("roles/no/" + name))
