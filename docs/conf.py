"""How `make docs` builds these pages."""

import pathlib
import sys

_HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(_HERE.parent), str(_HERE / "_ext")]

project = "dabfusion_jax"
author = "The dabfusion_jax authors"
extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
  "sphinx.ext.viewcode",
  "api_pages",
  "plain_docstrings",
  "source_links",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project

# Warnings are errors. Names of our own must resolve; those of libraries are not looked
# up, because the build never touches the network.
nitpicky = True
nitpick_ignore_regex = [
  ("py:.*", r"(?s)(?!(dabfusion_jax|data_pipeline)\.).*"),
  ("py:class", r".*\.[A-Z]"),  # type variables
]

myst_heading_anchors = 3  # links to headings of other pages are checked

# Extras that a module imports at its top.
autodoc_mock_imports = ["apache_beam", "gradio"]
autoclass_content = "both"  # `__init__` documents the arguments of a class
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "special-members": "__call__"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
default_role = "py:obj"  # `name` in a docstring: a link if it resolves, else code

add_module_names = False
toc_object_entries = False  # thousands of them, copied into every page
highlight_language = "none"  # commands, equations and figures
smartquotes = False  # quotes and dashes are code more often than text
