"""What the parts of the claims are called, and what to know about their figures."""

TITLES = {
  "stage1": "Stage 1",
  "beats": "On the beat",
  "control": "Led by the beats given",
  "models": "With beats against without (tables 1 and 3)",
  "trackers": "Tracked against true beats",
  "lengths": "Longer dances (tables 5 and 7)",
  "groups": "Cameras and genres (tables 2 and 4)",
  "styles": "Style vector against music (table 6)",
  "steps": "Few steps",
  "replay": "Not replayed",
}
NOTES = {
  "beats": "Pauses of the flow's speed over the whole latent grid: minima at least half"
  " a standard deviation of the clip's speed deep, placed by a parabola. sigma 50 ms.",
  "control": "The music stays the clip's own where the beats change. `true clips` are"
  " those at their own tempo, put as far between chance and 1 at the tempo given.",
  "lengths": "The model of the other tables throughout: the paper trains another for 80"
  " frames at once. The music of longer dances is the clip's; its true beats go on.",
  "steps": "The error of an FVD is its SD over halves of the clips; its true value that"
  " of one half of the true clips against the other.",
  "styles": "In place of text: the mean sound of the genre's training clips.",
}
