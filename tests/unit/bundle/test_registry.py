"""Images by skopeo: what it is asked, and what is told of what it says. A script stands in for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from labctl.bundle import registry
from tests.unit.bundle.loopback import problems

PIN = f"sha256:{'a' * 64}"


def skopeo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have the program say and do something; its words are kept."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    program = tmp_path / "bin" / "skopeo"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/words\npwd >{tmp_path}/cwd\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


def test_an_image_is_copied_by_its_pin_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skopeo(tmp_path, monkeypatch, "")
    (tmp_path / "a:b").mkdir()
    registry.copy("localhost:5000/k8s/etcd:1", PIN, "registry.k8s.io/etcd:1", tmp_path / "a:b" / "part", "arm64")
    words = (tmp_path / "words").read_text().split()
    assert words[-2:] == [f"docker://localhost:5000/k8s/etcd@{PIN}", "docker-archive:part:registry.k8s.io/etcd:1"]
    assert words[words.index("--override-arch") + 1] == "arm64"
    assert "--src-tls-verify=false" in words
    assert (tmp_path / "cwd").read_text() == f"{tmp_path / 'a:b'}\n"


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ("quay.io/a/b:v1", f"quay.io/a/b@{PIN}"),
        ("registry.example:5000/etcd", f"registry.example:5000/etcd@{PIN}"),
        (f"quay.io/a/b:v1@sha256:{'b' * 64}", f"quay.io/a/b@{PIN}"),
    ],
)
def test_a_pin_takes_the_place_of_a_tag_and_of_no_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str, source: str
) -> None:
    skopeo(tmp_path, monkeypatch, "")
    registry.copy(origin, PIN, "a/b:1", tmp_path / "part", "amd64")
    assert f"docker://{source}" in (tmp_path / "words").read_text().split()


def test_a_digest_is_that_of_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skopeo(tmp_path, monkeypatch, "printf manifest")
    assert registry.digest("quay.io/a/b:v1") == f"sha256:{hashlib.sha256(b'manifest').hexdigest()}"
    assert "--raw" in (tmp_path / "words").read_text().split()


def test_its_last_words_are_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = 'time="x" level=warning msg="a"\\ntime="x" level=fatal msg="reading manifest: \\"v1\\" is unknown"'
    skopeo(tmp_path, monkeypatch, f"printf '{said}\\n' >&2; exit 1")
    (problem,) = problems(lambda: registry.digest("quay.io/a/b:v1"))
    assert (problem.what, problem.where) == ("an image cannot be looked up", "quay.io/a/b:v1")
    assert problem.seen == 'reading manifest: "v1" is unknown'
    assert problem.hint


def test_without_skopeo_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (problem,) = problems(registry.require_program)
    assert "install the package skopeo" in str(problem.hint)
    (problem,) = problems(lambda: registry.digest("quay.io/a/b:v1"))
    assert problem.what == "skopeo cannot be run"


@pytest.mark.parametrize(
    "origin", ["", "etcd", "-x/y:1", "a/b c:1", "oci:/etc", "docker://a/b:1", "a/{b}:1", "a/B:1", "a/b\n"]
)
def test_what_is_no_image_is_refused(origin: str) -> None:
    (problem,) = problems(lambda: registry.require_reference(origin, "2021.images.etcd.origin"))
    assert problem.what == "not the origin of an image"
