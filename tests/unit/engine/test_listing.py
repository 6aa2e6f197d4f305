"""The program that lists an inventory: what it says of a value, and of what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from labctl.engine import listing

VARIABLES = """\
text: "{{ 1 + 1 }}x"
literal: !unsafe "{{ 1/0 }}"
broken: "{{ 1/0 }}"
secret: !vault |
  $ANSIBLE_VAULT;1.1;AES256
  6162
"""


@pytest.fixture
def loaded(tmp_path: Path) -> dict[str, object]:
    (tmp_path / "v.yml").write_text(VARIABLES)
    variables: dict[str, object] = DataLoader().load_from_file(str(tmp_path / "v.yml"), trusted_as_template=True)
    return variables


def test_a_value_is_rendered_or_why_not_is_told_and_a_vault_stays_closed(loaded: dict[str, object]) -> None:
    templar = Templar(loader=DataLoader(), variables=loaded)
    found = {name: listing.rendered(templar, value) for name, value in loaded.items()}
    assert found["text"] == {"value": "2x"}
    assert found["literal"] == {"value": "{{ 1/0 }}"}
    assert "division by zero" in str(found["broken"]["error"])
    assert found["secret"] == {"vault": True}


def test_a_value_knows_its_line(loaded: dict[str, object], tmp_path: Path) -> None:
    assert listing.place(loaded["literal"]) == f"{tmp_path}/v.yml:2"
    assert listing.place_of("name", True) is None
    assert listing.place_of("name", [loaded["broken"]]) == f"{tmp_path}/v.yml:3"
