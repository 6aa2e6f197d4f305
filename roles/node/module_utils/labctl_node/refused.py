"""How a module fails: with every problem by itself, so that labctl can say what, where, what was seen and what next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Mapping, NoReturn, TypedDict

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class _What(TypedDict):
    what: str


class Problem(_What, total=False):
    """One thing that is wrong: `what` failed, `where`, what was `seen` there, and a `hint` what to do next."""

    where: str
    seen: str
    hint: str


Problems = List[Problem]


class Refused(Exception):
    """Something cannot, or must not, be done. `refuse` raises it for several problems at once."""

    def __init__(self, what: str, *, where: str = "", seen: str = "", hint: str = "") -> None:
        super().__init__(what)
        problem: Problem = {"what": what}
        if where:
            problem["where"] = where
        if seen:
            problem["seen"] = seen
        if hint:
            problem["hint"] = hint
        self.problems: Problems = [problem]

    def __str__(self) -> str:
        return "\n".join(map(_text, self.problems))


def refuse(problems: Iterable[Problem]) -> None:
    """Raise Refused with all problems of a stage at once, if there are any."""
    found = list(problems)
    if found:
        refused = Refused(**found[0])
        refused.problems = found
        raise refused


def _text(problem: Problem) -> str:
    rest = {"where:": problem.get("where"), "seen:": problem.get("seen"), "next:": problem.get("hint")}
    told = [(name, text.replace("\n", "\n         ")) for name, text in rest.items() if text]
    return "\n".join([problem["what"], *(f"  {name:<6} {text}" for name, text in told)])


def finish(module: AnsibleModule, act: Callable[[], Mapping[str, Any]], of_cluster: bool = False) -> NoReturn:
    """Do what a module is for, and end it: with its result, or with the problems of what was refused.

    Those are `of_cluster` where the module asks the API of one, for whatever node it was run.
    """
    try:
        result = act()
    except Refused as refused:
        fail(module, refused, **({"of_cluster": True} if of_cluster else {}))
    module.exit_json(**result)


def failure(refused: Refused) -> Dict[str, Any]:
    """Return what was refused as a task's result: for people, and for labctl."""
    return {"failed": True, "msg": str(refused), "problems": refused.problems}


def fail(module: AnsibleModule, refused: Refused, **result: Any) -> NoReturn:
    """End a module that failed, with what there is of a result."""
    module.fail_json(**failure(refused), **result)
