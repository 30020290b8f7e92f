"""The loop: resuming, stopping, refusing, reporting."""

from toy_stage import assert_trees_equal, toy_train


def test_resume_equals_straight_run(tmp_path):
  straight = toy_train(tmp_path / "straight")
  toy_train(tmp_path / "resumed", num_steps=2)
  resumed = toy_train(tmp_path / "resumed")
  assert_trees_equal(resumed, straight)
