"""The commands of ``sksimclr``: what is asked for, done, and said about it.

Nothing that is slow to import is imported before a command runs, so that ``--help`` is
fast. A command is a module with a function ``run(args)`` that returns a `Report`.
"""

import json
import os
import sys
import traceback
import warnings
from importlib import import_module

from sksimclr._commands._parser import make_parser
from sksimclr._commands._report import printable

DONE, FAILED, INTERRUPTED = 0, 1, 130  # exit codes; argparse has 2, Report another
_EXPECTED = (ImportError, MemoryError, OSError, RuntimeError, ValueError)


def main(argv=None):
    """Run a command and return the exit code of the process.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments, by default those of the process.

    Returns
    -------
    int
        0, done; 1, an error, of which a line on stderr tells; 3, done, but some files
        failed; 130, Ctrl-C. Wrong arguments, and ``--help``, raise SystemExit.

    Examples
    --------
    >>> from sksimclr.__main__ import main
    >>> main(["info", "missing.skops"])
    1
    """
    args = make_parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            report = import_module(f"sksimclr._commands.{args.module}").run(args)
            _write(json.dumps(report.data) if args.json else _lines(report.text))
            return report.code
        except KeyboardInterrupt:
            print(file=sys.stderr)  # behind ^C, or a progress bar
            _say(f"stopped. {args.after_interrupt}".strip())
            return INTERRUPTED
        except BrokenPipeError:  # such as `sksimclr summary catalogue | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:
            if args.debug:
                print(_lines(traceback.format_exc()), end="", file=sys.stderr)
            else:
                _say(f"error: {_message(error)}")
            return FAILED


def _message(error):
    """Return what an error says, on one line."""
    if isinstance(error, OSError) and error.strerror:
        file = error.filename
        return error.strerror if file is None else f"{error.strerror}: {file!r}."
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"out of memory. {text}".strip()
    if isinstance(error, _EXPECTED) and text:
        return text
    return f"{type(error).__name__}: {text} (unexpected; --debug shows where)"


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """Say a warning on one line, without the place in the code."""
    _say(f"warning: {' '.join(str(message).split())}")


def _say(text):
    print(f"sksimclr: {printable(text)}", file=sys.stderr, flush=True)


def _lines(text):
    """Return what may be shown of some lines."""
    return "\n".join(map(printable, text.split("\n")))


def _write(text):
    """Write to stdout; what its encoding does not have, as its code."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
