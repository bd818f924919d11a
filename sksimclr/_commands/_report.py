"""What a command has to say, as text and as JSON."""

from dataclasses import dataclass

SOME_FAILED = 3  # exit code
MOST_NAMED = 5  # failures that are shown


@dataclass(frozen=True)
class Report:
    """The result of a command.

    Attributes
    ----------
    data : dict
        What ``--json`` writes.
    text : str
        What people read; `printable` where it is written, but for its lines.
    code : int
        Exit code of the process.
    """

    data: dict
    text: str
    code: int = 0


def printable(text):
    r"""Return text with all that a terminal could obey, or not show, as its code.

    Names of files and sites, and what is in files, may hold such characters.

    Examples
    --------
    >>> print(printable("a\x1b[2Jb\n"))
    a\x1b[2Jb\n
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )


def table(rows, *, indent=""):
    """Return rows of cells as lines; numbers to the right, texts to the left.

    Examples
    --------
    >>> print(table([["site", "n"], ["gill", 7], ["rank", 12]]))
    site   n
    gill   7
    rank  12
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(len(printable(cell)) for cell in column) for column in columns]
    is_number = [any(isinstance(cell, (int, float)) for cell in c) for c in columns]
    lines = []
    for row in rows:
        cells = [
            printable(cell).rjust(width) if right else printable(cell).ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ]
        lines.append(indent + "  ".join(cells).rstrip())
    return "\n".join(lines)


def failures_text(failures):
    """Return lines that name some of the files that failed, and why.

    Parameters
    ----------
    failures : list of dict
        With "file", "n_frames" and "reason".
    """
    if not failures:
        return ""
    n = len(failures)
    lines = [f"{n} file{'s' * (n > 1)} could not be read, or not wholly:"]
    for failure in failures[:MOST_NAMED]:
        file, reason, n_read = (failure[k] for k in ("file", "reason", "n_frames"))
        named = printable(reason if file in reason else f"{file}: {reason}")
        lines.append(f"  {named}" + f" ({n_read} frames were read)" * (n_read > 0))
    if n > MOST_NAMED:
        lines.append(f"  and {n - MOST_NAMED} more; --json lists them all")
    return "\n".join(lines)


def left_out_line(numbers):
    """Return a line that says what was not taken of folders.

    Parameters
    ----------
    numbers : dict of str to int
        Of files, for each reason.
    """
    from sksimclr._files.finding import left_out_text  # imports numpy

    n, why = sum(numbers.values()), printable(left_out_text(numbers))
    which = f"{n} file{'s' * (n > 1)} of the folders {'are' if n > 1 else 'is'}"
    return f"{which} left out: {why}."


def duration(seconds):
    """Return a duration as people say it.

    Examples
    --------
    >>> duration(2.34), duration(75), duration(7384)
    ('2.3 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def run_text(done, verb, place, output, failures):
    """Return what a run over an archive did, in words.

    Parameters
    ----------
    done : LabelRun or PackRun
    verb : str
        Such as "Labelled".
    place : str
        "catalogue" or "store".
    output : str
        Its path.
    failures : list of dict
        As `failures_text` takes them.
    """
    if done.n_files == 0:
        lines = [f"Nothing to do: the {place} has all {done.n_skipped} files."]
    else:
        speed = done.n_frames / max(done.seconds, 1e-9)
        lines = [
            f"{verb} {done.n_frames} frames of {done.n_files} files in "
            f"{duration(done.seconds)}, {speed:.3g} frames/s."
        ]
        if done.n_skipped:
            lines.append(f"An earlier run had done {done.n_skipped} files.")
    if done.left_out:
        lines.append(left_out_line(done.left_out))
    lines.append(f"{place.capitalize()}: {output}")
    if failures:
        lines.append(failures_text(failures))
        lines.append("--retry-failures reads those again that gave no frame.")
    return "\n".join(lines)
