"""What integration tests share: one provisioned lab for all of them, and how to copy the shipped one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from labctl import lab as labs
from labctl import workflow
from labctl.play import AnsibleOptions, Inventory, Session, load_inventory

SHIPPED = Path(__file__).resolve().parent.parent.parent / "inventories" / "local"


def copy_inventory(directory: Path, name: str, index: int) -> Path:
    """Return a copy of the shipped local lab, changed as its comments tell users to."""
    shutil.copytree(SHIPPED, directory)
    group_vars = directory / "group_vars" / "all.yml"
    text = re.sub(r"(?m)^lab_name: .*$", f"lab_name: {name}", group_vars.read_text())
    group_vars.write_text(re.sub(r"(?m)^local_lab_index: .*$", f"local_lab_index: {index}", text))
    return directory


@dataclass(frozen=True)
class ProvisionedLab:
    """The lab for tests that need nodes: its inventory, its record, and an open session to run playbooks in."""

    inventory: Inventory
    record: labs.Lab
    session: Session

    def command(self, node: str, *words: str) -> list[str]:
        """Return the command line that runs words on a node."""
        return [*labs.shell_command(self.record.name, node), *words]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisionedLab]:
    """Create and provision the lab `test` once; whoever changes its nodes puts them back."""
    directory = copy_inventory(tmp_path_factory.mktemp("labs") / "test", "test", 240)
    with Session() as session:
        if any(existing.name == "test" for existing in labs.list_labs()):  # of tests that were killed
            labs.destroy(session, "test")
        try:
            record = labs.create(session, str(directory))
            inventory = load_inventory(session, directory)
            workflow.provision(session, inventory, AnsibleOptions()).require()
            yield ProvisionedLab(inventory, record, session)
        finally:
            labs.destroy(session, str(directory))
