"""Every metric by name: how it is called, its unit, and which way is better."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Metric:
  """`better` is "higher", "lower", or "" where only the real clips' value is a goal.

  `null` is what a model that learnt nothing scores: "frozen" (the first frame kept
  still) or "shuffled" (the music of another track).
  """

  title: str
  better: str
  null: str
  unit: str = ""


METRICS = {
  "psnr": Metric("PSNR", "higher", "frozen", "dB"),
  "psnr_pooled": Metric("PSNR of the pooled error", "higher", "frozen", "dB"),
  "ssim": Metric("SSIM", "higher", "frozen"),
  "psnr_rows": Metric("PSNR, content rows", "higher", "frozen", "dB"),
  "ssim_rows": Metric("SSIM, content rows", "higher", "frozen"),
  "psnr_mask": Metric("PSNR inside the person", "higher", "frozen", "dB"),
  "ssim_mask": Metric("SSIM inside the person", "higher", "frozen"),
  "lpips_alex": Metric("LPIPS (AlexNet)", "lower", "frozen"),
  "lpips_vgg": Metric("LPIPS (VGG-16)", "lower", "frozen"),
  "clip_score": Metric("CLIPScore", "higher", "shuffled"),
  "mm_align": Metric("2D-MM Align", "higher", "shuffled"),
  "mm_align_mint": Metric("2D-MM Align, preset mint", "higher", "shuffled"),
  "mm_align_bailando": Metric("2D-MM Align, preset bailando", "higher", "shuffled"),
  "mm_align_flow": Metric("2D-MM Align from flow speed", "higher", "shuffled"),
  "mm_align_joints": Metric("2D-MM Align from true joints", "higher", "shuffled"),
  "av_align": Metric("AV-Align", "higher", "shuffled"),
  "av_align_v1": Metric("AV-Align of 2023", "higher", "shuffled"),
  "speed": Metric("flow speed", "", "", "px/frame"),
  "jitter": Metric("temporal jitter", "", "", "px/frame^2"),
  "drift": Metric("identity drift", "", ""),
  "nearest_training": Metric("nearest training clip", "", "", "grey levels"),
}
# With a closed-form chance level and a half-beat null.
BEAT_METRICS = ("mm_align", "mm_align_flow", "mm_align_joints")
PAIRED = tuple(name for name, metric in METRICS.items() if metric.null == "frozen")
SHUFFLED = tuple(name for name, metric in METRICS.items() if metric.null == "shuffled")
GROUPS = ("paired", "lpips", "fvd", "fvd_16f", "alignment", "pose", "motion", "drift")
GROUPS += ("codec",)  # all of it also of the real clips after one mp4 coding
NULLS = {  # and what they are called
  "frozen": "first frame kept",
  "shuffled": "shuffled music",
  "half_beat": "half a beat off",
  "chance": "chance",
  "codec": "real clips, coded",
}
