"""Labels held against those of others, by what pandas and scikit-learn say."""

import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from archive_files import frame_times, write_pgm
from archives import make_frames
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.pipeline import make_pipeline
from tiny import tiny_simclr

from sksimclr.archive import compare_labels, label_archive, read_catalogue


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """Return a catalogue of two stations in three months, and its rows."""
    folder = tmp_path_factory.mktemp("agreement")
    (folder / "archive").mkdir()
    names, images = np.array(["arc", "moon", "cloud"]), make_frames(24)
    starts = [f"2014-0{month}-10T06:00" for month in (1, 2, 3)]
    for k, (site, start) in enumerate(itertools.product(("gill", "rank"), starts)):
        path = folder / "archive" / f"{start[:10].replace('-', '')}_0600_{site}.pgm"
        times = frame_times(20, np.datetime64(start, "ns"))
        write_pgm(path, np.roll(images, k, axis=1)[:20], times, site)
    pipe = make_pipeline(tiny_simclr(), LogisticRegression(max_iter=1000))
    pipe.fit(images, names[np.arange(24) % 3])
    label_archive(pipe, folder / "archive", folder / "catalogue")
    rows = read_catalogue(folder / "catalogue").to_pandas()
    return folder / "catalogue", rows.assign(time=rows["time"].dt.tz_convert(None))


@pytest.fixture
def theirs(catalogue, rng):
    """Return a table of others: some rows, shifted times, other and missing labels."""
    rows = catalogue[1].sample(90, random_state=0)[["site", "time", "label"]]
    shift = pd.to_timedelta(rng.uniform(-0.4, 0.4, len(rows)), unit="s")
    labels = rows["label"].astype(object).to_numpy().copy()
    labels[:30] = rng.permutation(labels[:30])
    labels[30:33] = None
    stranger = {
        "site": "fsmi",
        "time": pd.Timestamp("2014-01-10T06:00"),
        "label": "arc",
    }
    table = rows.assign(time=rows["time"] + shift, label=labels)
    return pd.concat([table, pd.DataFrame([stranger])], ignore_index=True)


def test_equals_a_join_of_pandas(catalogue, theirs):
    """Nearest times of one station; agreement, kappa and counts by month."""
    folder, ours = catalogue
    known = theirs.dropna().sort_values("time")
    joined = pd.merge_asof(
        known.astype({"site": str}),
        ours.sort_values("time").astype({"site": str}),
        on="time",
        by="site",
        direction="nearest",
        tolerance=pd.Timedelta(1, "s"),
        suffixes=("_there", "_here"),
    ).dropna(subset=["label_here"])
    found = compare_labels(folder, theirs)
    assert found.n_frames == len(joined) == 87
    assert (found.n_only_ours, found.n_only_theirs) == (len(ours) - 87, 1)
    here, there = joined["label_here"], joined["label_there"]
    assert found.agreement == pytest.approx((here == there).mean())
    assert found.kappa == pytest.approx(cohen_kappa_score(here, there))
    counts = joined.groupby(
        [joined["time"].dt.month, "label_here", "label_there"]
    ).size()
    for (month, row, column), n in counts.items():
        k = found.months.tolist().index(np.datetime64(f"2014-0{month}", "M").item())
        place = found.labels.index(row), found.labels.index(column)
        assert found.confusion[k][place] == n
    assert found.confusion.sum() == 87


@pytest.mark.parametrize("form", ["frame", "arrow", "dict", "zone", "upper"])
def test_tables_of_any_form(catalogue, theirs, form):
    """Data frames, Arrow, columns, times with a zone, sites in upper case."""
    table = {
        "frame": theirs,
        "arrow": pa.Table.from_pandas(theirs, preserve_index=False),
        "dict": {name: theirs[name].tolist() for name in theirs},
        "zone": theirs.assign(time=theirs["time"].dt.tz_localize("UTC")),
        "upper": theirs.assign(site=theirs["site"].astype(str).str.upper()),
    }[form]
    found = compare_labels(catalogue[0], table)
    expected = compare_labels(catalogue[0], theirs)
    assert (found.n_frames, found.kappa) == (expected.n_frames, expected.kappa)


def test_each_frame_goes_with_one_row(catalogue):
    """The nearest, of several; beyond the tolerance with none."""
    folder, ours = catalogue
    row = ours.iloc[5]
    times = row["time"] + pd.to_timedelta([0.5, 0.1, 0.3, 1.2], unit="s")
    labels = ["x", row["label"], "x", "x"]
    theirs = {"site": [row["site"]] * 4, "time": times, "label": labels}
    found = compare_labels(folder, theirs)
    assert (found.n_frames, found.agreement, found.n_only_theirs) == (1, 1.0, 3)
    assert compare_labels(folder, theirs, tolerance=0.05).n_frames == 0


def test_nothing_in_common(catalogue):
    """Is no error: other stations, or other years."""
    found = compare_labels(
        catalogue[0], {"site": ["kian"], "time": ["2011-01-01"], "label": ["arc"]}
    )
    assert found.n_frames == 0 and np.isnan(found.agreement) and np.isnan(found.kappa)
    assert (found.labels, len(found.months), found.confusion.shape) == (
        [],
        0,
        (0, 0, 0),
    )


def test_names_translate(catalogue):
    """And what has no name here stays as it is."""
    folder, ours = catalogue
    theirs = ours[["site", "time"]].assign(label=ours["label"].astype(str).str.upper())
    assert compare_labels(folder, theirs).agreement == 0
    names = {name.upper(): name for name in set(ours["label"])}
    assert compare_labels(folder, theirs, names=names).agreement == 1


@pytest.mark.parametrize("form", ["texts", "zones", "series", "Arrow"])
@pytest.mark.filterwarnings("error")
def test_gaps_do_not_count(catalogue, form):
    """Of times and labels, in all forms that they come in; nor are there warnings."""
    folder, ours = catalogue
    rows = ours.iloc[:4]
    times = [str(time) for time in rows["time"]]
    table = {"site": rows["site"].tolist(), "time": times, "label": ["a", "a", "", "a"]}
    table["time"][1] = {"series": np.nan, "Arrow": None}.get(form, "")
    table["label"][3] = None if form == "Arrow" else np.nan
    if form == "zones":
        texts = [
            f"{time.tz_localize('UTC').tz_convert('-06:00')}" for time in rows["time"]
        ]
        table["time"] = [texts[0], None, *texts[2:]]
    table = {"series": pd.DataFrame, "Arrow": pa.table}.get(form, dict)(table)
    found = compare_labels(folder, table, names={"a": rows["label"].iloc[0]})
    assert (found.n_frames, found.n_only_theirs, found.agreement) == (1, 0, 1.0)
    assert found.confusion.tolist() == [[[1]]]


@pytest.mark.parametrize("dtype", [int, float, "Int64"])
def test_labels_may_be_numbers(catalogue, dtype):
    """Which a gap makes floats of; names translate them as they are."""
    folder, ours = catalogue
    classes = sorted(set(ours["label"]))
    codes = pd.Series([classes.index(name) for name in ours["label"]], dtype=dtype)
    if dtype is not int:
        codes[0] = None
    theirs = ours[["site", "time"]].assign(label=codes.to_numpy(object))
    found = compare_labels(folder, theirs, names=dict(enumerate(classes)))
    assert (found.n_frames, found.agreement) == (codes.notna().sum(), 1.0)


def test_any_tolerance_goes(catalogue):
    """A large one too."""
    theirs = {"site": ["gill"], "time": ["1999-01-01"], "label": ["arc"]}
    assert compare_labels(catalogue[0], theirs, tolerance=np.inf).n_frames == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": {"site": [], "time": []}}, r"table has no columns \['label'\]"),
        (
            {
                "table": {
                    "site": ["gill"],
                    "time": ["2014-01-01"] * 2,
                    "label": ["a"] * 2,
                }
            },
            "Columns of the table differ in length: {'site': 1, 'time': 2",
        ),
        (
            {"table": {"site": ["gill"], "time": ["at noon"], "label": ["a"]}},
            "'time' of the table must be dates and times.*\"at noon\"",
        ),
        (
            {"table": {"site": ["gill"], "time": [1394431200.0], "label": ["a"]}},
            "'time' of the table must be dates and times.*numbers",
        ),
        ({"tolerance": -1}, "tolerance must be at least 0 seconds, got -1"),
    ],
)
def test_bad_arguments(catalogue, theirs, change, message):
    """Say what is missing."""
    with pytest.raises(ValueError, match=message):
        compare_labels(catalogue[0], **({"table": theirs} | change))


def test_catalogue_of_embeddings_has_no_labels(tmp_path):
    """Which the error says."""
    write_pgm(tmp_path / "20140310_0600_gill.pgm", make_frames(4))
    simclr = tiny_simclr().fit(make_frames(4))
    label_archive(simclr, tmp_path, tmp_path / "out", embeddings=True)
    with pytest.raises(ValueError, match="no columns"):
        compare_labels(tmp_path / "out", {"site": [], "time": [], "label": []})
