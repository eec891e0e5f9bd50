"""The command ``pyro-models``: the roof of the house, imported by nobody.

The subcommands are typed functions (``evaluation.commands``); options, help and YAML configuration follow from their
signatures.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser

from evaluation import commands
from pyro_models.errors import ModelsError

COMMANDS: dict[str, Any] = {
    "train": commands.train_story,
    "resume": commands.resume_run,
    "evaluate": commands.evaluate_run,
    "report": commands.report_run,
    "compare": commands.compare_runs,
    "posterior": commands.write_posterior,
    "reproduce": commands.reproduce_experiment,
    "list": commands.list_names,
    "cite": commands.print_citations,
}

POSITIONAL: dict[str, tuple[str, dict[str, Any]]] = {
    "compare": (
        "runs",
        {"nargs": "+", "type": str, "help": "run folders, folders of runs, or results/NAME.json files"},
    ),
    "cite": ("names", {"nargs": "+", "type": str, "help": "stories, estimators and metrics, or one run folder"}),
    "list": (
        "kind",
        {"nargs": "?", "default": "all", "help": f"{', '.join(commands.KINDS)}; or a name, to see its options"},
    ),
}

#: exit status of an error that the user can mend (argparse's own for wrong usage)
USER_ERROR = 2


class Parser(ArgumentParser):
    """Shows options with hyphens, and answers a wrong one with the nearest right one instead of a page of usage."""

    def format_help(self, formatter: Any = None) -> str:
        return re.sub(r"--[a-z][a-z_]*", lambda match: match[0].replace("_", "-"), super().format_help(formatter))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        wrong = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        if wrong:
            known = [option for action in self._actions for option in action.option_strings]
            near = difflib.get_close_matches(wrong[1], known, n=1)
            message += f"; did you mean {near[0].replace('_', '-')}?" if near else ""
        print(
            f"error: {message.replace('_', '-') if wrong else message}",
            f"see {self.prog.replace(' [options]', '')} --help",
            sep="\n",
            file=sys.stderr,
        )
        sys.exit(USER_ERROR)


def parser() -> ArgumentParser:
    made = Parser(
        prog="pyro-models",
        description="Structured deep generative models in Pyro: train, measure, compare.",
        allow_abbrev=False,
    )
    subcommands = made.add_subcommands(dest="command", title="commands", description="")
    for name, function in COMMANDS.items():
        sub = Parser(allow_abbrev=False, description=(function.__doc__ or "").split("\n")[0])
        if name == "train":
            sub.add_argument("--config", action=ActionConfigFile, help="YAML file with any of these options")
        # positional lists, which the signature alone cannot say
        words = POSITIONAL.get(name)
        if words is not None:
            sub.add_argument(words[0], **words[1])
        skip: set[str | int] = {words[0]} if words is not None else set()
        sub.add_function_arguments(function, as_group=False, as_positional=True, skip=skip)
        subcommands.add_subcommand(name, sub, help=(function.__doc__ or "").split("\n")[0])
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    given = [_underscored(a) for a in (sys.argv[1:] if arguments is None else arguments)]
    found = parser().parse_args(given)
    options = found[found.command].as_dict()
    options.pop("config", None)
    try:
        COMMANDS[found.command](**options)
    except ModelsError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("stopped; a run with a checkpoint goes on by `pyro-models resume FOLDER`", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _underscored(argument: str) -> str:
    """``--data-root=x`` and ``--data_root=x`` are the same option."""
    if not argument.startswith("--"):
        return argument
    option, equals, value = argument.partition("=")
    return "--" + option[2:].replace("-", "_") + equals + value


if __name__ == "__main__":
    sys.exit(main())
