#!/bin/sh
# Makes the tree of a node one that systemd-nspawn boots on the host's kernel. Run by mmdebstrap after
# lab_host/files/customise_node.sh, with the same arguments.
set -eu
stage=$1
tree=$2
[ "$stage" = installed ] || exit 0

# Where BPF programs pin what they share. systemd mounts it outside of containers only, and takes no mount unit below /sys.
cat > "$tree/etc/systemd/system/labctl-bpffs.service" <<'CONF'
[Unit]
Description=BPF file system
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount -t bpf -o mode=700 bpf /sys/fs/bpf
[Install]
WantedBy=sysinit.target
CONF
systemctl --root="$tree" --quiet enable labctl-bpffs.service
# An empty machine-id would make every boot a first boot, which enables services again: a node's is laid over the tree.
# What costs time at boot, or sets what belongs to the host.
systemctl --root="$tree" --quiet mask getty.target console-getty.service systemd-logind.service \
	systemd-timesyncd.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
	systemd-remount-fs.service systemd-sysctl.service systemd-modules-load.service \
	systemd-networkd-wait-online.service dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount \
	nftables.service
# A node has no disks, consoles, fstab or init scripts to make units of; looking for them is a third of its boot.
install -d "$tree/etc/systemd/system-generators"
for generator in "$tree"/lib/systemd/system-generators/*; do
	ln -s /dev/null "$tree/etc/systemd/system-generators/${generator##*/}"
done
