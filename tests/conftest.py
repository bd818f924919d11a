"""What all tests share: real data, if it is there, and a random generator."""

import os
import signal
import urllib.error

os.environ["SCIPY_ARRAY_API"] = "1"  # or scikit-learn skips check_array_api_input

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import real_data  # noqa: E402
import torch  # noqa: E402

from sksimclr import SimCLRTransformer  # noqa: E402


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return the folder in which torch.hub looks for weights, empty; no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub._hub_dir", None)

    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr("torch.hub.urlopen", no_network)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="session", name="real_data")
def real_data_folder():
    """Folder of real images and labels, which are not part of the repository."""
    if not real_data.FOLDER.is_dir():
        pytest.skip("real data is absent; point SKSIMCLR_TEST_DATA to it")
    return real_data.FOLDER


@pytest.fixture(scope="session")
def fashion_mnist():
    """(images, labels) of the training and of the test part of Fashion-MNIST."""
    if not real_data.FASHION_MNIST.is_dir():
        pytest.skip("Fashion-MNIST is absent (Debian package dataset-fashion-mnist)")
    return real_data.read_fashion_mnist(real_data.FASHION_MNIST)


@pytest.fixture
def rng():
    """Return a seeded random generator."""
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def one_thread():
    """Let torch not wait for threads, which small networks do not need.

    And compute what processes that have one thread do, to the bit.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ctrl_c():
    """Let Ctrl-C be heard, which it is not in background jobs."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def fits(monkeypatch):
    """Return a list that grows by every fit of SimCLR."""
    counted, fit = [], SimCLRTransformer.fit
    monkeypatch.setattr(
        SimCLRTransformer, "fit", lambda *args: counted.append(1) or fit(*args)
    )
    return counted
