"""labctl bundle: made from a site on the loopback, and verified."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import served
from tests.unit.bundle.loopback import FILES, IMAGES, fill, overrides
from tests.unit.cli.run import Run


def test_a_bundle_is_made_and_verified(labctl: Run, tmp_path: Path) -> None:
    fill(tmp_path / "site")
    seen = ", ".join(f"2021 {name}" for name in IMAGES)
    words = (
        f"bundle made: 2021 (Kubernetes 1.20.2), amd64, {len(FILES + IMAGES)} files, 0 MB, all as they should be\n"
        f"not pinned by labctl, recorded as seen when it was made: {seen}\n"
    )
    with served(tmp_path / "site") as url:
        (tmp_path / "own.yml").write_text(overrides(tmp_path / "site", url))
        code, out, err = labctl("bundle", "create", "made", "--edition", "2021", "--overrides", "own.yml")
        assert (code, out) == (0, words)
        assert f"{url}/kubelet" in err
    assert labctl("bundle", "verify", "made") == (0, words, "")
    (tmp_path / "made" / "2021" / "images" / "pause.tar").unlink()
    code, out, err = labctl("bundle", "verify", "made")
    assert (code, out) == (1, "")
    assert "error: a file of the bundle is missing: 2021/images/pause.tar" in err


def test_what_no_bundle_can_hold_is_wrong_usage(labctl: Run) -> None:
    code, _, err = labctl("bundle", "create", "made", "--edition", "2022", "--variant", "calico")
    assert code == 2
    assert "--edition" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("",), "there is nothing in it\n  where: DIRECTORY"),
        (("made", "--edition", ""), "there is nothing in it"),
        (("made", "--edition", "2021,2021"), "an entry is written twice"),
        (("made", "--variant", "cillium-ebpf"), "did you mean cilium-ebpf?"),
        (("made", "--edition", "2021", "--variant", "../x"), "--variant"),
        (("made", "--architecture", "../x"), "a file has no checksum for this architecture"),
        (("made", "--architecture", ""), "there is nothing in it"),
        (("made", "--overrides", "gone.yml"), "gone.yml"),
        (("made", "--overrides", "."), "a directory"),
        (("made", "--overrides", "binary"), "binary"),
        (("made", "--overrides", "list"), "list"),
    ],
)
def test_no_option_of_bundle_create_ends_in_more_than_words(
    labctl: Run, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    (tmp_path / "list").write_text("[1, 2]")
    code, out, err = labctl("bundle", "create", *words)
    assert code in (1, 2)
    assert out == ""
    assert told in err
    assert "Traceback" not in err
    assert not (tmp_path / "made").exists()


def test_a_variant_of_another_edition_is_refused(labctl: Run) -> None:
    from labctl import catalog  # what there is may change

    known = catalog.load()
    single = [one for one in known.variants.values() if len(one.editions) == 1]
    for variant in single:
        other = next(name for name in known.editions if name not in variant.editions)
        code, _, err = labctl("bundle", "create", "made", "--edition", other, "--variant", variant.name)
        assert (code, f"{variant.name} is of another edition" in err) == (2, True)
