"""labctl bundle: made from a site on the loopback, and verified."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import served
from tests.unit.bundle.loopback import FILES, IMAGES, fill, overrides
from tests.unit.cli.run import Run


def test_a_bundle_is_made_and_verified(labctl: Run, tmp_path: Path) -> None:
    fill(tmp_path / "site")
    words = f"bundle made: 2021 (Kubernetes 1.20.2), amd64, {len(FILES + IMAGES)} files, 0 MB, all as they should be\n"
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
