#!/bin/sh
# Makes a Debian tree a node of the local lab. Run by mmdebstrap as `customise_tree.sh STAGE TREE`, where STAGE is
# extracted (the essential packages lie there, nothing is configured) or installed. Part of the tree's cache key.
set -eu
stage=$1
tree=$2
no_node_reads='doc info lintian locale man'

if [ "$stage" = extracted ]; then
	# Here and not as --dpkgopt: mmdebstrap would then filter every archive of the first stage by a script, at half
	# the time of the whole build.
	for part in $no_node_reads; do
		echo "path-exclude=/usr/share/$part/*"
	done > "$tree/etc/dpkg/dpkg.cfg.d/labctl"
	exit 0
fi

for part in $no_node_reads; do
	rm -rf "$tree/usr/share/$part"
	mkdir "$tree/usr/share/$part"
done

# Host keys belong to a lab, and the machine's identity to a node: both are laid over the tree. An empty machine-id
# would also make every boot a first boot, which enables services again.
rm -f "$tree"/etc/ssh/ssh_host_*
rm -f "$tree/etc/machine-id" "$tree/var/lib/dbus/machine-id"
rm -f "$tree/etc/hostname" "$tree/etc/resolv.conf"
# The way to the archive is the host's of the day, not that of the day of the build.
rm -f "$tree/etc/apt/apt.conf.d/99mmdebstrap"
echo 'Acquire::Languages "none";' > "$tree/etc/apt/apt.conf.d/90labctl"

install -d "$tree/etc/ssh/sshd_config.d"
cat > "$tree/etc/ssh/sshd_config.d/labctl.conf" <<'EOF'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
UsePAM no
PrintMotd no
EOF

# Where BPF programs pin what they share. systemd mounts it outside of containers only, and takes no mount unit below /sys.
cat > "$tree/etc/systemd/system/labctl-bpffs.service" <<'EOF'
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
EOF

enabled() { systemctl --root="$tree" --quiet enable "$@"; }
masked() { systemctl --root="$tree" --quiet mask "$@"; }
enabled labctl-bpffs.service ssh.service
systemctl --root="$tree" --quiet set-default multi-user.target
# What costs time at boot, wakes up during a measurement, or sets what belongs to the host.
masked getty.target console-getty.service systemd-logind.service systemd-timesyncd.service \
	systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-remount-fs.service \
	systemd-sysctl.service systemd-modules-load.service systemd-networkd-wait-online.service \
	dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount nftables.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer man-db.timer \
	systemd-tmpfiles-clean.timer
# The package starts a netserver of its own on every address: measurements start theirs where they need it.
masked netperf.service
