"""What reaches a terminal: lines, the log and how commands end, without secrets and control characters."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import typer

from spark_imgdedup.errors import ImgDedupError, shown, without_any_credentials
from spark_imgdedup.runs.display import StandardError, go_live

log = logging.getLogger(__name__)
_OURS = logging.getLogger("spark_imgdedup")

# Of what `--json` prints: raised where a name in it goes or means something else, and not where one is added.
SCHEMA_VERSION = 1
# Exit codes; 0 is done. 130 and 143 are SIGINT's and SIGTERM's, as a shell reports them.
GATE_FAILED = 1
FAILED = 2


class Ended(SystemExit):
    """The end of a command that was not done, or whose result is not as asked: a line for people, a code for programs.

    Its text is the line: what starts a command from Python, such as Databricks, shows it.
    """

    def __init__(self, line: str, code: int) -> None:
        super().__init__(line)
        self.code = code


def say(text: str) -> None:
    """Print what may hold names from files and paths."""
    typer.echo(shown(text))


def say_json(command: str, content: Mapping[str, Any]) -> None:
    """Print the result of a command for programs: one JSON object, and nothing else on standard output.

    Control characters are escaped by JSON itself; secrets in URLs are taken out.
    """
    whole = {"schema_version": SCHEMA_VERSION, "command": command, **content}
    typer.echo(json.dumps(without_any_credentials(whole), indent=1))


class _Shown(logging.Formatter):
    """Lines of the log as a terminal may see them, the stacks of errors too."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def _is_for_users(record: logging.LogRecord) -> bool:
    """False for the stack that Py4J logs where the JVM has died: the error itself says so, in a line."""
    return "/py4j/" not in record.pathname or _OURS.isEnabledFor(logging.DEBUG)


def log_to_stderr() -> None:
    """Send our lines, and warnings of others, to standard error."""
    handler = StandardError()
    handler.addFilter(_is_for_users)
    handler.setFormatter(_Shown("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    _OURS.setLevel(logging.INFO)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        go_live()


def set_verbose(verbose: bool) -> None:
    """Log the stacks of errors too, Java's among them."""
    if verbose:
        _OURS.setLevel(logging.DEBUG)


def guarded(call: Callable[[], object]) -> None:
    """Run a command: an error ends it with exit code 2, with one line if the user can mend it, else with a traceback.

    Raises:
        Ended: the command has failed, or a gate has; what is to be said of it was printed.
        SystemExit: with any other code than 0.
    """
    try:
        call()
    except Ended as ended:
        typer.echo(str(ended), err=True)
        raise
    except SystemExit as ended:
        if ended.code == GATE_FAILED:  # what typer makes of a closed pipe, or of a terminal that is gone
            raise SystemExit(FAILED) from ended
        if ended.code:
            raise
    except Exception as error:
        ours = error if isinstance(error, ImgDedupError) else _in_our_words(error)
        if ours is None:
            traceback.print_exc()
            raise Ended("".join(traceback.format_exception_only(error)).strip(), FAILED) from error
        log.debug("what led to the error:", exc_info=error)
        line = f"{type(ours).__name__}: {ours}"
        typer.echo(line, err=True)
        raise Ended(line, FAILED) from None


def _in_our_words(error: Exception) -> ImgDedupError | None:
    from spark_imgdedup.runs.problems import in_our_words

    return in_our_words(error)
