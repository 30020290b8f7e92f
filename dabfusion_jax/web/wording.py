"""Says in the words of the page what the library says in options of a command line."""

import re

from dabfusion_jax.inference.subject import ALL

# Options of a dance -> how the page calls their controls.
CONTROLS = {
  "seconds": "Length in seconds",
  "duration": "Length in seconds",
  "music_start": "Second of the song to begin at",
  "bpm": "Beats per minute",
  "steps": "Steps",
  "num_inference_steps": "Steps",
  "size": "Pixels of the longer side",
  "pick": "Which person",
  "seed": "Seed",
}
EVERYBODY = "Everybody dances"  # the control for --pick=all
_FLAG = re.compile(r"(?<!\w)--(\w+)(?:=([\w.]*\w))?")
_SENTENCE = re.compile(r"(?<=\.) ")
_BRACKETS = re.compile(r" ?\([^()]*\)")
_JOINTS = ("; ", ", or ", ", ")  # before a clause that may be left out


def for_page(text: str) -> str:
  """Returns a message without advice on options that the page does not have.

  Options that it has are called by the label of their control. Advice on the others
  is a sentence of its own, or its last clauses, and is left out.

  Args:
    text: sentences for the user, with options as in `--pick=2`, or a name at the
      beginning, as in "pick must be at least 1".
  """
  name, _, rest = text.partition(" ")
  if name in CONTROLS and rest.startswith(("is ", "must be ")):
    text = f"{CONTROLS[name]} {rest}"
  sentences = [_without_foreign(part) for part in _SENTENCE.split(text)]
  return _FLAG.sub(_label, " ".join(filter(None, sentences)))


def _without_foreign(sentence: str) -> str:
  """Returns a sentence up to its advice on options that the page does not have."""
  sentence = _BRACKETS.sub(lambda m: "" if _foreign(m.group()) else m.group(), sentence)
  while (flag := _foreign(sentence)) is not None:
    cut = max(sentence.rfind(joint, 0, flag.start()) for joint in _JOINTS)
    if cut < 0:
      return ""
    sentence = sentence[:cut] + "."
  return sentence


def _foreign(text: str) -> re.Match[str] | None:
  """Returns the first option that the page does not have."""
  return next((f for f in _FLAG.finditer(text) if f.group(1) not in CONTROLS), None)


def _label(flag: re.Match[str]) -> str:
  name, value = CONTROLS[flag.group(1)], flag.group(2)
  if flag.group() == f"--pick={ALL}":
    return f"“{EVERYBODY}”"
  return f"“{name}” {value}" if value and not value.isupper() else f"“{name}”"
