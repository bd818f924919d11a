"""The page to label frames in: what it holds, and, in Chromium, what it does."""

import base64
import hashlib
import io
import json
import re
import shutil
import time
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from archive_files import frame_times, write_pgm
from archives import N_FRAMES, fitted_pipeline, write_archive
from PIL import Image

from sksimclr import AuroraPreprocessor
from sksimclr.__main__ import main
from sksimclr._commands._labels import read_labels
from sksimclr.archive import (
    _review,
    label_archive,
    load_model,
    read_catalogue,
    read_frames,
    suggest,
    write_review,
)

pytestmark = pytest.mark.usefixtures("one_thread")
HOSTILE = "<img src=x onerror='window.hacked=1'>&\"$data"  # name of a folder
HOSTILE_CLASS = "</script><script>window.hacked = 1</script>"
SCREENS = [(390, 844), (1366, 768), (2200, 1200)]  # phone, laptop, wide screen


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of six files of five frames, and two catalogues of them."""
    folder = tmp_path_factory.mktemp("review")
    pipeline, files = fitted_pipeline(), folder / HOSTILE
    write_archive(files)
    for name, model in (("out", pipeline), ("embedded", pipeline[:-1])):
        label_archive(model, files, folder / name, embeddings=True, n_threads=1)
    return folder


class Parts(HTMLParser):
    """The elements of a page, and the texts of those whose text is code."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self.key = [], {}, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        """Keep an element."""
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style", "title"):
            self.key = dict(attributes).get("id", tag)

    def handle_endtag(self, tag):
        """End an element."""
        self.key = None

    def handle_data(self, data):
        """Keep what is code."""
        if self.key:
            self.texts[self.key] = self.texts.get(self.key, "") + data


def parts_of(page):
    """Return the parts of a written page."""
    return Parts(page.read_text(encoding="utf-8"))


def data_of(page):
    """Return what the script of a page reads."""
    return json.loads(parts_of(page).texts["data"])


def pairs(frames):
    """Return (file, frame) of frames of a page, or of rows."""
    if isinstance(frames, pa.Table):
        frames = frames.to_pylist()
    return [(frame["file"], frame["frame"]) for frame in frames]


def picture_of(frame):
    """Return the picture of a frame of a page as an array."""
    start = "data:image/jpeg;base64,"
    assert frame["image"].startswith(start)
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(frame["image"][len(start) :])))
    )


def test_frames_are_those_that_are_suggested(folder, tmp_path):
    """With what the catalogue says of them, by rank; in groups of what it says."""
    write_review(folder / "out", tmp_path / "a.html", n=20)
    data = data_of(tmp_path / "a.html")
    ranked = sorted(data["frames"], key=lambda frame: frame["rank"])
    expected = suggest(folder / "out", 20)
    assert pairs(ranked) == pairs(expected)
    for frame, row in zip(ranked, expected.to_pylist(), strict=True):
        sure = max(v for k, v in row.items() if k.startswith("probability_"))
        assert frame["guess"] == row["label"] and frame["site"] == row["site"]
        assert frame["sure"] == round(100 * sure)
        assert frame["time"] == f"{row['time']:%Y-%m-%d %H:%M:%S}"
        assert data["groups"][frame["group"]].startswith(f"{row['label']}, group ")
    groups = [frame["group"] for frame in data["frames"]]
    assert groups == sorted(groups) and set(groups) == set(range(len(data["groups"])))
    assert data["classes"] == sorted(set(data["classes"])) and data["labels"] == []


def test_groups_are_of_frames_that_look_alike(rng):
    """Tight clusters come out as they are, the one with the most urgent frame first."""
    numbers = rng.permutation(np.repeat([0, 1, 2], 12))
    X = 100 * rng.standard_normal((3, 4))[numbers] + rng.standard_normal((36, 4))
    rows = [row.astype(np.float16) for row in X]
    table = pa.table({"embedding": pa.array(rows, pa.list_(pa.float16()))})
    titles, groups = _review._groups(table, {"n_features": 4, "classes": None})
    assert titles == [f"Group {k} of 3" for k in (1, 2, 3)]
    _, first = np.unique(numbers, return_index=True)
    order = np.argsort(np.argsort(first))
    assert groups.tolist() == order[numbers].tolist()


def test_pictures_are_the_processed_frames(folder, tmp_path):
    """The square around the field of view, up to what JPEG loses."""
    write_review(folder / "out", tmp_path / "a.html", n=5)
    for frame in data_of(tmp_path / "a.html")["frames"]:
        raw = read_frames(frame["file"]).images[[frame["frame"]]]
        (expected,) = AuroraPreprocessor(dtype="uint8").transform(raw)
        found, rows = picture_of(frame), np.flatnonzero(expected.any(axis=1))
        assert found.shape[0] == rows[-1] - rows[0] + 1
        expected = expected[rows[0] : rows[-1] + 1, rows[0] : rows[-1] + 1]
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97


def test_preprocessor_makes_the_pictures(folder, tmp_path):
    """One that shows the corners gives whole frames; large ones are made smaller."""
    whole = AuroraPreprocessor(radius=2, size=400)
    write_review(folder / "out", tmp_path / "a.html", n=3, preprocessor=whole)
    for frame in data_of(tmp_path / "a.html")["frames"]:
        assert 200 < min(picture_of(frame).shape) <= max(picture_of(frame).shape) == 224


def test_noise_of_500_frames_fits_in_15_megabytes(rng):
    """The largest pictures that there can be."""
    noise = rng.integers(256, size=(1, 224, 224), dtype=np.uint8)
    (picture,) = _review._as_jpeg(noise)
    assert 500 * (len(picture) + 500) < 15e6


def test_catalogue_without_labels_has_groups_alone(folder, tmp_path):
    """No guess is shown where there is none; of few frames, all are."""
    write_review(folder / "embedded", tmp_path / "a.html", n=10_000)
    data = data_of(tmp_path / "a.html")
    assert len(data["frames"]) == 6 * N_FRAMES and data["classes"] == []
    assert not any("guess" in frame or "sure" in frame for frame in data["frames"])
    assert data["groups"] == [f"Group {k} of 3" for k in (1, 2, 3)]


@pytest.mark.parametrize("as_table", [False, True])
def test_labelled_frames_are_not_shown_but_saved(folder, tmp_path, as_table):
    """In whatever form they are given; rows without a label are as if not there."""
    rows = read_catalogue(folder / "out").slice(0, 8).to_pylist()
    labels = [(row["file"], row["frame"], "haze") for row in rows]
    given = [*labels[:7], (*labels[7][:2], None)]
    if as_table:
        names = ("file", "frame", "label")
        columns = zip(*given, strict=True)
        given = pa.table(dict(zip(names, map(list, columns), strict=True)))
    write_review(folder / "out", tmp_path / "a.html", labels=given)
    data = data_of(tmp_path / "a.html")
    assert data["labels"] == [list(label) for label in labels[:7]]
    assert not set(pairs(data["frames"])) & {label[:2] for label in labels[:7]}
    assert len(data["frames"]) == 6 * N_FRAMES - 7


def test_key_of_the_labels_is_that_of_the_catalogue(folder, tmp_path):
    """The same for all its pages, another one for another catalogue."""
    write_review(folder / "out", tmp_path / "a.html", n=3)
    write_review(folder / "out", tmp_path / "b.html", n=5)
    write_review(folder / "embedded", tmp_path / "c.html", n=3)
    a, b, c = (data_of(tmp_path / f"{name}.html")["key"] for name in "abc")
    assert a == b != c


def test_labels_that_pages_were_given_are_told_apart(folder, tmp_path):
    """So that a browser takes them over once."""
    row = read_catalogue(folder / "out").slice(0, 1).to_pylist()[0]
    for name, label in (("a", "arc"), ("b", "arc"), ("c", "haze")):
        labels = [(row["file"], row["frame"], label)]
        write_review(folder / "out", tmp_path / f"{name}.html", n=3, labels=labels)
    a, b, c = (data_of(tmp_path / f"{name}.html")["given"] for name in "abc")
    assert a == b != c


def test_page_asks_for_nothing_and_runs_its_own_script_alone(folder, tmp_path):
    """Its policy has the hashes of its style and script, and allows nothing else."""
    write_review(folder / "out", tmp_path / "a.html", n=3)
    parts = parts_of(tmp_path / "a.html")
    (policy,) = [
        each["content"]
        for tag, each in parts.elements
        if "content" in each and each.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    hashes = {}
    for name in ("style", "script"):
        digest = hashlib.sha256(parts.texts[name].encode()).digest()
        hashes[f"{name}-src"] = f"'sha256-{base64.b64encode(digest).decode()}'"
    none = dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    assert rules == none | hashes | {"img-src": "data:"}
    for _, attributes in parts.elements:
        assert not {"src", "href", "style", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "http" not in parts.texts["script"] + parts.texts["style"]


def test_names_cannot_become_parts_of_the_page(folder, tmp_path):
    """Neither of files, nor of the catalogue, nor of classes."""
    catalogue = tmp_path / HOSTILE
    shutil.copytree(folder / "out", catalogue)
    (row,) = read_catalogue(catalogue).slice(0, 1).to_pylist()
    labels = [(row["file"], row["frame"], HOSTILE_CLASS)]
    write_review(catalogue, tmp_path / "a.html", n=3, labels=labels)
    write_review(folder / "out", tmp_path / "b.html", n=3)
    a, b = (parts_of(tmp_path / name) for name in ("a.html", "b.html"))
    assert a.elements[5:] == b.elements[5:] and len(a.elements) == len(b.elements)
    assert a.texts["title"] == f"Label {HOSTILE}"
    assert data_of(tmp_path / "a.html")["labels"] == [list(labels[0])]
    assert HOSTILE in data_of(tmp_path / "b.html")["frames"][0]["file"]


@pytest.fixture
def own(folder, tmp_path):
    """Return a folder of files, and a catalogue of them, that a test may change."""
    write_archive(tmp_path / "files")
    label_archive(
        fitted_pipeline(), tmp_path / "files", tmp_path / "own", embeddings=True
    )
    return tmp_path


def test_files_that_have_gone_are_named_once(own):
    """Gone, damaged, or shorter than they were; their frames stay, without pictures."""
    gone, damaged, short, *_ = sorted((own / "files").glob("*.pgm"))
    gone.unlink()
    damaged.write_bytes(b"P5\n")
    images = read_frames(short).images[:2]
    write_pgm(short, images, frame_times(2), "gill")
    with pytest.warns(UserWarning) as caught:
        write_review(own / "own", own / "a.html")
    (warning,) = caught
    text = str(warning.message)
    assert text.startswith("3 file(s) with frames to label cannot be shown: ")
    assert f"{str(gone)!r}: No such file" in text
    assert str(damaged) in text and f"{str(short)!r}: it has 2 frames now" in text
    assert warning.filename == __file__
    frames = data_of(own / "a.html")["frames"]
    missing = {
        pair for pair, f in zip(pairs(frames), frames, strict=True) if not f["image"]
    }
    expected = {(str(path), k) for path in (gone, damaged) for k in range(N_FRAMES)}
    assert missing == expected | {(str(short), k) for k in range(2, N_FRAMES)}


def test_page_without_a_picture_is_not_written(own):
    """The archive has moved, say."""
    shutil.rmtree(own / "files")
    with pytest.raises(ValueError, match="None of the 7 frames can be read; the first"):
        write_review(own / "own", own / "a.html", n=7)
    assert not (own / "a.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"page": "labels.csv"}, r"must end in \.html, got '.*labels\.csv'"),
        ({"n": 0}, "n == 0, must be >= 1"),
        ({"labels": [("file", 0)]}, r"labels must be \(file, frame, label\)"),
        ({"labels": [("/no/such.pgm", 9, "arc")]}, r"frame 9 of '.*such\.pgm'"),
    ],
)
def test_wrong_arguments_are_named(folder, tmp_path, arguments, message):
    """With what was expected and what was got; nothing is written."""
    arguments = {"page": "a.html"} | arguments
    page = tmp_path / arguments.pop("page")
    with pytest.raises(ValueError, match=message):
        write_review(folder / "out", page, **arguments)
    assert not page.exists()


def test_no_frame_without_a_label_is_an_error(folder, tmp_path):
    """There is nothing to do."""
    rows = read_catalogue(folder / "out").to_pylist()
    labels = [(row["file"], row["frame"], "arc") for row in rows]
    with pytest.raises(ValueError, match="out' has no frame left to label"):
        write_review(folder / "out", tmp_path / "a.html", labels=labels)


# In a browser


@pytest.fixture(scope="module")
def browser():
    """Return a Chromium without a window."""
    webdriver = pytest.importorskip("selenium.webdriver")
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not chromium:
        pytest.skip("Chromium is absent (Debian packages chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--hide-scrollbars",
        "--window-size=1366,900",
        "--disable-background-networking",
    ):
        options.add_argument(argument)
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


class Page:
    """A page in the browser, and a person at its keyboard."""

    def __init__(self, browser, path):
        self.browser, self.path = browser, path
        self.frames = data_of(path)["frames"]
        browser.get(path.as_uri())
        self.script("localStorage.clear()")
        browser.refresh()

    def script(self, text, *arguments):
        """Run a script in the page."""
        return self.browser.execute_script(text, *arguments)

    def press(self, *keys):
        """Press keys, wherever the focus is."""
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)

    def find(self, selector):
        """Return the elements that a selector finds."""
        return self.browser.find_elements("css selector", selector)

    def choose(self, select, text):
        """Choose from a list."""
        (option,) = [
            each for each in self.find(f"#{select} option") if each.text == text
        ]
        option.click()

    def said(self):
        """Return what a screen reader was told last."""
        return self.find("#said")[0].text

    def labels(self):
        """Return {place of a frame: its label} of what the page shows."""
        return self.script(
            "return Object.fromEntries([...document.querySelectorAll('.frame')]"
            ".map(f => [f.dataset.place, f.querySelector('.label').textContent])"
            ".filter(([_, label]) => label))"
        )

    def focus(self):
        """Return the place of the frame in focus."""
        return self.script("return document.activeElement.dataset.place")


@pytest.fixture
def page(browser, folder, tmp_path):
    """Return the page of 30 frames in the browser."""
    write_review(folder / "out", tmp_path / "review.html", n=30)
    return Page(browser, tmp_path / "review.html")


def classes_of(page):
    """Return the names of the classes in the order of their keys."""
    return data_of(page.path)["classes"]


def wait_for(condition):
    """Wait until something is so, for 20 seconds at most."""
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


def test_labels_go_from_keys_to_a_model(page, folder, tmp_path):
    """Keys, undo, a closed tab, a saved table, and a model that is trained from it."""
    names = classes_of(page)
    page.press("1", "2", "2", "1", "3", "u")
    expected = {"0": names[0], "1": names[1], "2": names[1], "3": names[0]}
    assert page.labels() == expected and page.focus() == "4"
    assert page.said() == "Undone: frame 5."
    assert page.find("#count")[0].text == "4 of 30 labelled."
    old = page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    new = page.browser.current_window_handle
    page.browser.switch_to.window(old)
    page.browser.close()
    page.browser.switch_to.window(new)
    page.browser.get(page.path.as_uri())
    wait_for(page.labels)  # the tabs are processes
    assert page.labels() == expected
    page.browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior",
        {"behavior": "allow", "downloadPath": str(tmp_path)},
    )
    page.press("s")
    table = tmp_path / "labels.csv"
    wait_for(lambda: table.exists() and table.stat().st_size)
    files = sorted((folder / HOSTILE).glob("*.pgm"))
    found = {
        (str(path), frame): label.name
        for path, frames in read_labels(table, files).items()
        for frame, label in frames.items()
    }
    places = {int(place): label for place, label in expected.items()}
    assert found == {
        pair: places[k] for k, pair in enumerate(pairs(page.frames)) if k in places
    }
    model = tmp_path / "model.skops"
    fast = ["--epochs", "1", "--image-size", "33", "--batch-size", "8", "--quiet"]
    train = ["train", folder / HOSTILE, "--labels", table, "-o", model, *fast]
    assert main([str(word) for word in train]) == 0
    assert load_model(model)[-1].classes_.tolist() == sorted(set(expected.values()))


def test_groups_marks_and_new_classes(page):
    """By keyboard: a group at once, single frames, and a class that is typed."""
    from selenium.webdriver.common.keys import Keys

    groups = [frame["group"] for frame in page.frames]
    first = [str(k) for k, group in enumerate(groups) if group == 0]
    name = page.find("#name")[0]
    name.send_keys("u1 haze", Keys.ENTER)  # neither letter nor digit is a command
    n_classes = len(classes_of(page)) + 1
    assert page.said() == f"Class u1 haze: key {n_classes}." and not page.labels()
    page.press("g", str(n_classes))
    assert page.labels() == dict.fromkeys(first, "u1 haze")
    page.press("u")
    assert page.labels() == {}
    page.press(Keys.HOME, Keys.SPACE, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.SPACE)
    assert page.said() == "2 marked."
    page.press("1")
    assert set(page.labels()) == {"0", "2"} and page.focus() == "3"
    page.press(Keys.HOME, "0")
    assert set(page.labels()) == {"2"}
    page.find(".frame")[4].click()  # by mouse: a mark, and a button
    page.find("#classes button")[1].click()
    assert page.labels()["4"] == classes_of(page)[1]
    page.find(".mark")[1].click()  # a group elsewhere: what is next comes after it
    page.press("2")
    second = [k for k, group in enumerate(groups) if group == 1]
    assert {"2", "4", *map(str, second)} == set(page.labels())
    (following,) = page.find(".frame[tabindex='0']")
    assert following.get_attribute("data-place") == str(second[-1] + 1)
    page.press(Keys.END)
    assert page.focus() == "29"
    page.press(Keys.ARROW_UP)
    assert int(page.focus()) < 29


def test_keys_can_be_turned_off(page):
    """For those who speak to their computer."""
    page.find("summary")[0].click()
    page.find("#keys")[0].click()
    page.find(".frame")[3].click()
    page.press("1", "u", "g")
    assert page.labels() == {}
    assert page.said() == "1 marked."


def test_filters_show_what_is_asked_for(page):
    """By label, by what the model says, and in the order of urgency."""

    def shown():
        return [
            int(each.get_attribute("data-place"))
            for each in page.find(".frame")
            if each.is_displayed()
        ]

    names = classes_of(page)
    page.press("1", "2")
    page.choose("by-label", "frames without a label")
    assert shown() == list(range(2, 30))
    page.choose("by-label", f"labelled {names[1]}")
    assert shown() == [1]
    page.choose("by-label", "all frames")
    guess = page.frames[-1]["guess"]
    page.choose("by-guess", guess)
    assert shown() == [
        k for k, frame in enumerate(page.frames) if frame["guess"] == guess
    ]
    page.choose("by-guess", "anything")
    page.choose("order", "most urgent first")
    ranks = [page.frames[k]["rank"] for k in shown()]
    assert ranks == list(range(30))


def test_frame_in_focus_is_enlarged_with_what_is_known(page):
    """Beside the others, and by a key over all of the page."""
    page.press("1", "e")
    frame = page.frames[1]
    facts = page.find("#facts")[0].text
    assert all(text in facts for text in (frame["time"], frame["site"], frame["file"]))
    (picture,) = page.find("#picture")
    assert picture.get_attribute("src") == frame["image"]
    assert picture.size["width"] > 500
    page.press("2")
    assert picture.get_attribute("src") == page.frames[2]["image"]
    page.press("e")
    assert picture.size["width"] < 500


def test_missing_frames_cannot_be_labelled(browser, own):
    """They are passed over, and counted in a notice."""
    for path in sorted((own / "files").glob("*.pgm"))[::2]:
        path.unlink()
    with pytest.warns(UserWarning, match=r"3 file\(s\)"):
        write_review(own / "own", own / "a.html", n=30)
    page = Page(browser, own / "a.html")
    usable = [str(k) for k, frame in enumerate(page.frames) if frame["image"]]
    assert page.find("#missing")[0].text.startswith("15 of the frames are missing")
    page.press(*["1"] * len(usable))
    assert sorted(page.labels()) == sorted(usable)
    assert page.find("#count")[0].text == "15 of 15 labelled."


def test_corrections_outlast_the_labels_that_a_page_was_given(
    browser, folder, tmp_path
):
    """Also those that were made on another page of the catalogue."""
    row = read_catalogue(folder / "out").slice(0, 1).to_pylist()[0]
    frame = [row["file"], row["frame"]]
    labels = [(*frame, "haze")]
    write_review(folder / "out", tmp_path / "a.html", n=3, labels=labels)
    page = Page(browser, tmp_path / "a.html")
    assert page.script("return rows()") == [[*frame, "haze"]]
    key = f"sksimclr review {data_of(page.path)['key']}"
    page.script(
        "localStorage.setItem(...arguments)", key, json.dumps([[*frame, "arc"]])
    )
    browser.refresh()
    assert page.script("return rows()") == [[*frame, "arc"]]


def test_page_without_guesses_works(browser, folder, tmp_path):
    """There is no class until one is typed."""
    from selenium.webdriver.common.keys import Keys

    write_review(folder / "embedded", tmp_path / "a.html", n=9)
    page = Page(browser, tmp_path / "a.html")
    assert not page.find("#guess-label")[0].is_displayed()
    page.press("1")
    assert page.labels() == {}
    page.find("#name")[0].send_keys("arc", Keys.ENTER)
    page.press("1", "1")
    assert page.labels() == {"0": "arc", "1": "arc"}


def test_nothing_foreign_runs_or_is_asked_for(browser, folder, tmp_path):
    """Whatever names hold, and even if something got into the page."""
    (row,) = read_catalogue(folder / "out").slice(0, 1).to_pylist()
    labels = [(row["file"], row["frame"], HOSTILE_CLASS)]
    write_review(folder / "out", tmp_path / "a.html", n=5, labels=labels)
    browser.get_log("performance"), browser.get_log("browser")
    page = Page(browser, tmp_path / "a.html")
    page.press("1")
    assert HOSTILE_CLASS in page.find("#classes")[0].text
    assert browser.get_log("browser") == []
    page.script(
        "document.body.insertAdjacentHTML('beforeend',"
        " '<img src=x onerror=\"window.hacked = 1\">')"
    )
    blocked = browser.execute_async_script(
        "const done = arguments[0];"
        "fetch('http://127.0.0.1:9/').then(() => done(false), () => done(true))"
    )
    assert blocked and page.script("return window.hacked") is None
    log = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert log.count("Content Security Policy") >= 2
    urls = re.findall(
        r'"url":"(\w+):',
        " ".join(
            entry["message"]
            for entry in browser.get_log("performance")
            if "Network.requestWillBeSent" in entry["message"]
        ),
    )
    assert set(urls) <= {"file", "data"}


CONTRASTS = """
const light = (text) => {
  const [r, g, b] = text.match(/[\\d.]+/g).map((n) => n / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const found = {};
for (const item of document.querySelectorAll("body *")) {
  const texts = [...item.childNodes].filter((n) => n.nodeType === 3 && n.data.trim());
  if (!texts.length || !item.checkVisibility()) continue;
  let behind = item;
  const paint = () => getComputedStyle(behind).backgroundColor;
  while (paint() === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  const [a, b] = [light(getComputedStyle(item).color), light(paint())];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const name = `${item.tagName}.${item.className}`;
  found[name] = Math.min(contrast, found[name] || 99);
}
return found;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS, ids=["phone", "laptop", "wide"])
def test_page_fits_and_can_be_read(page, screen, scheme):
    """Contrast of at least 4.5, nothing wider than the screen, in light and in dark."""
    command = page.browser.execute_cdp_cmd
    size = {"width": screen[0], "height": screen[1]}
    more = {"mobile": screen[0] < 500, "deviceScaleFactor": 1}
    command("Emulation.setDeviceMetricsOverride", size | more)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    command("Emulation.setEmulatedMedia", {"features": features})
    page.press("1", "g")
    page.find("summary")[0].click()
    found = page.script(CONTRASTS)
    assert len(found) > 8 and min(found.values()) >= 4.5, found
    behind = page.script("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", behind))) < 60) == (scheme == "dark")
    width = page.script("return document.documentElement.scrollWidth")
    assert width <= screen[0]
    assert page.find(".frame")[0].size["width"] < screen[0] / 2.5
    command("Emulation.clearDeviceMetricsOverride", {})


def test_screen_reader_hears_a_name_of_everything(page):
    """Of all that can be used, and of every frame what it is, and its label."""
    page.press("1")
    tree = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {}
    for node in tree:
        if not node["ignored"]:
            name = node.get("name", {}).get("value", "")
            named.setdefault(node["role"]["value"], []).append(name)
    for role in ("button", "listbox", "option", "textbox", "combobox"):
        assert named[role] and all(named[role]), role
    assert len(named["listbox"]) == len(data_of(page.path)["groups"])
    frame = page.frames[0]
    (text,) = [name for name in named["option"] if name.startswith("Frame 1 of 30,")]
    label = classes_of(page)[0]
    for part in (frame["time"], frame["site"], frame["guess"], f"labelled {label}"):
        assert part in text
    assert page.said() == f"Labelled {label}: frame 1."
