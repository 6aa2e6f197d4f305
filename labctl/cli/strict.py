"""What every command asks of its command line, before it is read: an option says one thing, and says something.

click takes the last of an option given twice, and an empty text for a value. Both are misunderstandings, such as a
variable of the shell that is not set, and would be dropped or taken for the default.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from labctl.core.errors import Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


class StrictCommand(TyperCommand):
    """A command that refuses options without a value, and those given twice; all at once, as UsageError."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line; see the class."""
        if not ctx.resilient_parsing:  # the shell's completion reads a line that is not finished
            given, _, order = self.make_parser(ctx).parse_args(args=list(args))
            names = {
                name for parameter in self.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)
            }
            problems = [*_repeated(order), *_without_value(order, given, names)]
            if problems:
                raise UsageError(*problems)
        return super().parse_args(ctx, args)


def _repeated(order: list[Any]) -> Iterator[Problem]:
    """Options that take a value and were given more than once."""
    for name, times in Counter(_name(one) for one in order if _takes_one_value(one) and not _is_argument(one)).items():
        if times > 1:
            hint = "give it once; an option that takes several values takes them separated by commas"
            yield Problem(
                "an option is given more than once, and only one of them would hold", name, f"{times} times", hint
            )


def _without_value(order: list[Any], given: dict[str, Any], names: set[str]) -> Iterator[Problem]:
    """Options and arguments whose value is empty, or is the option after it."""
    for one in {parameter.name: parameter for parameter in order if _takes_one_value(parameter)}.values():
        value = given.get(one.name)
        if isinstance(value, str) and not value.strip():
            hint = "give it a value" if _is_argument(one) else "give it a value, or leave it out"
            yield Problem(
                "there is nothing in it", _name(one), repr(value), f"{hint}; is a variable of the shell not set?"
            )
        elif isinstance(value, str) and value in names and not _is_argument(one):
            yield Problem("the option has no value: another option follows", _name(one), value, "give it a value")


def _takes_one_value(parameter: Any) -> bool:
    flag = getattr(parameter, "is_flag", False) or getattr(parameter, "count", False)
    return parameter.nargs == 1 and not flag and not getattr(parameter, "multiple", False)


def _is_argument(parameter: Any) -> bool:
    return str(parameter.param_type_name) == "argument"


def _name(parameter: Any) -> str:
    """The parameter as one writes it."""
    return str(parameter.name).upper() if _is_argument(parameter) else max(parameter.opts, key=len)
