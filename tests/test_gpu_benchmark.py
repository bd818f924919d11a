"""The command for a machine with a GPU, on one that has none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
gpu = pytest.importorskip("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would take nine minutes")
@pytest.mark.slow
def test_a_dry_run_makes_every_table(tmp_path):
    """At toy size, in reStructuredText without a mistake; and says that it is one."""
    output = tmp_path / "tables.rst"
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu.py", "-o", output],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    text = output.read_text()
    assert "no GPU: a dry run on the CPU" in text
    assert "not whole" not in text and "4 skipped" in text
    headers = [gpu.TABLES[name][2] for name in ("steps", "archive", "paper")]
    for header in headers:
        assert any(line.split()[:2] == [*header][:2] for line in text.splitlines())
    for word in ("memory", "files", "store", "QUICK", "bfloat16", "float32"):
        assert word in text
    assert complaints_about(text) == ""


def complaints_about(text):
    """Return what docutils warns of in a text."""
    core = pytest.importorskip("docutils.core")
    warnings = []

    class Stream:
        def write(self, line):
            warnings.append(line)

    options = {"warning_stream": Stream(), "report_level": 2}
    core.publish_doctree(text, settings_overrides=options)
    return "".join(map(str, warnings))


def test_an_error_loses_one_table_alone(monkeypatch, tmp_path):
    """Its rows so far are there, with what went wrong; the exit code is 1."""

    def broken(scale, device, clock):
        yield ["a", 1]
        raise ValueError("of this table")

    def whole(scale, device, clock):
        yield ["b", ""]
        yield "A note."

    tables = {
        "broken": (broken, 1, ("name", "value"), "Above."),
        "whole": (whole, 1, ("name", "value"), "Also."),
    }
    monkeypatch.setattr(gpu, "TABLES", tables)
    output = tmp_path / "out.rst"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "-o", str(output)])
    assert gpu.main() == 1
    text = output.read_text()
    assert "ValueError: of this table" in text and "\na    1\n" in text
    assert "\nb    \\\n" in text and text.endswith("A note.\n\n")
    assert complaints_about(text) == ""


def test_later_tables_keep_their_time(monkeypatch):
    """A table has its own seconds, and what those before it left; no more in all."""
    now = [0.0]
    monkeypatch.setattr(gpu.time, "monotonic", lambda: now[0])
    clock = gpu.Clock(100)
    clock.begin(20, later=60)
    assert clock.left == 40  # 20 that nobody asked for are its own as well
    now[0] = 10
    clock.begin(30, later=30)
    assert clock.left == 60
    now[0] = 95
    clock.begin(30, later=0)
    assert clock.left == 5
