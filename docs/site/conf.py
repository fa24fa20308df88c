"""Sphinx's settings, see https://www.sphinx-doc.org/en/master/usage/configuration.html."""

from importlib.metadata import version as version_of

project = "shaper"
version = release = version_of("nfq-shaper")
html_title = f"shaper {version}"
extensions = ["myst_parser"]
root_doc = "index"
exclude_patterns = ["files"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
smartquotes = False  # options begin with two hyphens
html_theme = "furo"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_show_sourcelink = html_show_copyright = html_show_sphinx = False
# Blocks of a console or a policy's file are shown as they are.
highlight_language = "text"
suppress_warnings = ["misc.highlighting_failure"]
