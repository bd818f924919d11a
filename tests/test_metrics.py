"""Alignment, uniformity and effective rank against cases worked by hand."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sksimclr import metrics
from sksimclr.metrics import alignment, effective_rank, uniformity


def on_circle(*degrees):
    """Return points on the unit circle, (n, 2)."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    # chords of 0, 60, 90 and 180 degrees: 0, 1, sqrt 2, 2
    [(2, (0 + 1 + 2 + 4) / 4), (1, (0 + 1 + math.sqrt(2) + 2) / 4)],
)
def test_alignment_of_known_chords(alpha, expected):
    """Mean power of the distance on the circle, whatever the lengths of the rows."""
    first = on_circle(10, 20, 30, 40)
    second = on_circle(10, 80, 120, 220)
    assert alignment(first, second, alpha=alpha) == pytest.approx(expected)
    scaled = first * [[1], [2], [3], [4]]
    assert alignment(scaled, 5 * second, alpha=alpha) == pytest.approx(expected)


@pytest.mark.parametrize("t", [2, 0.5])
def test_uniformity_of_a_square(t):
    """Six pairs of corners: four at a squared distance of 2, two at 4."""
    expected = math.log((4 * math.exp(-2 * t) + 2 * math.exp(-4 * t)) / 6)
    assert uniformity(on_circle(0, 90, 180, 270), t=t) == pytest.approx(expected)


def test_uniformity_limits(rng):
    """0 for a point; on a sphere of many dimensions, distances are all near 2."""
    assert uniformity(np.ones((5, 3))) == pytest.approx(0, abs=1e-12)
    spread = rng.standard_normal((200, 4000))
    assert uniformity(spread) == pytest.approx(-4, abs=0.01)


def test_uniformity_in_blocks_equals_a_loop_over_pairs(rng, monkeypatch):
    """Also when the last block is shorter."""
    rows = rng.standard_normal((23, 5))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [
        math.exp(-2 * np.sum((unit[i] - unit[j]) ** 2))
        for i in range(23)
        for j in range(i)
    ]
    monkeypatch.setattr(metrics, "_BLOCK", 4 * 23)
    assert uniformity(rows) == pytest.approx(math.log(np.mean(pairs)), rel=1e-12)


def test_effective_rank_of_known_singular_values():
    """1/2, 1/4, 1/4 have an entropy of 1.5 bits."""
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    embeddings = np.diag([2.0, 1.0, 1.0]) @ rotation
    assert effective_rank(embeddings) == pytest.approx(2**1.5, rel=1e-5)


def test_effective_rank_limits(rng):
    """1 on a line, all dimensions of a sphere, 0 for nothing."""
    line = rng.standard_normal((50, 1)) * [[3.0, 4.0, 0.0]]
    assert effective_rank(line) == pytest.approx(1, abs=1e-4)
    assert effective_rank(rng.standard_normal((20_000, 16))) == pytest.approx(
        16, rel=1e-3
    )
    assert effective_rank(np.zeros((4, 3))) == 0


def test_rank_from_the_gram_matrix_agrees(rng):
    """What training accumulates says the same as the singular values."""
    rows = rng.standard_normal((100, 6)) @ rng.standard_normal((6, 12))
    gram = torch.from_numpy(rows.T @ rows)
    assert metrics.rank_of_gram(gram) == pytest.approx(effective_rank(rows), rel=1e-4)


def test_any_array_is_taken_and_left_alone(rng):
    """Lists, float32 and tensors with a gradient give plain floats."""
    rows = rng.standard_normal((6, 3)).astype(np.float32)
    before = rows.copy()
    tensor = torch.tensor(rows, requires_grad=True)
    for function in (uniformity, effective_rank, lambda x: alignment(x, x[::-1])):
        assert type(function(rows.copy())) is float
    for function in (uniformity, effective_rank):
        assert function(rows.tolist()) == pytest.approx(function(rows))
        assert function(tensor) == pytest.approx(function(rows))
    assert_allclose(rows, before, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alignment(np.ones((2, 3)), np.ones((3, 3))), r"\(2, 3\) and \(3, 3\)"),
        (lambda: alignment(np.ones(3), np.ones(3)), r"first must be.*shape \(3,\)"),
        (lambda: alignment(np.ones((2, 3)), np.ones((2, 3)), alpha=0), "alpha must"),
        (lambda: uniformity(np.ones((1, 3))), r"at least 2 row\(s\).*\(1, 3\)"),
        (lambda: uniformity(np.ones((3, 3)), t=-1), "t must be > 0, got -1"),
        (lambda: effective_rank(np.ones((0, 3))), r"at least 1 row.*\(0, 3\)"),
        (lambda: effective_rank([[1.0], [np.nan]]), "NaN or infinity, first in row 1"),
    ],
)
def test_bad_input(call, message):
    """The error says which argument, what was expected and what was got."""
    with pytest.raises(ValueError, match=message):
        call()
