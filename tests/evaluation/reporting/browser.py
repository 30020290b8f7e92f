"""A headless Chromium, spoken to over its debugging pipe: no driver, no network."""

import contextlib
import json
import os
import shutil
import subprocess
import time


class Browser:
  """One page of a browser; errors it logs are kept in `errors`."""

  def __init__(self, send_fd: int, receive_fd: int) -> None:
    self._send_fd, self._receive_fd = send_fd, receive_fd
    self._buffer, self._count, self._session = b"", 0, None
    self.errors: list[str] = []
    target = self.call("Target.createTarget", url="about:blank")["targetId"]
    attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
    self._session = attached["sessionId"]
    for domain in ("Page", "Runtime", "Log"):
      self.call(f"{domain}.enable")

  def call(self, method: str, **parameters):
    self._count += 1
    message = {"id": self._count, "method": method, "params": parameters}
    if self._session:
      message["sessionId"] = self._session
    os.write(self._send_fd, json.dumps(message).encode() + b"\0")
    while True:
      answer = self._receive()
      if answer.get("id") == self._count:
        if "error" in answer:
          raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

  def _receive(self):
    while b"\0" not in self._buffer:
      chunk = os.read(self._receive_fd, 1 << 20)
      if not chunk:
        raise RuntimeError("The browser is gone.")
      self._buffer += chunk
    text, _, self._buffer = self._buffer.partition(b"\0")
    message = json.loads(text)
    method, found = message.get("method"), message.get("params", {})
    if method == "Runtime.exceptionThrown":
      self.errors.append(str(found["exceptionDetails"]))
    elif method == "Runtime.consoleAPICalled" and found["type"] in ("error", "warning"):
      self.errors.append(str(found["args"]))
    elif method == "Log.entryAdded" and found["entry"]["level"] == "error":
      self.errors.append(str(found["entry"]))
    return message

  def open(self, url: str, width: int = 1200, height: int = 800, is_phone=False):
    self.call(
      "Emulation.setDeviceMetricsOverride",
      width=width,
      height=height,
      deviceScaleFactor=2 if is_phone else 1,
      mobile=is_phone,
    )
    self.call("Page.navigate", url=url)
    self.wait("document.readyState === 'complete'")

  def run(self, script: str):
    """The value of an expression; a promise is awaited, as after a user's click."""
    answer = self.call(
      "Runtime.evaluate",
      expression=script,
      awaitPromise=True,
      returnByValue=True,
      userGesture=True,
    )
    if "exceptionDetails" in answer:
      raise RuntimeError(str(answer["exceptionDetails"]))
    return answer["result"].get("value")

  def wait(self, condition: str, seconds: float = 300):
    end = time.monotonic() + seconds
    while not self.run(condition):
      if time.monotonic() > end:
        raise TimeoutError(f"Still not true: {condition}")
      time.sleep(0.05)


def find_chromium() -> str | None:
  names = ("chromium", "chromium-browser", "google-chrome")
  return next((path for path in map(shutil.which, names) if path), None)


@contextlib.contextmanager
def open_browser(profile):
  """Starts Chromium with a fresh profile folder, and ends it."""
  to_read, to_write = os.pipe(), os.pipe()

  command = [
    find_chromium(),
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    f"--user-data-dir={profile}",
  ]
  # The browser reads from 3 and writes to 4; the shell lays the pipes there.
  lay = f'exec "$@" 3<&{to_read[0]} 4>&{to_write[1]}'
  process = subprocess.Popen(
    ["bash", "-c", lay, "bash", *command],
    pass_fds=(to_read[0], to_write[1]),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
    start_new_session=True,
  )
  os.close(to_read[0])
  os.close(to_write[1])
  try:
    yield Browser(to_read[1], to_write[0])
  finally:
    process.kill()
    process.wait()
    os.close(to_read[1])
    os.close(to_write[0])
