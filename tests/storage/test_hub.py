"""A model may be named by its repository; whatever is wrong with that is one line."""

import sys
import types

import pytest

from dabfusion_jax.storage import hub, saved_stage


class NotFound(Exception):
  pass


class NotThere(Exception):
  pass


class Offline(Exception):
  pass


class Refused(Exception):
  pass


class Invalid(Exception):
  pass


@pytest.fixture
def client(monkeypatch, tmp_path):
  """A client of the hub; its `answer` is a folder or an error."""
  hub.fetch.cache_clear()
  monkeypatch.chdir(tmp_path)
  client = types.ModuleType("huggingface_hub")
  client.errors = types.SimpleNamespace(
    RepositoryNotFoundError=NotFound,
    LocalEntryNotFoundError=NotThere,
    OfflineModeIsEnabled=Offline,
    HfHubHTTPError=Refused,
    HFValidationError=Invalid,
  )
  client.answer, client.asked = None, []

  def snapshot_download(name, allow_patterns):
    client.asked.append((name, allow_patterns))
    if isinstance(client.answer, Exception):
      raise client.answer
    return client.answer

  client.snapshot_download = snapshot_download
  monkeypatch.setitem(sys.modules, "huggingface_hub", client)
  yield client
  hub.fetch.cache_clear()


def test_a_repository_is_a_published_folder_fetched_once(client):
  client.answer = str(saved_stage.shipped())
  loaded = [saved_stage.load_stage("somebody/dances", "diffusion") for _ in range(2)]
  expected = saved_stage.load_stage(saved_stage.shipped(), "diffusion")
  assert {stage.digest for stage in loaded} == {expected.digest}
  ((name, patterns),) = client.asked
  assert name == "somebody/dances"
  assert {pattern.rpartition(".")[2] for pattern in patterns} == {"json", "safetensors"}


@pytest.mark.parametrize(
  "name", ["runs/dance", "there/dance", "./a/b", "/a/b", "a/b/c", "a", "gs://a/b"]
)
def test_what_may_be_a_path_is_never_asked_for(client, tmp_path, name):
  (tmp_path / "there").mkdir()
  assert not hub.is_repository(name)
  if "://" not in name:
    with pytest.raises(saved_stage.SavedStageError, match="holds no trained"):
      saved_stage.load_stage(name, "diffusion")
  assert not client.asked


@pytest.mark.parametrize(
  ("error", "said"),
  [
    (NotFound(), "no such repository"),
    (NotThere(), "cannot be reached"),
    (Offline(), "cannot be reached"),
    (Refused("403\nForbidden"), "refuses it .403"),
    (Invalid("bad name"), "refuses it .bad name"),
  ],
)
def test_errors_of_the_hub_are_one_line(client, error, said):
  client.answer = error
  with pytest.raises(hub.HubError, match=said) as raised:
    saved_stage.load_stage("somebody/dances", "diffusion")
  assert "\n" not in str(raised.value) and str(raised.value).startswith("somebody/")


def test_without_the_client_the_extra_is_named(client, monkeypatch):
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(hub.HubError, match=r"dabfusion_jax\[hub\]"):
    hub.fetch("somebody/dances")


def test_the_names_of_the_client_are_those_of_the_real_one():
  errors = pytest.importorskip("huggingface_hub.errors")
  for name in ("RepositoryNotFoundError", "LocalEntryNotFoundError"):
    assert issubclass(getattr(errors, name), Exception)
  for name in ("OfflineModeIsEnabled", "HfHubHTTPError", "HFValidationError"):
    assert issubclass(getattr(errors, name), Exception)
