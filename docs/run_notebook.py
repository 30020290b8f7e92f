"""Runs the code cells of the notebook from top to bottom, in an empty folder.

  python docs/run_notebook.py

Cells are plain Python, so no Jupyter is needed; that which installs the package is
passed over.
"""

import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time

NOTEBOOK = pathlib.Path(__file__).parent / "quickstart.ipynb"
INSTALL = "install"  # tag of a cell


def code_cells(notebook: pathlib.Path) -> list[str]:
  """Returns the source of each code cell but the installing one."""
  cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
  return [
    "".join(cell["source"])
    for cell in cells
    if cell["cell_type"] == "code" and INSTALL not in cell["metadata"].get("tags", ())
  ]


def main() -> None:
  """Runs the program."""
  names = {"__name__": "__main__"}
  with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    root = str(NOTEBOOK.parent.parent)
    sys.path.insert(0, root)
    os.environ["PYTHONPATH"] = os.pathsep.join(
      filter(None, (root, os.environ.get("PYTHONPATH")))
    )
    for number, source in enumerate(code_cells(NOTEBOOK), 1):
      started = time.monotonic()
      exec(compile(source, f"cell {number}", "exec"), names)
      print(f"cell {number}: {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
  main()
