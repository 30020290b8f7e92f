"""Links the name of a source file or folder in a page to its API reference.

Pages write `dabfusion_jax/ops/warp.py` as code, which reads well on GitHub too. A file
that does not exist is a broken link, and fails the build.
"""

import pathlib
import re

from docutils import nodes
from sphinx import addnodes

_ROOT = pathlib.Path(__file__).parents[2]
_MODULE = re.compile(r"(?:dabfusion_jax|data_pipeline)/[\w/]+\.py")
_FOLDER = re.compile(r"(?:dabfusion_jax|data_pipeline)(?:/\w+)*/")


def link_sources(app, doctree):
  """Wraps such names in a cross-reference."""
  for node in list(doctree.findall(nodes.literal)):
    path = node.astext()
    if isinstance(node.parent, nodes.reference | addnodes.pending_xref):
      continue
    if _MODULE.fullmatch(path):
      target = {"refdomain": "py", "reftype": "mod"}
      target["reftarget"] = path.removesuffix(".py").replace("/", ".")
    elif _FOLDER.fullmatch(path) and not _is_data(_ROOT / path):
      target = {"refdomain": "std", "reftype": "doc", "refexplicit": True}
      target["reftarget"] = "/api/" + path.strip("/").replace("/", ".")
    else:
      continue
    link = addnodes.pending_xref("", refdoc=app.env.docname, refwarn=True, **target)
    node.replace_self(link)
    link += node


def _is_data(folder):
  return folder.is_dir() and not (folder / "__init__.py").exists()


def setup(app):
  """Called by sphinx."""
  app.connect("doctree-read", link_sources)
  return {"parallel_read_safe": True}
