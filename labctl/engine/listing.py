"""An inventory as Ansible reads it: a program that labctl starts in place of `ansible-inventory --list`.

It prints the same document with more below `_meta`, which no group can be called: `labctl` has by host the variables
that LABCTL_VARIABLES (a JSON list) asks for, rendered, and where each variable is set. Of an inventory that cannot be
read there is `failed` alone, with what each of Ansible's readers says of the file. It runs in Ansible's environment and
imports nothing of labctl.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

from ansible.cli import inventory
from ansible.errors import AnsibleError
from ansible.template import Templar
from ansible.utils.display import Display
from ansible.vars.hostvars import HostVars

PR_SET_PDEATHSIG = 1
VAULT = "EncryptedString"


def origin_of(value: object) -> Any:
    """Where a value is from, which Ansible knows and promises to nobody; None where it does not say."""
    try:
        from ansible._internal._datatag._tags import Origin
    except ImportError:  # pragma: no cover
        return None
    return value if isinstance(value, Origin) else Origin.get_tag(value)


def place(value: object) -> str | None:
    """The file and line that a value was read from, where Ansible remembers."""
    origin = origin_of(value)
    if origin is None or not origin.path:
        return None
    return f"{origin.path}:{origin.line_num}" if origin.line_num else str(origin.path)


def place_of(name: object, value: object) -> str | None:
    """Where a variable is set: truth values and nothing carry no mark, but their names may."""
    inner = next(iter(value), None) if isinstance(value, (list, dict)) else None
    return place(value) or place(name) or place(inner)


InventoryCLI: Any = inventory.InventoryCLI  # without types


class Listing(InventoryCLI):  # type: ignore[misc]
    """The list, with the variables that are asked for."""

    def json_inventory(self, top: Any) -> Any:
        """The document."""
        found = super().json_inventory(top)
        # Whatever host it is asked of, `hostvars` is known once this is made.
        HostVars(inventory=self.inventory, variable_manager=self.vm, loader=self.loader)
        found["_meta"]["labctl"] = {host.name: self._seen(host) for host in self.inventory.get_hosts("all")}
        return found

    def _seen(self, host: Any) -> dict[str, Any]:
        own = self.vm.get_vars(host=host, include_hostvars=False, stage="all")
        everything = {**self._playbooks, **self.vm.get_vars(host=host, include_hostvars=True, stage="all")}
        templar = Templar(loader=self.loader, variables=everything)
        names = json.loads(os.environ["LABCTL_VARIABLES"])
        return {
            "places": {str(name): where for name, value in own.items() if (where := place_of(name, value))},
            "rendered": {name: rendered(templar, own[name]) for name in names if name in own},
        }

    @property
    def _playbooks(self) -> dict[str, Any]:
        """The variables that labctl's playbooks have for every host."""
        path = os.environ["LABCTL_PLAYBOOK_VARIABLES"]
        variables: dict[str, Any] = self.loader.load_from_file(path, trusted_as_template=True)
        return variables


def rendered(templar: Any, value: object) -> dict[str, object]:
    """A value as a role gets it, or why none does; what Ansible Vault keeps stays there."""
    if type(value).__name__ == VAULT:
        return {"vault": True}
    try:
        plain = templar.template(value)
        return {"value": json.loads(json.dumps(plain))}
    except (AnsibleError, TypeError, ValueError) as error:
        return {"error": str(getattr(error, "message", None) or error)}


def failure(error: Exception, plugin: str | None = None) -> dict[str, str | None]:
    """What was wrong with a source."""
    seen: BaseException | None = error
    where = None
    while seen is not None and where is None:
        where = place(getattr(seen, "obj", None))
        seen = seen.__cause__ or seen.__context__
    return {"plugin": plugin, "reason": str(error), "where": where}


def end_with_parent() -> None:
    """Have the kernel end this process with the labctl that started it, also where that one is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ["LABCTL_PID"]):  # it died before the kernel was asked
        sys.exit(1)


def main() -> None:
    """Print the document."""
    end_with_parent()
    tries: list[dict[str, str | None]] = []

    def keep(msg: str, exception: Exception, **_: object) -> None:
        words = msg.split("'")
        tries.append(failure(exception, words[1] if len(words) > 1 else None))

    Display().error_as_warning = keep  # type: ignore[method-assign, assignment]
    cli = Listing(["ansible-inventory", *sys.argv[1:]])
    try:
        cli.parse()
        cli.run()
    except AnsibleError as error:
        Display().display(json.dumps({"_meta": {"failed": {**failure(error), "tries": tries}}}))


if __name__ == "__main__":
    main()
