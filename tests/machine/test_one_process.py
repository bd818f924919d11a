"""What the code for many processes does in one."""

import copy
import warnings

import numpy as np
import parallel_job
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from tiny import tiny_simclr
from torch import nn

from sksimclr._engine.losses import NTXent, collapsed_loss
from sksimclr._estimators import views
from sksimclr._machine.device import resolve_device
from sksimclr._machine.processes import (
    Processes,
    _synchronised,
    join_processes,
    sum_over,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # noise, and few steps
)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (nn.BatchNorm1d, (6, 3)),
        (nn.BatchNorm1d, (6, 3, 4)),
        (nn.BatchNorm2d, (6, 3, 4, 5)),
    ],
)
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracks", [True, False])
def test_batch_normalisation_of_one_process_is_torchs(
    kind, shape, momentum, affine, tracks
):
    """Output, gradients and statistics of three steps, then evaluation."""
    draws = torch.Generator().manual_seed(0)
    layer = kind(3, momentum=momentum, affine=affine, track_running_stats=tracks)
    if affine:
        nn.init.uniform_(layer.weight, 0.5, 2.0, generator=draws)
        nn.init.uniform_(layer.bias, -1.0, 1.0, generator=draws)
    ours = _synchronised(copy.deepcopy(layer), Processes())
    for mode in (True, True, True, False):
        layer.train(mode), ours.train(mode)
        values = 3 * torch.randn(shape, generator=draws) + 2
        inputs = [values.clone().requires_grad_(True) for _ in range(2)]
        outputs = [net(x) for net, x in zip((layer, ours), inputs, strict=True)]
        for out in outputs:
            (out**3).sum().backward()
        torch.testing.assert_close(outputs[1], outputs[0])
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-4)
    for a, b in zip(ours.parameters(), layer.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)
    assert list(ours.state_dict()) == list(layer.state_dict())
    for a, b in zip(ours.buffers(), layer.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_batch_normalisation_of_bfloat16_has_statistics_of_float32():
    """As torch's own has; a mean in bfloat16 would be off by a percent."""
    values = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) + 10
    layer = nn.BatchNorm1d(3)
    ours = _synchronised(copy.deepcopy(layer), Processes())
    outputs = [net(values.bfloat16()) for net in (ours, layer)]
    assert outputs[0].dtype == outputs[1].dtype == torch.bfloat16
    torch.testing.assert_close(ours.running_mean, layer.running_mean)
    torch.testing.assert_close(ours.running_var, layer.running_var)


# Outside torchrun


def test_outside_torchrun_there_is_no_group_of_processes():
    """One process is one, and its sums are its own."""
    tiny_simclr().fit(parallel_job.make_images())
    assert join_processes(torch.device("cpu")) == Processes(0, 1)
    assert not torch.distributed.is_initialized()
    tensor = torch.ones(2)
    assert sum_over(tensor, Processes()) is tensor


def test_a_group_of_one_process_changes_nothing(tmp_path):
    """Which a caller may have made."""
    expected = parallel_job.found(
        parallel_job.make_run().fit(parallel_job.make_images())
    )
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        simclr = parallel_job.make_run().fit(parallel_job.make_images())
        assert torch.distributed.is_initialized()
    finally:
        torch.distributed.destroy_process_group()
    found = parallel_job.found(simclr)
    assert found["history"] == expected["history"]
    for name, values in found["weights"].items():
        assert_array_equal(values, expected["weights"][name])


@pytest.mark.parametrize(
    ("device", "launched", "expected"),
    [
        ("auto", True, "cuda:1"),
        ("cuda", True, "cuda:1"),
        ("cuda:0", True, "cuda:0"),
        ("cpu", True, "cpu"),
        ("auto", False, "cuda"),
        ("cuda", False, "cuda"),
    ],
)
def test_each_process_has_the_gpu_that_torchrun_gave_it(
    monkeypatch, device, launched, expected
):
    """By its local rank; a number that is asked for is taken."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: launched)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device(device) == torch.device(expected)


def test_collapse_is_that_of_the_images_of_all_processes(monkeypatch):
    """Two with batches of 16 see 63 other views, and a collapsed loss of ln 63."""
    loss = collapsed_loss(NTXent(0.5), 32, 32)
    assert abs(loss - collapsed_loss(NTXent(0.5), 32, 16)) > 0.1 * loss

    def train(*args, **kwargs):
        return [{"epoch": 1, "loss": loss, "effective_rank": 8.0}], None

    monkeypatch.setattr(views, "train", train)
    simclr = tiny_simclr(batch_size=16)
    images = np.random.default_rng(0).random((32, 8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # alone, it is a poor loss but no collapse
        simclr.fit(images)
    monkeypatch.setattr(views, "join_processes", lambda device: Processes(0, 2))
    with pytest.warns(ConvergenceWarning, match="collapsed"):
        simclr.fit(images)
