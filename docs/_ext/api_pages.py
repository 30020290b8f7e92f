"""Writes a page of API reference per folder of the two packages."""

import pathlib

_ROOT = pathlib.Path(__file__).parents[2]


def write_pages(app):
  """Writes docs/api/FOLDER.rst with all modules of the folder, in alphabetical order.

  Pages of folders that are gone are removed, so that a link to one fails.
  """
  folder = pathlib.Path(app.srcdir) / "api"
  folder.mkdir(exist_ok=True)
  pages = {}
  for package in ("dabfusion_jax", "data_pipeline"):
    for init in sorted((_ROOT / package).rglob("__init__.py")):
      name = ".".join(init.parent.relative_to(_ROOT).parts)
      modules = sorted(path.stem for path in init.parent.glob("[!_]*.py"))
      sections = [_section(f"{name}.{module}", "-") for module in modules]
      pages[f"{name}.rst"] = "\n".join([_section(name, "="), *sections])
  for path in folder.glob("*.rst"):
    if path.name not in pages:
      path.unlink()
  for name, text in pages.items():
    path = folder / name
    if not path.exists() or path.read_text() != text:  # else sphinx reads it again
      path.write_text(text)


def _section(module: str, line: str) -> str:
  title = module.replace("_", "\\_")
  return f"{title}\n{line * len(title)}\n\n.. automodule:: {module}\n"


def setup(app):
  """Called by sphinx."""
  app.connect("builder-inited", write_pages)
  return {"parallel_read_safe": True}
