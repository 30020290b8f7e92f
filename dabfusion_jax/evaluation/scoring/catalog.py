"""Names every metric once: key, title, unit, null, and which direction is better."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Metric:
  """A metric of one clip.

  Attributes:
    title: its name in tables.
    better: "higher", "lower", or "" if only the real clips' value is a goal.
    null: what a model that learned nothing scores: "frozen" (the first frame held
      still), "shuffled" (the music of another track), or "" if there is none.
    unit: "" if it has none.
  """

  title: str
  better: str
  null: str
  unit: str = ""

  @property
  def title_with_unit(self) -> str:
    """Such as "PSNR [dB]"."""
    return f"{self.title} [{self.unit}]" if self.unit else self.title


# PSNR and SSIM of the whole frame, of the rows with content, and inside the person.
IMAGE_METRICS = {
  "psnr": Metric("PSNR", "higher", "frozen", "dB"),
  "psnr_pooled": Metric("PSNR of the pooled error", "higher", "frozen", "dB"),
  "ssim": Metric("SSIM", "higher", "frozen"),
  "psnr_rows": Metric("PSNR, content rows", "higher", "frozen", "dB"),
  "ssim_rows": Metric("SSIM, content rows", "higher", "frozen"),
  "psnr_mask": Metric("PSNR inside the person", "higher", "frozen", "dB"),
  "ssim_mask": Metric("SSIM inside the person", "higher", "frozen"),
}
# Key -> network, and what it is called in `Networks`.
LPIPS_NETWORKS = {"lpips_alex": "alex", "lpips_vgg": "vgg"}
# Of real clips rebuilt by stage 1 from their own motion: stage 1's share of the error.
STAGE1_METRICS = {
  f"stage1_{name}": dataclasses.replace(metric, title=f"stage 1: {metric.title}")
  for name, metric in IMAGE_METRICS.items()
  if name in ("psnr", "ssim", "psnr_mask", "ssim_mask")
}
METRICS = {
  **IMAGE_METRICS,
  "lpips_alex": Metric("LPIPS (AlexNet)", "lower", "frozen"),
  "lpips_vgg": Metric("LPIPS (VGG-16)", "lower", "frozen"),
  **STAGE1_METRICS,
  "clip_score": Metric("CLIPScore", "higher", "shuffled"),
  # Beats of motion are every minimum of speed; of what, stands in parentheses.
  "mm_align": Metric("2D-MM Align (poses)", "higher", "shuffled"),
  "mm_align_mint": Metric("2D-MM Align (poses), preset mint", "higher", "shuffled"),
  "mm_align_bailando": Metric(
    "2D-MM Align (poses), preset bailando", "higher", "shuffled"
  ),
  "beat_alignment": Metric("beat alignment (optical flow)", "higher", "shuffled"),
  "beat_alignment_joints": Metric("beat alignment (true joints)", "higher", "shuffled"),
  "av_align": Metric("AV-Align", "higher", "shuffled"),
  "av_align_v1": Metric("AV-Align of 2023", "higher", "shuffled"),
  "speed": Metric("flow speed", "", "", "px/frame"),
  "jitter": Metric("temporal jitter", "", "", "px/frame^2"),
  "drift": Metric("identity drift", "", ""),
  "nearest_training": Metric("nearest training clip", "", "", "grey levels"),
}
PAIRED = (*IMAGE_METRICS, *LPIPS_NETWORKS)
SHUFFLED = tuple(name for name, metric in METRICS.items() if metric.null == "shuffled")
# With a chance level in closed form, and a null of beats moved by half a period.
BEAT_METRICS = ("mm_align", "beat_alignment", "beat_alignment_joints")
# Metrics of sets of clips -> frames of each clip that are compared; None: all.
FVD_LENGTHS = {"fvd": None, "fvd_16f": 16}
TITLES = {name: metric.title for name, metric in METRICS.items()}
TITLES |= {"fvd": "FVD, whole clips", "fvd_16f": "FVD, first 16 frames"}

# What a user can ask for; "codec" adds the real clips after mp4 coding to every row.
GROUPS = ("paired", "lpips", "fvd", "fvd_16f", "alignment", "pose", "motion", "drift")
GROUPS += ("codec",)
# Groups -> networks they need.
NETWORKS = {
  "lpips": ("alex", "vgg"),
  "drift": ("alex",),
  "alignment": ("clip", "wav2clip"),
}
NETWORKS |= {"fvd": ("i3d",), "fvd_16f": ("i3d",)}
NULLS = {  # -> column of a table
  "frozen": "first frame held",
  "shuffled": "shuffled music",
  "half_beat": "half a beat off",
  "chance": "chance",
  "codec": "real clips, coded",
}
