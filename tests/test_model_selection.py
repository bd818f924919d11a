"""Folds, groups and the no-pixels baseline, on small data and on OATH's labels."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from sksimclr.model_selection import (
    NearestIndexClassifier,
    oath_folds,
    sequence_groups,
    time_sequences,
)

N_OATH = 5824


@pytest.fixture(scope="module")
def oath_labels(real_data):
    """Columns class2 and class6 of the real data set."""
    path = real_data / "oath" / "classifications.csv"
    return np.loadtxt(path, delimiter=",", skiprows=19, usecols=(0, 1), dtype=int).T


@pytest.fixture(scope="module")
def numbers():
    """Return the running numbers of OATH's images as a column."""
    return np.arange(N_OATH)[:, np.newaxis]


@parametrize_with_checks([NearestIndexClassifier()])
def test_nearest_index_passes_every_check_of_sklearn(estimator, check):
    """The whole suite, with no expected failure."""
    check(estimator)


def test_oath_folds_equal_the_published_file(real_data):
    """All 29,120 entries agree with train_test_split.csv."""
    path = real_data / "oath" / "train_test_split.csv"
    joined = [np.concatenate(fold) for fold in oath_folds()]
    np.testing.assert_array_equal(joined, np.loadtxt(path, delimiter=","))


@pytest.mark.parametrize(("n_samples", "n_train"), [(N_OATH, 4077), (10, 7), (2, 1)])
def test_oath_folds_split_every_image_once(n_samples, n_train):
    """Train and test together are all row numbers, cut at 70 %."""
    folds = oath_folds(n_samples)
    assert len(folds) == 5
    for train, test in folds:
        assert len(train) == n_train
        assert train.dtype == test.dtype == np.int64
        np.testing.assert_array_equal(
            np.sort(np.concatenate([train, test])), np.arange(n_samples)
        )


def test_oath_folds_can_be_used_for_more_than_one_fit():
    """A list, not a generator that a grid search would exhaust (facts 39)."""
    folds = oath_folds(20)
    X, y = np.arange(20)[:, np.newaxis], np.arange(20) // 10
    for _ in range(2):
        search = GridSearchCV(NearestIndexClassifier(), {}, cv=folds).fit(X, y)
        assert search.n_splits_ == 5


def test_sequence_groups_are_blocks_of_consecutive_images():
    """Every block has block_size images, the last one the rest."""
    groups = sequence_groups(450)
    assert groups.dtype == np.int64
    assert np.all(np.diff(groups) >= 0)
    np.testing.assert_array_equal(np.bincount(groups), [200, 200, 50])
    np.testing.assert_array_equal(sequence_groups(3, block_size=1), [0, 1, 2])


@pytest.mark.parametrize(
    ("function", "arguments", "error", "name"),
    [
        (oath_folds, (1,), ValueError, "n_samples"),
        (oath_folds, (10.0,), TypeError, "n_samples"),
        (sequence_groups, (0,), ValueError, "n_samples"),
        (sequence_groups, (10, 0), ValueError, "block_size"),
        (sequence_groups, (10, 2.5), TypeError, "block_size"),
    ],
)
def test_wrong_counts_are_refused_by_name(function, arguments, error, name):
    """The message names the argument that is wrong."""
    with pytest.raises(error, match=name):
        function(*arguments)


def test_ties_go_to_the_smaller_number_and_then_to_the_first_row():
    """The rule of the docstring, whatever the order of the training rows."""
    baseline = NearestIndexClassifier().fit([[8], [4], [4]], ["late", "early", "twin"])
    assert baseline.predict([[6], [4], [6.5]]).tolist() == ["early", "early", "late"]


def test_large_numbers_keep_exact_distances_and_ties():
    """Unix seconds serve as numbers: no rounding as in squared distances."""
    start = 1_294_309_023
    baseline = NearestIndexClassifier().fit([[start], [start + 2]], ["before", "after"])
    expected = ["before", "before", "after"]
    assert baseline.predict(start + np.array([[0], [1], [2]])).tolist() == expected
    baseline.fit([[start], [start + 3]], ["before", "after"])
    assert baseline.predict([[start + 1], [start + 2]]).tolist() == ["before", "after"]


def test_nearest_index_agrees_with_a_search_one_by_one(rng):
    """Same labels as a plain loop over sorted training numbers."""
    train, test = np.split(rng.permutation(300), [200])
    labels = rng.integers(4, size=300)
    got = NearestIndexClassifier().fit(train[:, None], labels[train])
    expected = [
        labels[min(sorted(train), key=lambda t, k=k: abs(int(t) - int(k)))]
        for k in test
    ]
    np.testing.assert_array_equal(got.predict(test[:, None]), expected)


@pytest.mark.parametrize(
    ("column", "mean", "std"), [(1, 0.947, 0.006), (0, 0.983, 0.002)]
)
def test_given_splits_leak_the_label_of_a_neighbour(
    oath_labels, numbers, column, mean, std
):
    """94.7 +- 0.6 % without pixels on 6 classes, 98.3 % on 2 (to the last digit)."""
    scores = cross_val_score(
        NearestIndexClassifier(), numbers, oath_labels[column], cv=oath_folds()
    )
    assert scores.mean() == pytest.approx(mean, abs=0.0005)
    assert scores.std() == pytest.approx(std, abs=0.0005)


def test_held_out_blocks_take_the_leak_away(oath_labels, numbers):
    """About 34 % with blocks of 200.

    How blocks fall into folds moves one 5-fold score by 2.5 points (standard
    deviation of 12 shuffles), hence three standard errors of 12 are 2.2 points.
    """
    groups = sequence_groups(N_OATH)
    scores = [
        cross_val_score(
            NearestIndexClassifier(),
            numbers,
            oath_labels[1],
            cv=GroupKFold(5, shuffle=True, random_state=seed),
            groups=groups,
        ).mean()
        for seed in range(12)
    ]
    assert np.mean(scores) == pytest.approx(0.34, abs=0.022)


# Sequences in time


def test_images_of_a_site_within_minutes_are_one_sequence():
    """Against a count by hand; another site, another window, another sequence."""
    minutes = np.array([0, 3, 9.99, 10, 19, 5, 5, 3 * 24 * 60 + 4, 3 * 24 * 60 + 6])
    sites = np.array(["gako"] * 5 + ["gill", "inuv"] + ["gako"] * 2)
    start = np.datetime64("2011-01-06T17:00", "ns")
    times = start + (minutes * 60e9).astype("timedelta64[ns]")
    expected = [0, 0, 0, 1, 1, 2, 3, 4, 4]
    for unit in ("ns", "ms"):
        found = time_sequences(times.astype(f"datetime64[{unit}]"), sites)
        same = found[:, None] == found
        assert_array_equal(same, np.equal.outer(expected, expected))
        assert found.dtype == np.int64 and set(found) == set(range(5))
    assert len(set(time_sequences(times, sites, minutes=2.5))) == 9
    assert len(set(time_sequences(times))) == 3


def test_a_sequence_does_not_depend_on_which_images_there_are():
    """A part of the images is in the sequences in which it is among all."""
    rng = np.random.default_rng(0)
    times = np.datetime64("1969-12-31T22:00") + np.sort(rng.integers(0, 300, 80))
    whole, part = time_sequences(times), time_sequences(times[::3])
    assert_array_equal(np.equal.outer(part, part), np.equal.outer(*[whole[::3]] * 2))


def test_images_without_a_time_stand_alone():
    """Two of them are not one sequence."""
    times = np.array(["NaT", "2011-01-06", "NaT", "2011-01-06"], "datetime64[s]")
    found = time_sequences(times, ["gako"] * 4)
    assert found[1] == found[3] and len(set(found)) == 3


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((["2011-01-06"],), ValueError, "column of datetime64"),
        ((np.zeros((2, 2), "datetime64[s]"),), ValueError, r"of shape \(2, 2\)"),
        ((np.zeros(2, "datetime64[s]"), ["gako"]), ValueError, "inconsistent"),
    ],
)
def test_times_that_are_none(args, error, message):
    """Named in the message."""
    with pytest.raises(error, match=message):
        time_sequences(*args)


@pytest.mark.parametrize("minutes", [0, -1])
def test_sequences_have_a_length(minutes):
    """Above zero."""
    with pytest.raises(ValueError, match="minutes"):
        time_sequences(np.zeros(2, "datetime64[s]"), minutes=minutes)
