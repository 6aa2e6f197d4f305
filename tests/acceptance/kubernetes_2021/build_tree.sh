#!/bin/sh
# Compiles Kubernetes 1.20 in a Debian 11 tree, from that release's own source package and with its Go 1.15. Run by
# mmdebstrap as `build_tree.sh STAGE TREE`; part of the cache key of the tree, which is kept as the result.
# The upstream tarball of the package is fully vendored, so that compiling asks no network for anything.
set -eu
stage=$1
tree=$2
[ "$stage" = installed ] || exit 0

# Only the upstream tarball is wanted; apt checks it against the signed index.
sed -n 's/^deb /deb-src /p' "$tree/etc/apt/sources.list" > "$tree/etc/apt/sources.list.d/source.list"
cat > "$tree/root/build" <<'SCRIPT'
set -eu
export HOME=/root
work=/root/kubernetes
mkdir -p "$work" /opt/kubernetes
cd /root
apt-get update --quiet=2
apt-get source --quiet=2 --download-only --tar-only kubernetes
tar --extract --file "$(ls kubernetes_*.orig.tar.*)" --directory "$work" --strip-components 1
cd "$work"
make gen_openapi
version=1.20.2
flags='-s -w'
for package in k8s.io/client-go/pkg/version k8s.io/component-base/version; do
	flags="$flags -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=20 -X $package.gitTreeState=archive"
done
export CGO_ENABLED=0 GOFLAGS='-mod=vendor -trimpath' GOPROXY=off
go build -ldflags "$flags" -o /opt/kubernetes/ ./cmd/kubeadm ./cmd/kubelet ./cmd/kubectl \
	./cmd/kube-apiserver ./cmd/kube-controller-manager ./cmd/kube-scheduler ./cmd/kube-proxy
gcc -Os -Wall -static -DVERSION="v3.2-$version" -o /opt/kubernetes/pause build/pause/linux/pause.c
SCRIPT
mount -t proc proc "$tree/proc"
trap 'umount "$tree/proc"' EXIT
chroot "$tree" sh /root/build
rm -rf "$tree/root/kubernetes" "$tree"/root/kubernetes_* "$tree/root/.cache" "$tree/root/build"
