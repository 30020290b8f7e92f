"""The command line of `claims`: usage errors, and models that do not fit together."""

import dataclasses

import pytest

from dabfusion_jax import claims
from dabfusion_jax.evaluation.study import study
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage

_NEEDED = ["--checkpoint_e=x", "--data=y", "--latents=z", "--output=w"]


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--num_clips=3", "must be at least 4, not 3"),
    ("--num_inference_steps=0", "must be at least 1, not 0"),
    ("--guidance_scale=nan", "must be above 0, not nan"),
    ("--parts=beats,beauty", "unknown name 'beauty'; known: stage1, beats"),
    ("--methods=euler", "unknown name 'euler'"),
    ("--method=euler", "invalid choice: 'euler'"),
    ("--long_steps=250,0", "must be at least 1, not 0"),
    ("--long_steps=many", "must be a whole number, such as 3, not many"),
  ],
)
def test_a_wrong_command_line_is_a_usage_error(capsys, argument, message):
  with pytest.raises(SystemExit) as stopped:
    claims.main([*_NEEDED, argument])
  assert stopped.value.code == 2
  assert message in capsys.readouterr().err


def test_models_of_different_stages_1_are_refused_in_one_line(tmp_path, monkeypatch):
  pipeline = DancePipeline.from_pretrained(saved_stage.shipped())
  other = dataclasses.replace(
    pipeline, digests=pipeline.digests | {"autoencoder": "another"}
  )
  models = {"e": pipeline, "b": other}
  monkeypatch.setattr(study.DancePipeline, "from_pretrained", models.__getitem__)
  arguments = ["--checkpoint_e=e", "--checkpoint_b=b", "--data=y", "--latents=z"]
  with pytest.raises(SystemExit, match="^claims: The models have different stages 1"):
    claims.main([*arguments, f"--output={tmp_path}"])


def test_films_are_refused_with_the_program_that_measures_them(tmp_path):
  manifest = '{"settings": {}, "counts": {}, "beats": ["librosa"]}'
  (tmp_path / "manifest.json").write_text(manifest)
  arguments = [f"--checkpoint_e={saved_stage.shipped()}", f"--output={tmp_path}"]
  with pytest.raises(SystemExit, match="holds films.*synthdance, or .*_jax.evaluate"):
    claims.main([*arguments, f"--data={tmp_path}", "--latents=z"])


def test_a_missing_data_set_is_one_line(tmp_path):
  arguments = [f"--checkpoint_e={saved_stage.shipped()}", f"--output={tmp_path}"]
  arguments += [f"--data={tmp_path / 'nowhere'}", "--latents=z"]
  with pytest.raises(
    SystemExit, match="^claims: .*nowhere contains no finished data set"
  ):
    claims.main(arguments)
