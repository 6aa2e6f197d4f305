"""What Debian trees hold of a Kubernetes 1.20 cluster, packed as the projects publish theirs.

`python -m tests.acceptance.kubernetes_2021.pack TREE RUNTIME SITE`, run by site.yml, fills SITE with release files
where `overrides.yml`, written last, says that they are, and with an archive per image under SITE/images. TREE is the
Debian 11 tree of build_tree.sh, RUNTIME one of Debian 12 with the container runtime: containerd before 1.5 grants a
privileged container capabilities that it may not have itself, and so cannot start kube-proxy on a host without
CAP_SYS_RESOURCE.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.acceptance.kubernetes_2021.oci import write_image

KUBERNETES = "1.20.2"
REPOSITORY = "registry.k8s.io"
PROGRAMS = ("kubeadm", "kubelet", "kubectl")
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")
# What kube-proxy calls: iptables in the flavour that the nodes use, and conntrack.
PROXY_TOOLS = ("usr/sbin/xtables-nft-multi", "usr/sbin/conntrack")
PROXY_LINKS = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")


@dataclass(frozen=True)
class Tree:
    """A Debian tree to take files from."""

    path: Path

    def text(self, *argv: str) -> str:
        """What a command inside the tree prints."""
        return subprocess.run(
            ["chroot", str(self.path), *argv], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
        ).stdout

    def version(self, package: str) -> str:
        """The upstream version of an installed package: 1.4.13 of 1.4.13~ds1-1~deb11u4."""
        full = self.text("dpkg-query", "--show", "--showformat", "${Version}", package)
        return full.partition("-")[0].partition("+")[0].partition("~ds")[0].replace("~", "-")

    def with_libraries(self, *names: str) -> dict[str, Path]:
        """Programs by path below the root, with every shared library that they load."""
        found = {name: self.path / name for name in names}
        for name in names:
            done = subprocess.run(
                ["chroot", str(self.path), "ldd", f"/{name}"], check=False, capture_output=True, text=True
            )
            libraries = [word for word in done.stdout.split() if word.startswith("/")]
            for library, file in zip(libraries, self.text("realpath", *libraries).split(), strict=True):
                found[library.lstrip("/")] = self.path / file.lstrip("/")
        return found


@dataclass(frozen=True)
class Site:
    """The directory that is filled, and the overrides that go with it."""

    path: Path
    architecture: str
    files: dict[str, Any] = field(default_factory=dict)
    images: dict[str, Any] = field(default_factory=dict)

    def place(self, name: str, version: str, origin: str) -> Path:
        """Where the release file `name` belongs; note that it is there."""
        target = self.path / origin.format(version=version, architecture=self.architecture)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.files[name] = {"version": version, "origin": f"{{site}}/{origin}"}
        return target

    def finish(self, name: str, target: Path) -> None:
        """Note the checksum of a file that is written."""
        with target.open("rb") as file:
            self.files[name]["sha256"] = {self.architecture: hashlib.file_digest(file, "sha256").hexdigest()}

    def program(self, name: str, version: str, origin: str, source: Path) -> None:
        """Publish one program."""
        target = self.place(name, version, origin)
        target.write_bytes(source.read_bytes())
        self.finish(name, target)

    def archive(self, name: str, version: str, origin: str, members: dict[str, Path]) -> None:
        """Publish an archive of programs."""
        target = self.place(name, version, origin)
        with tarfile.open(target, "w:gz", compresslevel=1) as archive:
            for member, source in members.items():
                archive.add(source, member)
        self.finish(name, target)

    def image(self, name: str, tag: str, files: dict[str, Path], **links: str) -> None:
        """Publish an image that starts the program of its name."""
        (self.path / "images").mkdir(exist_ok=True)
        reference = f"{REPOSITORY}/{name}:{tag}"
        start = f"/{next(path for path in files if Path(path).name == name)}"
        write_image(self.path / "images" / f"{name}.tar", reference, files, links, [start], self.architecture)
        self.images[name] = {"reference": reference, "origin": f"{{site}}/images/{name}.tar"}


def pack(tree: Tree, runtime: Tree, site: Site) -> None:
    """Fill the site."""
    built = tree.path / "opt/kubernetes"
    for name in PROGRAMS:
        site.program(name, KUBERNETES, f"k8s/v{{version}}/bin/linux/{{architecture}}/{name}", built / name)
    runc = runtime.path / "usr/sbin/runc"
    site.program("runc", runtime.version("runc"), "runc/v{version}/runc.{architecture}", runc)
    site.archive(
        "containerd",
        runtime.version("containerd"),
        "containerd/v{version}/containerd-{version}-linux-{architecture}.tar.gz",
        {f"bin/{name}": runtime.path / "usr/bin" / name for name in CONTAINERD},
    )
    site.archive(
        "cni-plugins",
        runtime.version("containernetworking-plugins"),
        "plugins/v{version}/cni-plugins-linux-{architecture}-v{version}.tgz",
        {f"./{path.name}": path for path in sorted((runtime.path / "usr/lib/cni").iterdir())},
    )
    for name in CONTROL_PLANE:
        site.image(name, f"v{KUBERNETES}", {f"usr/local/bin/{name}": built / name})
    proxy = tree.with_libraries(*PROXY_TOOLS) | {"usr/local/bin/kube-proxy": built / "kube-proxy"}
    plugins = tree.path / "usr/lib/x86_64-linux-gnu/xtables"
    proxy |= {str(path.relative_to(tree.path)): path for path in plugins.glob("lib*.so")}
    links = {f"usr/sbin/{name}": "xtables-nft-multi" for name in PROXY_LINKS}
    site.image("kube-proxy", f"v{KUBERNETES}", proxy, **links)
    etcd = tree.with_libraries("usr/bin/etcd")
    site.image("etcd", f"{tree.version('etcd-server')}-0", etcd)
    site.image("pause", "3.2", {"pause": built / "pause"})


def main() -> None:
    """Pack the trees named first into the site named last."""
    tree, runtime, path = Tree(Path(sys.argv[1])), Tree(Path(sys.argv[2])), Path(sys.argv[3])
    site = Site(path, tree.text("dpkg", "--print-architecture").strip())
    pack(tree, runtime, site)
    # Debian has no crictl: kubeadm does without.
    overrides = {"2021": {"files": {**site.files, "crictl": None}, "images": site.images}}
    (path / "overrides.yml").write_text(yaml.safe_dump(overrides, sort_keys=False))


if __name__ == "__main__":
    main()
