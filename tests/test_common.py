"""scikit-learn's own checks, all of them, on every estimator."""

import pytest
import sklearn
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.fixes import parse_version
from tiny import tiny_fine_tuned, tiny_pretrained, tiny_simclr

from sksimclr import AuroraPreprocessor, SimCLRTransformer

ESTIMATORS = {
    AuroraPreprocessor(): 46,
    tiny_simclr(): 47,
    tiny_pretrained(): 47,
    tiny_fine_tuned(): 56,
}


@parametrize_with_checks(list(ESTIMATORS))
def test_scikit_learn_check(estimator, check):
    """Every check passes; there is no list of expected failures."""
    check(estimator)


@pytest.mark.parametrize(("estimator", "n_checks"), ESTIMATORS.items())
def test_no_check_is_skipped(estimator, n_checks):
    """All run: their number on scikit-learn 1.9 is known."""
    results = check_estimator(estimator, on_skip=None)
    if parse_version(sklearn.__version__) >= parse_version("1.9"):
        assert len(results) == n_checks
    assert {result["status"] for result in results} == {"passed"}


@pytest.mark.slow
def test_scikit_learn_checks_on_resnet18():
    """The checks also pass on the default encoder."""
    simclr = SimCLRTransformer(image_size=32, max_epochs=1, batch_size=16, device="cpu")
    results = check_estimator(simclr, on_skip=None)
    assert {result["status"] for result in results} == {"passed"}
