"""Two processes of torchrun share every batch, and do what one does alone."""

import os
import pickle
import subprocess
import sys

import numpy as np
import parallel_job
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from tiny import tiny_fine_tuned
from torch.nn import functional as F

pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,  # three times the imports of torch
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(
        not torch.distributed.is_available()
        or not torch.distributed.is_gloo_available(),
        reason="this torch has no gloo",
    ),
]


def torchrun(task, folder):
    """Run a task of parallel_job.py in two processes, and return how that ended."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node=2", parallel_job.__file__, task, str(folder)),
    ]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of what two processes found, and of the checkpoints that they left."""
    folder = tmp_path_factory.mktemp("parallel")
    ended = torchrun("crash", folder)
    assert ended.returncode != 0 and "SIGKILL" in ended.stderr, ended.stderr[-3000:]
    assert [path.name for path in folder.iterdir()] == ["checkpoints"]
    parallel_job.write_images(folder / "shards")
    ended = torchrun("crash_within", folder)
    assert ended.returncode != 0 and "SIGKILL" in ended.stderr, ended.stderr[-3000:]
    alone = parallel_job.make_run().partial_fit(parallel_job.make_images())
    (folder / "alone.pkl").write_bytes(pickle.dumps(alone))
    ended = torchrun("work", folder)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def results(folder):
    """Return what each of the two processes found."""
    return [pickle.loads((folder / f"{rank}.pkl").read_bytes()) for rank in range(2)]


def assert_same(a, b):
    """Compare weights, statistics and history to the bit."""
    assert a["history"] == b["history"]
    assert list(a["weights"]) == list(b["weights"])
    for name, values in a["weights"].items():
        assert_array_equal(values, b["weights"][name], err_msg=name)


def assert_close(a, b, tolerance):
    """Compare weights, statistics and history within a tolerance."""
    assert list(a["weights"]) == list(b["weights"])
    for name, values in a["weights"].items():
        other = b["weights"][name]
        assert_allclose(values, other, rtol=tolerance, atol=tolerance, err_msg=name)
    assert len(a["history"]) == len(b["history"])
    for row, other in zip(a["history"], b["history"], strict=True):
        assert row == pytest.approx(other, rel=tolerance, abs=tolerance)


def differs(a, b):
    """Say whether the weights differ."""
    return any(
        not np.array_equal(a["weights"][k], b["weights"][k]) for k in a["weights"]
    )


@pytest.mark.parametrize("name", parallel_job.EQUAL)
def test_two_processes_equal_one_with_the_double_batch(results, name):
    """Losses, metrics, weights and statistics after all steps, the last one smaller."""
    one = parallel_job.found(parallel_job.fit_equal(name, n_processes=1))
    for result in results:
        assert_close(result[f"equal {name}"], one, 1e-5)
    (n_batches,) = {
        int(values)
        for key, values in one["weights"].items()
        if "num_batches_tracked" in key
    }
    assert n_batches == (2 if name == "resnet18" else 9)
    assert len({row["loss"] for row in one["history"]}) == len(one["history"])


def test_two_processes_on_shards_equal_one_with_the_double_batch(
    results, folder, monkeypatch
):
    """Shuffled in windows, each process its part of a batch, with sequences."""
    parallel_job.shrink_windows(monkeypatch.setattr)
    one = parallel_job.found(parallel_job.fit_shards(folder / "shards", 1))
    for result in results:
        assert_close(result["shards"], one, 1e-5)
    assert len({row["loss"] for row in one["history"]}) == 3


def test_a_run_that_crashed_within_an_epoch_goes_on_from_there(results):
    """By checkpoints after each batch, of which all processes must take part."""
    for result in results:
        assert result["within"] == ["000002-00000001.ckpt", "000002-00000002.ckpt"]
        assert_same(result["resumed within"], results[0]["not stopped"])


def test_two_processes_compute_in_bfloat16_as_one_does(results):
    """Statistics of batch normalisation are float32; all within its precision."""
    one = parallel_job.found(parallel_job.fit_bfloat16(n_processes=1))
    for result in results:
        assert_close(result["bfloat16"], one, 0.02)


@pytest.mark.parametrize(
    "name",
    [*(f"equal {name}" for name in parallel_job.EQUAL)]
    + ["unseeded", "seeded by rank", "resumed", "rest of 3", "stopped", "scored"]
    + ["shards", "not stopped"],
)
def test_all_processes_end_with_the_same(results, name):
    """The same bits, whatever is random."""
    assert_same(results[0][name], results[1][name])


def test_the_same_random_state_gives_the_same_bits(results):
    """Random views and layers; None draws anew."""
    first, second = results[0]["random"]
    assert_same(first, second)
    assert_same(first, results[1]["random"][1])
    assert differs(first, results[0]["unseeded"])


def test_the_seed_of_the_first_process_counts(results):
    """Where the second one has another."""
    assert_same(results[0]["seeded by rank"], results[0]["random"][0])


def test_each_process_has_views_of_its_own(results):
    """Of images that are all alike."""
    first, second = (result["views"] for result in results)
    assert first.shape == second.shape == (2 * 16, 1, 8, 8)
    for view in first:
        assert abs(second - view).max(axis=(1, 2, 3)).min() > 0.01


def test_a_rest_that_cannot_be_divided_is_left_out(results):
    """Of 35 images in batches of 32, the last one; metrics are numbers."""
    for result in results:
        (row,) = result["rest of 3"]["history"]
        assert np.isfinite(list(row.values())).all()


def test_a_run_that_crashed_ends_as_one_that_did_not(results, folder):
    """To the bit, when it is started again after the death of one process.

    The other one had written checkpoints, after the first and second epoch.
    """
    names = [f"{n:06d}-00000000.ckpt" for n in (1, 2, 3)]
    for result in results:
        assert result["kept"] == names[:2]
        assert_same(result["resumed"], results[0]["random"][0])
    left = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert left == names[1:]


def test_checkpoints_are_for_as_many_processes(folder, results):
    """One alone would take other batches."""
    simclr = parallel_job.make_run(folder / "checkpoints")
    with pytest.raises(ValueError, match=r"a run of 2 process\(es\), and there are 1"):
        simclr.fit(parallel_job.make_images())


def test_partial_fit_goes_on_in_two_processes_and_alone(results):
    """As one fit in two; a change of their number is no obstacle."""
    for result in results:
        partial = result["partial"]
        assert_same(partial["together"], results[0]["random"][0])
        assert_same(partial["after alone"], results[0]["partial"]["after alone"])
        assert len(partial["after alone"]["history"]) == 2
        alone = partial["pickle"].partial_fit(parallel_job.make_images())
        assert alone.n_iter_ == 4
        assert not torch.distributed.is_initialized()


def test_callbacks_stop_all_processes(results):
    """By the loss, which is the same everywhere."""
    for result in results:
        assert len(result["stopped"]["history"]) == 3


def test_only_the_first_process_prints(results):
    """A table of three rows, and progress bars."""
    (out, err), other = (result["printed"] for result in results)
    assert len(out.strip().splitlines()) == 2 + 3 and "0/3" in err
    assert other == ("", "")


def test_fine_tuning_stays_in_its_process(results, one_thread):
    """One of them did it, and the result is that of no torchrun at all."""
    images, target = parallel_job.make_data()
    classifier = tiny_fine_tuned(max_epochs=3).fit(images, target)
    assert results[0]["fine-tuned"] is None
    assert_array_equal(results[1]["fine-tuned"], classifier.predict_proba(images))


def test_native_callbacks_can_embed_in_every_process(results):
    """What they get after the last epoch embeds as the result does."""
    for result in results:
        *seen, embeddings = result["embeddings"]
        assert_array_equal(embeddings, results[0]["embeddings"][-1])
        if seen:
            assert len(seen) == 3
            assert_allclose(seen[-1], embeddings, atol=1e-5)
            assert abs(seen[0] - embeddings).max() > 1e-3


def test_gathering_and_summing_have_the_gradients_of_one_process(results):
    """Of the losses of all processes together, by plain autograd."""
    (first, of_first), (second, of_second) = map(parallel_job.coefficients, range(2))
    z, w = F.normalize(first), F.normalize(second)
    gathered = torch.cat([z[:3], w[:3], z[3:], w[3:]])
    loss = ((of_first + of_second) * gathered.square()).sum()
    expected = torch.autograd.grad(loss, [first, second])
    total = (first + second).T
    factors = (of_first + of_second)[:6].T
    of_sum = torch.autograd.grad((factors * total.square()).sum(), [first, second])
    for rank, result in enumerate(results):
        ours = result["gradients"]
        torch.testing.assert_close(ours["gathered"], gathered.detach())
        torch.testing.assert_close(ours["of gather"], expected[rank])
        torch.testing.assert_close(ours["total"], total.detach())
        torch.testing.assert_close(ours["of sum"], of_sum[rank])
