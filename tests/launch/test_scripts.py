"""What starts a run on pods and clusters: read by its own tools, and by ours."""

import importlib.util
import math
import operator
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib

import kubernetes_validate
import pytest
import yaml

from dabfusion_jax.config import _PERCEPTUAL
from dabfusion_jax.pretrained import store
from dabfusion_jax.training.watchdog import STALLED

_ROOT = pathlib.Path(__file__).parent.parent.parent
_LAUNCH = _ROOT / "launch"
_SCRIPTS = ("tpu_pod.sh", "tpu_worker.sh", "slurm.sbatch")
_SITE = {"PROJECT": "project", "ZONE": "zone", "BUCKET": "bucket"}


def _pod(*arguments, script=_LAUNCH / "tpu_pod.sh", **environment):
  return subprocess.run(
    ["bash", str(script), *arguments],
    env={**os.environ, **_SITE, "DRY_RUN": "1", **environment},
    capture_output=True,
    text=True,
    timeout=60,
  )


def _load_config(path, variant):
  spec = importlib.util.spec_from_file_location("config", _ROOT / path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(*[variant] if variant else [])


def _demo_network():
  return _load_config("configs/autoencoder.py", "demo").loss.network


def _check_settings(arguments):
  """Every --config.NAME=VALUE of a command line is a setting of its config."""
  found = dict(a.removeprefix("--").split("=", 1) for a in arguments if "=" in a)
  path, _, variant = found["config"].partition(":")
  config = _load_config(path, variant)
  for name in found:
    if name.startswith("config."):
      operator.attrgetter(name.removeprefix("config."))(config)  # else AttributeError


@pytest.mark.parametrize("script", _SCRIPTS)
def test_shell_scripts_pass_shellcheck(script):
  shellcheck = pathlib.Path(sys.executable).parent / "shellcheck"
  command = [str(shellcheck), str(_LAUNCH / script)]
  result = subprocess.run(command, capture_output=True, text=True, timeout=60)
  assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("script", _SCRIPTS)
def test_shell_scripts_parse(script):
  command = ["bash", "-n", str(_LAUNCH / script)]
  result = subprocess.run(command, capture_output=True, text=True, timeout=60)
  assert result.returncode == 0, result.stderr


def test_pod_is_asked_for_with_the_runtime_of_its_generation():
  result = _pod("create", "dance", "v5litepod-16", "--spot")
  assert result.returncode == 0, result.stderr
  line = result.stdout.splitlines()[0]
  for part in (
    *("queued-resources create dance", "--project=project", "--zone=zone", "--spot"),
    *("--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite"),
  ):
    assert part in line


def _pod_of(tmp_path, gcloud, *arguments, script=_LAUNCH / "tpu_pod.sh"):
  """Returns what the script does beside a `gcloud` that is a few lines of shell."""
  for name, text in (("gcloud", gcloud), ("sleep", "")):
    (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
    (tmp_path / name).chmod(0o755)
  path = f"{tmp_path}:{os.environ['PATH']}"
  return _pod(*arguments, script=script, DRY_RUN="", PATH=path)


@pytest.mark.parametrize("state", ["SUSPENDED", "FAILED", "ACTIVE"])
def test_what_a_preemption_leaves_of_a_pod_makes_room_for_a_new_one(tmp_path, state):
  log = tmp_path / "log"
  gcloud = f"""echo $4 >> {log}
  case $4 in describe) grep -q create {log} && echo ACTIVE || echo {state} ;; esac"""
  done = _pod_of(tmp_path, gcloud, "create", "pod", "v5litepod-16")
  assert done.returncode == 0, done.stderr
  deleted = [] if state == "ACTIVE" else ["delete"]
  assert log.read_text().split() == ["describe", *deleted, "create", "describe"]


def test_setup_sends_the_files_as_they_are_now(tmp_path):
  script = tmp_path / "repository" / "launch" / "tpu_pod.sh"
  script.parent.mkdir(parents=True)
  shutil.copy(_LAUNCH / "tpu_pod.sh", script)
  note = script.with_name("note")
  git = ["git", "-C", script.parents[1], "-c", "user.name=a", "-c", "user.email=a@b.c"]
  sent = []
  for text, *commands in (["old", "init -q", "add .", "commit -qm1"], ["new"]):
    note.write_text(text)
    for command in commands:
      subprocess.run([*git, *command.split()], check=True)
    gcloud = f"case $4 in scp) tar -xzOf $5 launch/note > {tmp_path}/sent ;; esac"
    done = _pod_of(tmp_path, gcloud, "setup", "pod", script=script)
    assert done.returncode == 0, done.stderr
    sent.append((tmp_path / "sent").read_text())
  assert sent == ["old", "new"]


def test_a_pod_whose_state_cannot_be_read_is_not_said_to_be_there(tmp_path):
  gcloud = "case $* in *describe*) exit 3 ;; esac"
  done = _pod_of(tmp_path, gcloud, "create", "pod", "v5litepod-16")
  assert done.returncode == 1


def test_a_state_that_cannot_be_read_now_and_then_ends_no_wait(tmp_path):
  log = tmp_path / "log"
  gcloud = f"""[ $4 = describe ] || exit 0
  echo >> {log}
  case $(wc -l < {log}) in 1 | 6) echo WAIT ;; 11) echo ACTIVE ;; *) exit 3 ;; esac"""
  done = _pod_of(tmp_path, gcloud, "create", "pod", "v5litepod-16")
  assert done.returncode == 0, done.stderr


def test_training_flags_reach_every_worker_as_they_were_given():
  given = ["--config=configs/diffusion.py:paper", "--config.mesh=(('data',-1),('x',1))"]
  given += ["--workdir=/gcs/runs/one"]
  result = _pod("train", "dance", *given)
  assert result.returncode == 0, result.stderr
  # What the shell here makes of the line, and what the worker's shell makes of that.
  ours = f"set -- {result.stdout.strip()}; printf '%s\n' \"$@\""
  words = subprocess.check_output(["bash", "-c", ours], text=True).splitlines()
  assert "--worker=all" in words
  remote = words[-1].removeprefix("--command=")
  for setting in ("DABFUSION_WEIGHTS=/gcs/weights ", "JAX_PLATFORMS=tpu,cpu "):
    assert setting in remote
  started = re.search(r"dabfusion_jax\.train (.*?)> ", remote)[1]
  theirs = f"set -- {started}; printf '%s\n' \"$@\""
  seen = subprocess.check_output(["bash", "-c", theirs], text=True).splitlines()
  assert seen == ["--distributed", *given]


def test_training_on_workers_ends_no_connection_late(tmp_path):
  words = shlex.split(_pod("train", "dance", "--workdir=gs://a/b").stdout)
  remote = words[-1].removeprefix("--command=")
  python = tmp_path / "venv/bin/python"
  python.parent.mkdir(parents=True)
  (tmp_path / "dabfusion").mkdir()
  python.write_text(
    "#!/bin/sh\ntouch ../begun\nwhile [ ! -e ../end ]; do sleep 0.1; done"
  )
  python.chmod(0o755)
  try:  # as over ssh: it ends when nothing holds its output any more
    subprocess.run(
      ["bash", "-c", remote], cwd=tmp_path, capture_output=True, timeout=20, check=True
    )
    for _ in range(200):
      if (tmp_path / "begun").exists():
        break
      time.sleep(0.05)
    assert (tmp_path / "begun").exists()
  finally:
    (tmp_path / "end").touch()


def test_setup_installs_everywhere_and_imports_the_loss_once():
  """The weights go where `train` looks for them, and they are known by that name."""
  result = _pod("setup", "dance")
  assert result.returncode == 0, result.stderr
  lines = [line.replace("\\", "") for line in result.stdout.splitlines()]
  everywhere = [
    line for line in lines if "ssh dance" in line and "--worker=all" in line
  ]
  once = [line for line in lines if "ssh dance" in line and "--worker=0" in line]
  assert len(everywhere) == len(once) == 1
  assert everywhere[0].strip().endswith("launch/tpu_worker.sh bucket")
  name = re.search(r"dabfusion_jax\.weights import (\S+)", once[0])[1]
  assert name in store.NAMES and "DABFUSION_WEIGHTS=/gcs/weights" in once[0]
  assert _PERCEPTUAL[_demo_network()].weights == name


def test_workers_install_pins_that_exist():
  text = (_LAUNCH / "tpu_worker.sh").read_text()
  (pins,) = re.findall(r"--requirement (\S+)", text)
  assert (_ROOT / pins).is_file()
  project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
  assert "tpu" in project["optional-dependencies"] and "'.[tpu]'" in text
  (python,) = re.findall(r"--python (3\.\d+)", text)
  assert pins == f"requirements/py{python.replace('.', '')}.txt"


@pytest.mark.parametrize(
  ("arguments", "environment", "message"),
  [
    (["create", "dance", "v9-16"], {}, "unknown accelerator type v9-16"),
    (["create", "dance", "v4-16"], {"ZONE": ""}, "set ZONE"),
    (["dance"], {}, "queued resources"),
    (["train", "dance"], {}, "queued resources"),
    (["train", "dance", "--config=a.py"], {}, "needs --workdir"),
    (["fly", "dance"], {}, "queued resources"),
  ],
)
def test_pod_script_says_what_is_wrong(arguments, environment, message):
  result = _pod(*arguments, **environment)
  assert result.returncode == 2
  assert message in result.stderr


def test_jobset_fits_its_slice_and_its_config():
  jobset = yaml.safe_load((_LAUNCH / "jobset.yaml").read_text())
  assert (jobset["apiVersion"], jobset["kind"]) == (
    "jobset.x-k8s.io/v1alpha2",
    "JobSet",
  )
  (group,) = jobset["spec"]["replicatedJobs"]
  job = group["template"]["spec"]
  pod = job["template"]["spec"]
  (container,) = pod["containers"]
  chips = container["resources"]["limits"]["google.com/tpu"]
  shape = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
  assert job["parallelism"] == job["completions"]
  assert job["completions"] * chips == math.prod(int(n) for n in shape.split("x"))
  assert job["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"
  mounted = {mount["name"] for mount in container["volumeMounts"]}
  assert mounted == {volume["name"] for volume in pod["volumes"]}
  _check_settings(container["args"])
  batch = next(a for a in container["args"] if "batch_size" in a).split("=")[1]
  assert int(batch) % (job["completions"] * chips) == 0


def test_jobset_is_what_kubernetes_takes():
  """By Kubernetes' own schema, as far as the JobSet's job goes."""
  jobset = yaml.safe_load((_LAUNCH / "jobset.yaml").read_text())
  (group,) = jobset["spec"]["replicatedJobs"]
  job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": jobset["metadata"]}
  job |= {"spec": group["template"]["spec"]}
  version = kubernetes_validate.latest_version()
  kubernetes_validate.validate(job, version, strict=True)  # raises what is wrong
  # A name that Kubernetes does not know would be dropped without a word.
  job["spec"]["template"]["spec"]["restart_policy"] = "Never"
  with pytest.raises(kubernetes_validate.ValidationError, match="restart_policy"):
    kubernetes_validate.validate(job, version, strict=True)


def test_slurm_script_requeues_what_saved_itself(tmp_path):
  for name, text in {
    # The highest status: what hangs or fails is one task, and the others are killed.
    "srun": """#!/bin/sh
      echo "$@" > called
      [ "$STATUS" -gt 0 ] && [ "$STATUS" -lt 137 ] && exit 137
      exit "$STATUS"
    """,
    "scontrol": '#!/bin/sh\necho "$@" > requeued',
  }.items():
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(0o755)
  given = ["--config=configs/autoencoder.py:demo", "--config.model.dtype=bfloat16"]
  _check_settings(given)
  for status, again in ((0, False), (1, False), (STALLED, True), (143, True)):
    (tmp_path / "requeued").unlink(missing_ok=True)
    result = subprocess.run(
      ["bash", str(_LAUNCH / "slurm.sbatch"), *given],
      cwd=tmp_path,
      env={
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "STATUS": str(status),
        "SLURM_JOB_ID": "7",
      },
      timeout=60,
    )
    assert result.returncode == (137 if status == 1 else status)
    assert (tmp_path / "requeued").exists() == again
  assert (tmp_path / "called").read_text().split()[-3:] == ["--distributed", *given]


def test_each_process_of_slurm_sees_the_gpu_of_its_number():
  """JAX takes the one of SLURM_LOCALID; --gpus-per-task would hide all but one."""
  text = (_LAUNCH / "slurm.sbatch").read_text()
  given = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", text, re.MULTILINE))
  assert given["gpus-per-node"] == given["ntasks-per-node"]
  assert not {"gpus-per-task", "gpu-bind"} & given.keys()


def test_commands_of_the_guide_name_settings_that_exist():
  text = (_LAUNCH / "README.md").read_text().replace("\\\n", " ")
  lines = [x for x in text.splitlines() if "--config=configs/" in x]
  assert len(lines) >= 3
  for line in lines:
    _check_settings(re.findall(r"--config[.\w]*=\S+", line))
