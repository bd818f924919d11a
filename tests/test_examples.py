"""The table of the paper, run as a user would run it."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

_TABLE = Path(__file__).resolve().parents[1] / "examples" / "plot_paper_table.py"
_RESNET18 = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name


def run_table(folder, *arguments):
    """Run the script in an empty folder, with no data and no weights elsewhere."""
    environment = os.environ | {
        "MPLBACKEND": "agg",
        "SKSIMCLR_DATA": str(folder / "data"),
        "TORCH_HOME": str(folder / "torch"),
    }
    done = subprocess.run(
        [sys.executable, _TABLE, "--quick", *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    with open(folder / "paper_table.csv", newline="") as file:
        return done.stdout, list(csv.DictReader(file))


@pytest.mark.slow
def test_table_has_every_row_under_both_protocols(tmp_path):
    """Baselines, both folds; weights that are there make a row, others a hint."""
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), checkpoints / _RESNET18)
    printed, table = run_table(tmp_path, "--data", "synthetic")

    expected = ["majority class", "nearest image number", "raw pixels"]
    expected += ["untrained encoder", "SimCLR", "SimCLR, fine-tuned"]
    expected += ["ResNet18, fine-tuned"]
    for protocol in ("given folds", "held-out sequences"):
        rows = [row for row in table if row["folds"] == protocol]
        assert [row["system"] for row in rows] == expected
    by_name = {(row["system"], row["folds"]): row for row in table}
    leak = by_name["nearest image number", "given folds"]
    honest = by_name["nearest image number", "held-out sequences"]
    assert float(leak["top-1"]) > 70 > 40 > float(honest["top-1"])
    assert by_name["SimCLR", "given folds"]["parameters (M)"] == "11.2"
    assert by_name["SimCLR", "given folds"]["training"] == "transductive"
    assert by_name["raw pixels", "given folds"]["training"] == "inductive"
    assert {row["paper"] for row in table} == {"", "90.9 +- 0.7", "84.7 +- 0.7"}
    assert "inception_v3_google" in printed and "aurora-fm-no-finetune.tar" in printed
    assert (tmp_path / "paper_table.png").stat().st_size > 10_000


@pytest.mark.slow
def test_inductive_table_trains_simclr_inside_the_folds(tmp_path):
    """As the option says, and the table repeats."""
    _, table = run_table(tmp_path, "--data", "synthetic", "--protocol", "inductive")
    training = {row["training"] for row in table if row["system"] == "SimCLR"}
    assert training == {"inductive"}
