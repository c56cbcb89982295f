"""`portwatch`: finds the command, and turns every error of a user's into one clear message."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from portwatch import __version__
from portwatch.errors import EXIT_KERNEL, EXIT_USAGE, PolicyError, PortwatchError

# Command → its module and what it does: `--help` needs no command's imports.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "The agent: enforce, follow the policy, tell events, serve metrics."),
    "load": ("enforce", "Enforce a policy with no agent left running."),
    "unload": ("enforce", "Remove enforcement without a trace."),
    "apply": ("enforce", "Swap the policy in the kernel, agent running or not."),
    "status": ("status", "What is enforced now, and what this kernel cannot do."),
    "check": ("check", "Check a policy: every error with its place."),
    "explain": ("explain", "Why a bind is allowed, denied or recorded."),
    "listeners": ("listeners", "What listens now, whose it is, and what the policy says."),
    "events": ("events", "The event stream of the running agent."),
    "top": ("top", "A live screen: who binds what, violations first."),
    "doctor": ("doctor", "Can this machine run portwatch, and if not, how to mend it."),
    "diff": ("diff", "What changes between two policies, by meaning."),
    "test": ("run_cases", "The tests of a policy: binds, and the verdicts expected."),
    "catalog": ("catalog", "The ports of well-known software, by name."),
    "learn": ("learn", "The tightest policy that fits the binds seen so far."),
    "replay": ("replay", "What a policy would have said to recorded binds."),
    "schema": ("schema", "JSON Schema of the policy, for editors."),
    "errand": ("errand", ""),
    "demo": ("demo", "A tour on this machine that leaves nothing behind."),
}

COMPLETE = "_PORTWATCH_COMPLETE"
"""By this variable a shell asks click for completions, with no arguments."""


class _ReaderGone(Exception):
    """What BrokenPipeError is called on its way through click, which would make it an exit of 1."""


@contextmanager
def _past_click() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as err:
        raise _ReaderGone from err


class LazyGroup(click.Group):
    """Imports a command when it is called."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """As click does, which prints `--help` here."""
        with _past_click():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does."""
        with _past_click():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a user's way."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"portwatch.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command for a mistyped one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            ctx.fail(f"No such command `{args[0]}`.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items() if text])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "--version", message="portwatch %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def portwatch(verbose: bool) -> None:
    """A guardrail in the kernel: who may bind which port."""
    if os.environ.get("NO_COLOR"):
        click.get_current_context().color = False
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="portwatch: %(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.ERROR, "error")
    logging.addLevelName(logging.INFO, "info")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 fine, 1 findings, 2 usage or policy, 3 kernel or privilege."""
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    _open_standard_streams()
    if not arguments and COMPLETE not in os.environ:
        # click before 8.2 takes it for a question, and answers with status 0
        context = portwatch.make_context("portwatch", [], resilient_parsing=True)
        click.echo(context.get_help(), err=True)
        return EXIT_USAGE
    try:
        status = portwatch.main(args=arguments, prog_name="portwatch", standalone_mode=False)
        if sys.stdout:
            sys.stdout.flush()
    except click.exceptions.Abort:
        return 130
    except click.ClickException as err:
        err.show()
        return EXIT_USAGE
    except PortwatchError as err:
        try:
            _show(err, as_json="--json" in arguments)
        except BrokenPipeError:
            _discard_output()
        return err.exit_code
    except (BrokenPipeError, _ReaderGone):
        # The reader of our output went away, as `| head` does: not our failure.
        _discard_output()
        return 0
    except PermissionError as err:
        click.echo(f"portwatch: not permitted: {err}\n  hint: run it as root", err=True)
        return EXIT_KERNEL
    except OSError as err:
        _discard_output()
        click.echo(f"portwatch: {err}", err=True)
        return EXIT_KERNEL
    except KeyboardInterrupt:
        return 130
    return status if isinstance(status, int) else 0


def _open_standard_streams() -> None:
    """Where one was closed, as by `>&-`, nothing else may get its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115 (as long as the process)
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115


def _discard_output() -> None:
    """What is left in stdout's buffer cannot be written: do not try again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _show(err: PortwatchError, as_json: bool) -> None:
    if as_json:
        said: dict[str, object] = {"error": err.message, "hint": err.hint or None}
        if isinstance(err, PolicyError):
            said["problems"] = [vars(problem) for problem in err.problems]
        click.echo(json.dumps(said))
    elif isinstance(err, PolicyError):
        for problem in err.problems:
            click.echo(str(problem), err=True)
        count = len(err.problems)
        click.echo(f"portwatch: {count} error{'s' * (count != 1)} in {err.what}", err=True)
    else:
        click.echo(f"portwatch: {err}", err=True)


if __name__ == "__main__":
    main()
