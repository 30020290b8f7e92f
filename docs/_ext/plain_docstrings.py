"""Makes reStructuredText of docstrings that are plain text.

Our docstrings are written for readers of the code: `name` is code, an indented
paragraph is an example or an equation, and nothing else is markup. Fields of a class
are documented where they are declared, by a comment, or in its section "Attributes:".
"""

import inspect
import re
import sys

# What has an indented body: headings in Google's style (`sphinx.ext.napoleon` reads
# them later), and items of a list.
_BODY = re.compile(r"(Args|Attributes|Raises|Returns|Yields).*:$|(-|\d+\.) ")
# Napoleon would take the words before a colon for a type.
_FIELDS = {"Returns:": ":returns:", "Yields:": ":yields:"}
_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)


def process_docstring(app, what, name, obj, options, lines):
  """Replaces the lines of a docstring, in place."""
  if what == "attribute" and _is_field(name):
    lines[:] = [_field_text(name)]
  if inspect.isclass(obj):
    lines[:] = _without_attributes(lines)
  lines[:] = _escape("\n".join(_mark_examples(lines))).split("\n")


def process_signature(app, what, name, obj, options, signature, result):
  """Returns a signature that names arrays as the code does."""
  shorten = lambda text: text and text.replace("jaxlib._jax.Array", "Array")
  return shorten(signature), shorten(result)


def skip_member(app, what, name, obj, skip, options):
  """Skips functions without a docstring: they implement a documented interface."""
  return skip or (inspect.isroutine(obj) and not inspect.getdoc(obj)) or None


def _mark_examples(lines):
  """Puts `::` before indented paragraphs that belong to no section and no list."""
  marked, in_body, is_example = [], False, False
  for line in lines:
    if line.startswith(" "):
      if not in_body and not is_example:
        marked += ["", "::", ""]
        is_example = True
    elif line:
      if is_example or in_body:
        marked.append("")
      in_body, is_example = bool(_BODY.match(line)), False
    marked.append(_FIELDS.get(line, line))
  return marked


def _escape(text):
  """Escapes what only looks like markup: everywhere but in code and examples."""
  blocks = re.split(r"(^::\n\n(?:(?: .*)?\n)*(?: .*)?)", text, flags=re.MULTILINE)
  for i in range(0, len(blocks), 2):
    words = _CODE.split(blocks[i])
    words[::2] = (re.sub(r"([\\*|]|(?<=\w)_(?!\w))", r"\\\1", w) for w in words[::2])
    words[2::2] = (re.sub(r"^(?=\w)", r"\\ ", w) for w in words[2::2])  # `Name`s
    blocks[i] = "".join(words)
  return "".join(blocks)


def _class_of(name):
  """Returns the class and the field that a dotted name means."""
  path, field = name.rsplit(".", 1)
  module, owner = path.rsplit(".", 1)
  return getattr(sys.modules.get(module), owner, None), field


def _is_field(name):
  owner, field = _class_of(name)
  known = getattr(owner, "__dataclass_fields__", None) or getattr(owner, "_fields", ())
  return field in known


def _field_text(name):
  """Returns the comment beside and above a field, or its line of "Attributes:"."""
  owner, field = _class_of(name)
  described = _attributes(inspect.getdoc(owner) or "")
  if field in described:
    return described[field]
  lines = inspect.getsource(owner).split("\n")
  here = next(i for i, line in enumerate(lines) if re.match(rf"  {field}\s*:", line))
  first = here
  while lines[first - 1].startswith("  # "):
    first -= 1
  comments = [line.strip("# ") for line in lines[first:here]]
  comments += [part.strip() for part in lines[here].split("  # ")[1:]]
  return " ".join(comments)


def _attributes(docstring):
  """Returns field -> text of a section "Attributes:"."""
  section = docstring.partition("\nAttributes:\n")[2].split("\n\n")[0]
  entries = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", section, flags=re.MULTILINE)
  return {field: re.sub(r"\s+", " ", text) for field, text in entries}


def _without_attributes(lines):
  if "Attributes:" not in lines:
    return lines
  first = lines.index("Attributes:")
  last = next((i for i in range(first, len(lines)) if not lines[i]), len(lines))
  return lines[:first] + lines[last:]


def setup(app):
  """Called by sphinx."""
  app.connect("autodoc-process-docstring", process_docstring, priority=400)
  app.connect("autodoc-process-signature", process_signature)
  app.connect("autodoc-skip-member", skip_member)
  return {"parallel_read_safe": True}
