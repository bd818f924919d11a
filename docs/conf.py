"""Settings of the documentation site.

``sphinx-build -W --keep-going -n docs docs/_build/html`` builds it, and runs every
example of the gallery: 20 minutes on two cores. With SKSIMCLR_GALLERY=quick in the
environment, the long ones run on few images.
"""

import os
import sys
from pathlib import Path

# The classifiers of the gallery are so small that threads of BLAS wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sksimclr  # noqa: E402 (it brings NumPy, which reads that once)

sys.path.insert(0, str(Path(__file__).parent))
os.environ["TQDM_DISABLE"] = "1"  # a page shows what progress bars leave behind

project = "sksimclr"
author = "The sksimclr developers"
copyright = "The sksimclr developers, BSD-3 licence"
release = version = sksimclr.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_generated", "_templates"]
templates_path = ["_templates"]
default_role = "literal"
suppress_warnings = ["myst.header"]

autosummary_generate = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
autodoc_typehints = "none"  # docstrings have the types
# Names of other packages, which are not fetched to be linked to: a build needs no net.
_others = "collections|sklearn|torch|numpy|skorch|matplotlib"
nitpick_ignore_regex = [("py:.*", rf"({_others})\..*")]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("sksimclr",),
    "reference_url": {"sksimclr": None},
    "within_subsection_order": "gallery.InOrder",
    "reset_argv": "gallery.arguments",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "thumbnail_size": (400, 280),
}

html_theme = "pydata_sphinx_theme"
html_title = "sksimclr"
html_static_path = ["_static"]
html_css_files = ["sksimclr.css"]
html_favicon = html_logo = "_static/sksimclr.svg"
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "logo": {"text": "sksimclr", "alt_text": "sksimclr, home"},
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"index": [], "install": [], "tutorial": [], "changelog": []}


def setup(app):
    """Draw the figures of the user guide before its pages are read."""
    import make_figures

    folder = Path(app.srcdir, "_generated")
    app.connect("builder-inited", lambda app: make_figures.main(folder))
