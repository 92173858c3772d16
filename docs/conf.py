"""How Sphinx makes a site of these pages: `make site`. Warnings, broken links among them, are errors.

Its source is the whole repository, so that links to README, benchmarks and settings lead where they lead there.
"""

from __future__ import annotations

from spark_imgdedup import __version__

project = "spark_imgdedup"
author = "the spark_imgdedup authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**", "benchmarks/**.md", "examples/README.md"]
# Headings are link targets as GitHub makes them, down to this level: the same files are read there.
myst_heading_anchors = 4
myst_enable_extensions = ["strikethrough"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
# Spark's classes are long, and their place is not news to a reader.
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False

# Each decision is linked from adr/README.md; that no page is without a link is tests/test_docs.py's to hold.
suppress_warnings = ["toc.not_included"]

html_theme = "furo"
html_title = f"spark_imgdedup {version}"
html_show_sphinx = False
html_copy_source = False
