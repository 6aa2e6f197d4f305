"""Published results and claims: the files as they came, loaded whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl import catalog
from labctl.catalog import Encryption, Unit
from labctl.catalog.published import Expectation, Requirement, load_claims, load_reference
from labctl.core.errors import RESTORE, LabctlError, Problem

HEAD = "schema: labctl.claims/1\nid: x\nclaims:\n"
CLAIM = (
    HEAD + "- {id: c, says: s, metric: rate, pairs: [[a, b]], cells: [{workload: w, expect: greater, published: 1}]}\n"
)


def test_the_results_of_2021_load() -> None:
    reference = load_reference()
    assert (reference.id, len(reference.results), len(reference.caveats)) == ("cilium-2021", 53, 8)
    first = reference.results[0]
    assert (first.variant, first.processes, first.value, first.unit) == ("baseline", 1, 41.59, Unit.GBIT)
    assert (first.cpu_pct.client, first.cpu_pct.normalised_to) == (8.29, 100)
    encrypted = [result for result in reference.results if result.encryption is not Encryption.NONE]
    assert all(result.variant_inferred for result in encrypted)


def test_the_claims_of_2021_load() -> None:
    claims = load_claims()
    assert (claims.id, len(claims.claims)) == ("cilium-2021", 16)
    by_id = {claim.id: claim for claim in claims.claims}
    routing = by_id["ebpf-routing-faster"]
    assert ("veth-ebpf", "veth-iptables") in routing.pairs
    assert [(cell.workload, cell.processes) for cell in routing.cells][2] == ("tcp_rr", "max")
    unread = by_id["encryption-does-not-scale"].cells[0]
    assert (unread.published, unread.processes, unread.expect) == (None, None, Expectation.LESS_THAN)
    assert by_id["receiver-bound"].requires == (Requirement.CPU_PER_END,)


def test_every_claimed_workload_exists() -> None:
    workloads = catalog.load().workloads
    assert {cell.workload for claim in load_claims().claims for cell in claim.cells} <= set(workloads)
    assert {result.workload for result in load_reference().results} <= set(workloads)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("pairs: [[a, b]], ", "", Problem("a claim has either pairs or variants", "c.yml:claims[0]", "c")),
        (
            "pairs: [[a, b]]",
            "pairs: [[a, b+ipsecc]]",
            Problem("a subject is not variant[+encryption]", "c.yml:claims[0]", "'b+ipsecc'"),
        ),
        (
            "expect: greater",
            "expect: at_least",
            Problem("the expectation at_least and the margin do not fit", "c.yml:claims[0].cells[0].margin", "None"),
        ),
        (
            "published: 1",
            "published: 1, margin: 2",
            Problem("the expectation greater and the margin do not fit", "c.yml:claims[0].cells[0].margin", "2.0"),
        ),
        (", published: 1", "", Problem("missing key", "c.yml:claims[0].cells[0].published", hint=RESTORE)),
        ("[[a, b]]", "[[a]]", Problem("the value is not a list of 2", "c.yml:claims[0].pairs[0]", "['a']", RESTORE)),
        (
            "claims/1",
            "claims/2",
            Problem("the value is not labctl.claims/1", "c.yml:schema", "'labctl.claims/2'", RESTORE),
        ),
    ],
)
def test_a_mistake_in_a_claim_names_its_place(old: str, new: str, problem: Problem, tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text(CLAIM)
    assert load_claims(path).claims[0].id == "c"
    broken = tmp_path / "broken" / "c.yml"
    broken.parent.mkdir()
    broken.write_text(CLAIM.replace(old, new))
    with pytest.raises(LabctlError) as raised:
        load_claims(broken)
    assert raised.value.problems == (problem,)
