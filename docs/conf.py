"""Settings of the documentation: python -m sphinx -W --keep-going -b html docs docs/_build/html."""

import re

import sklearn_ssl

project = "sklearn_ssl"
author = "The sklearn_ssl developers"
copyright = f"2026, {author}"
version = release = sklearn_ssl.__version__

# numpydoc, since napoleon looks for a class for each word of a parameter's type.
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
smartquotes = False  # quotes in types of parameters are code
html_theme = "furo"
html_title = f"sklearn_ssl {release}"

# Every cross reference has to resolve, except those to other packages.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(joblib|numpy|sklearn|torch)\..*")]

autodoc_typehints = "none"  # docstrings have the types
numpydoc_show_class_members = False  # the templates list them
# Methods of scikit-learn's base classes that are shown; api.rst mentions the others.
FROM_SKLEARN = {"fit_predict", "fit_transform"}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "ignore_pattern": r"^(?!plot_)",  # scripts that need options or a folder
    "doc_module": "sklearn_ssl",
    "backreferences_dir": "generated/backreferences",
    "download_all_examples": False,
    "abort_on_example_error": True,
    "capture_repr": (),  # only printed output is shown
}


def skip_member(app, what, name, obj, skip, options):
    """Leave out what scikit-learn documents; None leaves the choice to autodoc."""
    module = getattr(obj, "__module__", None) or "sklearn_ssl"
    return None if module.startswith("sklearn_ssl") or name in FROM_SKLEARN else True


def escape_types(app, what, name, obj, options, lines):
    """Escape shapes such as (n_iter_,), as words that end in an underscore are links."""
    for i, line in enumerate(lines):
        if re.match(r"[\w, ]+ : ", line):
            lines[i] = re.sub(r"_(?=[,) ])", r"\_", line)


def setup(app):
    """Register both functions, the second one before numpydoc's."""
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-docstring", escape_types, priority=400)
