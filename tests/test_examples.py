"""The examples, run as a user would run them, on few frames."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

_EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
_RESNET18 = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name


def run_example(name, folder, *arguments):
    """Return what a script prints in an empty folder, with no data and no weights."""
    environment = os.environ | {
        "MPLBACKEND": "agg",
        "PYTHONPATH": str(Path(__file__).parent),
        "SKSIMCLR_DATA": str(folder / "data"),
        "TORCH_HOME": str(folder / "torch"),
    }
    done = subprocess.run(
        [sys.executable, _EXAMPLES / name, "--quick", *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    return done.stdout


def read_table(folder):
    """Return the rows of the table that was written as CSV."""
    with open(folder / "paper_table.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_table_has_every_row_under_both_protocols(tmp_path):
    """Baselines, both folds; weights that are there make a row, others a hint."""
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), checkpoints / _RESNET18)
    printed = run_example("plot_paper_table.py", tmp_path)
    table = read_table(tmp_path)

    expected = ["majority class", "nearest image number", "raw pixels"]
    expected += ["untrained encoder", "untrained encoder, mirrors"]
    expected += ["SimCLR", "SimCLR, mirrors"]
    expected += ["SimCLR, fine-tuned", "SimCLR, fine-tuned, mirrors"]
    expected += ["Ridge, Inception-v4"]  # without scores, but the paper's
    expected += ["ResNet18, fine-tuned", "ResNet18, fine-tuned, mirrors"]
    for protocol in ("given folds", "held-out sequences"):
        rows = [row for row in table if row["folds"] == protocol]
        assert [row["system"] for row in rows] == expected
    by_name = {(row["system"], row["folds"]): row for row in table}
    leak = by_name["nearest image number", "given folds"]
    honest = by_name["nearest image number", "held-out sequences"]
    assert float(leak["top-1"]) > 70 > 40 > float(honest["top-1"])
    assert by_name["SimCLR", "given folds"]["parameters (M)"] == "0.7"
    assert by_name["ResNet18, fine-tuned", "given folds"]["parameters (M)"] == "11.2"
    absent = by_name["Ridge, Inception-v4", "given folds"]
    assert (absent["paper"], absent["top-1"]) == ("81.7", "nan")
    assert by_name["SimCLR", "given folds"]["training"] == "transductive"
    assert by_name["raw pixels", "given folds"]["training"] == "inductive"
    assert {row["paper"] for row in table} == {"", "90.9 +- 0.7", "84.7 +- 0.7", "81.7"}
    assert "inception_v3_google" in printed and "aurora-fm-no-finetune.tar" in printed
    assert (tmp_path / "paper_table.png").stat().st_size > 10_000


@pytest.mark.slow
def test_inductive_table_trains_simclr_inside_the_folds(tmp_path):
    """As the option says, and the table repeats."""
    run_example("plot_paper_table.py", tmp_path, "--protocol", "inductive")
    table = read_table(tmp_path)
    training = {row["training"] for row in table if row["system"] == "SimCLR"}
    assert training == {"inductive"}


@pytest.mark.slow
def test_clusters_are_held_against_none(tmp_path):
    """Silhouette and stability for every k, and a verdict on the paper's twelve."""
    printed = run_example("plot_clusters.py", tmp_path)
    rows = [line.split() for line in printed.splitlines() if " +- " in line]
    assert [int(row[0]) for row in rows] == list(range(3, 16))
    assert re.search(r"k = 12: silhouette .* of 13\), stability [+-]0\.", printed)
    for name in ("clusters_k.png", "clusters_grid.png", "clusters_map.png"):
        assert (tmp_path / name).stat().st_size > 10_000


@pytest.mark.slow
def test_few_labels_has_a_row_for_every_system(tmp_path):
    """Four shares of labels; frozen features of any importable factory."""
    backbone = ["--backbone", "tiny:tiny_encoder"]
    printed = run_example("plot_few_labels.py", tmp_path, *backbone)
    rows = [line for line in printed.splitlines() if line.count(" +- ") == 4]
    names = [re.split("  +", row)[0] for row in rows]
    assert names == [
        *("raw pixels", "SimCLR", "SimCLR, self-training", "SimCLR, fine-tuned"),
        "frozen features",
    ]
    assert (tmp_path / "few_labels.png").stat().st_size > 10_000
