"""What every proof is made of: assertions, and how a module ends with them."""

from __future__ import annotations

import reprlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Dict, Mapping, NoReturn, Sequence

from ansible.module_utils.labctl_node.refused import Refused, failure

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


@dataclass(frozen=True)
class Assertion:
    """One thing that must be so on one node."""

    name: str
    node: str
    wanted: object
    seen: object

    @property
    def holds(self) -> bool:
        """Whether what was seen is what was wanted."""
        return self.wanted == self.seen

    def __str__(self) -> str:
        return f"{self.name} on {self.node}: wanted {_short(self.wanted)}, seen {_short(self.seen)}"


def _short(value: object) -> str:
    shorter = reprlib.Repr()
    shorter.maxstring = shorter.maxother = 300
    return shorter.repr(value) if not isinstance(value, str) else value


def broken(name: str, assertions: Sequence[Assertion], hint: str = "") -> Refused:
    """What a person has to know about a proof of the setup `name` that does not hold."""
    failed = [assertion for assertion in assertions if not assertion.holds]
    what = f"{name} is not what it claims to be: {len(failed)} of {len(assertions)} assertions do not hold."
    return Refused(what, seen="\n".join(map(str, failed)), hint=hint)


def result_of(
    name: str, assertions: Sequence[Assertion], evidence: Mapping[str, Any], hint: str = ""
) -> Dict[str, Any]:
    """Return the result of a task that proves, which fails unless every assertion holds."""
    holds = all(assertion.holds for assertion in assertions)
    told = [dict(asdict(assertion), holds=assertion.holds) for assertion in assertions]
    failed = {} if holds else failure(broken(name, assertions, hint))
    return {"changed": False, "holds": holds, "assertions": told, "evidence": evidence, **failed}


def conclude(
    module: AnsibleModule, name: str, assertions: Sequence[Assertion], evidence: Mapping[str, Any]
) -> NoReturn:
    """End a module with its proof."""
    result = result_of(name, assertions, evidence)
    if not result["holds"]:
        module.fail_json(**result)
    module.exit_json(**result)
