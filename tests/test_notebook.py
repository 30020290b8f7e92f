"""The notebook names what exists; `make notebook` runs it."""

import ast
import importlib.util
import json

from docs.run_notebook import INSTALL, NOTEBOOK, code_cells


def nodes(kind):
  return [
    node
    for source in code_cells(NOTEBOOK)
    for node in ast.walk(ast.parse(source))
    if isinstance(node, kind)
  ]


def test_each_name_that_the_notebook_imports_exists():
  imports = nodes(ast.ImportFrom)
  assert imports
  for node in imports:
    names: dict = {}
    exec(ast.unparse(node), names)  # a module may be a name as well
    assert names.keys() >= {alias.asname or alias.name for alias in node.names}


def test_each_program_that_the_notebook_runs_exists():
  ran = [
    node.args[0].value
    for node in nodes(ast.Call)
    if isinstance(node.func, ast.Name) and node.func.id == "run"
  ]
  assert len(ran) == 5
  assert all(importlib.util.find_spec(module) for module in ran)


def test_the_notebook_installs_the_extra_that_its_evaluation_needs():
  cells = json.loads(NOTEBOOK.read_text())["cells"]
  (tagged,) = [cell for cell in cells if INSTALL in cell["metadata"].get("tags", ())]
  assert "dabfusion_jax[eval]" in "".join(tagged["source"])


def test_the_notebook_is_kept_without_results():
  cells = json.loads(NOTEBOOK.read_text())["cells"]
  code = [cell for cell in cells if cell["cell_type"] == "code"]
  assert all(not cell["outputs"] and not cell["execution_count"] for cell in code)
  assert len(code_cells(NOTEBOOK)) == len(code) - 1
