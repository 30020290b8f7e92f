"""Reads video, sound and pictures: what other packages read files with.

Only `media` knows the codecs (PyAV, Pillow). Whatever is wrong with a file becomes a
`MediaError` of one line; what is odd about a file that was read becomes a note. Times
are seconds from the first frame of the video, so that the picture and sound of a file
share one clock.
"""

from data_pipeline.media.container import MAX_SECONDS, MIN_IMAGE_SIZE, CodecError
from data_pipeline.media.notes import SILENT, Note, add_note, collect_notes
from data_pipeline.media.pictures import image_to_array, read_image
from data_pipeline.media.sound import has_sound, is_silent, read_audio
from data_pipeline.media.video import Video, frame_times, read_frames, read_video

__all__ = [
  "MAX_SECONDS",
  "MIN_IMAGE_SIZE",
  "SILENT",
  "CodecError",
  "Note",
  "Video",
  "add_note",
  "collect_notes",
  "frame_times",
  "has_sound",
  "image_to_array",
  "is_silent",
  "read_audio",
  "read_frames",
  "read_image",
  "read_video",
]
