"""scikit-learn's own checks, all of them, on every estimator."""

import pytest
import sklearn
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator
from sklearn.utils.fixes import parse_version
from tiny import tiny_fine_tuned, tiny_pretrained, tiny_simclr

from sksimclr import AuroraPreprocessor, SimCLRTransformer

ESTIMATORS = {
    AuroraPreprocessor(): 46,
    tiny_simclr(): 47,
    tiny_pretrained(): 47,
    tiny_fine_tuned(): 56,
}


def name_of(check):
    """Return a name that is the same in every process, which reprs are not."""
    arguments = [f"{key}={value}" for key, value in check.keywords.items()]
    return "-".join([check.func.__name__, *arguments])


# parametrize_with_checks names tests after reprs
CHECKS = [
    pytest.param(each, check, id=f"{type(each).__name__}-{name_of(check)}")
    for estimator in ESTIMATORS
    for each, check in estimator_checks_generator(estimator)
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
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
    """The checks also pass on the default encoder, with the stem of large images."""
    params = {"image_size": 32, "stem": "imagenet", "max_epochs": 1, "batch_size": 16}
    simclr = SimCLRTransformer(**params, device="cpu")
    results = check_estimator(simclr, on_skip=None)
    assert {result["status"] for result in results} == {"passed"}
