#!/usr/bin/env bash
# A Cloud TPU slice by queued resources: create, setup, train, log, delete.
#
#   export PROJECT=... ZONE=... BUCKET=...
#   launch/tpu_pod.sh create NAME ACCELERATOR_TYPE [--spot]   e.g. v5litepod-16
#   launch/tpu_pod.sh setup NAME
#   launch/tpu_pod.sh train NAME --config=... --workdir=/gcs/...
#   launch/tpu_pod.sh log NAME
#   launch/tpu_pod.sh delete NAME
#
# DRY_RUN=1 prints the commands instead of running them.
set -euo pipefail

usage() {
  sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

run() {
  if [[ -n "${DRY_RUN:-}" ]]; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@"
  fi
}

# on_workers WHICH LINE: runs a command line on all workers at once, or on one.
on_workers() {
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker="$1" --command="$2"
}

state_of() {
  run gcloud compute tpus queued-resources describe "$1" "${where[@]}" \
    --format="value(state.state)"
}

delete() {
  run gcloud compute tpus queued-resources delete "$1" "${where[@]}" --force --quiet
}

runtime_of() {
  case "$1" in
    v4-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *)
      echo "tpu_pod: unknown accelerator type $1; known: v4-N, v5litepod-N, v5p-N, v6e-N" >&2
      exit 2
      ;;
  esac
}

[[ $# -ge 2 ]] || usage
verb=$1 name=$2
shift 2
for variable in PROJECT ZONE BUCKET; do
  if [[ -z "${!variable:-}" ]]; then
    echo "tpu_pod: set $variable, e.g. export $variable=..." >&2
    exit 2
  fi
done
where=(--project="$PROJECT" --zone="$ZONE")
repository=$(cd "$(dirname "$0")/.." && pwd)

case "$verb" in
  create)
    [[ $# -ge 1 ]] || usage
    runtime=$(runtime_of "$1")
    # What a preemption leaves keeps the name.
    case "$(state_of "$name" 2> /dev/null)" in
      FAILED | SUSPENDED) delete "$name" ;;
    esac
    run gcloud compute tpus queued-resources create "$name" "${where[@]}" \
      --node-id="$name" --accelerator-type="$1" --runtime-version="$runtime" "${@:2}"
    failed=0
    while :; do
      if state=$(state_of "$name"); then
        failed=0
      else # as networks do now and then
        [[ $((++failed)) -lt 5 ]] || exit 1
      fi
      [[ -z "${DRY_RUN:-}" ]] || break
      echo "$name: ${state:-no answer}"
      case "$state" in
        ACTIVE) break ;;
        FAILED | SUSPENDED) exit 1 ;;
      esac
      sleep 30
    done
    ;;
  setup)
    archive=$(mktemp --suffix=.tar.gz)
    trap 'rm -f "$archive"' EXIT
    # HEAD and what has changed since in its files; if nothing has, nothing is printed.
    changed=$(git -C "$repository" stash create)
    run git -C "$repository" archive --format=tar.gz --output="$archive" "${changed:-HEAD}"
    run gcloud compute tpus tpu-vm scp "$archive" "$name:dabfusion.tar.gz" \
      "${where[@]}" --worker=all
    on_workers all "mkdir -p dabfusion && tar -xzf dabfusion.tar.gz -C dabfusion \
&& bash dabfusion/launch/tpu_worker.sh $BUCKET"
    # For the demo's loss. They are in the bucket, so one worker is enough.
    on_workers 0 "cd dabfusion && DABFUSION_WEIGHTS=/gcs/weights ../venv/bin/python \
-m dabfusion_jax.weights import lpips-vgg16"
    ;;
  train)
    [[ $# -ge 1 ]] || usage
    if [[ ! " $*" =~ \ --?workdir[=\ ] ]]; then # by default, each worker has its own
      echo "tpu_pod: train needs --workdir=/gcs/... or gs://..., which all workers see" >&2
      exit 2
    fi
    # One process per worker, which outlives the connection, and fails without TPUs. In
    # braces: else a shell in the background keeps the connection open until it ends.
    on_workers all "cd dabfusion && { PYTHONUNBUFFERED=1 JAX_PLATFORMS=tpu,cpu \
DABFUSION_WEIGHTS=/gcs/weights nohup ../venv/bin/python -m dabfusion_jax.train --distributed $(printf '%q ' "$@")\
> ../train.log 2>&1 < /dev/null & }"
    ;;
  log)
    on_workers 0 "tail -n 50 -f train.log"
    ;;
  delete)
    delete "$name"
    ;;
  *) usage ;;
esac
