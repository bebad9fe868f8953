"""A real JupyterLab in a real Chromium, for tests: own folders, no news, no network but its own address."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
IDLE = "panel => panel && panel.sessionContext.isReady && panel.sessionContext.session?.kernel?.status === 'idle' && panel.sessionContext.session.kernel.connectionStatus === 'connected'"
PANEL = "(() => { const widget = window.jupyterapp?.shell?.currentWidget; return widget && widget.sessionContext ? widget : null; })()"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def notebook(*cells):
    "A notebook of code cells as JSON."
    code = [{"cell_type": "code", "id": f"cell{k}", "metadata": {}, "execution_count": None, "outputs": [], "source": source} for k, source in enumerate(cells)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": code, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


@contextlib.contextmanager
def jupyter_lab(folder, **environment):
    "A JupyterLab over a folder: yields its address."
    folder, port = Path(folder), free_port()
    own = {name: str(folder / ".jupyter" / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")}
    settings = Path(own["JUPYTERLAB_SETTINGS_DIR"])
    for plugin, values in {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}, "notebook-extension/tracker": {"windowingMode": "none"}}.items():
        file = settings / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.expose_app_in_browser=True",
               f"--ServerApp.root_dir={folder}", "--LabApp.collaborative=False", "--ServerApp.open_browser=False"]
    variables = os.environ | own | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))} | environment
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while True:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"JupyterLab did not start: {(folder / 'lab.log').read_text()[-3000:]}")
            try:
                urllib.request.urlopen(f"{address}/api", timeout=2).read()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)


@contextlib.contextmanager
def chromium_pages(path, **more):
    "A headless Chromium: yields a function that opens a page in a context of its own (`viewport`, `color_scheme`, … as playwright has them)."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS, **more)
        try:
            yield lambda **context: browser.new_context(**context).new_page()
        finally:
            browser.close()


class Lab:
    "One notebook, opened in one page."

    def __init__(self, page, address, name):
        self.page, self.address, self.name = page, address, name

    def open(self):
        "Load the page and wait for the kernel; also after a reload."
        self.page.goto(f"{self.address}/lab/tree/{self.name}?reset", timeout=60_000)
        return self.ready()

    def ready(self, seconds=60):
        "Wait until the notebook's kernel is connected and idle."
        self.page.wait_for_function(f"() => ({IDLE})({PANEL})", timeout=1000 * seconds)
        return self

    def command(self, name):
        return self.page.evaluate("name => window.jupyterapp.commands.execute(name)", name)

    def run_all(self, seconds=60):
        "Run all cells and wait for the last one."
        self.command("notebook:run-all-cells")
        return self.ready(seconds)

    def restart(self, seconds=60):
        "A new kernel, as the menu does it, without the question."
        self.page.evaluate(f"() => {PANEL}.sessionContext.restartKernel()")
        return self.ready(seconds)

    def text(self):
        "What the outputs say."
        return "\n".join(self.page.locator(".jp-OutputArea-output").all_inner_texts())
