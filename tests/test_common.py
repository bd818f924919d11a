"""scikit-learn's own checks, all of them, on every estimator."""

import pytest
import sklearn
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.fixes import parse_version
from tiny import tiny_simclr

from sksimclr import AuroraPreprocessor, SimCLRTransformer


@parametrize_with_checks([AuroraPreprocessor(), tiny_simclr()])
def test_scikit_learn_check(estimator, check):
    """Every check passes; there is no list of expected failures."""
    check(estimator)


@pytest.mark.parametrize("estimator", [AuroraPreprocessor(), tiny_simclr()])
def test_no_check_is_skipped(estimator):
    """All run: on scikit-learn 1.9, 47, of which one asks for `fit` before use."""
    results = check_estimator(estimator, on_skip=None)
    if parse_version(sklearn.__version__) >= parse_version("1.9"):
        assert len(results) == (47 if hasattr(estimator, "encoder") else 46)
    assert {result["status"] for result in results} == {"passed"}


@pytest.mark.slow
def test_scikit_learn_checks_on_resnet18():
    """The checks also pass on the default encoder."""
    simclr = SimCLRTransformer(image_size=32, max_epochs=1, batch_size=16, device="cpu")
    results = check_estimator(simclr, on_skip=None)
    assert {result["status"] for result in results} == {"passed"}
