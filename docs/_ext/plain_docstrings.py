"""Makes reStructuredText of docstrings that are plain text.

Our docstrings are written for readers of the code: `name` is code, an indented
paragraph is an example or an equation, and nothing else is markup. Fields of a class
are documented in its section "Attributes:", or by comments where they are declared.
"""

import inspect
import re

# What has an indented body: headings in Google's style (`sphinx.ext.napoleon` reads
# them later), and items of a list.
_BODY = re.compile(r"(Args|Raises|Returns|Yields|:Fields).*:$|(-|\d+\.) ")
# Napoleon would take the words before a colon for a type.
_FIELDS = {"Returns:": ":returns:", "Yields:": ":yields:"}
# Unions that type checkers spell out, and their names in the code.
_TYPE_NAMES = {
  r"jaxlib\._jax\.Array": "Array",
  r"_Buffer \| .+?\[complex \| bytes \| str\]": "ArrayLike",
  r"str \| type\[\S+\] \| \S+ \| \S+SupportsDType": "DTypeLike",
}
_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)


def process_docstring(app, what, name, obj, options, lines):
  """Replaces the lines of a docstring, in place."""
  if lines and lines[0].startswith("Create new instance of"):  # of a named tuple
    lines.clear()
    return
  if inspect.isclass(obj):
    lines[:] = _list_fields(obj, lines)
  lines[:] = _escape("\n".join(_mark_examples(lines))).split("\n")


def process_signature(app, what, name, obj, options, signature, result):
  """Returns a signature as the code has it: short names, no fields of Linen's own."""
  if signature:
    signature = re.sub(r", parent: .*", ")", signature)
    signature = re.sub(r"= <.*?>(?=[,)])", "= ...", signature)
  return _shorten_types(signature), _shorten_types(result)


def skip_member(app, what, name, obj, skip, options):
  """Skips fields, which are listed with their class."""
  is_default = what == "class" and name == "dtype"  # a class, so it has a docstring
  return skip or is_default or type(obj).__name__ == "_tuplegetter" or None


def _shorten_types(text):
  for long, short in _TYPE_NAMES.items():
    text = text and re.sub(long, short, text)
  return text


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
    words[::2] = map(_escape_words, words[::2])
    words[2::2] = (re.sub(r"^(?=\w)", r"\\ ", w) for w in words[2::2])  # `Name`s
    blocks[i] = "".join(words)
  return "".join(blocks)


def _escape_words(text):
  text = re.sub(r"([\\*|]|(?<=\w)_(?!\w))", r"\\\1", text)
  return re.sub(r"^(?=\(\w+\) )", r"\\", text, flags=re.MULTILINE)  # (1) is no item


def _list_fields(cls, lines):
  """Moves the section "Attributes:", or else the comments, to a list at the end."""
  if "Attributes:" in lines:
    first = lines.index("Attributes:")
    last = lines.index("", first) if "" in lines[first:] else len(lines)
    section, lines = lines[first + 1 : last], lines[:first] + lines[last:]
  else:
    section = _commented_fields(cls)
  items = [re.sub(r"^  (\w.*?): ", r"  - ``\1``: ", line) for line in section]
  return [*lines, "", ":Fields:", *items] if items else lines


def _commented_fields(cls):
  """Returns a line per commented field of a dataclass or named tuple."""
  known = getattr(cls, "__dataclass_fields__", None) or getattr(cls, "_fields", ())
  section, comments = [], []
  for line in inspect.getsource(cls).split("\n") if known else ():
    field = re.match(r"  (\w+): ", line)
    if line.startswith("  # "):
      comments.append(line[4:])
      continue
    if field and field[1] in known:
      comments += line.split("  # ")[1:]
      if comments:
        section.append(f"  {field[1]}: {' '.join(comments)}")
    comments = []
  return section


def setup(app):
  """Called by sphinx."""
  app.connect("autodoc-process-docstring", process_docstring, priority=400)
  app.connect("autodoc-process-signature", process_signature)
  app.connect("autodoc-skip-member", skip_member)
  return {"parallel_read_safe": True}
