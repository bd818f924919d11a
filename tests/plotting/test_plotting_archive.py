"""Keograms, occurrence, and where and when stations are."""

import datetime
from collections import Counter

import matplotlib

matplotlib.use("Agg")

import json  # noqa: E402

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.dataset as ds  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import pytest  # noqa: E402
from archive_files import frame_name, write_cdf, write_pgm  # noqa: E402
from matplotlib.colors import LogNorm, PowerNorm, to_hex  # noqa: E402
from matplotlib.dates import date2num  # noqa: E402
from numpy.testing import assert_allclose, assert_array_equal  # noqa: E402
from PIL import Image  # noqa: E402

from sksimclr._files import readers  # noqa: E402
from sksimclr._files.file_names import as_instrument, instrument_of  # noqa: E402
from sksimclr._files.readers import read_frames  # noqa: E402
from sksimclr.archive import occurrence  # noqa: E402
from sksimclr.archive._sites import (  # noqa: E402
    DIPOLE_POLE,
    SITES,
    magnetic_midnight,
    site_position,
)
from sksimclr.plotting import (  # noqa: E402
    KeogramDisplay,
    OccurrenceDisplay,
    _keogram,
)
from sksimclr.plotting._cameras import (  # noqa: E402
    edge_elevation_of,
    north_of,
)
from sksimclr.plotting._columns import on_axis_of_time  # noqa: E402
from sksimclr.plotting._night import _of_one_instrument, as_day  # noqa: E402
from sksimclr.plotting._shared import COLORS  # noqa: E402
from sksimclr.plotting._strip import GAP_COLOR  # noqa: E402

NAMES = ["arc", "cloudy", "diffuse", "discrete", "moon", "noaurora"]
SIZE = 16
ROWS = slice(2, 15)  # of 16, those at most 0.85 * 8 from row 8
START = np.datetime64("2014-03-10T06:00", "ns")
MINUTE = np.timedelta64(1, "m")
AACGM_MIDNIGHT = {  # hours UTC in AACGM-v2 2.7.1, mean of September to March 2012
    **{"atha": 8.15, "chbg": 4.49, "ekat": 8.20, "fsim": 9.02, "fsmi": 8.15},
    **{"fykn": 10.84, "gako": 10.67, "gbay": 3.27, "gill": 6.43, "inuv": 10.25},
    **{"kapu": 5.23, "kian": 11.67, "kuuj": 3.89, "mcgr": 11.27, "nrsq": 2.07},
    **{"pgeo": 8.91, "pina": 6.53, "rank": 6.23, "snap": 8.17, "snkq": 4.91},
    **{"talo": 6.52, "tpas": 7.02, "whit": 10.01, "yknf": 8.45},
}


@pytest.fixture(autouse=True)
def no_figures_left():
    """Close the figures of a test, and of doctests before it."""
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def images():
    """Twenty frames; each pixel says where it is: 1000 frame + 16 row + column."""
    place = np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE)
    return place + 1000 * np.arange(20, dtype=np.uint16)[:, None, None]


@pytest.fixture
def times():
    """Return times a minute apart, and half an hour in the middle."""
    minutes = np.arange(20) + 30 * (np.arange(20) >= 10)
    return START + minutes * MINUTE


def write_catalogue(folder, rows, classes=NAMES):
    """Write rows (dicts with site and date) in the form of a catalogue."""
    labels = [] if classes is None else [("label", pa.array(classes).type)]
    schema = [("file", pa.string()), ("frame", pa.int32())]
    schema += [("time", pa.timestamp("ns", "UTC")), *labels]
    schema += [("quality", pa.string()), ("model", pa.string())]
    schema = pa.schema([*schema, ("site", pa.string()), ("date", pa.string())])
    defaults = {"file": "/none.pgm", "frame": 0, "quality": "good", "model": "a"}
    table = pa.Table.from_pylist([defaults | row for row in rows], schema)
    hive = ds.partitioning(schema=pa.schema(list(schema)[-2:]), flavor="hive")
    ds.write_dataset(table, folder, format="parquet", partitioning=hive)
    header = {"format": 1, "model": "a", "classes": classes, "n_features": None}
    text = json.dumps(header | {"probabilities": False})
    folder.mkdir(exist_ok=True)
    (folder / "_catalogue.json").write_text(text)
    return folder


def rows_of(file, times, labels, site="gill"):
    """Return the rows of the frames of a file."""
    return [
        {
            "file": str(file),
            "frame": number,
            "time": int(time.astype("datetime64[ns]").astype(np.int64)),
            "label": label,
            "site": site,
            "date": str(time.astype("datetime64[D]")),
        }
        for number, (time, label) in enumerate(zip(times, labels, strict=True))
    ]


@pytest.fixture
def night(tmp_path, images, times):
    """Catalogue of four files of five frames, and their labels; two have none."""
    labels = np.array(NAMES, dtype=object)[np.arange(20) % 4 + 1]
    labels[[3, 4]] = None
    rows = []
    for part in np.split(np.arange(20), 4)[::-1]:
        path = tmp_path / frame_name(times[part[0]], "gill", ".pgm.gz")
        write_pgm(path, images[part], times[part])
        rows += rows_of(path, times[part], labels[part])
    return write_catalogue(tmp_path / "catalogue", rows), labels


def shown(display):
    """Return the picture of a keogram (n_rows, n_cells), and the time of each cell."""
    (image,) = display.ax_.images
    left, right, *_ = image.get_extent()
    picture = image.get_array()
    edges = np.linspace(left, right, picture.shape[1] + 1)
    return picture, (edges[1:] + edges[:-1]) / 2


def strip_colors(display, times):
    """Return the colours of the strip just after some times."""
    (image,) = display.strip_ax_.images
    left, right, *_ = image.get_extent()
    rgba = image.get_array()[0]
    after = np.asarray(times) + np.timedelta64(1, "s")
    cells = (date2num(after) - left) / (right - left) * len(rgba)
    return [to_hex(rgba[int(cell)]) for cell in cells]


def legend_of(display):
    """Return {name: colour} of the legend."""
    legend = display.ax_.get_legend()
    names = [text.get_text() for text in legend.get_texts()]
    patches = [to_hex(patch.get_facecolor()) for patch in legend.get_patches()]
    return dict(zip(names, patches, strict=True))


# Both


def counts_of(rng):
    """Return counts (6, 12, 24) of nights in the winter of the north."""
    counts = rng.integers(10, 100, size=(6, 12, 24))
    counts[:, 3:9] = counts[:, :, 12:20] = 0
    return counts


def test_new_figures_suit_a_journal(images, times, rng):
    """A page wide, no text below 7 points, and they can be drawn without warnings."""
    labels = np.arange(20) % 6
    displays = [
        KeogramDisplay.from_frames(
            images, times, labels, target_names=NAMES, title="a"
        ),
        OccurrenceDisplay(counts_of(rng), NAMES).plot(),
    ]
    for display in displays:
        assert display.figure_.get_size_inches()[0] == 7
        display.figure_.canvas.draw()
        sizes = [
            text.get_fontsize()
            for text in display.figure_.findobj(matplotlib.text.Text)
            if text.get_text() and text.get_visible()
        ]
        assert min(sizes) >= 7


def test_given_axes_are_drawn_on(images, times, rng):
    """And no other figure is made; a single one makes room for several panels."""
    figure, (left, right) = plt.subplots(1, 2)
    keogram = KeogramDisplay.from_frames(images, times, np.zeros(20), ax=left)
    display = OccurrenceDisplay(counts_of(rng), NAMES).plot(right)
    assert keogram.ax_ is left and keogram.figure_ is figure
    assert display.figure_ is figure and not right.axison
    figure.canvas.draw()
    place = right.get_position()
    assert all(place.x0 <= ax.get_position().x0 <= place.x1 for ax in display.axes_)
    assert plt.get_fignums() == [figure.number]


def test_nothing_is_changed(images, times, rng):
    """Neither the arrays nor the parameters of plots."""
    labels, counts = np.arange(20) % 6, counts_of(rng)
    for array in (images, times, labels, counts):
        array.flags.writeable = False
    settings = dict(matplotlib.rcParams)
    KeogramDisplay.from_frames(images, times, labels, north="bottom")
    OccurrenceDisplay(counts, NAMES).plot()
    assert dict(matplotlib.rcParams) == settings


# Keograms of frames


def test_columns_are_those_through_the_zenith(images, times):
    """The central one of each frame, within the field of view."""
    display = KeogramDisplay.from_frames(images, times)
    assert_array_equal(display.columns, images[:, ROWS, 8])
    off = KeogramDisplay.from_frames(images, times, center=(6, 3), radius=0.5)
    assert_array_equal(off.columns, images[:, 2:11, 3])
    wide = KeogramDisplay.from_frames(images, times, radius=1.5)
    assert_array_equal(wide.columns, images[:, :, 8])


def test_keogram_of_any_form_of_images(tmp_path, images, times):
    """Memory maps, colours and files give what the array gives."""
    expected = KeogramDisplay.from_frames(images, times).columns
    np.save(tmp_path / "frames.npy", images)
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    green = np.stack([np.zeros_like(images), images, np.zeros_like(images)], axis=-1)
    paths = [tmp_path / f"{number:02}.png" for number in range(20)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    for form in (mapped, green, paths):
        assert_array_equal(KeogramDisplay.from_frames(form, times).columns, expected)


def test_frames_are_read_in_blocks(monkeypatch, images, times):
    """Of any number."""
    expected = KeogramDisplay.from_frames(images, times).columns
    monkeypatch.setattr(_keogram, "_BLOCK", 7)
    assert_array_equal(KeogramDisplay.from_frames(images, times).columns, expected)


def test_frames_are_put_in_order_of_time(images, times, rng):
    """With their labels."""
    order, labels = rng.permutation(20), np.arange(20) % 6
    display = KeogramDisplay.from_frames(images[order], times[order], labels[order])
    assert_array_equal(display.times, times)
    assert_array_equal(display.columns, images[:, ROWS, 8])
    assert_array_equal(display.labels, labels)


def test_a_frame_is_shown_until_the_next_and_gaps_are_blank(images, times):
    """At most for two steps: the half hour without frames is blank after a minute."""
    display = KeogramDisplay.from_frames(images, times)
    picture, centers = shown(display)
    assert_allclose(np.diff(centers), 1 / 1440)
    starts = date2num(times)
    for column, center in zip(picture.T, centers, strict=True):
        frame = np.flatnonzero(starts <= center)[-1]
        if center - starts[frame] < 2 / 1440:
            assert_array_equal(column, display.columns[frame])
        else:
            assert column.mask.all()
    assert (~picture.mask.any(axis=0)).sum() == 21 and picture.shape == (13, 50)
    assert to_hex(display.ax_.get_facecolor()) == GAP_COLOR.lower()


def seconds(*steps):
    """Return times so many seconds after each other."""
    return START + np.cumsum([0, *steps]).astype("timedelta64[s]")


def test_night_of_two_cadences_has_no_stripes():
    """540 frames at 10 s, then 359 at 60 s: nothing is blank, all is in its place."""
    times = seconds(*[10] * 539, *[60] * 359)
    edges, frames = on_axis_of_time(times)
    assert_array_equal(frames, np.repeat(np.arange(899), [1] * 539 + [6] * 360))
    assert_array_equal(edges, [START, times[-1] + np.timedelta64(60, "s")])


@pytest.mark.parametrize(
    ("steps", "blank"),
    [
        ([10] * 9 + [600] + [10] * 9, 580),  # the last frame lasts two steps
        ([10] * 9 + [600], 580),  # also before a single frame
        ([600] + [10] * 9, 580),
        ([60] * 9 + [600] + [10] * 9, 480),
        ([10] * 9 + [30, 40] + [10] * 9, 10 + 20),
        ([3] * 19 + [63] + [3] * 19 + [63] + [3] * 19, 2 * 57),  # bursts of THEMIS
        ([2, 8] * 20, 0),  # two filters in turn
        ([10] * 5 + [0] + [10] * 5, 0),  # one frame twice
        ([0, 0, 10] * 9, 0),  # each three times
        ([3600], 0),  # two frames tell nothing of a gap
    ],
)
def test_gaps_stay_gaps(steps, blank):
    """Longer than twice the steps around are blank, and nothing else."""
    edges, frames = on_axis_of_time(seconds(*steps))
    span = (edges[1] - edges[0]) / np.timedelta64(1, "s")
    assert_allclose((frames < 0).mean() * span, blank, atol=span / len(frames))


def test_uneven_steps_are_no_gaps(images, rng):
    """A clock that is off by a third of a step leaves nothing blank."""
    jitter = (rng.uniform(-0.3, 0.3, 20) * 60e9).astype("timedelta64[ns]")
    display = KeogramDisplay.from_frames(
        images, START + np.arange(20) * MINUTE + jitter
    )
    assert not np.ma.getmaskarray(shown(display)[0]).any()


def test_long_nights_have_a_bounded_picture(images, times):
    """However long a gap is."""
    far = np.append(START + np.arange(19), START + np.timedelta64(90, "D"))
    picture, _ = shown(KeogramDisplay.from_frames(images, far))
    assert picture.shape[1] == 8192
    assert picture.mask.all(axis=0).sum() == 8190


def test_a_single_frame_is_a_keogram(images, times):
    """A minute wide."""
    display = KeogramDisplay.from_frames(images[:1], times[:1], [3])
    picture, center = shown(display)
    assert_array_equal(picture[:, 0], images[0, ROWS, 8])
    assert_allclose(center, date2num(times[:1] + MINUTE / 2))
    assert_allclose(np.ptp(display.ax_.get_xlim()), 1 / 1440)


def test_contrast_is_stretched_over_the_night(images, times):
    """One per cent of all pixels is black, one white; what is asked for goes before."""
    display = KeogramDisplay.from_frames(images, START + np.arange(20) * MINUTE)
    (image,) = display.ax_.images
    assert_allclose(image.get_clim(), np.percentile(images[:, ROWS, 8], (1, 99)))
    other = KeogramDisplay.from_frames(
        images, times, image_kw={"vmin": 5, "cmap": "hot"}
    )
    assert other.ax_.images[0].get_clim()[0] == 5
    assert other.ax_.images[0].get_cmap().name == "hot"
    norm = LogNorm(10, 100)
    log = KeogramDisplay.from_frames(images, times, image_kw={"norm": norm})
    assert log.ax_.images[0].norm is norm


def test_frames_that_cannot_be_shown_are_blank(images):
    """NaN is neither black nor white, and the others are as they were."""
    columns = images[:, ROWS, 8].astype(float)
    columns[4] = np.nan
    display = KeogramDisplay(columns, START + np.arange(20) * MINUTE).plot()
    picture, _ = shown(display)
    assert_array_equal(np.flatnonzero(picture.mask.all(axis=0)), [4])
    assert np.isfinite(display.ax_.images[0].get_clim()).all()


def test_strip_has_the_colour_of_each_label(images, times):
    """White without a label, that of a gap without a frame."""
    labels = np.arange(20) % 6
    texts = np.array(NAMES, dtype=object)[labels]
    texts[5] = None
    display = KeogramDisplay.from_frames(images, times, texts)
    expected = [COLORS[k].lower() for k in labels]
    expected[5] = "#ffffff"
    assert strip_colors(display, times) == expected
    assert strip_colors(display, times[9:10] + 15 * MINUTE) == [GAP_COLOR.lower()]
    assert legend_of(display) == {
        name: color.lower() for name, color in zip(NAMES, COLORS, strict=False)
    }


def test_a_class_has_its_colour_in_every_night(images, times):
    """Names of all classes fix the colours; only classes that occur are listed."""
    labels = np.full(20, np.nan)
    labels[2:6], labels[9] = 4, 1
    display = KeogramDisplay.from_frames(images, times, labels, target_names=NAMES)
    expected = {"cloudy": COLORS[1].lower(), "moon": COLORS[4].lower()}
    assert legend_of(display) == expected
    found = strip_colors(display, times[[1, 2, 9]])
    assert found == ["#ffffff", expected["moon"], expected["cloudy"]]
    without = KeogramDisplay.from_frames(images, times, labels)
    assert list(legend_of(without)) == ["1", "4"]


def test_no_frame_has_a_label(images, times):
    """The strip is white."""
    display = KeogramDisplay.from_frames(images, times, [None] * 20)
    assert set(strip_colors(display, times)) == {"#ffffff"} and not legend_of(display)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_labels_may_be_a_list_with_gaps(images, times, missing):
    """Which are no class, although NumPy makes a text of a NaN among texts."""
    labels = ["arc", missing] * 10
    display = KeogramDisplay.from_frames(images, times, labels)
    again = KeogramDisplay(display.columns, display.times, labels).plot()
    assert [*legend_of(display)] == [*legend_of(again)] == ["arc"]
    assert strip_colors(display, times[1:2]) == ["#ffffff"]


def test_sixteen_classes_differ_in_colour(images, times):
    """And more are an error."""
    display = KeogramDisplay.from_frames(images, times, np.arange(20) % 16)
    assert len(set(legend_of(display).values())) == 16
    with pytest.raises(ValueError, match="16 classes, got more"):
        KeogramDisplay.from_frames(images, times, np.arange(20) % 17)


def test_without_labels_there_is_no_strip(images, times):
    """Nor a legend."""
    display = KeogramDisplay.from_frames(images, times)
    assert display.strip_ax_ is None and display.ax_.get_legend() is None


@pytest.mark.parametrize("north", ["top", "bottom", None])
def test_north_is_up_where_it_is_known(images, times, north):
    """Else the axis says what the frame's top is."""
    column = images[0, ROWS, 8].astype(np.float32)
    for display in (
        KeogramDisplay(column[None], times[:1], north=north).plot(),
        KeogramDisplay.from_frames(images[:1], times[:1], north=north),
    ):
        of_frames = display.elevations is not None
        turned = images[0, ::-1, ::-1][ROWS, 8] if of_frames else column[::-1]
        expected = turned if north == "bottom" else column
        assert_array_equal(shown(display)[0][:, 0], expected)
        assert display.ax_.get_ylim() == (13, 0)
        labels = [label.get_text() for label in display.ax_.get_yticklabels()]
        ends = ["top", "bottom"] if north is None else ["north", "south"]
        assert [labels[0], labels[-1]] == ends


@pytest.mark.parametrize("north", ["top", 90, -90, 180.0, "bottom", 270, 37, 217])
def test_cut_runs_from_north_to_south(times, north):
    """An arc across a turned sky is as far from the zenith as in one that is not."""
    degrees = {"top": 0, "bottom": 180}.get(north, north)
    row, column = np.indices((65, 65)) - 32.0
    turn = np.deg2rad(degrees)
    south = row * np.cos(turn) + column * np.sin(turn)  # north is anticlockwise
    sky = np.exp(-(((south + 15) / 3) ** 2))[None]  # north of the zenith
    display = KeogramDisplay.from_frames(sky, times[:1], north=north, center=(32, 32))
    expected = np.exp(-(((np.arange(-27, 28) + 15) / 3) ** 2))
    assert_allclose(display.columns[0], expected, atol=0.2)
    assert abs(int(display.columns[0].argmax()) - 12) <= 1
    assert display.north == "top"


def y_ticks(ax):
    """Return {label: place} of the axis of elevation, the upper of equal ones."""
    texts = [label.get_text() for label in ax.get_yticklabels()]
    return dict(zip(texts[::-1], ax.get_yticks()[::-1], strict=True))


def test_elevations_are_those_of_an_equidistant_lens(times):
    """90 degrees in the zenith, `edge_elevation` at `radius`, evenly between them."""
    image = np.zeros((1, 256, 256), np.uint16)
    display = KeogramDisplay.from_frames(
        image, times[:1], radius=0.75, edge_elevation=18, north="top"
    )
    assert_allclose(display.elevations, 90 + 0.75 * np.arange(-96, 97))
    ticks = y_ticks(display.ax_)
    assert_allclose([ticks["90°"], ticks["60°"]], [96.5, 96.5 - 30 / 0.75])
    assert display.ax_.get_ylabel() == "elevation, degrees"
    assumed = KeogramDisplay.from_frames(image, times[:1], radius=0.75)
    assert_allclose(assumed.elevations, np.linspace(0, 180, 193), atol=1e-9)
    assert "if the edge is the horizon" in assumed.ax_.get_ylabel()
    low = KeogramDisplay(np.ones((1, 3)), times[:1], elevations=[20, 90, 100])
    south_up = KeogramDisplay(
        np.ones((1, 3)), times[:1], elevations=[20, 90, 100], north="bottom"
    )
    assert_allclose(y_ticks(low.plot().ax_)["90°"], 1.5)
    assert_allclose(y_ticks(south_up.plot().ax_)["90°"], 1.5)
    assert_allclose(y_ticks(low.ax_)["60°"], 0.5 + 40 / 70)
    assert_allclose(y_ticks(south_up.ax_)["60°"], 3 - 0.5 - 40 / 70)


def test_magnetic_time_is_above(images, times):
    """Half past midnight there is half an hour after magnetic midnight in UTC."""
    position = SITES["gill"]
    midnight = np.datetime64("2014-03-10") + np.timedelta64(
        round(3600 * magnetic_midnight(*position)), "s"
    )
    display = KeogramDisplay.from_frames(
        images, midnight + np.arange(-10, 10) * 6 * MINUTE, position=position
    )
    display.figure_.canvas.draw()
    ax = display.magnetic_ax_
    ticks = {label.get_text(): place for place, label in zip_ticks(ax)}
    to_utc = ax.transData + display.ax_.transData.inverted()
    utc = to_utc.transform((ticks["00:00"], 0))[0]
    assert_allclose(utc, date2num(midnight), atol=1 / 86400)
    assert ax.get_xlabel() == "magnetic local time"
    assert KeogramDisplay.from_frames(images, times).magnetic_ax_ is None


def test_colour_bar_says_what_is_shown(images, times):
    """Counts of integers, and of a scale that is not linear its name."""
    norm = LogNorm(10, 100)
    for change, label in (
        ({}, "counts"),
        ({"images": images / 65535}, "brightness"),
        ({"image_kw": {"norm": norm}}, "counts, logarithmic"),
        ({"image_kw": {"norm": PowerNorm(0.5, 0, 9)}}, "counts, to the power 0.5"),
    ):
        display = KeogramDisplay.from_frames(
            **({"images": images, "times": times} | change)
        )
        assert display.bar_ax_.get_ylabel() == label
        low, high = display.ax_.images[0].get_clim()
        assert_allclose(display.bar_ax_.get_ylim(), (low, high))


def texts_of(ax):
    """Return the texts of axes, and of those within them, that can be seen."""
    texts = [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
    texts += [] if ax.get_legend() is None else ax.get_legend().get_texts()
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-9 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if low - slack <= tick.get_loc() <= high + slack:
                texts += [tick.label1, tick.label2]
    seen = [t for t in texts if t.get_text().strip() and t.get_visible()]
    seen = seen if ax.axison and ax.get_visible() else []
    return seen + [text for child in ax.child_axes for text in texts_of(child)]


def assert_readable(figure):
    """No text touches another one or leaves the figure."""
    figure.canvas.draw()
    boxes = [
        (text.get_text(), text.get_window_extent())
        for ax in figure.axes
        for text in texts_of(ax)
    ]
    assert len(boxes) > 3
    for number, (name, box) in enumerate(boxes):
        inside = box.x0 >= 0 and box.y0 >= 0
        inside &= box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{name!r} leaves the figure"
        for other, its_box in boxes[:number]:
            assert not box.overlaps(its_box), f"{name!r} touches {other!r}"


@pytest.mark.parametrize(
    ("step", "size"),
    [
        (1, (7, None)),
        (1800, (7, None)),
        (7, (3.5, 2.6)),
        (700, (3.5, 2.6)),
        (60, (12, 5)),
    ],
)
def test_texts_of_keograms_neither_touch_nor_leave_the_figure(images, step, size):
    """From twenty seconds to ten hours, in a column, on a page, on a wall."""
    width, height = size
    ax = height and plt.subplots(figsize=size, layout="constrained")[1]
    times = np.datetime64("2014-03-10T23:40", "ns") + step * np.arange(20) * MINUTE / 60
    display = KeogramDisplay.from_frames(
        images,
        times.astype("M8[ns]"),
        np.arange(20) % 6,
        target_names=NAMES,
        edge_elevation=20,  # where 30 degrees are near the name of the side
        position=SITES["gill"],
        title="gill, THEMIS ASI, 2014-03-10",
        ax=ax or None,
    )
    assert display.figure_.get_size_inches()[0] == width
    assert_readable(display.figure_)


@pytest.mark.parametrize("labels", [None, np.zeros(20, int)])
def test_time_is_utc(images, times, labels):
    """Whatever time zone matplotlib has been set to; the date is there as well."""
    with matplotlib.rc_context({"timezone": "America/Winnipeg"}):
        display = KeogramDisplay.from_frames(images, times + 10 * MINUTE, labels)
        display.figure_.canvas.draw()
        ax = display.ax_ if labels is None else display.strip_ax_
        ticks = {label.get_text(): place for place, label in zip_ticks(ax)}
    half_past = date2num(np.datetime64("2014-03-10T06:30"))
    assert_allclose(ticks["06:30"], half_past, atol=1e-6)
    assert ax.get_xlabel() == "UTC, 2014-03-10"


def zip_ticks(ax):
    """Return places and labels of the axis of time."""
    return zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)


def test_night_over_midnight_has_two_dates(images):
    """Below the axis of time."""
    times = np.datetime64("2014-03-10T23:50", "ns") + np.arange(20) * MINUTE
    display = KeogramDisplay.from_frames(images, times)
    assert display.ax_.get_xlabel() == "UTC, 2014-03-10 to 2014-03-11"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": START + np.arange(3)}, "one time per frame.*expected 20, got.*(3,)"),
        ({"times": np.arange(20)}, "as datetime64: expected 20, got int64"),
        ({"times": np.full(20, "NaT", "M8[s]")}, "none for 20, the first.*number 0"),
        ({"labels": [1, 2]}, "one label per frame: expected 20 in labels"),
        ({"labels": [7] * 20, "target_names": NAMES}, "integers from 0 to 5, got 7"),
        (
            {"labels": [0.5] * 20, "target_names": NAMES},
            "integers from 0 to 5, got 0.5",
        ),
        ({"center": (8, 16)}, r"pixel of frames of 16 x 16, got \(8, 16\)"),
        ({"center": (30, 8)}, r"pixel of frames of 16 x 16, got \(30, 8\)"),
        ({"radius": 0}, "radius == 0"),
        ({"north": "up"}, "'top', 'bottom' or None, or an angle.*got 'up'"),
        ({"north": 400}, "degrees from -360 to 360, got 400"),
        ({"edge_elevation": 90}, "edge_elevation == 90"),
        ({"position": (96, 16)}, r"-90 to 90.*got \(96, 16\)"),
        ({"position": "gill"}, "latitude, longitude.*got 'gill'"),
        ({"images": np.zeros((0, 4, 4))}, "0 sample"),
    ],
)
def test_keogram_errors(images, times, change, message):
    """They say what is wrong, and leave no figure."""
    with pytest.raises(ValueError, match=message):
        KeogramDisplay.from_frames(**({"images": images, "times": times} | change))
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    "elevations", [np.arange(4), [3, 2, 1], [1, 1, 2], [1, np.nan, 2]], ids=repr
)
def test_elevations_that_are_none_of_the_rows(elevations):
    """Are an error."""
    with pytest.raises(ValueError, match="must ascend, one for each of 3"):
        KeogramDisplay(np.ones((1, 3)), [START], elevations=elevations).plot()
    assert plt.get_fignums() == []


def test_keogram_of_columns_out_of_order(images, times):
    """Is an error, and so are none at all."""
    columns = images[:, ROWS, 8]
    with pytest.raises(ValueError, match="in ascending order"):
        KeogramDisplay(columns, times[::-1]).plot()
    with pytest.raises(ValueError, match="at least one of each, got"):
        KeogramDisplay([], times[:0]).plot()


# Keograms of a catalogue


def test_night_of_a_catalogue_is_that_of_its_frames(night, images, times):
    """With labels in the colours of the pipeline's classes."""
    catalogue, labels = night
    display = KeogramDisplay.from_catalogue(catalogue, "gill", "2014-03-10")
    numbers = [np.nan if name is None else NAMES.index(name) for name in labels]
    expected = KeogramDisplay.from_frames(
        images, times, numbers, target_names=NAMES, north="top"
    )
    assert_array_equal(display.columns, expected.columns)
    assert_array_equal(display.times, times)
    assert_array_equal(display.labels, numbers)
    assert strip_colors(display, times) == strip_colors(expected, times)
    assert display.ax_.get_title(loc="left") == "gill, THEMIS ASI, 2014-03-10"
    assert display.north == "top"


@pytest.mark.parametrize(
    "day",
    [
        "20140310",
        " 2014-03-10 ",
        datetime.date(2014, 3, 10),
        datetime.datetime(2014, 3, 10, 6),
        np.datetime64("2014-03-10"),
        np.datetime64("2014-03-10T06:00", "ns"),
        pd.Timestamp("2014-03-10T06:00"),
        pd.Timestamp("2014-03-10T01:00+07:00") + pd.Timedelta("12h"),
    ],
    ids=repr,
)
def test_a_date_is_a_date_however_it_is_written(day):
    """As text, by Python, NumPy and pandas."""
    assert as_day(day) == np.datetime64("2014-03-10", "D")


@pytest.mark.parametrize(
    "day",
    ["2014", "2014-03", "201403-10", "2014-02-30", "", None, 20140310, 735302.0]
    + [np.datetime64("2014-03"), np.datetime64("NaT"), pd.NaT, datetime.time(6)],
    ids=repr,
)
def test_what_is_no_date_is_an_error(day):
    """Also a month, of which the first day would be a guess."""
    with pytest.raises(ValueError, match="date must be a day in UTC"):
        as_day(day)


def test_night_by_another_form_of_its_date(night):
    """The title has it in one form."""
    catalogue, _ = night
    for day in ("20140310", datetime.date(2014, 3, 10)):
        display = KeogramDisplay.from_catalogue(catalogue, "gill", day)
        assert display.title.endswith(", 2014-03-10")


def test_elevation_and_magnetic_time_of_themis_are_known(night):
    """15 degrees at the radius of the crop: 1.45 pixels of 256 are a degree."""
    catalogue, _ = night
    display = KeogramDisplay.from_catalogue(catalogue, "gill", "2014-03-10", mlt=True)
    per_pixel = 16 / 256 * 128 / 88  # frames of 16 pixels, edge of the middle ones
    expected = 90 + np.arange(-6, 7) / per_pixel
    assert_allclose(display.elevations, expected)
    assert display.ax_.get_ylabel() == "elevation, degrees"
    assert display.position == SITES["gill"] and display.magnetic_ax_ is not None
    told = KeogramDisplay.from_catalogue(
        catalogue, "gill", "2014-03-10", edge_elevation=0
    )
    assert_allclose(told.elevations, 90 + 90 * np.arange(-6, 7) / 6.8)
    assert told.magnetic_ax_ is None


def test_zenith_angle_of_moon_and_venus_is_as_far_as_said(real_data):
    """The scale of elevations of THEMIS, within two degrees."""
    for pattern, elevation in (("*0600_gill_*.pgm.gz", 28.3), ("thg_l1*.cdf", 9.2)):
        (path,) = (real_data / "themis").glob(pattern)
        frame = np.median(read_frames(path).images, axis=0)
        away = np.hypot(*(np.indices(frame.shape) - 127.5))
        at = away.flat[np.where(away < 122, frame, 0).argmax()]
        assert abs(edge_elevation_of(path, at / 128) - elevation) < 2


def test_names_in_files_are_no_formulas(tmp_path, images, times):
    """Matplotlib takes what is between dollars for one."""
    path = tmp_path / "night.npy"
    np.save(path, images)
    rows = rows_of(path, times, NAMES[:1] * 20, site="a$^$")
    catalogue = write_catalogue(tmp_path / "c", rows)
    display = KeogramDisplay.from_catalogue(catalogue, "a$^$", "2014-03-10")
    display.figure_.canvas.draw()
    assert display.ax_.get_title(loc="left") == r"a\$^\$, 2014-03-10"


def test_instruments_are_not_mixed(tmp_path, images):
    """Of two at one station, one must be chosen; the title names it."""
    times = START + np.arange(20) * MINUTE
    white = tmp_path / frame_name(times[0], "gill", ".pgm")
    near = tmp_path / "20140310_0610_gill_nir-216_8446.pgm"
    write_pgm(white, images[:10], times[:10])
    write_pgm(near, images[10:], times[10:])
    rows = rows_of(white, times[:10], ["arc"] * 10)
    rows += rows_of(near, times[10:], ["moon"] * 10)
    asked = write_catalogue(tmp_path / "c", rows), "gill", "20140310"
    with pytest.raises(ValueError, match=r"\['THEMIS ASI', 'nir-216, 844.6 nm'\]"):
        KeogramDisplay.from_catalogue(*asked)
    with pytest.raises(ValueError, match="got 'nir'"):
        KeogramDisplay.from_catalogue(*asked, instrument="nir")
    display = KeogramDisplay.from_catalogue(*asked, instrument="nir-216, 844.6 nm")
    assert_array_equal(display.columns, images[10:, ROWS, 8])
    assert display.title == "gill, nir-216, 844.6 nm, 2014-03-10"
    assert display.north is None
    display = KeogramDisplay.from_catalogue(*asked, instrument="THEMIS ASI")
    assert_array_equal(display.columns, images[:10, ROWS, 8])


def test_column_of_instruments_goes_before_names_of_files():
    """Where a catalogue has it; rows without are of none."""
    file = "20140310_0610_gill_nir-216_8446.pgm"
    table = pa.table({"file": [file] * 3, "instrument": ["blue", None, "red"]})
    chosen, name = _of_one_instrument(table, "red")
    assert name == "red" and chosen["instrument"].to_pylist() == ["red"]
    with pytest.raises(ValueError, match=r"\['blue', 'red'\]"):
        _of_one_instrument(table, None)
    chosen, name = _of_one_instrument(table.slice(0, 2), None)
    assert name == "blue" and chosen.num_rows == 2


def test_names_of_instruments():
    """By the names of files, or by what is in them."""
    names = {
        "20140310_0600_gill_themis19_full.pgm.gz": "THEMIS ASI",
        "thg_l1_asf_gako_2011010617_v01.cdf": "THEMIS ASI",
        "20141015_0600_gill_rego-652_6300.pgm.gz": "rego-652, 630.0 nm",
        "20220307_0600_gill_nir-216_8446.pgm.gz": "nir-216, 844.6 nm",
        "20200508_060500_122643_gill_rgb-04_320ms_full.png": "rgb-04",
        "20210101_0600_gill_rgb-09.h5": "rgb-09",
        "PKR_DASC_0558_20151007_082351.743.FITS": "DASC, 558 nm",
        "20140310_0615_gill_other.pgm": "",
        "20140310_0600_gill.npy": "",
    }
    assert {name: instrument_of(f"/archive/{name}") for name in names} == names
    assert as_instrument("blueline-815", "4278") == "blueline-815, 427.8 nm"


def test_night_may_begin_on_the_day_before(tmp_path, images):
    """Hours are counted from 0 UTC of the date."""
    times = np.datetime64("2014-03-09T18:00", "ns") + 60 * np.arange(20) * MINUTE
    path = write_pgm(tmp_path / frame_name(times[0], "gill", ".pgm"), images, times)
    catalogue = write_catalogue(tmp_path / "c", rows_of(path, times, NAMES[:1] * 20))
    shown_hours = {}
    for hours in ((0, 24), (-6, 10), (-1, 2.5), (-24, 0)):
        display = KeogramDisplay.from_catalogue(
            catalogue, "gill", "2014-03-10", hours=hours
        )
        since = (display.times - np.datetime64("2014-03-10")) / (60 * MINUTE)
        shown_hours[hours] = since.tolist()
    assert shown_hours[0, 24] == list(range(14))
    assert shown_hours[-6, 10] == list(range(-6, 10))
    assert shown_hours[-1, 2.5] == [-1, 0, 1, 2]
    assert shown_hours[-24, 0] == list(range(-6, 0))


def test_files_are_read_once_and_frames_thinned_evenly(monkeypatch, night, times):
    """So that a long night fits on the page and in memory."""
    read = []
    original = readers.read_frames
    monkeypatch.setattr(
        readers, "read_frames", lambda path: read.append(path) or original(path)
    )
    monkeypatch.setattr(_keogram, "_MAX_COLUMNS", 7)
    display = KeogramDisplay.from_catalogue(night[0], "gill", "2014-03-10")
    rows = np.flatnonzero(np.isin(times, display.times))
    assert len(rows) == 7 and rows[0] == 0 and rows[-1] == 19
    assert set(np.diff(rows)) <= {3, 4}
    assert len(read) == len(set(read)) == 4


def test_one_sky_gives_one_keogram_from_both_forms_of_themis_files(tmp_path, images):
    """Turned by half a circle to each other; frames of others stay as they are."""
    minutes = START + np.arange(20) * MINUTE
    pgm = tmp_path / frame_name(minutes[0], "gill", ".pgm")
    cdf = tmp_path / "thg_l1_asf_gill_2014031006_v01.cdf"
    other = tmp_path / "20140310_0615_gill_other.pgm"
    write_pgm(pgm, images[:10], minutes[:10])
    write_cdf(cdf, images[10:15, ::-1, ::-1], minutes[10:15])
    write_pgm(other, images[15:], minutes[15:])
    files = {pgm: minutes[:10], cdf: minutes[10:15], other: minutes[15:]}
    rows = [rows_of(file, t, NAMES[:1] * len(t)) for file, t in files.items()]
    both = write_catalogue(tmp_path / "both", rows[0] + rows[1])
    display = KeogramDisplay.from_catalogue(both, "gill", "2014-03-10")
    assert display.north == "top"
    assert_array_equal(display.columns, images[:15, ROWS, 8])
    mixed = write_catalogue(tmp_path / "mixed", [row for part in rows for row in part])
    display = KeogramDisplay.from_catalogue(mixed, "gill", "2014-03-10")
    stored = images.copy()
    stored[10:15] = stored[10:15, ::-1, ::-1]
    assert display.north is None
    assert_array_equal(display.columns, stored[:, ROWS, 8])
    display = KeogramDisplay.from_catalogue(mixed, "gill", "2014-03-10", north="bottom")
    assert display.north == "top"
    assert_array_equal(display.columns, stored[:, ::-1, ::-1][:, ROWS, 8])


def test_names_of_files_that_tell_where_north_is():
    """Those of THEMIS until 2023."""
    names = {
        "20140310_0600_gill_themis19_full.pgm.gz": "top",
        "20140310_0600_gill_themis19_full.pgm": "top",
        "20140310_0600_gill_themis19_wide.pgm.gz": None,
        "thg_l1_asf_gako_2011010617_v01.cdf": "bottom",
        "thg_l1_asf_gako_2024010617_v02.cdf": None,
        "20140310_0600_gill.npy": None,
    }
    assert {name: north_of(f"/archive/{name}") for name in names} == names


def place_in_frame(azimuth, elevation, up):
    """Return (row, column) of a direction, degrees, in an ideal frame of THEMIS.

    The lens maps the angle from the zenith linearly, 65 degrees to 90 pixels; `up` is
    the azimuth of the top; seen from below, azimuths turn to the left from north.
    """
    distance = 90 / 65 * (90 - elevation)
    angle = np.deg2rad(azimuth - up)
    return np.array([128 - distance * np.cos(angle), 128 - distance * np.sin(angle)])


@pytest.mark.parametrize(
    ("pattern", "azimuth", "elevation", "declination"),
    [
        # positions by astropy 8.0, magnetic declination by IGRF-14
        ("20140310_0600_gill_*.pgm.gz", 259.3, 28.3, -0.5),  # Moon
        ("thg_l1_asf_gako_*.cdf", 158.8, 9.2, 20.6),  # Venus
    ],
)
def test_north_is_where_moon_and_venus_say(
    real_data, pattern, azimuth, elevation, declination
):
    """The brightest spot is at the place that where north is predicts, and no other."""
    (path,) = (real_data / "themis").glob(pattern)
    frame = np.median(read_frames(path).images, axis=0)
    row, column = np.indices(frame.shape)
    inside = np.hypot(row - 128, column - 128) < 122
    brightest = np.unravel_index(np.where(inside, frame, 0).argmax(), frame.shape)
    known = {"top": declination, "bottom": 180 + declination}[north_of(path)]
    away = {}
    for up in (declination, 90 + declination, 180 + declination, 270 + declination):
        place = place_in_frame(azimuth, elevation, up)
        away[up] = np.hypot(*(place - brightest))
    assert away[known] < 9 and min(away, key=away.get) == known
    assert sorted(away.values())[1] > 100


def test_north_of_the_near_infrared_camera_is_where_stars_say(real_data):
    """As the page on figures has it for Gillam in March 2022, in frames as stored.

    East is on the right; magnetic north is at 1 degree west, and 9 clockwise of the
    top; 1.3 pixels are a degree. Positions are by astropy 8.0.
    """
    (path,) = (real_data / "trex").glob("20220307_0600_gill_nir*")
    frame = np.median(read_frames(path).images, axis=0)
    stars = {
        "Betelgeuse": (258.3, 16.5),
        "Capella": (294.0, 41.4),
        "Arcturus": (110.3, 35.5),
        "Procyon": (232.9, 27.6),
        "Vega": (45.8, 18.2),
    }
    for name, (azimuth, elevation) in stars.items():
        angle, away = np.deg2rad(azimuth + 1 + 9), 1.3 * (90 - elevation)
        row = round(130 - away * np.cos(angle))
        column = round(128.5 + away * np.sin(angle))
        around = frame[row - 15 : row + 16, column - 15 : column + 16]
        at = np.subtract(np.unravel_index(around.argmax(), around.shape), 15)
        assert np.hypot(*at) < 3, f"{name}: {at}"


def test_keogram_of_real_files(tmp_path, real_data):
    """Two minutes of Gillam, two minutes apart: forty columns and a gap."""
    rows, columns = [], []
    for path in sorted((real_data / "themis").glob("*.pgm.gz")):
        frames = read_frames(path)
        rows += rows_of(path, frames.times, ["cloudy"] * len(frames))
        columns.append(frames.images[:, 20:237, 128])
    catalogue = write_catalogue(tmp_path / "catalogue", rows)
    display = KeogramDisplay.from_catalogue(catalogue, "gill", "2014-03-10")
    assert_array_equal(display.columns, np.concatenate(columns))
    picture, _ = shown(display)
    blank = picture.mask.all(axis=0)
    assert picture.shape == (217, 61) and blank.sum() == 20


def test_catalogue_of_embeddings_has_a_keogram_without_strip(tmp_path, night):
    """And one whose classes are numbers has them as names."""
    rows = ds.dataset(night[0], partitioning="hive").to_table().to_pylist()
    for row in rows:
        row |= {"time": row["time"].value, "date": str(row["date"])[:10]}
        row["label"] = None if row["label"] is None else 10 * NAMES.index(row["label"])
    numbers = write_catalogue(tmp_path / "numbers", rows, classes=[0, 10, 20, 30, 40])
    display = KeogramDisplay.from_catalogue(numbers, "gill", "2014-03-10")
    assert list(legend_of(display)) == ["10", "20", "30", "40"]
    unlabelled = [{k: v for k, v in row.items() if k != "label"} for row in rows]
    none = write_catalogue(tmp_path / "none", unlabelled, classes=None)
    display = KeogramDisplay.from_catalogue(none, "gill", "2014-03-10")
    assert display.strip_ax_ is None and len(display.columns) == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"site": "fsmi"}, r"no frame of site 'fsmi'.*It has sites \['gill'\]"),
        ({"date": "2014-03-11"}, "2014-03-11 00:00.*1 dates of it, 2014-03-10 to 2014"),
        ({"hours": (7, 8)}, "from 2014-03-10 07:00 to 2014-03-10 08:00 UTC"),
        ({"date": "10 March"}, "as 'YYYY-MM-DD' or 'YYYYMMDD'.*got '10 March'"),
        ({"date": 20140310}, "'YYYYMMDD', or a date of.*got 20140310"),
        ({"hours": (8, 7)}, r"the first below the last, got \(8, 7\)"),
        ({"hours": 8}, "hours must be .first, last.,.* got 8"),
        ({"north": "up"}, "got 'up'"),
    ],
)
def test_night_errors(night, change, message):
    """They say what is wrong and what there is, and leave no figure."""
    asked = {"site": "gill", "date": "2014-03-10"} | change
    with pytest.raises(ValueError, match=message):
        KeogramDisplay.from_catalogue(night[0], **asked)
    assert plt.get_fignums() == []


def test_frames_without_a_time_are_in_no_night(tmp_path):
    """Which the error says."""
    row = {"time": None, "label": "arc", "site": "gill", "date": "unknown"}
    catalogue = write_catalogue(tmp_path / "catalogue", [row])
    with pytest.raises(ValueError, match="does not know when its frames of it were"):
        KeogramDisplay.from_catalogue(catalogue, "gill", "2014-03-10")


def test_files_that_are_no_longer_as_they_were(night, images, times):
    """Gone, shorter, of another size, damaged: the error names the file."""
    catalogue, _ = night
    (path, *_) = sorted(catalogue.parent.glob("*.pgm.gz"))
    contents = path.read_bytes()
    for change, kind, message in (
        (lambda: path.unlink(), FileNotFoundError, "the catalogue names"),
        (
            lambda: write_pgm(path, images[:3], times[:3]),
            ValueError,
            "frame 4, .* has 3",
        ),
        (lambda: write_pgm(path, images[:5, :8], times[:5]), ValueError, "one size"),
        (lambda: path.write_bytes(contents[:9]), ValueError, "could not read"),
    ):
        change()
        with pytest.raises(kind, match=message) as error:
            KeogramDisplay.from_catalogue(catalogue, "gill", "2014-03-10")
        assert "gill_themis19_full.pgm.gz" in str(error.value)
        path.write_bytes(contents)
    assert plt.get_fignums() == []


# Where stations are, and when magnetic midnight is there


def test_positions_are_those_in_the_headers(real_data):
    """Of the one station of which raw files are at hand."""
    (path, *_) = (real_data / "themis").glob("*_gill_*.pgm.gz")
    metadata = read_frames(path).metadata
    position = [
        float(metadata[f"Geodetic {name}"]) for name in ("latitude", "Longitude")
    ]
    assert_allclose(SITES["gill"], position, atol=1e-3)


def dipole_meridian(latitude, longitude):
    """Return the angle of a place around the dipole's axis, degrees, by vectors."""

    def unit(latitude, longitude):
        latitude, longitude = np.deg2rad([latitude, longitude])
        return np.array(
            [
                np.cos(latitude) * np.cos(longitude),
                np.cos(latitude) * np.sin(longitude),
                np.sin(latitude),
            ]
        )

    axis = unit(*DIPOLE_POLE)
    first = np.cross(axis, [0, 0, 1])
    second, place = np.cross(axis, first), unit(latitude, longitude)
    return np.rad2deg(np.arctan2(place @ second, place @ first))


@pytest.mark.parametrize("site", sorted(SITES))
def test_sun_is_behind_the_dipole_at_magnetic_midnight(site):
    """At equinox, half a turn around its axis from the station."""
    midnight = magnetic_midnight(*SITES[site])
    sun = dipole_meridian(0, 180 - 15 * midnight)
    away = (dipole_meridian(*SITES[site]) - sun) % 360
    assert abs(away - 180) < 0.5  # degrees, 2 minutes; the dipole is tilted


@pytest.mark.parametrize("site", sorted(SITES))
def test_magnetic_midnight_is_near_that_of_aacgm(site):
    """Within 0.85 hours at stations of THEMIS."""
    assert abs(magnetic_midnight(*SITES[site]) - AACGM_MIDNIGHT[site]) < 0.85


def test_magnetic_midnight_is_solar_on_the_meridian_of_the_pole():
    """South of the dipole's pole both have the Sun in the north at the same time."""
    longitude = DIPOLE_POLE[1]
    for latitude in (-70, 0, 60):
        assert_allclose(magnetic_midnight(latitude, longitude), -longitude / 15)
    assert_allclose(magnetic_midnight(60, longitude + 360), -longitude / 15)


def test_pole_is_that_of_the_field_model():
    """Of the first three coefficients of IGRF-14 for 2015, nT."""
    moment = -np.array([-1501.77, 4795.99, -29441.46])
    latitude = np.rad2deg(np.arcsin(moment[2] / np.linalg.norm(moment)))
    longitude = np.rad2deg(np.arctan2(moment[1], moment[0]))
    assert_allclose(DIPOLE_POLE, (latitude, longitude), atol=0.01)


@pytest.mark.parametrize(
    ("site", "sites", "message"),
    [
        ("lyrn", None, r"site 'lyrn' is not known.*sites=\{'lyrn': \(latitude"),
        ("unknown", {"lyrn": (78, 16)}, "site 'unknown' is not known"),
        ("lyrn", {"lyrn": (96, 16)}, r"-90 to 90.*got \(96, 16\) for 'lyrn'"),
        ("lyrn", {"lyrn": (78, 400)}, r"-180 to 360; got \(78, 400\)"),
    ],
)
def test_position_errors(site, sites, message):
    """They say how to pass it."""
    with pytest.raises(ValueError, match=message):
        site_position(site, sites)


def test_a_given_position_goes_before_the_known_one():
    """Stations move."""
    assert site_position("atha", {"atha": (54.60, -113.64)}) == (54.60, -113.64)


# Occurrence


@pytest.fixture
def rows(rng):
    """Rows of three stations over two years; some without a time or a label."""
    start = np.datetime64("2012-07-01", "ns").astype(np.int64)
    seconds = 18 * 86400 * rng.integers(0, 40, 3000) + rng.integers(0, 86400, 3000)
    labels = np.array([*NAMES, None], dtype=object)[rng.integers(0, 7, 3000)]
    rows = []
    for second, label, site in zip(
        seconds, labels, rng.choice(["gill", "kian", "nrsq"], 3000), strict=True
    ):
        time = int(start + 10**9 * second) if second % 50 else None
        date = "unknown" if time is None else str(np.datetime64(time, "ns"))[:10]
        rows.append({"time": time, "label": label, "site": str(site), "date": date})
    return rows


def slowly(rows, by):
    """Count rows one by one: {values of by and label: number}."""
    counted = Counter()
    for row in rows:
        key = {"site": row["site"], "date": row["date"], "month": None}
        key |= {"hour": None, "magnetic_hour": None}
        if row["time"] is not None:
            minute = row["time"] // (60 * 10**9) % 1440
            midnight = round(60 * magnetic_midnight(*SITES[row["site"]]))
            key["month"] = int(row["date"][5:7])
            key["hour"] = minute // 60
            key["magnetic_hour"] = (minute - midnight) // 60 % 24
        counted[(*(key[name] for name in by), row["label"])] += 1
    return counted


@pytest.mark.parametrize(
    "by",
    [
        ("site", "hour"),
        ("month", "magnetic_hour"),
        ("date",),
        (),
        ("site", "month", "hour", "magnetic_hour", "date"),
    ],
)
def test_occurrence_is_what_counting_row_by_row_gives(tmp_path, rows, by):
    """In ascending order, with nulls for what is not known."""
    table = occurrence(write_catalogue(tmp_path / "c", rows), by=by)
    assert table.column_names == [*by, "label", "n_frames"]
    keys = list(
        zip(*(table[name].to_pylist() for name in table.column_names[:-1]), strict=True)
    )
    found = dict(zip(keys, table["n_frames"].to_pylist(), strict=True))
    assert found == slowly(rows, by) and len(keys) == len(found)
    order = [tuple((value is None, value or 0) for value in key[:-1]) for key in keys]
    assert order == sorted(order)


def test_all_frames_of_a_catalogue_of_embeddings_are_counted(tmp_path):
    """Together, when nothing is asked for to tell them apart."""
    rows = rows_of("a.pgm", START + np.arange(3) * MINUTE, [None] * 3)
    rows = [{k: v for k, v in row.items() if k != "label"} for row in rows]
    catalogue = write_catalogue(tmp_path / "c", rows, classes=None)
    assert occurrence(catalogue, by=[]).to_pylist() == [{"n_frames": 3}]


def test_magnetic_hour_is_the_angle_to_the_sun(tmp_path):
    """Around the axis of the dipole, at equinox: by vectors, for every half hour."""
    times = np.datetime64("2014-03-20T00:10", "ns") + 30 * np.arange(48) * MINUTE
    rows = rows_of("/none.pgm", times, NAMES[:1] * 48, site="fsmi")
    table = occurrence(
        write_catalogue(tmp_path / "c", rows), by=["hour", "magnetic_hour"]
    )
    for row in table.to_pylist():
        for minute in (10, 40):
            sun = dipole_meridian(0, 180 - 15 * (row["hour"] + minute / 60))
            angle = (dipole_meridian(*SITES["fsmi"]) - sun + 180) % 360 / 15
            if abs((angle - row["magnetic_hour"]) % 24 - 0.5) <= 0.55:
                break
        else:
            pytest.fail(f"{row} is not where the Sun is")
    assert sum(table["n_frames"].to_pylist()) == 48


def test_occurrence_of_an_empty_catalogue_is_an_empty_table(tmp_path):
    """With its columns."""
    table = occurrence(write_catalogue(tmp_path / "c", []))
    assert table.column_names == ["site", "hour", "label", "n_frames"]
    assert table.num_rows == 0


def test_occurrence_of_embeddings_alone_counts_frames(tmp_path, rows):
    """All of them, without a column of labels."""
    labelled = write_catalogue(tmp_path / "labelled", rows)
    for row in rows:
        del row["label"]
    table = occurrence(write_catalogue(tmp_path / "c", rows, classes=None))
    assert table.column_names == ["site", "hour", "n_frames"]
    counted = occurrence(labelled).group_by(["site", "hour"])
    expected = counted.aggregate([("n_frames", "sum")]).rename_columns(
        ["site", "hour", "n_frames"]
    )
    assert (
        table.to_pylist()
        == expected.sort_by([("site", "ascending"), ("hour", "ascending")]).to_pylist()
    )


@pytest.fixture
def two_instruments(tmp_path):
    """Return a catalogue that has a column of instruments: two at gill, one at rank."""
    rows, names = [], {"gill": ["white", "red", None], "rank": ["white"] * 3}
    for site, instruments in names.items():
        for row, name in zip(
            rows_of("/none.pgm", START + np.arange(3) * MINUTE, NAMES[:3], site),
            instruments,
            strict=True,
        ):
            rows.append(row | {"instrument": name})
    catalogue = write_catalogue(tmp_path / "c", rows)
    for site, instruments in names.items():
        (path,) = (catalogue / f"site={site}").rglob("*.parquet")
        table = pq.ParquetFile(path).read()
        pq.write_table(table.append_column("instrument", pa.array(instruments)), path)
    header = catalogue / "_catalogue.json"
    header.write_text(header.read_text().replace('"format": 1', '"format": 2'))
    return catalogue


def test_instruments_are_counted_apart(two_instruments):
    """Where the catalogue says which they are."""
    table = occurrence(two_instruments, by=["site", "instrument"]).to_pylist()
    counted = {(row["site"], row["instrument"], row["label"]) for row in table}
    assert counted == {
        ("gill", "white", "arc"),
        ("gill", "red", "cloudy"),
        ("gill", None, "diffuse"),
        *(("rank", "white", name) for name in NAMES[:3]),
    }


def test_frames_of_unknown_instruments_are_shown(tmp_path):
    """Most cameras do not say what they are."""
    times = START + np.arange(3) * MINUTE
    rows = rows_of("/none.pgm", times, NAMES[:3], "gill")
    before = write_catalogue(tmp_path / "before", rows)
    now = write_catalogue(tmp_path / "now", rows)
    header = now / "_catalogue.json"
    header.write_text(header.read_text().replace('"format": 1', '"format": 2'))
    assert occurrence(now, by=["instrument"])["instrument"].null_count == 3
    found = OccurrenceDisplay.from_catalogue(now, min_frames=1).counts
    expected = OccurrenceDisplay.from_catalogue(before, min_frames=1).counts
    assert found.sum() == 3
    assert_array_equal(found, expected)


def test_occurrence_of_two_instruments_asks_for_one(two_instruments):
    """Those of one station are not mixed unless that is asked for."""
    make = OccurrenceDisplay.from_catalogue
    with pytest.raises(ValueError, match=r"'gill': \['red', 'white'\].*as instrument"):
        make(two_instruments)
    with pytest.raises(ValueError, match=r"has instruments \['red', 'white'\], got"):
        make(two_instruments, instrument="blue")
    white = make(two_instruments, instrument="white").counts.sum(axis=(1, 2))
    both = make(two_instruments, instrument=["white", "red"]).counts.sum(axis=(1, 2))
    assert white.tolist() == [2, 1, 1, 0, 0, 0] and both.tolist() == [2, 2, 1, 0, 0, 0]


def test_positions_are_only_needed_for_magnetic_hours(tmp_path):
    """Then they may be given."""
    rows = rows_of("/none.pgm", START + np.arange(3) * MINUTE, NAMES[:3], site="lyrn")
    catalogue = write_catalogue(tmp_path / "c", rows)
    assert occurrence(catalogue)["hour"].to_pylist() == [6, 6, 6]
    with pytest.raises(ValueError, match="'lyrn' is not known"):
        occurrence(catalogue, by=["magnetic_hour"])
    sites = {"lyrn": (78.15, 16.04)}
    table = occurrence(catalogue, by=["magnetic_hour"], sites=sites)
    expected = int((6 - magnetic_midnight(*sites["lyrn"])) % 24)
    assert table["magnetic_hour"].to_pylist() == [expected] * 3
    nowhere = rows_of("/none.pgm", START + np.arange(3) * MINUTE, NAMES[:3], "unknown")
    both = write_catalogue(tmp_path / "both", rows + nowhere)
    table = occurrence(both, by=["site", "magnetic_hour"], sites=sites)
    assert table["magnetic_hour"].to_pylist() == [expected] * 3 + [None] * 3


def test_occurrence_errors(tmp_path):
    """Unknown keys, no labels, no catalogue."""
    catalogue = write_catalogue(tmp_path / "c", [], classes=None)
    for by in ("hour", ["year"], ["site", "label"]):
        with pytest.raises(ValueError, match="sequence of some of .*'magnetic_hour'"):
            occurrence(catalogue, by=by)
    with pytest.raises(ValueError, match="no column of instruments.*Label its files"):
        occurrence(catalogue, by=["instrument"])
    with pytest.raises(ValueError, match="has no labels.*no classifier"):
        OccurrenceDisplay.from_catalogue(catalogue)
    with pytest.raises(FileNotFoundError, match="is no catalogue"):
        occurrence(tmp_path / "other")


@pytest.mark.parametrize("hour", ["hour", "magnetic_hour"])
def test_display_has_the_shares_of_the_catalogue(tmp_path, rows, hour):
    """Of frames with a label and a time; a panel each, and one for their number."""
    catalogue = write_catalogue(tmp_path / "c", rows)
    display = OccurrenceDisplay.from_catalogue(catalogue, hour=hour, min_frames=2)
    expected = np.zeros((6, 12, 24), int)
    for (month, when, label), number in slowly(rows, ("month", hour)).items():
        if None not in (month, label):
            expected[NAMES.index(label), month - 1, when] = number
    assert_array_equal(display.counts, expected)
    totals = expected.sum(axis=0)
    assert_array_equal(np.isnan(display.fractions), [totals < 2] * 6)
    assert_allclose(display.fractions.sum(axis=0)[totals >= 2], 1)
    titles = [ax.get_title() for ax in display.axes_]
    shares = 100 * expected.sum(axis=(1, 2)) / expected.sum()
    assert titles == [
        *(f"{name}, {share:.0f} %" for name, share in zip(NAMES, shares, strict=True)),
        f"{expected.sum():,} frames",
    ]


def test_panels_show_months_down_and_hours_across(rng):
    """A northern winter in one piece, midnight in the middle, only what there is."""
    counts = counts_of(rng)
    display = OccurrenceDisplay(counts, NAMES).plot()
    months, hours = [9, 10, 11, 0, 1, 2], [20, 21, 22, 23, *range(12)]
    part = np.ix_(months, hours)
    for ax, fraction in zip(display.axes_, display.fractions, strict=False):
        assert_allclose(ax.images[0].get_array(), 100 * fraction[part])
    assert_array_equal(
        display.axes_[-1].images[0].get_array(), counts.sum(axis=0)[part]
    )
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["Oct", "Nov", "Dec", "Jan", "Feb", "Mar"]
    lowest = display.axes_[-1]
    hours = [label.get_text() for label in lowest.get_xticklabels()]
    assert hours == ["21", "0", "3", "6", "9"]
    assert_allclose(lowest.get_xticks(), [0.5, 3.5, 6.5, 9.5, 12.5])  # left edges
    utc = OccurrenceDisplay(counts, NAMES, hour="hour").plot()
    assert [label.get_text() for label in utc.axes_[-1].get_xticklabels()] == list(
        map(str, range(0, 24, 6))
    )
    assert {ax.get_xlabel() for ax in utc.axes_} == {"", "UTC, hours"}


def test_classes_share_one_scale_of_colours(rng):
    """From zero to the largest share; what is asked for goes before."""
    display = OccurrenceDisplay(counts_of(rng), NAMES).plot()
    top = 100 * np.nanmax(display.fractions)
    assert {ax.images[0].get_clim() for ax in display.axes_[:-1]} == {(0, top)}
    other = OccurrenceDisplay(display.counts, NAMES).plot(image_kw={"vmax": 50})
    assert other.ax_.images[0].get_clim() == (0, 50)
    style = {"norm": LogNorm(1, 90), "aspect": "equal"}
    other = OccurrenceDisplay(display.counts, NAMES).plot(image_kw=style)
    assert other.ax_.images[0].norm is style["norm"]
    assert other.ax_.get_aspect() == 1


def test_hours_with_few_frames_are_blank():
    """By default with a hundredth of those in the fullest; or as asked for."""
    counts = np.zeros((1, 12, 24), int)
    counts[0, 0, :4] = 1000, 10, 9, 0
    for min_frames, full in ((None, 2), (9, 3), (1000, 1), (1, 3)):
        display = OccurrenceDisplay(counts, ["arc"], min_frames=min_frames).plot()
        assert np.isfinite(display.fractions).sum() == full
        picture = display.ax_.images[0].get_array()
        assert np.ma.count(picture) == full == picture.shape[1]


def one_hour(n_classes, hour):
    """Return counts (n_classes, 12, 24) of one hour in March."""
    counts = np.zeros((n_classes, 12, 24), int)
    counts[:, 2, hour] = np.arange(n_classes) + 3
    return counts


@pytest.mark.parametrize(
    ("hour", "ends", "kind"),
    [(7, ["7", "8"], "hour"), (23, ["23", "0"], "magnetic_hour")],
)
def test_a_single_hour_has_its_beginning_and_end(hour, ends, kind):
    """On the axis."""
    display = OccurrenceDisplay(one_hour(3, hour), NAMES[:3], hour=kind).plot()
    lowest = display.axes_[-1]
    assert [label.get_text() for label in lowest.get_xticklabels()] == ends
    assert_allclose(lowest.get_xticks(), lowest.get_xlim())
    assert_readable(display.figure_)


LONG = ["arc with omega bands and torches", "cloudy, or hazy with moonlight", *NAMES]


@pytest.mark.parametrize(
    ("n_classes", "names", "size"),
    [
        (6, NAMES, None),
        (8, LONG, None),
        (7, ["cloudy" * 4, *LONG], None),
        (1, NAMES, None),
        (2, LONG, None),
        (6, NAMES, (12, 5)),
        (6, NAMES, (3.5, 4)),
        (1, NAMES, (5, 1.5)),
    ],
)
def test_texts_of_occurrence_neither_touch_nor_leave_the_figure(
    rng, n_classes, names, size
):
    """Few classes and many, short names and long, in a column and on a page."""
    counts = np.concatenate([counts_of(rng), counts_of(rng)])[:n_classes] * 10_000
    ax = size and plt.subplots(figsize=size, layout="constrained")[1]
    display = OccurrenceDisplay(counts, names[:n_classes]).plot(ax or None)
    assert display.figure_.get_size_inches()[0] == (size or (7, 0))[0]
    assert_readable(display.figure_)


def test_panels_on_given_axes(rng):
    """One for each, or the error says how many there are."""
    _, axes = plt.subplots(2, 4)
    display = OccurrenceDisplay(counts_of(rng)[:3], NAMES[:3])
    assert_array_equal(display.plot(axes[0]).axes_, axes[0])
    for wrong in (axes, plt.figure().add_axes((0, 0, 1, 1))):
        with pytest.raises(ValueError, match="4 panels to draw, got [81] axes"):
            display.plot(wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"counts": np.ones((6, 12, 12), int)},
            r"shape \(6, 12, 24\), got \(6, 12, 12",
        ),
        ({"hour": "solar"}, r"hour must be one of \['hour', 'magnetic_hour'\]"),
        ({"min_frames": 0}, "min_frames == 0"),
        ({"min_frames": 601}, "min_frames=601 labelled frames, and the fullest has 6"),
        ({"counts": np.zeros((6, 12, 24), int)}, "min_frames=1 .* the fullest has 0"),
    ],
)
def test_occurrence_display_errors(change, message):
    """They say what is wrong, and leave no figure."""
    options = {"counts": np.ones((6, 12, 24), int), "classes": NAMES} | change
    with pytest.raises(ValueError, match=message):
        OccurrenceDisplay(**options).plot()
    assert plt.get_fignums() == []


def test_occurrence_display_of_a_catalogue_with_unknown_hours(tmp_path):
    """Is an error before anything is counted."""
    with pytest.raises(ValueError, match="hour must be one of"):
        OccurrenceDisplay.from_catalogue(tmp_path, hour="solar")
