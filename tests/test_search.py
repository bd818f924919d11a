"""Search, caching, nested validation and parallel jobs."""

import copy
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import optuna
import pandas as pd
import pytest
import sklearn
import torch
from dask.distributed import Client, LocalCluster
from hashed import make_hashed
from numpy.testing import assert_allclose, assert_array_equal
from optuna.distributions import FloatDistribution
from optuna_integration.sklearn import OptunaSearchCV
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from tiny import tiny_simclr

from sksimclr import AuroraPreprocessor
from sksimclr.augmentations import HorizontalFlip, ResizedCrop, VerticalFlip
from sksimclr.datasets import make_aurora

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
TEMPERATURE = "simclrtransformer__temperature"
AUGMENTATIONS = "simclrtransformer__augmentations"
VIEWS = {
    "crops": (ResizedCrop(),),
    "all": (ResizedCrop(scale=(0.5, 1.0)), VerticalFlip(), HorizontalFlip()),
}
GRID = {TEMPERATURE: [0.1, 0.5], AUGMENTATIONS: list(VIEWS.values())}
CROP = "ResizedCrop(scale=(0.5, 1.0), ratio=(0.75, 1.3333333333333333))"
FLIPS = "VerticalFlip(p=0.5), HorizontalFlip(p=0.5)"
FOLDS = StratifiedKFold(2, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def aurora():
    """Return 60 small synthetic frames of six classes in twelve sequences."""
    return make_aurora(60, size=24, n_sequences=12, random_state=0)


def make_pipe(memory=None, **params):
    """Return the pipeline of the README with a tiny encoder."""
    return make_pipeline(
        AuroraPreprocessor(),
        tiny_simclr(**({"lr": 1e-2} | params)),
        LogisticRegression(C=100, max_iter=50),
        memory=memory,
    )


def search_params(**params):
    """Return what all searches here are given: two folds, and a fine score."""
    return {"cv": FOLDS, "scoring": "neg_log_loss", "error_score": "raise"} | params


def score_by_hand(data, params):
    """Return the score of these parameters, without any search."""
    pipe = make_pipe().set_params(**params)
    return cross_val_score(
        pipe, data.images, data.target, cv=FOLDS, scoring="neg_log_loss"
    ).mean()


def check_scores(search, data):
    """Compare every candidate's score with its own cross-validation."""
    scores = search.cv_results_["mean_test_score"]
    by_hand = [score_by_hand(data, params) for params in search.cv_results_["params"]]
    assert_allclose(scores, by_hand, rtol=1e-6)
    assert len(set(scores)) == len(scores)  # each has an encoder of its own
    assert search.best_params_ == search.cv_results_["params"][np.argmax(scores)]


# Temperature and augmentations


def test_grid_search_over_temperature_and_augmentations(aurora):
    """Its scores are those of the pipelines with these parameters."""
    search = GridSearchCV(make_pipe(), GRID, **search_params())
    search.fit(aurora.images, aurora.target)
    assert len(search.cv_results_["params"]) == 4
    check_scores(search, aurora)
    best = search.best_estimator_[1]
    assert best.augmentations == search.best_params_[AUGMENTATIONS]
    assert search.predict(aurora.images).shape == (60,)


def test_randomized_search_over_temperature_and_augmentations(aurora):
    """From a distribution and a list."""
    space = {TEMPERATURE: loguniform(0.05, 1), AUGMENTATIONS: list(VIEWS.values())}
    search = RandomizedSearchCV(
        make_pipe(), space, n_iter=4, random_state=0, **search_params()
    ).fit(aurora.images, aurora.target)
    check_scores(search, aurora)
    tried = {params[AUGMENTATIONS] for params in search.cv_results_["params"]}
    assert tried == set(VIEWS.values())


@pytest.mark.parametrize(
    ("resource", "most"), [("n_samples", 60), ("simclrtransformer__max_epochs", 4)]
)
def test_halving_search_over_temperature_and_augmentations(aurora, resource, most):
    """Half of the candidates get twice as many images, or twice as many epochs."""
    search = HalvingGridSearchCV(
        make_pipe(),
        GRID,
        factor=2,
        resource=resource,
        max_resources=most,
        min_resources=most // 4,
        random_state=0,
        cv=2,
        error_score="raise",
    ).fit(aurora.images, aurora.target)
    assert search.n_candidates_ == [4, 2, 1]
    assert search.n_resources_ == [most // 4, most // 2, most]
    assert search.best_params_[AUGMENTATIONS] in VIEWS.values()
    if resource != "n_samples":
        assert search.best_estimator_[1].n_iter_ == 4
        assert search.best_params_[resource] == 4


def test_what_was_tried_can_be_read(aurora, capsys):
    """In ``cv_results_``, as a table, and in what a search prints."""
    grid = {AUGMENTATIONS: list(VIEWS.values())}
    search = GridSearchCV(make_pipe(), grid, verbose=2, **search_params())
    search.fit(aurora.images, aurora.target)
    printed = capsys.readouterr().out
    table = pd.DataFrame(search.cv_results_)
    shown = f"({CROP}, {FLIPS})"
    assert str(search.cv_results_[f"param_{AUGMENTATIONS}"][1]) == shown
    assert str(table[f"param_{AUGMENTATIONS}"][1]) == shown
    assert str(search.cv_results_["params"][1]) == f"{{'{AUGMENTATIONS}': {shown}}}"
    assert shown in table.to_csv()
    assert f"{AUGMENTATIONS}={shown};" in printed.replace("\n", "")


# Caching


def search_classifier(data, memory):
    """Search a parameter of the classifier with three folds; return the scores."""
    return (
        GridSearchCV(
            make_pipe(memory=memory),
            {"logisticregression__C": [0.01, 0.1, 1, 10]},
            cv=3,
            error_score="raise",
        )
        .fit(data.images, data.target)
        .cv_results_["mean_test_score"]
    )


def test_cache_spares_fits(aurora, tmp_path, fits):
    """One fit for each of three folds, one at the end; a second time none."""
    plain = search_classifier(aurora, memory=None)
    assert len(fits) == 4 * 3 + 1
    for n_fits in (4, 0):
        fits.clear()
        cached = search_classifier(aurora, memory=str(tmp_path))
        assert len(fits) == n_fits
        assert_array_equal(cached, plain)


@pytest.mark.parametrize(
    ("params", "n_fits"),
    [
        ({}, 0),
        ({TEMPERATURE: 0.5}, 0),  # the default
        ({TEMPERATURE: 0.1}, 1),
        ({AUGMENTATIONS: (ResizedCrop(), VerticalFlip())}, 0),  # equal, not the same
        ({AUGMENTATIONS: (ResizedCrop(), VerticalFlip(p=0.4))}, 1),
        ({"aurorapreprocessor__radius": 0.7}, 1),
        ({"simclrtransformer__verbose": False}, 1),  # False is not 0
    ],
)
def test_cache_knows_what_decides(aurora, tmp_path, fits, params, n_fits):
    """Equal parameters are found again; others, however small, are not."""
    make_pipe(memory=str(tmp_path)).fit(aurora.images, aurora.target)
    fits.clear()
    pipe = make_pipe(memory=str(tmp_path)).set_params(**params)
    pipe.fit(aurora.images, aurora.target)
    assert len(fits) == n_fits


def test_hashes_are_the_same_in_another_process():
    """Else a cache would never be found again."""
    code = (
        "import pickle, sys, joblib, hashed\n"
        "hashes = [joblib.hash(value) for value in hashed.make_hashed()]\n"
        "sys.stdout.buffer.write(pickle.dumps(hashes))"
    )
    variables = {"PYTHONHASHSEED": "1234", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        env=os.environ | variables,
    )
    expected = [joblib.hash(value) for value in make_hashed()]
    assert pickle.loads(done.stdout) == expected
    assert len(set(expected)) == len(expected)


def test_hashes_of_copies_are_the_same():
    """Of deep copies and clones, as every fold makes them."""
    for value in make_hashed():
        first, second = copy.deepcopy(value), copy.deepcopy(value)
        assert joblib.hash(first) == joblib.hash(second) == joblib.hash(value)
        if hasattr(value, "get_params"):
            assert joblib.hash(clone(value)) == joblib.hash(value)


# Nested validation


class InnerFolds(GroupKFold):
    """Folds that note how they were made."""

    made = []

    def split(self, X, y=None, groups=None):
        """Split by groups, and note both."""
        folds = list(super().split(X, y, groups))
        self.made.append((groups, folds))
        return iter(folds)


def nested(data, **params):
    """Cross-validate a search whose folds are whole sequences, too."""
    search = GridSearchCV(make_pipe(), {TEMPERATURE: [0.1, 0.5]}, cv=InnerFolds(2))
    return cross_val_score(search, data.images, data.target, cv=GroupKFold(3), **params)


def test_nested_validation_with_groups(aurora):
    """Under metadata routing, no sequence is on both sides of any fold."""
    InnerFolds.made.clear()
    with sklearn.config_context(enable_metadata_routing=True):
        scores = nested(aurora, params={"groups": aurora.groups}, error_score="raise")
    assert scores.shape == (3,) and np.isfinite(scores).all()
    outer = GroupKFold(3).split(aurora.images, groups=aurora.groups)
    for (learn, _), (groups, folds) in zip(outer, InnerFolds.made, strict=True):
        assert_array_equal(groups, aurora.groups[learn])
        by_hand = GroupKFold(2).split(learn, groups=aurora.groups[learn])
        for found, expected in zip(folds, by_hand, strict=True):
            assert_array_equal(found[0], expected[0])
            assert_array_equal(found[1], expected[1])
        for train, test in folds:
            assert not set(groups[train]) & set(groups[test])


@pytest.mark.parametrize("error_score", [np.nan, "raise"])
def test_nested_validation_without_routing_says_what_is_missing(aurora, error_score):
    """Instead of making folds that cut through sequences."""
    with pytest.raises(ValueError, match="'groups' parameter should not be None"):
        nested(aurora, groups=aurora.groups, error_score=error_score)


def test_groups_without_nesting_need_no_routing(aurora):
    """Of ``cross_val_score`` and of the `fit` of a search."""
    scores = cross_val_score(
        make_pipe(),
        aurora.images,
        aurora.target,
        groups=aurora.groups,
        cv=GroupKFold(3),
        error_score="raise",
    )
    assert scores.shape == (3,)
    InnerFolds.made.clear()
    search = GridSearchCV(make_pipe(), {TEMPERATURE: [0.1, 0.5]}, cv=InnerFolds(2))
    search.fit(aurora.images, aurora.target, groups=aurora.groups)
    ((groups, _),) = InnerFolds.made
    assert_array_equal(groups, aurora.groups)


# Parallel jobs


def embeddings_of_folds(data, n_jobs, memory=None):
    """Return what the encoders of three folds make of all images."""
    found = cross_validate(
        make_pipe(memory, max_epochs=3),
        data.images,
        data.target,
        cv=3,
        n_jobs=n_jobs,
        return_estimator=True,
        error_score="raise",
    )
    return np.stack([pipe[:-1].transform(data.images) for pipe in found["estimator"]])


@pytest.fixture(scope="module")
def one_after_the_other(aurora):
    """Return the embeddings of folds that were fitted in this process."""
    return embeddings_of_folds(aurora, n_jobs=1)


@pytest.mark.parametrize(
    "backend", [("threading", {}), ("loky", {"inner_max_num_threads": 1})]
)
@pytest.mark.parametrize("cached", [False, True])
def test_two_jobs_do_what_one_does(
    aurora, one_after_the_other, backend, cached, tmp_path
):
    """To the bit, with one thread of torch in each; with a cache or without."""
    assert (one_after_the_other[0] != one_after_the_other[1]).any()
    name, options = backend
    with joblib.parallel_config(name, **options):
        found = embeddings_of_folds(
            aurora, n_jobs=2, memory=str(tmp_path) if cached else None
        )
    assert_array_equal(found, one_after_the_other)


def test_another_number_of_threads_does_nearly_the_same_at_first(
    aurora, one_after_the_other
):
    """Rounding alone differs, which longer training and larger networks amplify."""
    torch.set_num_threads(2)
    try:
        found = embeddings_of_folds(aurora, n_jobs=1)
    finally:
        torch.set_num_threads(1)
    assert_allclose(found, one_after_the_other, atol=1e-3 * one_after_the_other.max())


def test_search_in_two_processes_finds_the_same(aurora):
    """Augmentations reach workers; scores are those of one process."""
    results = []
    for n_jobs in (1, 2):
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            search = GridSearchCV(
                make_pipe(), GRID, n_jobs=n_jobs, refit=False, **search_params()
            ).fit(aurora.images, aurora.target)
        results.append(search.cv_results_)
    assert results[0]["params"] == results[1]["params"]
    assert_allclose(
        results[1]["mean_test_score"], results[0]["mean_test_score"], rtol=1e-6
    )


def test_dask_does_what_one_job_does(aurora, one_after_the_other, tmp_path):
    """``joblib.parallel_config("dask")``, on a cluster in this process."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            dashboard_address=None,
            local_directory=str(tmp_path),
        ) as cluster,
        Client(cluster),
        joblib.parallel_config("dask"),
    ):
        found = embeddings_of_folds(aurora, n_jobs=-1)
    assert_array_equal(found, one_after_the_other)


# Optuna


@pytest.fixture
def quiet_optuna():
    """Let Optuna not print every trial, nor warn that it is experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", ".*optuna.terminator", FutureWarning)
        yield
    optuna.logging.set_verbosity(before)


@pytest.mark.usefixtures("quiet_optuna")
def test_optuna_searches_like_scikit_learn(aurora):
    """``OptunaSearchCV``, for numbers such as the temperature."""
    search = OptunaSearchCV(
        make_pipe(),
        {TEMPERATURE: FloatDistribution(0.05, 1, log=True)},
        n_trials=4,
        random_state=0,
        **search_params(),
    ).fit(aurora.images, aurora.target)
    tried = [trial.params[TEMPERATURE] for trial in search.trials_]
    assert len(set(tried)) == 4 and 0.05 <= min(tried) < max(tried) <= 1
    scores = [score_by_hand(aurora, trial.params) for trial in search.trials_]
    assert_allclose([trial.value for trial in search.trials_], scores, rtol=1e-6)
    assert search.best_params_ == {TEMPERATURE: tried[np.argmax(scores)]}
    assert search.best_estimator_[1].temperature == tried[np.argmax(scores)]
    assert search.predict(aurora.images).shape == (60,)


@pytest.mark.usefixtures("quiet_optuna")
def test_optuna_searches_over_augmentations_by_name(aurora):
    """Its choices must be numbers or texts, so a dictionary translates them."""

    def score(trial):
        params = {
            TEMPERATURE: trial.suggest_float("temperature", 0.05, 1, log=True),
            AUGMENTATIONS: VIEWS[trial.suggest_categorical("views", list(VIEWS))],
        }
        return score_by_hand(aurora, params)

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=0)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of choices that cannot be stored
        study.optimize(score, n_trials=4)
    assert {trial.params["views"] for trial in study.trials} == set(VIEWS)
    best = max(study.trials, key=lambda trial: trial.value)
    expected = {
        TEMPERATURE: best.params["temperature"],
        AUGMENTATIONS: VIEWS[best.params["views"]],
    }
    assert study.best_value == pytest.approx(score_by_hand(aurora, expected), rel=1e-6)
