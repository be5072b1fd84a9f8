"""How Sphinx builds the documentation."""

from importlib.metadata import version as version_of

project = "napari_sam"
author = "napari_sam contributors"
copyright = "napari_sam contributors"  # noqa: A001
release = version = version_of("napari-sam-stack")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["site"]
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False
myst_enable_extensions = ["colon_fence", "deflist"]

html_theme = "furo"
html_title = "napari_sam"
