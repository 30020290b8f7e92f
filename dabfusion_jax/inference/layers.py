"""A picture as layers: the person who dances, and the background that stands still.

The network is shown the person in a plain studio; the person of the picture is then
moved as the generated flow tells, at the picture's own resolution. A departure from the
paper, which shows the network's frames.
"""

import concurrent.futures
import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from dabfusion_jax.inference.inputs import InputError, PictureError
from dabfusion_jax.inference.painter import FlowPainter, Painter, PiecePainter
from dabfusion_jax.inference.person_notes import person_notes
from dabfusion_jax.inference.pose import FlowReader, FrameReader, PoseReader
from dabfusion_jax.inference.sampler import ReadJoints
from dabfusion_jax.inference.subject import (
  ALL,
  OWN,
  find_person,
  read_person,
  read_upper_part,
)
from dabfusion_jax.people import scene, segmenter, studio
from dabfusion_jax.people.landmarks import LandmarkNetwork
from dabfusion_jax.people.puppet import Puppet, cut_puppet
from dabfusion_jax.people.scene import Scene
from dabfusion_jax.people.squares import Square
from dabfusion_jax.pretrained import store
from dabfusion_jax.storage import saved_stage
from data_pipeline.media import reader

LAYERS, DECODER = "layers", "decoder"
DRAWINGS = (LAYERS, DECODER)
STUDIO = "studio"
DEFAULT_SIZE = 512  # pixels of the longer side
# The network is shown darker clothes: its studio is light, and white would vanish.
_SHOWN_GAIN = 0.6
_STUDIO_SIZE = 512
_REPLACED = 0.15  # height of a dancer who is replaced, of the longer side, at least


@dataclasses.dataclass(frozen=True)
class Layers:
  """A scene that is danced in, and what the network is shown of it.

  Attributes:
    scene: the person over the background.
    frame: where the network's frames lie in it.
    puppet: the person, if they have landmarks.
    notes: what the user should know.
  """

  scene: Scene
  frame: Square
  puppet: Puppet | None
  notes: tuple[str, ...]

  def reference(self, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Returns the person in the network's own studio, as its reference."""
    shown = _in_studio(self.scene)
    colours = np.round(shown.colours * _SHOWN_GAIN).astype(np.uint8)
    return _reduce(scene.blend(shown.plate, colours, shown.alpha), size)

  def painter(
    self,
    frame_size: int,
    rebuild: Callable[[], UInt8[np.ndarray, "n n 3"]],
    read_joints: ReadJoints | None,
    times: int = 1,
  ) -> Painter:
    """Returns what draws the frames of a dance.

    Args:
      frame_size: pixels per side of the network's frames.
      rebuild: returns the network's frame without motion.
      read_joints: of a model that has learnt it; None: poses are read from its frames.
      times: frames that are drawn per frame of the motion, of a person whose landmarks
        are known.
    """
    found = self.scene.landmarks
    if self.puppet is None:
      background = _reduce(studio.make_studio(_STUDIO_SIZE), frame_size)
      return FlowPainter(self.scene, self.frame, background, 1 / _SHOWN_GAIN)
    pose: PoseReader = FrameReader(_compiled_network, rebuild)
    if read_joints is not None:
      points = self.frame.from_picture(found.points) * frame_size
      shown = dataclasses.replace(found, points=points)
      pose = FlowReader(read_joints, shown, frame_size)
    return PiecePainter(self.scene, self.puppet, self.frame, pose, frame_size, times)


@functools.cache
def _landmark_network() -> concurrent.futures.Future[LandmarkNetwork]:
  """Returns the network that reads frames; it is compiled while a dance is sampled."""
  pool = concurrent.futures.ThreadPoolExecutor(1)
  return pool.submit(LandmarkNetwork, compiled=True)


def _compiled_network() -> LandmarkNetwork:
  return _landmark_network().result()


def default_weights(shows_decoded: bool) -> str:
  """Returns the name of the bundled weights that suit pictures of people.

  Those of people move them best in layers. Their decoder tears heads and arms by flow
  that is sampled, so whatever is not drawn in layers is left to those of figures.

  Args:
    shows_decoded: whether the network's own frames are asked for.
  """
  try:
    for name in segmenter.WEIGHTS:
      store.describe(name)
  except store.MissingWeightsError:
    return saved_stage.SHIPPED[0]
  return saved_stage.SHIPPED[0] if shows_decoded else saved_stage.PEOPLE


def fit(
  picture: UInt8[np.ndarray, "h w 3"], size: int | None
) -> UInt8[np.ndarray, "h2 w2 3"]:
  """Reduces a picture to `size` pixels on its longer side, both sides even.

  A picture is not enlarged. At its own size at most one row and one column are lost.

  Raises:
    InputError: the picture is smaller than what is asked for.
  """
  height, width = picture.shape[:2]
  longest = max(height, width)
  if size is not None and size > longest:
    raise InputError(
      f"size is {size}, but the picture has {longest} pixels on its longer side: ask"
      " for as many at most."
    )
  size = min(longest, DEFAULT_SIZE) if size is None else size
  if size == longest:
    return picture[: height // 2 * 2, : width // 2 * 2]
  even = lambda side: max(2, 2 * round(side * size / longest / 2))
  image = PIL.Image.fromarray(picture)
  return np.asarray(
    image.resize((even(width), even(height)), PIL.Image.LANCZOS, reducing_gap=3)
  )


def make_layers(
  picture: UInt8[np.ndarray, "h w 3"],
  place: str,
  size: int | None,
  pick: int,
  is_asked: bool,
  reads_frames: bool = False,
  is_whole: bool = False,
) -> tuple[Layers | None, tuple[str, ...]]:
  """Cuts a person out and stands them into a scene.

  Args:
    picture: as given.
    place: `OWN`, `STUDIO`, or the path of a picture.
    size: pixels of the longer side of the dance; None: `DEFAULT_SIZE`, or as many as
      the picture has.
    pick: which person; 1 is the largest.
    is_asked: whether layers were asked for; otherwise a picture without a person, and
      missing weights, are no errors.
    reads_frames: whether poses will be read from the network's frames; what that needs
      is then compiled beside.
    is_whole: whether the whole person has to be in the picture.

  Returns:
    The layers, or None; and notes for the user.

  Raises:
    InputError: the person cannot be used, in one line.
  """
  if place not in (OWN, STUDIO) and not pathlib.Path(place).exists():
    raise InputError(f"scene is {place!r}: neither {OWN!r}, {STUDIO!r} nor a picture.")
  own = fit(picture, size)
  scale_of = lambda reduced: max(picture.shape[:2]) / max(reduced.shape[:2])
  try:
    person, notes = read_person(own, scale_of(own), place, pick, is_asked, is_whole)
  except PictureError:
    is_own = place == OWN and not is_whole
    upper = read_upper_part(own, scale_of(own), pick) if is_own else None
    if upper is None:
      usual = fit(picture, None)
      if len(own) >= len(usual):
        raise
      try:
        read_person(usual, scale_of(usual), place, pick, is_asked, is_whole)
      except PictureError:
        if not is_own or read_upper_part(usual, scale_of(usual), pick) is None:
          raise
      raise PictureError(
        f"size={size} is too small for this picture; ask for {max(usual.shape[:2])}."
      ) from None
    own, person, notes = upper
  if person is None:
    return None, notes
  if person.others and pick == 1 and person.landmarks is not None:
    who = f"The largest of {person.others + 1} people dances"
    notes = (f"{who}; --pick=2 is the next, --pick={ALL} takes all.", *notes)
  if reads_frames and person.landmarks is not None:
    _landmark_network()
  layered = scene.own_scene(own, person)
  if place == STUDIO:
    side = max(own.shape[:2])
    plate, frame = studio.make_studio(side), studio.studio_frame(side)
    shade = studio.studio_shade(min(side, _STUDIO_SIZE))
    layered = scene.stand_in(layered, plate, frame, shade)
  elif place != OWN:
    layered, more = _into_picture(layered, place, size)
    notes += more
  if not (layered.alpha > 0.5).any():
    raise InputError("In this scene the person would not be seen; give a larger one.")
  layers = layers_of(layered)
  notes += layers.notes
  return dataclasses.replace(layers, notes=notes), notes


def layers_of(layered: Scene) -> Layers:
  """Returns a scene with its person cut out, and notes on what is not seen."""
  frame = scene.frame_of(layered)
  if layered.landmarks is None:
    return Layers(layered, frame, None, ())
  cut = cut_puppet(layered)
  return Layers(layered, frame, cut, person_notes(layered, cut))


def choreograph(
  picture: UInt8[np.ndarray, "h w 3"], place: str, pick: int, size: int | None = None
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], tuple[str, ...]]:
  """Stands the person of a picture into a scene, as a first frame (paper, sec. 4.4).

  Args:
    picture: as given.
    place: `OWN`: the picture, cut to the frame of a dancer; `STUDIO`; or a path.
    pick: which person; 1 is the largest.
    size: pixels of the longer side; None: `DEFAULT_SIZE`, or as many as there are.

  Returns:
    The frame, and notes for the user.

  Raises:
    InputError: there is nobody, or not a whole standing person.
  """
  layers, notes = make_layers(picture, place, size, pick, True, is_whole=True)
  made = layers.scene.picture
  if place == OWN:
    made = layers.frame.cut(made, max(made.shape[:2]))
  return made, notes


def _into_picture(
  layered: Scene, path: str, size: int | None
) -> tuple[Scene, tuple[str, ...]]:
  """Returns a person in the place of the dancer of another picture, and notes."""
  stage = fit(reader.read_image(path), size)
  try:
    dancer = find_person(stage, 1)
  except store.MissingWeightsError:
    dancer = segmenter.find_by_contrast(stage)
  if dancer is not None and _is_dancer(dancer):
    replaced = scene.own_scene(stage, dancer)
    stood = scene.stand_in(
      layered, replaced.plate, scene.frame_of(replaced), replaced.shade
    )
    if not dancer.others:
      return stood, ()
    return stood, (f"The largest of {dancer.others + 1} people in {path} is replaced.",)
  height, width = stage.shape[:2]
  side = min(height, width)
  place = Square((width - side) / 2, float(height - side), float(side))
  return scene.stand_in(layered, stage, place), ()


def _is_dancer(person: segmenter.Person) -> bool:
  """Returns whether a person of a scene is no passer-by in its background."""
  _, top, _, bottom = person.box
  return bottom - top >= _REPLACED * max(person.alpha.shape)


def _in_studio(layered: Scene) -> Scene:
  plate = studio.make_studio(_STUDIO_SIZE)
  return scene.stand_in(layered, plate, studio.studio_frame(_STUDIO_SIZE))


def _reduce(picture: np.ndarray, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
  image = PIL.Image.fromarray(picture)
  return np.asarray(image.resize((size, size), PIL.Image.BOX))
