"""What the documentation says of the code."""

import ast
import re
from pathlib import Path

import sksimclr

ROOT = Path(__file__).resolve().parents[1]
HABITS = ROOT / "docs" / "user_guide" / "scikit_learn.rst"


def rows_of_list_tables(text):
    """Return the cells of each row but the first of every list-table."""
    rows = []
    for table in re.findall(r"^\.\. list-table::.*\n((?:[ ].*\n|\n)*)", text, re.M):
        cells = re.split(r"^ {3}(?:\* |  )- ?", table, flags=re.M)[1:]
        starts = re.findall(r"^ {3}(\* |  )- ?", table, flags=re.M)
        found = []
        for start, cell in zip(starts, cells, strict=True):
            if start == "* ":
                found.append([])
            found[-1].append(" ".join(cell.split()))
        rows += found[1:]
    return rows


def functions_of(path):
    """Return the names of the functions in a file."""
    return {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }


def test_habits_name_tests_that_exist():
    """Each row has a habit, an answer, and tests that are where it says."""
    rows = rows_of_list_tables(HABITS.read_text())
    assert len(rows) > 40
    for row in rows:
        assert len(row) == 3 and all(row), row
        names = re.findall(r"``(tests/[\w/]+\.py)::(test_\w+)``", row[2])
        assert names and row[2].count("``") == 2 * len(names), row
        for file, name in names:
            assert name in functions_of(ROOT / file), f"{file}::{name}"


def test_every_test_of_search_pipelines_and_output_is_a_habit():
    """No habit is forgotten in the table; small print apart."""
    text = HABITS.read_text()
    apart = {
        "test_every_public_estimator_is_among_those",
        "test_index_of_a_series_is_kept_by_a_transformer",
        "test_output_chosen_survives_a_clone",
        "test_rows_of_a_table_stay_columns_behind_the_preprocessor",
        "test_subclass_elsewhere_does_not_link_to_a_page_that_is_not_there",
    }
    for file in ("test_search.py", "test_pipelines.py", "estimators/test_output.py"):
        names = functions_of(ROOT / "tests" / file)
        tests = {name for name in names if name.startswith("test_")} - apart
        assert not {name for name in tests if f"tests/{file}::{name}``" not in text}


def test_api_page_lists_every_public_name():
    """Those of the package, and those of its public modules."""
    listed = re.findall(r"^   ([\w.]+)$", (ROOT / "docs" / "api.rst").read_text(), re.M)
    expected = []
    for name in set(sksimclr.__all__) - {"__version__"}:
        public = getattr(sksimclr, name)
        inner = [f"{name}.{each}" for each in getattr(public, "__all__", [])]
        expected += inner or [name]
    assert sorted(listed) == sorted(expected)


def test_user_guide_speaks_of_every_public_name():
    """On one of its pages at least."""
    pages = (ROOT / "docs" / "user_guide").glob("*.rst")
    words = {word for page in pages for word in re.findall(r"\w+", page.read_text())}
    for name in set(sksimclr.__all__) - {"__version__"}:
        assert {name, *getattr(getattr(sksimclr, name), "__all__", ())} <= words


def test_gallery_has_every_example_in_its_place():
    """An example that is in no place would end the build of the documentation."""
    path = ROOT / "docs" / "gallery.py"
    (order,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "ORDER"
    ]
    assert sorted(order) == sorted(p.name for p in (ROOT / "examples").glob("*.py"))


def test_examples_are_short():
    """One idea each; the tutorial and the paper's table and clusters are longer."""
    apart = {"plot_tutorial.py", "plot_paper_table.py", "plot_clusters.py"}
    lengths = {
        path.name: len(path.read_text().splitlines())
        for path in (ROOT / "examples").glob("*.py")
        if path.name not in apart
    }
    assert len(lengths) >= 12
    assert {name: n for name, n in lengths.items() if not 60 <= n <= 130} == {}
