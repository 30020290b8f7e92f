"""The network equals its definition, written out step by step."""

import numpy as np
import pytest
import scipy.signal

from data_pipeline import weights
from data_pipeline.music import beat_network


def random_network(seed=0, bands=20, size=4):
  rng = np.random.default_rng(seed)
  pooled = 2 * ((bands - 10 + 1) // 2)
  shapes = {
    "conv/kernel": (10, 2),
    "conv/bias": (2,),
    "dense/kernel": (pooled, size),
    "dense/bias": (size,),
    "output/kernel": (size, 3),
    "output/bias": (3,),
  }
  for layer in ("lstm_1", "lstm_2"):
    shapes |= {f"{layer}/input": (size, 4 * size), f"{layer}/bias": (4 * size,)}
    shapes |= {f"{layer}/recurrent": (size, 4 * size)}
  return {
    name: rng.standard_normal(shape).astype(np.float32)
    for name, shape in shapes.items()
  }


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def test_the_recurrent_layer_steps_as_an_lstm_does():
  network = random_network()
  x = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
  found = beat_network.lstm(network, "lstm_1", x)
  hidden, cell, states = np.zeros(4), np.zeros(4), []
  for step in x:
    gates = step @ network["lstm_1/input"] + hidden @ network["lstm_1/recurrent"]
    entry, keep, new, emit = np.split(gates + network["lstm_1/bias"], 4)
    cell = sigmoid(keep) * cell + sigmoid(entry) * np.tanh(new)
    hidden = sigmoid(emit) * np.tanh(cell)
    states.append(hidden)
  np.testing.assert_allclose(found, states, rtol=1e-4, atol=1e-5)


def test_probabilities_follow_from_convolution_pooling_and_layers():
  network = random_network()
  features = np.random.default_rng(2).random((5, 20), np.float32)
  found = beat_network.activations(network, features)
  x = []
  for row in features:
    channels = []
    for channel in range(2):
      kernel, bias = network["conv/kernel"][:, channel], network["conv/bias"][channel]
      y = np.maximum(scipy.signal.correlate(row, kernel, "valid") + bias, 0)
      channels += [max(y[i], y[i + 1]) for i in range(0, len(y) - 1, 2)]
    x.append(channels @ network["dense/kernel"] + network["dense/bias"])
  x = np.array(x, np.float32)
  for layer in ("lstm_1", "lstm_2"):
    x = beat_network.lstm(network, layer, x)
  x = x @ network["output/kernel"] + network["output/bias"]
  np.testing.assert_allclose(found, np.exp(x) / np.exp(x).sum(1)[:, None], rtol=1e-4)


def test_filters_cover_quarter_tones_with_the_sum_1():
  filters = beat_network.filterbank()
  assert filters.shape == (705, 136)
  np.testing.assert_allclose(filters.sum(axis=0), 1, rtol=1e-5)
  assert (np.diff(filters.argmax(axis=0)) > 0).all()


def test_a_click_is_where_its_frame_says():
  audio = np.zeros(22_050, np.float32)
  audio[11_025:11_035] = 1.0
  rises = beat_network.spectrum(audio)[:, 136:].sum(axis=1)
  assert abs(int(rises.argmax()) - 25) <= 1 and len(rises) == 50


def test_a_long_song_is_transformed_in_parts_without_seams(monkeypatch):
  audio = np.random.default_rng(3).standard_normal(22_050).astype(np.float32)
  whole = beat_network.spectrum(audio)
  monkeypatch.setattr(beat_network, "_CHUNK", 7)
  np.testing.assert_allclose(beat_network.spectrum(audio), whole, atol=1e-5)


def test_missing_weights_name_the_command(tmp_path, monkeypatch):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path))
  with pytest.raises(weights.MissingWeightsError) as error:
    beat_network.BeatNetwork()
  assert "weights import beatnet-1 beatnet-2 beatnet-3" in str(error.value)
