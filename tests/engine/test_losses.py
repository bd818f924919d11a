import math

import numpy as np
import pytest
import torch

from sksimclr._engine.losses import NTXent, nt_xent
from sksimclr._machine.processes import Processes


def slow_nt_xent(z, temperature):
    """Equations (2) and (3) of the paper as they stand: a double loop in float64."""
    n_views = len(z)
    total = 0.0
    for i in range(n_views):
        partner = (i + n_views // 2) % n_views
        others = []
        for k in range(n_views):
            cosine = torch.dot(z[i], z[k]) / (z[i].norm() * z[k].norm())
            if k == partner:
                positive = torch.exp(cosine / temperature)
            if k != i:
                others.append(torch.exp(cosine / temperature))
        total = total - torch.log(positive / torch.stack(others).sum())
    return total / n_views


@pytest.mark.parametrize("temperature", [0.01, 0.1, 0.5, 2.0])
@pytest.mark.parametrize(("n_images", "dim"), [(2, 2), (3, 5), (8, 16)])
def test_value_and_gradient_equal_double_loop(n_images, dim, temperature):
    """In float64, and in float32 at its own precision, down to temperature 0.01."""
    rng = np.random.default_rng(n_images)
    z = torch.tensor(rng.normal(size=(2 * n_images, dim)))
    expected, expected_grad = _value_and_gradient(slow_nt_xent, z, temperature)
    value, grad = _value_and_gradient(nt_xent, z, temperature)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-10, atol=1e-12)
    value, grad = _value_and_gradient(nt_xent, z.float(), temperature)
    scale = expected_grad.abs().max().item()
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        grad.double(), expected_grad, rtol=0, atol=1e-5 / temperature * max(scale, 1e-3)
    )


@pytest.mark.parametrize("n_images", [1, 2, 64])
def test_collapsed_projections_give_ln_2n_minus_1(n_images):
    """If all projections are equal, every other view is as likely as the partner."""
    loss = nt_xent(torch.ones(2 * n_images, 4), temperature=0.1)
    assert loss.item() == pytest.approx(math.log(2 * n_images - 1), abs=1e-5)


def test_perfect_projections_give_the_known_minimum():
    """Partners equal, all else orthogonal: ln(1 + (2N - 2) exp(-1 / tau))."""
    z = torch.eye(4).repeat(2, 1)
    expected = math.log(1 + 6 * math.exp(-1 / 0.5))
    assert nt_xent(z, 0.5).item() == pytest.approx(expected, rel=1e-6)


def test_loss_is_finite_at_temperature_001_in_float32():
    """Opposite partners at a small temperature neither overflow nor give NaN."""
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    value, grad = _value_and_gradient(nt_xent, z, 0.01)
    expected, _ = _value_and_gradient(slow_nt_xent, z.double(), 0.01)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.isfinite(grad).all()


def test_half_precision_projections_are_compared_in_float32():
    """Whatever the network computes in, the loss is float32."""
    z = torch.randn(16, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert nt_xent(z, 0.1).dtype == torch.float32
    torch.testing.assert_close(nt_xent(z, 0.1), nt_xent(z.float(), 0.1))


def test_scale_of_projections_does_not_matter():
    """Cosine similarity ignores length, so the criterion does."""
    z = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    criterion = NTXent(temperature=0.5).criterion(Processes())
    torch.testing.assert_close(criterion(z), criterion(100 * z, torch.zeros(4)))


def _value_and_gradient(loss, z, temperature):
    z = z.clone().requires_grad_()
    value = loss(z, temperature)
    value.backward()
    return value.detach(), z.grad
