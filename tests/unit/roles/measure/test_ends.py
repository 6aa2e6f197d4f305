"""Both ends, as the inventory and the deployed setup describe them."""

from __future__ import annotations

from typing import Any

import pytest
from labctl_measure.ends import End, Ends, SetupGone

NODES: dict[str, dict[str, Any]] = {
    "node1": {
        "endpoint_address": "10.0.0.1",
        "endpoint_netns": "pod1",
        "cable_interface": "cable0",
        "cable_address": "192.0.2.1",
    },
    "node2": {"endpoint_address": "10.0.0.2", "endpoint_netns": "", "cable_address": "192.0.2.2"},
}


def ends(**server: object) -> Ends:
    hostvars = {**NODES, "node2": {**NODES["node2"], **server}}
    return Ends(End.of("node1", "node2", hostvars), End.of("node2", "node1", hostvars))


def test_an_end_is_what_its_node_says_and_where_the_other_one_is() -> None:
    assert ends().client == End("node1", "10.0.0.1", "pod1", "", "cable0", "192.0.2.2", True)
    assert ends(endpoint_pod="uid", endpoint_agent_watches=False).server == End(
        "node2", "10.0.0.2", "", "uid", "", "192.0.2.1", False
    )


def test_what_a_cluster_put_into_an_endpoints_pod_is_told_with_the_end() -> None:
    assert ends().server.hindered == {"beside": [], "cpu_limit": None}
    proxied = ends(endpoint_beside=["istio-proxy (image)"], endpoint_cpu_limit="500m").server
    assert proxied.hindered == {"beside": ["istio-proxy (image)"], "cpu_limit": "500m"}
    assert ends(endpoint_beside=[], endpoint_cpu_limit="").server.hindered == {"beside": [], "cpu_limit": None}


def test_a_node_without_an_endpoint_is_named() -> None:
    for name in ("endpoint_address", "endpoint_netns"):
        lacking = {key: value for key, value in NODES["node1"].items() if key != name}
        with pytest.raises(SetupGone, match=rf"node1 has no deployed endpoint \({name}\): run deploy.yml first"):
            End.of("node1", "node2", {**NODES, "node1": lacking})


def test_the_endpoints_are_told_by_end() -> None:
    assert ends().endpoint == {
        "client_address": "10.0.0.1",
        "client_netns": "pod1",
        "client_pod": "",
        "server_address": "10.0.0.2",
        "server_netns": "",
        "server_pod": "",
    }


def test_the_bytes_of_a_cable_are_the_tests_own_only_where_both_nodes_name_it() -> None:
    assert ends(cable_interface="cable0").cable == "own"
    assert ends().cable == "shared"
    assert ends(cable_interface="cable0", endpoint_agent_watches=False).cable == "unknown"
