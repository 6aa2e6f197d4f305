"""What every test shares: the repository's root, a site on the loopback, the rule for tests that need the real lab."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ansible.module_utils
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

POLL_S = 0.01  # for the end of a server
REPOSITORY = Path(__file__).resolve().parent.parent
# Ansible puts a role's module_utils among its own when it ships a module; so that tests can import them, so do we.
ansible.module_utils.__path__ += map(str, sorted(REPOSITORY.glob("roles/*/module_utils")))
# Properties are about what comes out, never about how long this machine takes.
settings.register_profile("labctl", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("labctl")
set_hypothesis_home_dir(REPOSITORY / ".cache" / "hypothesis")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout that the tests belong to."""
    return REPOSITORY


@pytest.fixture(scope="session")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel of this checkout."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(repository)]
    done = subprocess.run(build, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("labctl-*.whl"))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve a directory on the loopback; the URL of it."""
    handler = functools.partial(_Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[POLL_S])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to start lab tests that cannot work: skipped tests would look like passed ones."""
    if any("lab" in item.keywords for item in session.items) and not _may_become_root():
        raise pytest.UsageError(
            "The tests marked 'lab' create network namespaces and containers: run them as root, or with a "
            "sudo that asks no password, or leave them out with -m 'not lab'."
        )


def _may_become_root() -> bool:
    if os.geteuid() == 0:
        return True
    try:
        return subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
